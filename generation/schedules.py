"""Schedules: settings that change in the course of a run, written as ``0.75@0, 0.25@40``.

Each entry is a value and the step from which it holds. Steps are counted, not parts of a run, so
that a schedule means the same however many steps a picture is to have in the end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from generation.engine import EngineError

_MAX_ENTRIES = 32


@dataclass(frozen=True)
class Schedule:
    """Values with the steps from which they hold, in order; the first holds from step 0."""

    entries: tuple[tuple[int, float], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.entries)

    def at(self, step: int) -> float:
        """Return the value that holds in this step."""
        return next(value for since, value in reversed(self.entries) if since <= step)

    def since(self, step: int) -> int:
        """Return the step from which what holds in this one has held."""
        return next((since for since, _ in reversed(self.entries) if since <= step), 0)


NO_SCHEDULE = Schedule()


def read_schedule(name: str, text: str, *, low: float, high: float) -> Schedule:
    """Read what a setting of this name says; nothing is an empty schedule.

    Raises:
        EngineError: it is written otherwise, or a value is out of bounds.
    """
    entries: list[tuple[int, float]] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        value, _, step = part.partition("@")
        try:
            entry = int(step or 0), float(value)
        except ValueError:
            raise _wrong(name, part, low, high) from None
        if not (math.isfinite(entry[1]) and low <= entry[1] <= high and entry[0] >= 0):
            raise _wrong(name, part, low, high)
        entries.append(entry)
    entries.sort()
    steps = [step for step, _ in entries]
    if len(set(steps)) != len(steps) or len(steps) > _MAX_ENTRIES:
        raise EngineError(
            f"{name} takes at most {_MAX_ENTRIES} entries, each from another step on."
        )
    if entries and entries[0][0] != 0:
        raise EngineError(f"{name} must say what holds at first: begin with an entry “…@0”.")
    return Schedule(tuple(entries))


def _wrong(name: str, part: str, low: float, high: float) -> EngineError:
    return EngineError(
        f"{name} has entries like {high:g}@0, {low:g}@100: a number from {low:g} to {high:g} and "
        f"the step from which it holds, not “{part[:24]}”."
    )
