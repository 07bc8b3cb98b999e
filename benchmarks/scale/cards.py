"""All channels' cards on their way to Discord: the real `Pace`, against a model of its limits.

Each channel's lane does as `bot.delivery.lane` does: one request at a time, when `Pace` says so.
Discord's limit for the whole bot is a second's window of `GLOBAL_A_S` requests (answers to
interactions do not count). Beyond it there is a 429, and what the library then does is modelled
as discord.py 2.7 does it: what had a 429 waits until the window ends and is sent again, new
requests wait for that, and all of them go out at once; after five tries a card comes back later.
What is sent before the first 429 is back is refused, too.
Every 429 is an *invalid request*; of those `INVALID_MOST` in ten minutes have the address banned.

With a `limiter` there is one turn for the whole bot before every request, ends first, at so many
a second. A card is drawn up when its turn has come, so it shows all that was wanted until then:
where turns are short, previews are left out, and no end is late for them.

Source: docs.discord.com/developers/topics/rate-limits; `HTTPClient.request` of discord.py 2.7.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from bot.delivery.pace import Pace, Urgency

GLOBAL_A_S = 50
INVALID_MOST, INVALID_S = 10_000, 600.0
TRIES = 5
LATER_S = 3.0


@dataclass(frozen=True)
class Want:
    """That a card has something new to show, from `at_s` on."""

    at_s: float
    channel: int
    card: int
    urgency: Urgency


@dataclass
class Sent:
    """What came of it: times of requests that were taken, and of those refused with a 429.

    `late_s` says how long each end took from when it was wanted until Discord had it, `unsent` how
    many ends it does not have yet.
    """

    taken_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    unsent: int = 0


@dataclass(eq=False)
class _Request:
    lane: _Lane
    card: int
    urgency: Urgency
    tries: int = 0
    rank: Urgency = Urgency.WAITING
    begun: bool = False


@dataclass(eq=False)
class _Lane:
    pace: Pace = field(default_factory=Pace)
    sending: bool = False
    asks_s: float = float("inf")  # when it will ask its pace again
    posted: set[int] = field(default_factory=set)
    wanted: dict[int, Urgency] = field(default_factory=dict)
    request: _Request | None = None  # what waits for the whole bot's turn


class Discord:
    """All lanes, and Discord's end of it. `latency_s` is what an answer takes."""

    limit_a_s = GLOBAL_A_S

    def __init__(self, limiter: float | None = None, latency_s: float = 0.15) -> None:
        self._limiter = limiter
        self._latency_s = latency_s
        self._lanes: dict[int, _Lane] = {}
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()
        self._window_s, self._in_window = 0.0, 0
        self._held: deque[_Request] = deque()
        self._held_until_s = 0.0
        self._turns: list[tuple[Urgency, int, _Request]] = []
        self._turn_s = 0.0
        self._end_wanted_s: dict[int, float] = {}
        self.sent = Sent()

    def run(self, wants: list[Want], until_s: float) -> Sent:
        """Send what is wanted, as far as it gets in so many seconds."""
        waiting = deque(sorted(wants, key=lambda want: want.at_s))
        while True:
            want_s = waiting[0].at_s if waiting else until_s
            event_s = self._events[0][0] if self._events else until_s
            if min(want_s, event_s) >= until_s:
                break
            if want_s <= event_s:
                self._want(waiting.popleft())
            else:
                at_s, _, act = heapq.heappop(self._events)
                act(at_s)
        self.sent.unsent = len(self._end_wanted_s)
        return self.sent

    def _at(self, at_s: float, act: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (at_s, next(self._order), act))

    def _want(self, want: Want) -> None:
        lane = self._lanes.setdefault(want.channel, _Lane())
        if want.urgency is Urgency.END:
            self._end_wanted_s[want.card] = want.at_s
        lane.wanted[want.card] = min(lane.wanted.get(want.card, want.urgency), want.urgency)
        lane.pace.want(want.card, want.urgency, want.at_s, posted=want.card in lane.posted)
        if lane.request is not None and want.urgency < lane.request.rank:
            self._queue(lane.request, want.urgency)
        self._ask(lane, want.at_s)

    def _ask(self, lane: _Lane, now_s: float) -> None:
        if lane.sending:
            return
        card, wait_s = lane.pace.next(now_s)
        if card is not None:
            lane.pace.begin(card)
            lane.sending = True
            self._wish(_Request(lane, card, lane.wanted.pop(card)), now_s)
        elif wait_s is not None and now_s + wait_s < lane.asks_s:
            lane.asks_s = now_s + wait_s + 1e-6

            def again(at_s: float) -> None:
                lane.asks_s = float("inf")
                self._ask(lane, at_s)

            self._at(lane.asks_s, again)

    # --- the whole bot's turn ----------------------------------------------------------------

    def _wish(self, request: _Request, now_s: float) -> None:
        if self._limiter is None:
            self._request(request, now_s)
            return
        request.lane.request = request
        self._queue(request, request.urgency)
        self._turn_s = max(self._turn_s + 1 / self._limiter, now_s)
        self._at(self._turn_s, self._turn)

    def _queue(self, request: _Request, rank: Urgency) -> None:
        request.rank = rank
        heapq.heappush(self._turns, (rank, next(self._order), request))

    def _turn(self, now_s: float) -> None:
        request = heapq.heappop(self._turns)[2]
        while request.begun:  # it stands there once for each time it became more urgent
            request = heapq.heappop(self._turns)[2]
        lane, card = request.lane, request.card
        request.begun, lane.request = True, None
        if card in lane.wanted:
            request.urgency = min(request.urgency, lane.wanted.pop(card))
            lane.pace.begin(card)
        self._request(request, now_s)

    # --- the library and Discord -------------------------------------------------------------

    def _request(self, request: _Request, now_s: float) -> None:
        if now_s < self._held_until_s:
            self._held.append(request)
        else:
            self._attempt(request, now_s)

    def _attempt(self, request: _Request, now_s: float) -> None:
        if now_s - self._window_s >= 1.0:
            self._window_s, self._in_window = now_s, 0
        if self._in_window < self.limit_a_s:
            self._in_window += 1
            self._at(now_s + self._latency_s, lambda at_s: self._taken(request, at_s))
            return
        self.sent.refused_s.append(now_s)
        request.tries += 1
        known_s = now_s + self._latency_s
        if request.tries == TRIES:
            self._at(known_s, lambda at_s: self._given_back(request, at_s))
        else:
            over_s = max(self._window_s + 1.0, known_s)
            self._at(known_s, lambda at_s: self._refused(request, at_s, over_s))

    def _refused(self, request: _Request, now_s: float, over_s: float) -> None:
        self._held.append(request)
        if self._held_until_s <= now_s:  # else it is known, and all that is held waits for it
            self._held_until_s = over_s
            self._at(over_s, self._release)

    def _release(self, now_s: float) -> None:
        """Send all that was held: each is on its way before the first answer comes."""
        held, self._held = self._held, deque()
        for request in held:
            self._attempt(request, now_s)

    def _taken(self, request: _Request, now_s: float) -> None:
        lane, card = request.lane, request.card
        self.sent.taken_s.append(now_s)
        lane.pace.sent(card, now_s, posted=card in lane.posted)
        lane.posted.add(card)
        if request.urgency is Urgency.END:
            self.sent.late_s.append(now_s - self._end_wanted_s.pop(card))
            if card not in lane.wanted:
                lane.pace.drop(card)
                lane.posted.discard(card)
        lane.sending = False
        self._ask(lane, now_s)

    def _given_back(self, request: _Request, now_s: float) -> None:
        lane, card = request.lane, request.card
        lane.pace.tried(card, now_s, posted=card in lane.posted)
        lane.wanted[card] = min(lane.wanted.get(card, request.urgency), request.urgency)
        lane.pace.later(card, lane.wanted[card], now_s, LATER_S)
        lane.sending = False
        self._ask(lane, now_s)
