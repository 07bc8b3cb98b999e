"""What is counted of steps for whoever looks after the machine: a few additions an assignment."""

from __future__ import annotations

from bisect import bisect_left

from generation.assignment import Report
from generation.protocol import STEP_BOUNDS_S, Figures, StepTally


class Counting:
    """Counts what workers report, until it is taken."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int], list[int]] = {}
        self._seconds: dict[tuple[str, int], float] = {}
        self._loads: list[tuple[str, float]] = []
        self._bytes = (0, 0)

    def add(self, engine: str, report: Report, predicted_bytes: int) -> None:
        """Count what came of an assignment, for which so much memory had been reckoned with."""
        for runs, seconds in report.step_times:
            key = engine, runs
            counts = self._counts.get(key)
            if counts is None:
                counts = self._counts[key] = [0] * (len(STEP_BOUNDS_S) + 1)
            counts[bisect_left(STEP_BOUNDS_S, seconds)] += 1
            self._seconds[key] = self._seconds.get(key, 0.0) + seconds
        if report.load_s is not None:
            self.loaded(engine, report.load_s)
        if report.peak_bytes:
            self._bytes = predicted_bytes, report.peak_bytes

    def loaded(self, engine: str, seconds: float) -> None:
        """Count a model that was loaded, for an assignment or ahead of any."""
        self._loads.append((engine, seconds))

    def take(self) -> Figures | None:
        """Return what was counted since the last time; None where nothing was."""
        if not self._counts and not self._loads:
            return None
        steps = tuple(
            StepTally(engine, runs, self._seconds[engine, runs], tuple(counts))
            for (engine, runs), counts in self._counts.items()
        )
        predicted_bytes, measured_bytes = self._bytes
        taken = Figures(
            steps=steps,
            loads=tuple(self._loads),
            predicted_bytes=predicted_bytes,
            measured_bytes=measured_bytes,
        )
        self._counts.clear()
        self._seconds.clear()
        self._loads.clear()
        return taken
