"""What a step costs, learned from measurement: seconds by batch size, and memory.

The scheduler asks three things of a kind of work (runs with one cost key): how long a step of n
runs takes, how long one may take before something must be wrong, and how far an engine's own
estimate of its memory is off.

A step of n runs takes about ``a + b·n``: a GPU that is not full has a small b, a CPU a small a.
The line is fitted to recent steps, and where only one batch size was seen, a and b are taken to
be equal until more is known, so that batches are tried where it is not known that they are
useless.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable

CostKey = tuple[Hashable, ...]

_KEEP = 0.98
"""How much of its weight a measurement keeps with each further one: half after 34 steps."""
_STIFFNESS = 0.5
"""How strongly the slope is drawn to its prior; small against one step of another batch size."""
_OUTLIER = 4.0
"""A step counts as at most so many times the expected: one hiccup must not make a kind of work
look slow, and one that has really become slow is still followed within a few steps."""


class StepTimes:
    """The step times of one kind of work."""

    def __init__(self) -> None:
        self._weight = self._n = self._t = self._nn = self._nt = 0.0
        # Of recent steps: how long each took, in multiples of what was expected.
        self._slowness: deque[float] = deque(maxlen=200)
        self._first: dict[int, float] = {}

    def add(self, runs: int, seconds: float) -> None:
        """Learn from a step of so many runs.

        The first step of a batch size is set aside (kernels are chosen or compiled in it) and
        counts only for as long as there is no other.
        """
        if runs not in self._first:
            self._first[runs] = seconds
            return
        expected = self.step_s(runs) or seconds
        self._slowness.append(seconds / expected)
        if self._weight:
            seconds = min(seconds, _OUTLIER * expected)
        self._weight = _KEEP * self._weight + 1
        self._n = _KEEP * self._n + runs
        self._t = _KEEP * self._t + seconds
        self._nn = _KEEP * self._nn + runs * runs
        self._nt = _KEEP * self._nt + runs * seconds

    def step_s(self, runs: int) -> float | None:
        """Return the seconds a step of so many runs should take; None before the first one."""
        if not self._weight:
            if not self._first:
                return None
            nearest = min(self._first, key=lambda n: abs(n - runs))
            return self._first[nearest] * (1 + runs) / (1 + nearest)
        mean_n = self._n / self._weight
        mean_t = self._t / self._weight
        spread = max(0.0, self._nn - self._n * mean_n)
        together = self._nt - self._n * mean_t
        slope = (together + _STIFFNESS * mean_t / (mean_n + 1)) / (spread + _STIFFNESS)
        slope = min(max(slope, 0.0), mean_t / mean_n)
        return max(mean_t + slope * (runs - mean_n), 1e-6)

    def p99_s(self, runs: int) -> float | None:
        """Return what all but one in a hundred recent steps of so many runs stayed under."""
        expected = self.step_s(runs)
        if expected is None or not self._slowness:
            return None
        ordered = sorted(self._slowness)
        return expected * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]


class Costs:
    """The costs of every kind of work seen of late."""

    def __init__(self, kinds: int = 1000) -> None:
        self._kinds = kinds
        self._times: OrderedDict[CostKey, StepTimes] = OrderedDict()
        self._memory_ratio: OrderedDict[CostKey, float] = OrderedDict()
        self._any_s = 0.0

    def add_step(self, key: CostKey, runs: int, seconds: float) -> None:
        """Learn from a step of so many runs."""
        self._times.setdefault(key, StepTimes()).add(runs, seconds)
        self._times.move_to_end(key)
        if len(self._times) > self._kinds:
            self._times.popitem(last=False)
        self._any_s = 0.95 * self._any_s + 0.05 * seconds / runs if self._any_s else seconds / runs

    def add_peak(self, key: CostKey, predicted_bytes: int, measured_bytes: int) -> None:
        """Learn how far a prediction was off. What is known falls slowly and rises at once."""
        if predicted_bytes <= 0 or measured_bytes <= 0:
            return
        ratio = measured_bytes / predicted_bytes
        known = self._memory_ratio.get(key, ratio)
        self._memory_ratio[key] = max(ratio, 0.95 * known + 0.05 * ratio)
        self._memory_ratio.move_to_end(key)
        if len(self._memory_ratio) > self._kinds:
            self._memory_ratio.popitem(last=False)

    def step_s(self, key: CostKey, runs: int) -> float | None:
        """Return the seconds a step of so many runs should take; None where unmeasured."""
        times = self._times.get(key)
        return times.step_s(runs) if times else None

    def guess_s(self, key: CostKey, runs: int) -> float:
        """Return `step_s`, or where unmeasured what work takes here generally."""
        return self.step_s(key, runs) or self._any_s * runs or 0.2 * runs

    def limit_s(self, key: CostKey, runs: int, floor_s: float, first_s: float) -> float:
        """Return how long a step may take: ten times its p99, or where unmeasured `first_s`."""
        times = self._times.get(key)
        p99_s = times.p99_s(runs) if times else None
        return max(floor_s, first_s) if p99_s is None else max(floor_s, 10 * p99_s)

    def peak_bytes(self, key: CostKey, predicted_bytes: int) -> int:
        """Return the prediction, corrected by what was measured of its kind."""
        return int(predicted_bytes * self._memory_ratio.get(key, 1.0))
