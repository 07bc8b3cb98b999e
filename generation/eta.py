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

_MERGE, _MERGE_MORE = 0.05, 1 / 4000
"""Ends within so large a part of the time since now, and more with each job, are taken together,
so that a long queue costs not much more than a short one; it blurs the estimates by as much."""


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
    merge = _MERGE + _MERGE_MORE * len(left)
    found: dict[str, Forecast] = {}
    starts: dict[str, float] = {}
    now = 0.0
    newcomers = 0
    while queues:
        shares = _shares(queues, weight)
        rates: dict[str, tuple[Piece, float]] = {}
        for kind in _kinds(queues, max_batch):
            for piece, rate in _advance(kind, shares, step_s, max_batch, ride_gain):
                rates[piece.job_id] = piece, rate * min(workers, 1 / shares[piece.flow])
        for job_id, (piece, rate) in rates.items():
            if job_id not in starts:
                waits = not piece.begun and now == 0.0
                newcomers += waits
                starts[job_id] = now + (newcomers * wait_s if waits else 0.0)
                left[job_id] += piece.load_s * rate
        span = min(left[job_id] / rate for job_id, (_, rate) in rates.items())
        span += merge * now
        for job_id, (piece, rate) in rates.items():
            left[job_id] -= span * rate
            if left[job_id] <= 1e-9:
                end = now + span + min(0.0, left[job_id] / rate)
                found[job_id] = Forecast(starts[job_id], max(end, starts[job_id]))
                queues[piece.flow].remove(piece)
                if not queues[piece.flow]:
                    del queues[piece.flow]
        now += span
    return found


def _shares(queues: dict[Flow, list[Piece]], weight: Callable[[str], float]) -> dict[Flow, float]:
    people = Counter(stream for stream, _ in queues)
    total = sum(weight(stream) for stream in people)
    return {(s, p): weight(s) / total / people[s] for s, p in queues}


def _kinds(queues: dict[Flow, list[Piece]], max_batch: int) -> list[list[Piece]]:
    """Return the runs that could share steps: everybody's first before anybody's second.

    Of each person only the first runs count that are of one kind.
    """
    kinds: dict[CostKey, list[tuple[int, Piece]]] = {}
    for queue in queues.values():
        key = queue[0].key
        same = [piece for piece in queue[:max_batch] if piece.key == key]
        kinds.setdefault(key, []).extend(enumerate(same))
    return [
        [piece for _, piece in sorted(kind, key=lambda place: place[0])] for kind in kinds.values()
    ]


def _advance(
    kind: list[Piece],
    shares: dict[Flow, float],
    step_s: Callable[[CostKey, int], float],
    max_batch: int,
    ride_gain: float,
) -> list[tuple[Piece, float]]:
    """Return the runs of a kind that advance, and by how many steps a second.

    Those who ride together advance in every step of their kind; another person's first run by as
    many steps as their share pays for.
    """
    key = kind[0].key
    one_s = step_s(key, 1)
    batch = kind[:1]
    runs = Counter([kind[0].flow])
    for piece in kind[1:]:
        batch_s = step_s(key, len(batch) + 1)
        if len(batch) == max_batch or one_s < ride_gain * (batch_s - step_s(key, len(batch))):
            break
        runs[piece.flow] += 1
        if all(n * one_s >= ride_gain * shares[flow] * batch_s for flow, n in runs.items()):
            batch.append(piece)
        else:
            runs[piece.flow] -= 1
    part_of_time = sum(shares[flow] for flow in {piece.flow for piece in kind})
    together = part_of_time / step_s(key, len(batch))
    if len(batch) == 1:
        together = shares[batch[0].flow] / one_s
    found = [(piece, together) for piece in batch]
    riding = {piece.flow for piece in batch}
    for piece in kind:
        if piece.flow not in riding:
            riding.add(piece.flow)
            found.append((piece, shares[piece.flow] / one_s))
    return found
