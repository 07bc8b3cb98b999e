"""The promises of start-time fair queueing, at both levels, whatever happens in between."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from itertools import combinations
from random import Random
from typing import Generic, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generation.fair import FairQueue, FairTree, Flow

K = TypeVar("K", bound=Hashable)

FLOWS: list[Flow] = [(stream, person) for stream in "xyz" for person in "abc"]
WEIGHTS = st.floats(0.1, 10.0)
EPSILON = 1e-6


class Watch(Generic[K]):
    """Watches how far apart flows get while both have work, in seconds over weight."""

    def __init__(self, weights: dict[K, float]) -> None:
        self.weights = weights
        self.served: dict[K, float] = dict.fromkeys(weights, 0.0)
        self.longest: dict[K, float] = dict.fromkeys(weights, 0.0)
        # Per pair with work: the least and the greatest difference since both have.
        self.spread: dict[tuple[K, K], tuple[float, float]] = {}

    def difference(self, pair: tuple[K, K]) -> float:
        f, m = pair
        return self.served[f] / self.weights[f] - self.served[m] / self.weights[m]

    def look(self, backlogged: set[K]) -> None:
        for pair in combinations(self.weights, 2):
            if not backlogged.issuperset(pair):
                self.spread.pop(pair, None)
                continue
            here = self.difference(pair)
            low, high = self.spread.get(pair, (here, here))
            low, high = min(low, here), max(high, here)
            self.spread[pair] = low, high
            f, m = pair
            bound = self.longest[f] / self.weights[f] + self.longest[m] / self.weights[m]
            assert high - low <= bound + EPSILON

    def serve(self, key: K, seconds: float) -> None:
        self.served[key] += seconds
        self.longest[key] = max(self.longest[key], seconds)


Operation = tuple[str, float | Flow]


def operations(random: Random, count: int = 150) -> Iterator[Operation]:
    """Yield services, arrivals and departures. Driven by one random stream, so that there are
    many of them in every example."""
    for _ in range(count):
        match random.choice(["serve", "serve", "serve", "arrive", "arrive", "leave"]):
            case "serve":
                yield "serve", random.choice([0.01, 0.5, random.uniform(0.01, 5.0)])
            case other:
                yield other, random.choice(FLOWS)


RANDOMS = st.randoms(use_true_random=False)


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries(dict.fromkeys(FLOWS, WEIGHTS)),
    RANDOMS,
)
def test_no_flow_gets_ahead_of_another_by_more_than_a_service_each(
    weights: dict[Flow, float], random: Random
) -> None:
    queue: FairQueue[Flow] = FairQueue()
    for flow, weight in weights.items():
        queue.set_weight(flow, weight)
    watch = Watch(weights)
    backlogged: set[Flow] = set()
    for operation, what in operations(random):
        if operation == "arrive":
            assert isinstance(what, tuple)
            queue.arrive(what)
            backlogged.add(what)
        elif operation == "leave":
            assert isinstance(what, tuple)
            queue.leave(what)
            backlogged.discard(what)
        elif backlogged:
            assert isinstance(what, float)
            lead = min(backlogged, key=queue.rank)
            queue.serve()
            queue.charge(lead, what)
            watch.serve(lead, what)
        watch.look(backlogged)


@settings(max_examples=60, deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys("xyz", WEIGHTS)), RANDOMS)
def test_the_bound_holds_among_streams_and_among_the_people_of_each(
    weights: dict[str, float], random: Random
) -> None:
    tree = FairTree()
    for stream, weight in weights.items():
        tree.set_weight(stream, weight)
    streams = Watch(weights)
    people = {stream: Watch(dict.fromkeys("abc", 1.0)) for stream in weights}
    backlogged: set[Flow] = set()
    for operation, what in operations(random):
        if operation == "serve" and backlogged:
            assert isinstance(what, float)
            lead = min(backlogged, key=tree.rank)
            tree.serve(lead)
            tree.charge(lead, what)
            streams.serve(lead[0], what)
            people[lead[0]].serve(lead[1], what)
        elif isinstance(what, tuple):
            stream, person = what
            if operation == "arrive":
                tree.arrive((stream, person))
                backlogged.add((stream, person))
            else:
                tree.leave((stream, person)) if what in tree else None
                backlogged.discard((stream, person))
        streams.look({stream for stream, _ in backlogged})
        for stream, watch in people.items():
            watch.look({person for s, person in backlogged if s == stream})


@settings(max_examples=50, deadline=None)
@given(
    st.lists(WEIGHTS, min_size=2, max_size=8),
    RANDOMS,
)
def test_nobody_starves_and_shares_follow_weights(weights: list[float], random: Random) -> None:
    lengths = [random.uniform(0.1, 1.0) for _ in range(200)]
    queue: FairQueue[int] = FairQueue()
    served = dict.fromkeys(range(len(weights)), 0.0)
    for flow, weight in enumerate(weights):
        queue.set_weight(flow, weight)
        queue.arrive(flow)
    for seconds in lengths:
        lead = min(served, key=queue.rank)
        queue.serve()
        queue.charge(lead, seconds)
        served[lead] += seconds
    for flow, weight in enumerate(weights):
        due = sum(lengths) * weight / sum(weights)
        # Everybody is within one service of each of the others of what they are due.
        slack = weight / sum(weights) * sum(1.0 + other / weight for other in weights)
        assert abs(served[flow] - due) <= slack + EPSILON


@given(st.floats(0.1, 1000.0), WEIGHTS, WEIGHTS)
def test_idle_time_earns_no_credit(idle_s: float, mine: float, theirs: float) -> None:
    queue: FairQueue[str] = FairQueue()
    queue.set_weight("me", mine)
    queue.set_weight("they", theirs)
    queue.arrive("they")
    queue.serve()
    queue.charge("they", idle_s)
    queue.serve()
    queue.arrive("me")
    assert queue.start_tag("me") == queue.start_tag("they")
    assert queue.ahead_s("me") == 0.0


@given(st.floats(0.1, 1000.0))
def test_leaving_for_a_moment_forgives_nothing(seconds: float) -> None:
    queue: FairQueue[str] = FairQueue()
    queue.arrive("me")
    queue.arrive("they")
    queue.serve()
    queue.charge("me", seconds)
    before = queue.start_tag("me")
    queue.leave("me")
    queue.arrive("me")
    assert queue.start_tag("me") == before
    assert queue.rank("they") < queue.rank("me")


def test_what_is_charged_after_leaving_counts_on_return() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.arrive("me")
    queue.arrive("they")
    queue.serve()
    queue.hold("me", 1.0)
    queue.leave("me")
    queue.charge("me", 3.0, held_s=1.0)
    queue.arrive("me")
    assert queue.start_tag("me") == 3.0
    assert queue.rank("me")[0] == 3.0


def test_a_busy_periods_end_makes_everybody_equal() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.arrive("me")
    queue.serve()
    queue.charge("me", 100.0)
    queue.leave("me")
    queue.arrive("they")
    queue.arrive("me")
    assert queue.start_tag("they") == queue.start_tag("me") == 100.0


def test_what_is_held_counts_for_the_order_only() -> None:
    tree = FairTree()
    for flow in (("s", "ann"), ("s", "bob"), ("t", "cyd")):
        tree.arrive(flow)
    tree.hold(("s", "ann"), 1.0)
    order = sorted([("s", "ann"), ("s", "bob"), ("t", "cyd")], key=tree.rank)
    assert order == [("t", "cyd"), ("s", "bob"), ("s", "ann")]
    tree.charge(("s", "ann"), 0.0, held_s=1.0)
    assert tree.rank(("s", "ann")) < tree.rank(("s", "bob")) < tree.rank(("t", "cyd"))


def test_shares_are_the_weights_of_those_with_work() -> None:
    tree = FairTree()
    tree.set_weight("party", 3.0)
    for flow in (("party", "ann"), ("party", "bob"), ("s", "cyd")):
        tree.arrive(flow)
    assert tree.share(("party", "ann")) == pytest.approx(3 / 8)
    assert tree.share(("s", "cyd")) == pytest.approx(1 / 4)
    tree.leave(("s", "cyd"))
    assert tree.share(("party", "ann")) == pytest.approx(1 / 2)


def test_weights_are_above_zero() -> None:
    with pytest.raises(ValueError, match="above zero"):
        FairQueue[str]().set_weight("s", 0.0)


def test_what_idle_flows_leave_behind_is_bounded() -> None:
    queue: FairQueue[int] = FairQueue()
    queue.arrive(-1)
    for flow in range(3_000):
        queue.arrive(flow)
        for lead in sorted((flow, -1), key=queue.rank):
            queue.serve()
            queue.charge(lead, 0.01)
        queue.leave(flow)
    assert len(queue._finish_tags) < 200


def test_the_same_history_gives_the_same_order() -> None:
    def history() -> list[Flow]:
        tree = FairTree()
        order = []
        for flow in FLOWS:
            tree.arrive(flow)
        for nth in range(100):
            lead = min(FLOWS, key=tree.rank)
            tree.serve(lead)
            tree.charge(lead, 0.1 + nth % 7)
            order.append(lead)
        return order

    assert history() == history()
