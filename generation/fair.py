"""Start-time fair queueing, in two levels: streams share the machine, people share a stream.

Each flow that has work carries a `start_tag`: the virtual time at which its next service should
begin. The flow with the least tag is served next, and for `seconds` of service its tag rises by
``seconds / weight``. Virtual time is the least start tag when a service begins; a flow that comes
back from a pause starts at ``max(virtual_time, its old finish_tag)``, so nobody saves up credit
while idle, and nobody who was ahead escapes by leaving for a moment.

The cost of a service need not be known before it ends, which is why this suits a GPU: one is
chosen by its start tag, runs for a quantum, and is charged what was measured. Over any interval
in which flows f and m both have work, ``|W_f/r_f - W_m/r_m| <= l_f/r_f + l_m/r_m``, with W the
seconds served, r the weight and l the longest service; whatever the machine's speed does
meanwhile. That last part is what lets the levels be stacked.

This module knows no clock, no job and no engine.

Source: Goyal, Vin & Cheng, "Start-time Fair Queuing", SIGCOMM 1996.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

Flow = tuple[str, str]
"""A stream and a person in it."""


@dataclass
class _Backlog:
    """A flow that has work. `arrival` settles ties between equal tags: first come."""

    start_tag: float
    arrival: int


class FairQueue(Generic[K]):
    """One level of sharing, among flows of any kind."""

    def __init__(self) -> None:
        self.virtual_time = 0.0
        self._weights: dict[K, float] = {}
        self._backlogged: dict[K, _Backlog] = {}
        self._backlogged_weight = 0.0
        self._held_s: dict[K, float] = {}
        # Only of idle flows, and only while it lies ahead of virtual time: what is behind it
        # makes no difference.
        self._finish_tags: dict[K, float] = {}
        self._arrivals = 0

    def __contains__(self, key: K) -> bool:
        """Whether the flow has work."""
        return key in self._backlogged

    def __bool__(self) -> bool:
        """Whether any flow has work."""
        return bool(self._backlogged)

    def weight(self, key: K) -> float:
        """Return the flow's weight; 1 unless set."""
        return self._weights.get(key, 1.0)

    def set_weight(self, key: K, weight: float) -> None:
        """Change what the flow is charged from now on.

        Raises:
            ValueError: the weight is not above zero.
        """
        if not weight > 0:
            raise ValueError(f"a weight must be above zero, not {weight}")
        if key in self._backlogged:
            self._backlogged_weight += weight - self.weight(key)
        if weight == 1.0:
            self._weights.pop(key, None)
        else:
            self._weights[key] = weight

    def weighted(self) -> tuple[K, ...]:
        """Return the flows whose weight was set."""
        return tuple(self._weights)

    def share(self, key: K) -> float:
        """Return the part of the machine, 0 to 1, that the flow is due among those with work."""
        total = self._backlogged_weight + (0.0 if key in self._backlogged else self.weight(key))
        return self.weight(key) / total

    def start_tag(self, key: K) -> float:
        """Return when, in virtual time, the flow's next service should begin."""
        backlog = self._backlogged.get(key)
        if backlog is not None:
            return backlog.start_tag
        return max(self.virtual_time, self._finish_tags.get(key, 0.0))

    def rank(self, key: K) -> tuple[float, int]:
        """Return the flow's place in the order of service: the least is next.

        Service that was begun and is not yet charged (`hold`) counts as had.
        """
        backlog = self._backlogged[key]
        held = self._held_s.get(key, 0.0) / self.weight(key)
        return backlog.start_tag + held, backlog.arrival

    def ahead_s(self, key: K) -> float:
        """Return how many seconds of service the flow has had beyond virtual time."""
        return (self.start_tag(key) - self.virtual_time) * self.weight(key)

    def arrive(self, key: K) -> None:
        """Note that the flow has work now. Telling it twice changes nothing."""
        if key in self._backlogged:
            return
        start_tag = self.start_tag(key)
        self._finish_tags.pop(key, None)
        self._arrivals += 1
        self._backlogged[key] = _Backlog(start_tag, self._arrivals)
        self._backlogged_weight += self.weight(key)

    def leave(self, key: K) -> None:
        """Note that the flow has no work left."""
        backlog = self._backlogged.pop(key, None)
        if backlog is not None:
            self._finish_tags[key] = backlog.start_tag
            self._backlogged_weight -= self.weight(key)
            self._forget()

    def serve(self) -> None:
        """Note that a service begins: virtual time moves to the least start tag."""
        if self._backlogged:
            least = min(backlog.start_tag for backlog in self._backlogged.values())
            self.virtual_time = max(self.virtual_time, least)

    def hold(self, key: K, seconds: float) -> None:
        """Count service as had until it is charged; less than zero counts it no more."""
        held_s = self._held_s.pop(key, 0.0) + seconds
        if held_s > 1e-9:
            self._held_s[key] = held_s

    def charge(self, key: K, seconds: float, held_s: float = 0.0) -> None:
        """Charge measured seconds, and let go of what was held for them."""
        self.hold(key, -held_s)
        cost = seconds / self.weight(key)
        backlog = self._backlogged.get(key)
        if backlog is not None:
            backlog.start_tag += cost
        else:
            self._finish_tags[key] = self.start_tag(key) + cost
            self._forget()

    def _forget(self) -> None:
        """Drop the finish tags that no longer matter; end the busy period if it has ended."""
        if not self._backlogged:
            self.virtual_time = max(self.virtual_time, *self._finish_tags.values(), 0.0)
            self._finish_tags.clear()
            self._backlogged_weight = 0.0  # so that rounding does not add up for ever
        elif len(self._finish_tags) > 64 + 2 * len(self._backlogged):
            self._finish_tags = {
                key: tag for key, tag in self._finish_tags.items() if tag > self.virtual_time
            }


class FairTree:
    """Two levels: the root shares among streams, and each stream among its people.

    The order of service is the lexicographic order of `rank`: the stream with the least start tag
    first, in it the person with the least.
    """

    def __init__(self) -> None:
        self.streams: FairQueue[str] = FairQueue()
        self._people: dict[str, FairQueue[str]] = {}

    def people(self, stream: str) -> FairQueue[str]:
        """Return the queue that shares the stream among its people."""
        people = self._people.get(stream)
        if people is None:
            people = self._people[stream] = FairQueue()
        return people

    def __contains__(self, flow: Flow) -> bool:
        """Whether the person has work in the stream."""
        stream, person = flow
        return stream in self._people and person in self._people[stream]

    def set_weight(self, stream: str, weight: float) -> None:
        """Set a stream's share; see `FairQueue.set_weight`."""
        self.streams.set_weight(stream, weight)

    def arrive(self, flow: Flow) -> None:
        """Note that the person has work in the stream now."""
        stream, person = flow
        self.people(stream).arrive(person)
        self.streams.arrive(stream)

    def leave(self, flow: Flow) -> None:
        """Note that the person has no work left in the stream."""
        stream, person = flow
        people = self.people(stream)
        people.leave(person)
        if not people:
            self.streams.leave(stream)
            # Its busy period is over, and so all its tags: a new queue is the same queue.
            del self._people[stream]

    def rank(self, flow: Flow) -> tuple[float, int, float, int]:
        """Return the flow's place in the order of service: the least is next."""
        stream, person = flow
        return *self.streams.rank(stream), *self.people(stream).rank(person)

    def share(self, flow: Flow) -> float:
        """Return the part of the machine, 0 to 1, that the flow is due now."""
        stream, person = flow
        return self.streams.share(stream) * self.people(stream).share(person)

    def ahead_s(self, flow: Flow) -> float:
        """Return by how many seconds of service the flow, or its stream, is ahead."""
        stream, person = flow
        return max(self.streams.ahead_s(stream), self.people(stream).ahead_s(person))

    def serve(self, flow: Flow) -> None:
        """Note that a service of the flow begins."""
        self.streams.serve()
        self.people(flow[0]).serve()

    def hold(self, flow: Flow, seconds: float) -> None:
        """Count service as had until it is charged."""
        stream, person = flow
        self.streams.hold(stream, seconds)
        self.people(stream).hold(person, seconds)

    def charge(self, flow: Flow, seconds: float, held_s: float = 0.0) -> None:
        """Charge measured seconds to the person and the stream."""
        stream, person = flow
        self.streams.charge(stream, seconds, held_s)
        if stream in self._people:
            self._people[stream].charge(person, seconds, held_s)
