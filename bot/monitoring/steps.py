"""What the scheduler process measures, as `generation.protocol.Figures` brings it.

They come counted already, so they are added up here and handed to Prometheus as they are.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from bot.monitoring.metrics import REGISTRY
from generation.protocol import STEP_BOUNDS_S, Figures

RUNS_BOUNDS = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 128, 256)


class StepFigures(Collector):
    """The sum of all that came. `add` is for the event loop, `collect` for any thread."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._lock = threading.Lock()
        self._seconds: dict[str, Counter[int]] = {}
        self._seconds_sum: defaultdict[str, float] = defaultdict(float)
        self._runs: dict[str, Counter[int]] = {}
        self._runs_sum: Counter[str] = Counter()
        self._loads: Counter[str] = Counter()
        self._loads_s: defaultdict[str, float] = defaultdict(float)
        self._bytes: dict[str, int] = {}  # empty where it cannot be measured
        if registry is not None:
            registry.register(self)

    def expect(self, engines: Iterable[str]) -> None:
        """Have figures of these engines from 0 on, so that the first event is seen as one."""
        with self._lock:
            for engine in engines:
                self._seconds.setdefault(engine, Counter())
                self._runs.setdefault(engine, Counter())
                self._loads[engine] += 0
                self._loads_s[engine] += 0.0

    def add(self, figures: Figures) -> None:
        """Add what was measured since the last time."""
        with self._lock:
            for tally in figures.steps:
                steps = sum(tally.counts)
                seconds = self._seconds.setdefault(tally.engine, Counter())
                for place, count in enumerate(tally.counts):
                    seconds[place] += count
                self._seconds_sum[tally.engine] += tally.seconds
                runs = self._runs.setdefault(tally.engine, Counter())
                runs[_place(tally.runs, RUNS_BOUNDS)] += steps
                self._runs_sum[tally.engine] += steps * tally.runs
            for engine, load_s in figures.loads:
                self._loads[engine] += 1
                self._loads_s[engine] += load_s
            if figures.measured_bytes:
                self._bytes = {
                    "predicted": figures.predicted_bytes,
                    "measured": figures.measured_bytes,
                }

    def collect(self) -> Iterable[Metric]:
        """Return all of it."""
        step_s = HistogramMetricFamily(
            "dreamstream_step_seconds", "How long a step took, of a batch.", labels=["engine"]
        )
        runs = HistogramMetricFamily(
            "dreamstream_step_runs", "How many dreams shared a step.", labels=["engine"]
        )
        loads = CounterMetricFamily(
            "dreamstream_model_loads", "How often a model was loaded.", labels=["engine"]
        )
        loads_s = CounterMetricFamily(
            "dreamstream_model_load_seconds", "Seconds spent on loading models.", labels=["engine"]
        )
        memory = GaugeMetricFamily(
            "dreamstream_device_memory_bytes",
            "The device's memory in the last steps: the most in use, and what was predicted.",
            labels=["kind"],
        )
        with self._lock:
            for engine, counts in self._seconds.items():
                buckets = _buckets(counts, STEP_BOUNDS_S)
                step_s.add_metric([engine], buckets, self._seconds_sum[engine])
                buckets = _buckets(self._runs[engine], RUNS_BOUNDS)
                runs.add_metric([engine], buckets, self._runs_sum[engine])
            for engine, count in self._loads.items():
                loads.add_metric([engine], count)
                loads_s.add_metric([engine], self._loads_s[engine])
            for kind, value in self._bytes.items():
                memory.add_metric([kind], value)
        return step_s, runs, loads, loads_s, memory


def _place(value: float, bounds: Sequence[float]) -> int:
    return next((n for n, bound in enumerate(bounds) if value <= bound), len(bounds))


def _buckets(counts: Counter[int], bounds: Sequence[float]) -> list[tuple[str, float]]:
    """Return the buckets as Prometheus has them: each with all that is in the lesser ones."""
    names = [*(str(float(bound)) for bound in bounds), "+Inf"]
    sums = itertools.accumulate(counts[place] for place in range(len(names)))
    return list(zip(names, sums, strict=True))


STEPS = StepFigures(REGISTRY)
