"""When each job should start and end: the queue played forward in a fluid model.

Real service comes in quanta, batch by batch. Played forward finely that would cost as much as the
scheduling itself, so time flows here instead: at each moment every person with work advances
their first run at a rate of ``share · n / step_s(n)`` steps a second, where n is how many such
runs share a step. The rates hold until the next run ends, then they are found anew. What will be
asked, cancelled or steered later is not known, so these are estimates, and are called so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from generation.costs import CostKey
from generation.fair import Flow

_MERGE = 0.05
"""Ends within so large a part of the time since now are taken together, so that a long queue
costs little more than a short one; it blurs an estimate by as much."""


@dataclass(frozen=True)
class Piece:
    """What is left of a job. `begun` is whether it is being drawn; `load_s` what its model costs
    to load first."""

    job_id: str
    flow: Flow
    key: CostKey
    steps: int
    begun: bool
    load_s: float = 0.0


@dataclass(frozen=True)
class Forecast:
    """When a job should start and end, in seconds from now."""

    starts_in_s: float
    ends_in_s: float


def forecast(
    pieces: Iterable[Piece],
    weight: Callable[[str], float],
    step_s: Callable[[CostKey, int], float],
    max_batch: int,
    ride_gain: float,
    wait_s: float,
    workers: int = 1,
) -> dict[str, Forecast]:
    """Estimate every job's start and end.

    `pieces` are in order of arrival and `weight` is a stream's. `step_s` gives the seconds of a
    step of a kind of work at a batch size. `wait_s` is how long the first run of a person who
    has none yet waits for each such person before.
    """
    queues: dict[Flow, list[Piece]] = {}
    left: dict[str, float] = {}
    for piece in pieces:
        queues.setdefault(piece.flow, []).append(piece)
        left[piece.job_id] = max(1.0, float(piece.steps))
    found: dict[str, Forecast] = {}
    starts: dict[str, float] = {}
    now = 0.0
    newcomers = 0
    while queues:
        active: dict[Flow, list[Piece]] = {
            flow: _together(queue, step_s, max_batch, ride_gain) for flow, queue in queues.items()
        }
        crowd = Counter(piece.key for front in active.values() for piece in front)
        pace = {key: (n := min(count, max_batch)) / step_s(key, n) for key, count in crowd.items()}
        shares = _shares(active, weight)
        rates: dict[str, float] = {}
        for flow, front in active.items():
            for piece in front:
                if piece.job_id not in starts:
                    waits = not piece.begun and now == 0.0
                    newcomers += waits
                    starts[piece.job_id] = now + (newcomers * wait_s if waits else 0.0)
                    left[piece.job_id] += piece.load_s * pace[piece.key] * shares[flow]
                part = min(1.0, shares[flow] * workers) / len(front)
                rates[piece.job_id] = part * pace[piece.key]
        span = min(left[job_id] / rate for job_id, rate in rates.items())
        span += _MERGE * now
        for flow, front in active.items():
            for piece in front:
                rate = rates[piece.job_id]
                left[piece.job_id] -= span * rate
                if left[piece.job_id] <= 1e-9:
                    end = now + span + min(0.0, left[piece.job_id] / rate)
                    start = starts[piece.job_id]
                    found[piece.job_id] = Forecast(start, max(end, start))
                    queues[flow].remove(piece)
            if not queues[flow]:
                del queues[flow]
        now += span
    return found


def _together(
    queue: list[Piece],
    step_s: Callable[[CostKey, int], float],
    max_batch: int,
    ride_gain: float,
) -> list[Piece]:
    """Return the runs of one person that advance at the same time."""
    head = queue[0]
    if 2 * step_s(head.key, 1) < ride_gain * step_s(head.key, 2):
        return [head]
    return [piece for piece in queue[:max_batch] if piece.key == head.key]


def _shares(active: dict[Flow, list[Piece]], weight: Callable[[str], float]) -> dict[Flow, float]:
    people = Counter(stream for stream, _ in active)
    total = sum(weight(stream) for stream in people)
    return {(s, p): weight(s) / total / people[s] for s, p in active}
