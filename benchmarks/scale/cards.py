"""All channels' cards on their way to Discord: the real `Pace`, against a model of its limits.

Each channel's lane does as `bot.delivery.lane` does: one request at a time, when `Pace` says so.
Discord's limit for the whole bot is a second's window of `GLOBAL_A_S` requests (answers to
interactions do not count). Beyond it there is a 429, and what the library then does is modelled
as discord.py 2.7 does it: what had a 429 waits until the window ends and is sent again, new
requests wait for that, and all of them go out at once; after five tries a card comes back later.
What is sent before the first 429 is back is refused, too.
Every 429 is an *invalid request*; of those `INVALID_MOST` in ten minutes have the address banned.

What the bot does about that is `How`: nothing; turns for the whole bot, in order of asking; or
what it does now (`bot.delivery.whole_bot`), with the real `Turns`: a place first, before a card is
drawn up, then a turn, both by urgency. The `Rate` is the real one, too. Drawing up is taken to last
`DRAW_S`.

Source: docs.discord.com/developers/topics/rate-limits; `HTTPClient.request` of discord.py 2.7.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from itertools import count

from bot.delivery.pace import Pace, Urgency
from bot.delivery.turns import Rate, Turn, Turns
from bot.delivery.whole_bot import A_SECOND, BURST, PLACES

GLOBAL_A_S = 50
INVALID_MOST, INVALID_S = 10_000, 600.0
TRIES = 5
LATER_S = 3.0
DRAW_S = 0.1


class How(Enum):
    """What is done about the limit of the whole bot."""

    NOTHING = "nothing"
    IN_ORDER = "in order"
    BY_URGENCY = "by urgency"


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


@dataclass(eq=False)
class _Lane:
    pace: Pace = field(default_factory=Pace)
    sending: bool = False
    asks_s: float = float("inf")  # when it will ask its pace again
    posted: set[int] = field(default_factory=set)
    wanted: dict[int, Urgency] = field(default_factory=dict)
    place: Turn | None = None  # what it waits for


class Discord:
    """All lanes, and Discord's end of it. `latency_s` is what an answer takes."""

    limit_a_s = GLOBAL_A_S

    def __init__(self, how: How = How.NOTHING, latency_s: float = 0.15) -> None:
        self._how = how
        self._latency_s = latency_s
        self._lanes: dict[int, _Lane] = {}
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()
        self._window_s, self._in_window = 0.0, 0
        self._held: deque[_Request] = deque()
        self._held_until_s = 0.0
        self._line, self._in_line, self._drawn_up = Turns(), dict[Turn, _Lane](), 0
        self._turns, self._gates = Turns(), dict[Turn, _Request]()
        self._rate = Rate(A_SECOND, BURST)
        self._opens_s = float("-inf")
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
        if lane.place is not None:
            self._line.hurry(lane.place, want.urgency)
        self._ask(lane, want.at_s)

    def _ask(self, lane: _Lane, now_s: float) -> None:
        if lane.sending:
            return
        card, wait_s = lane.pace.next(now_s)
        if card is not None:
            lane.sending = True
            if self._how is How.BY_URGENCY:
                lane.place = self._line.ask(lane.pace.urgency(card))
                self._in_line[lane.place] = lane
                self._fill(now_s)
            else:
                self._begin(lane, card, now_s, Urgency.END)
        elif wait_s is not None and now_s + wait_s < lane.asks_s:
            lane.asks_s = now_s + wait_s + 1e-6

            def again(at_s: float) -> None:
                lane.asks_s = float("inf")
                self._ask(lane, at_s)

            self._at(lane.asks_s, again)

    # --- the whole bot's limit, as `bot.delivery.whole_bot` keeps it ---------------------------

    def _fill(self, now_s: float) -> None:
        while self._drawn_up < PLACES and (place := self._line.next()) is not None:
            lane = self._in_line.pop(place)
            lane.place = None
            card, _ = lane.pace.next(now_s)
            assert card is not None, "what was due is due still"
            self._drawn_up += 1
            self._begin(lane, card, now_s, place.rank)

    def _begin(self, lane: _Lane, card: int, now_s: float, rank: int) -> None:
        lane.pace.begin(card)
        request = _Request(lane, card, lane.wanted.pop(card))
        if self._how is How.NOTHING:
            self._request(request, now_s)
            return

        def drawn_up(at_s: float) -> None:
            self._gates[self._turns.ask(rank)] = request
            self._open(at_s)

        self._at(now_s + DRAW_S, drawn_up)

    def _open(self, now_s: float) -> None:
        while self._turns:
            wait_s = self._rate.wait_s(now_s)
            if wait_s > 0:
                if self._opens_s <= now_s:
                    self._opens_s = now_s + wait_s + 1e-6
                    self._at(self._opens_s, self._open)
                return
            turn = self._turns.next()
            assert turn is not None
            self._rate.went(now_s)
            self._request(self._gates.pop(turn), now_s)
            if self._how is How.BY_URGENCY:
                self._drawn_up -= 1
                self._fill(now_s)

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
