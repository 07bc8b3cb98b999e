"""Which models stay on a device, and which make room.

Swapping models costs seconds in which nobody's picture advances. A loaded model therefore stays
at least ten times as long as loading it took, while somebody waits for it; so at most about one
part in eleven of the time goes into swapping, and nobody waits for the room for ever.
A run that must have the device for itself waits as long for its turn, and then has it for as long
as those stayed whose room it took (`generation.scheduler`).

This module decides; the worker loads and unloads. It knows no clock: the time is an argument.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

ModelKey = tuple[str, str]
"""An engine's name, and what it calls a model: the first item of its batch keys."""

STAY_FACTOR = 10.0
"""A loaded model stays so many times its load time while somebody waits for it."""
FILL = 0.92
"""How much of the device's memory is given out; the rest is for what nobody predicted."""


@dataclass
class _Resident:
    """A model on the device: since when, when last used, how large, how long loading took."""

    since: float
    used: float
    bytes: int
    load_s: float


class Residency:
    """The models on one device. `capacity_bytes` is None where it is not known."""

    def __init__(self, capacity_bytes: int | None = None) -> None:
        self.capacity_bytes = capacity_bytes
        self._residents: dict[ModelKey, _Resident] = {}
        self._load_s: dict[ModelKey, float] = {}

    def __contains__(self, model: ModelKey) -> bool:
        """Whether the model is on the device."""
        return model in self._residents

    def models(self) -> tuple[ModelKey, ...]:
        """Return the models on the device."""
        return tuple(self._residents)

    def others(self, model: ModelKey) -> tuple[ModelKey, ...]:
        """Return the models on the device but this one."""
        return tuple(key for key in self._residents if key != model)

    def size_bytes(self, model: ModelKey) -> int:
        """Return what the model takes on the device; 0 where it is not there."""
        resident = self._residents.get(model)
        return resident.bytes if resident else 0

    def total_bytes(self) -> int:
        """Return what all the models take."""
        return sum(resident.bytes for resident in self._residents.values())

    def load_s(self, model: ModelKey) -> float:
        """Return the seconds that loading the model takes; 0 where it is loaded or unmeasured."""
        return 0.0 if model in self._residents else self._load_s.get(model, 0.0)

    def took_s(self, model: ModelKey) -> float:
        """Return the seconds that loading the model took last; 0 where it was not measured."""
        return self._load_s.get(model, 0.0)

    def loaded(self, model: ModelKey, now: float, seconds: float, size_bytes: int) -> None:
        """Note that the model has been loaded."""
        self._load_s[model] = seconds
        self._residents[model] = _Resident(now, now, size_bytes, seconds)

    def unloaded(self, model: ModelKey) -> None:
        """Note that the model is gone."""
        self._residents.pop(model, None)

    def used(self, model: ModelKey, now: float) -> None:
        """Note that the model has just been used."""
        if model in self._residents:
            self._residents[model].used = now

    def room_bytes(self, model: ModelKey, without: Collection[ModelKey] = ()) -> float:
        """Return what the model and its steps may take, beside the other residents."""
        if self.capacity_bytes is None:
            return float("inf")
        others = (key for key in self.others(model) if key not in without)
        return FILL * self.capacity_bytes - sum(map(self.size_bytes, others))

    def make_room(
        self,
        model: ModelKey,
        need_bytes: int,
        wanted: Collection[ModelKey],
        now: float,
    ) -> tuple[ModelKey, ...] | None:
        """Say what to unload so that `need_bytes` fit for the model and its steps.

        Models nobody waits for go first, then those that have stayed their time, each group in
        order of last use. None means: not now, for a wanted model has not stayed its time. If
        all may go and it still does not fit, all go, and the device may prove us wrong.
        """
        evicted: list[ModelKey] = []
        order = sorted(
            self.others(model), key=lambda key: (key in wanted, self._residents[key].used)
        )
        for key in order:
            if need_bytes <= self.room_bytes(model, evicted):
                break
            if key in wanted and self._stays(key, now):
                return None
            evicted.append(key)
        return tuple(evicted)

    def clear(
        self, model: ModelKey, wanted: Collection[ModelKey], now: float
    ) -> tuple[ModelKey, ...] | None:
        """Say what to unload so that the model has the device for itself: all the others.

        None means: not now, as in `make_room`.
        """
        others = self.others(model)
        return None if any(key in wanted and self._stays(key, now) for key in others) else others

    def _stays(self, model: ModelKey, now: float) -> bool:
        """Whether a model has not stayed its time."""
        resident = self._residents[model]
        return now < resident.since + STAY_FACTOR * resident.load_s
