"""The figures that are counted as things happen, for Prometheus.

Each is where it happens a call of a microsecond. Labels have few values: engines, states, kinds and
codes; never an id, nor anything that a person said. What can be read off at any moment (how many
wait, what is free) is in `bot.monitoring.gauges`. docs/monitoring.md tells what each means, and a
test holds it, the board and the alerts to these.

A series that begins with its first event begins at 1, and Prometheus's `rate` and `increase` see no
event in that: so what can be known beforehand stands there at 0 (`_from_zero`, `expect`).

Source: https://prometheus.io/docs/practices/naming/,
https://prometheus.io/docs/practices/instrumentation/#avoid-missing-metrics
"""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

from bot.errors import (
    DiskError,
    DreamstreamError,
    ForbiddenError,
    InvalidRequestError,
    LimitError,
    NotFoundError,
    SchedulerError,
    StoreError,
)
from bot.ids import now_ms
from bot.model import Dream, DreamState

# A time beside every counter is of no use to anybody here.
disable_created_metrics()  # type: ignore[no-untyped-call]

P = ParamSpec("P")
T = TypeVar("T")

REGISTRY = CollectorRegistry()
"""Ours alone: what other libraries of the process register is not in it."""

_WAITS_S = (0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 4 * 3600)
_ANSWERS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_WRITES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_LAGS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
LANES = ("foreground", "background")
_REASONS: tuple[tuple[type[DreamstreamError], str], ...] = (
    (InvalidRequestError, "invalid"),
    (LimitError, "limit"),
    (ForbiddenError, "forbidden"),
    (NotFoundError, "not_found"),
    (SchedulerError, "scheduler"),
    (DiskError, "disk"),
    (StoreError, "database"),
)


def _from_zero(counter: Counter, values: Iterable[str]) -> Counter:
    """Return a counter with each of its one label's values at 0."""
    for value in values:
        counter.labels(value)
    return counter


# --- dreams --------------------------------------------------------------------------------

ACCEPTED = Counter(
    "dreamstream_dreams_accepted",
    "Dreams that were accepted, by how they came about (their relation to a parent).",
    ["engine", "lane", "relation"],
    registry=REGISTRY,
)
ENDED = Counter(
    "dreamstream_dreams_ended",
    "Dreams that reached their end, by which.",
    ["engine", "lane", "state"],
    registry=REGISTRY,
)
FIRST_PREVIEW_S = Histogram(
    "dreamstream_first_preview_seconds",
    "From the acceptance of a dream to its first preview.",
    ["engine", "lane"],
    buckets=_WAITS_S,
    registry=REGISTRY,
)
DONE_S = Histogram(
    "dreamstream_done_seconds",
    "From the acceptance of a dream to its kept picture.",
    ["engine", "lane"],
    buckets=_WAITS_S,
    registry=REGISTRY,
)
DRAWING_S = Counter(
    "dreamstream_drawing_seconds",
    "Seconds of the device that were charged for dreams that are done.",
    ["engine", "lane"],
    registry=REGISTRY,
)
PREVIEWS = Counter(
    "dreamstream_previews", "Previews that came from the scheduler process.", registry=REGISTRY
)
REFUSALS = _from_zero(
    Counter(
        "dreamstream_refusals",
        "What was asked for and refused, by why.",
        ["reason"],
        registry=REGISTRY,
    ),
    [reason for _, reason in _REASONS],
)

# --- the scheduler process ------------------------------------------------------------------

SCHEDULER_ENDS = _from_zero(
    Counter(
        "dreamstream_scheduler_ends",
        "Scheduler processes that ended unasked, by how; each is followed by another.",
        ["cause"],
        registry=REGISTRY,
    ),
    ("error", "killed", "signal", "stopped", "left", "cannot_start", "lost"),
)

# --- Discord ----------------------------------------------------------------------------------

DISCORD_S = Histogram(
    "dreamstream_discord_request_seconds",
    "How long Discord took to answer, by kind of address.",
    ["route"],
    buckets=_ANSWERS_S,
    registry=REGISTRY,
)
DISCORD_ANSWERS = Counter(
    "dreamstream_discord_answers",
    "What Discord answered, by kind of address and status.",
    ["route", "status"],
    registry=REGISTRY,
)
DISCORD_LIMITED = Counter(
    "dreamstream_discord_limited",
    "Answers 429 of Discord, by kind of address and whose limit it was.",
    ["route", "scope"],
    registry=REGISTRY,
)
POSTED_S = Histogram(
    "dreamstream_card_posted_seconds",
    "From the acceptance of a dream to its card in Discord.",
    buckets=_WAITS_S,
    registry=REGISTRY,
)

# --- the wall -----------------------------------------------------------------------------------

WALL_ANSWERS = Counter(
    "dreamstream_wall_answers",
    "What the wall answered, by route and status.",
    ["route", "method", "status"],
    registry=REGISTRY,
)
WALL_S = Histogram(
    "dreamstream_wall_request_seconds",
    "How long the wall took to answer; event streams are left out.",
    buckets=_ANSWERS_S,
    registry=REGISTRY,
)
WALL_SLOWED = _from_zero(
    Counter(
        "dreamstream_wall_slowed",
        "Requests of the wall refused because their address fetched very much, by what they cost.",
        ["cost"],
        registry=REGISTRY,
    ),
    ("little", "page", "much"),
)
WALL_SIGN_INS = _from_zero(
    Counter(
        "dreamstream_wall_sign_ins",
        "Those who came back from Discord to be signed in at the wall, by what became of it.",
        ["outcome"],
        registry=REGISTRY,
    ),
    ("done", "declined", "stale", "failed"),
)

# --- the machine ----------------------------------------------------------------------------------

UNFORESEEN = Counter(
    "dreamstream_unforeseen_errors",
    "Errors that nobody foresaw in what goes on by itself, by what it is; it went on after each.",
    ["task"],
    registry=REGISTRY,
)

EVENTS_LEFT_OUT = Counter(
    "dreamstream_events_left_out",
    "Events of the stream that could not be taken three times, by a mistake, and were left out.",
    registry=REGISTRY,
)

STORE_WAIT_S = Histogram(
    "dreamstream_store_wait_seconds",
    "How long a transaction waited for those before it.",
    buckets=_WRITES_S,
    registry=REGISTRY,
)
STORE_WRITE_S = Histogram(
    "dreamstream_store_write_seconds",
    "How long a transaction took, the disk's part included.",
    buckets=_WRITES_S,
    registry=REGISTRY,
)
LOOP_LAG_S = Histogram(
    "dreamstream_event_loop_lag_seconds",
    "How much later than asked for the event loop came to a timer.",
    buckets=_LAGS_S,
    registry=REGISTRY,
)


def expect(engines: Iterable[str]) -> None:
    """Have what is counted of these engines stand at 0 before it happens; cheap when repeated.

    Waits are those of the foreground: nobody waits for the rest.
    """
    for engine in engines:
        ACCEPTED.labels(engine, "foreground", "none")
        FIRST_PREVIEW_S.labels(engine, "foreground")
        DONE_S.labels(engine, "foreground")
        for lane in LANES:
            DRAWING_S.labels(engine, lane)
            for state in DreamState:
                if state.final:
                    ENDED.labels(engine, lane, state.value)


def lane_of(dream: Dream) -> str:
    """Return in which of the scheduler's lanes a dream is drawn."""
    return "background" if dream.background else "foreground"


def accepted(dream: Dream) -> None:
    """Count a dream whose acceptance was committed."""
    relation = "none" if dream.relation is None else dream.relation.value
    ACCEPTED.labels(dream.recipe.engine, lane_of(dream), relation).inc()


def first_preview(dream: Dream) -> None:
    """Count how long somebody waited for the first look at a dream."""
    FIRST_PREVIEW_S.labels(dream.recipe.engine, lane_of(dream)).observe(_since(dream.created_ms))


def ended(dream: Dream, state: DreamState) -> None:
    """Count a dream whose end was committed."""
    labels = dream.recipe.engine, lane_of(dream)
    ENDED.labels(*labels, state.value).inc()
    if state is DreamState.DONE:
        DONE_S.labels(*labels).observe(_since(dream.created_ms))
        DRAWING_S.labels(*labels).inc(dream.gpu_s)


def posted(created_ms: int) -> None:
    """Count how long somebody waited for a card in Discord."""
    POSTED_S.observe(_since(created_ms))


@contextmanager
def refusals() -> Iterator[None]:
    """Count what is refused within, once."""
    try:
        yield
    except DreamstreamError as error:
        if not error.counted:
            error.counted = True
            kinds = (reason for kind, reason in _REASONS if isinstance(error, kind))
            REFUSALS.labels(next(kinds, "other")).inc()
        raise


def counts_refusals(ask: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Return something that can be asked for, with what it refuses counted."""

    @functools.wraps(ask)
    async def asked(*args: P.args, **kwargs: P.kwargs) -> T:
        with refusals():
            return await ask(*args, **kwargs)

    return asked


@contextmanager
def timing(histogram: Histogram) -> Iterator[None]:
    """Count how long what is done within takes."""
    began_s = time.perf_counter()
    try:
        yield
    finally:
        histogram.observe(time.perf_counter() - began_s)


def _since(at_ms: int) -> float:
    """Return the seconds since a time; 0 where the clock was put back."""
    return max(0.0, (now_ms() - at_ms) / 1000)
