"""Keep what the whole bot asks of Discord below the limit that holds for it as a whole.

Discord takes 50 requests a second of a bot, in whatever channels. Left to itself, discord.py asks
until one is refused, and then has all that wait go out together, of which all but 50 are refused
again; ten thousand refusals in ten minutes, and Discord shuts the address out (docs/scale.md).

What answers interactions does not count, and is never held up. Of the rest, what somebody has
pressed for goes first, then the cards by their urgency (`bot.delivery.pace.Urgency`), and of all
some by age (`bot.delivery.turns`). What nobody has pressed for, as who looks at the wall
(`unhurried`), goes after the cards.

There are two lines. Before a card is drawn up its lane waits for a *place*: so while there is more
to show than may be sent, a card shows what is newest when its time has come, and the previews until
then are left out. And each request waits for its *turn*. There are places for the turns of half a
second: enough that none is missed while a card is drawn up, and few enough that each card is new.

Source: https://docs.discord.com/developers/topics/rate-limits
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import SimpleNamespace

import aiohttp
from yarl import URL

from bot.delivery.pace import Urgency
from bot.delivery.turns import Rate, Turn, Turns
from bot.side_tasks import SideTasks

A_SECOND, BURST = 42, 4
"""At most 46 in any second; 50, if what was sent in one arrives a tenth of a second closer."""
PLACES = A_SECOND // 2
HELD_S = 5.0
_PAUSE_S = 0.5
"""How long a place is held at most, so that a card that is held up elsewhere costs no others."""
_AT_ONCE = Urgency.END - 1


class Place:
    """A card's place among those that are drawn up, or in the line for one.

    A request that is sent `within` takes it as its own: it is as urgent, and gives the place up
    when it is sent.
    """

    def __init__(self, bot: WholeBot, turn: Turn) -> None:
        self._bot = bot
        self.turn = turn
        self.given = asyncio.get_running_loop().create_future()
        self.limit: asyncio.TimerHandle | None = None

    async def reached(self) -> None:
        """Return when the card may be drawn up."""
        await self.given

    def hurry(self, urgency: Urgency) -> None:
        """Note that there is something more urgent to show."""
        self._bot.hurry(self, urgency)

    def leave(self) -> None:
        """Give it up, whether it was reached or not."""
        self._bot.leave(self)

    @contextmanager
    def within(self) -> Iterator[None]:
        """Have what this task sends be the card's."""
        token = _place.set(self)
        try:
            yield
        finally:
            _place.reset(token)


_place: ContextVar[Place | None] = ContextVar("place", default=None)
_rank: ContextVar[int] = ContextVar("rank", default=_AT_ONCE)


@contextmanager
def unhurried() -> Iterator[None]:
    """Have what this task sends go after all cards that are due, or when it is the oldest."""
    token = _rank.set(Urgency.WAITING)
    try:
        yield
    finally:
        _rank.reset(token)


class WholeBot:
    """Gives each request its turn, and each card its place."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._rate = Rate(A_SECOND, BURST)
        self._turns = Turns()
        self._gates: dict[Turn, asyncio.Future[None]] = {}
        self._tasks = SideTasks()
        self._giving: asyncio.Task[None] | None = None
        self._line = Turns()
        self._in_line: dict[Turn, Place] = {}
        self._drawn_up: set[Place] = set()

    # --- a card's place ----------------------------------------------------------------------

    def place(self, urgency: Urgency) -> Place:
        """Get in line for a place. Whoever does must leave it again."""
        place = Place(self, self._line.ask(urgency))
        self._in_line[place.turn] = place
        self._fill()
        return place

    def hurry(self, place: Place, urgency: Urgency) -> None:
        """Have a place be more urgent."""
        self._line.hurry(place.turn, urgency)

    def leave(self, place: Place) -> None:
        """Have somebody else take a place."""
        self._line.leave(place.turn)
        self._in_line.pop(place.turn, None)
        if place.limit is not None:
            place.limit.cancel()
        self._drawn_up.discard(place)
        self._fill()

    def _fill(self) -> None:
        while len(self._drawn_up) < PLACES and (turn := self._line.next()) is not None:
            place = self._in_line.pop(turn)
            self._drawn_up.add(place)
            place.limit = asyncio.get_running_loop().call_later(HELD_S, place.leave)
            if not place.given.done():  # else whoever waits is being cancelled, and will leave it
                place.given.set_result(None)

    # --- a request's turn --------------------------------------------------------------------

    async def turn(self, url: URL) -> None:
        """Return when a request may be sent."""
        if not _counts(url):
            return
        place = _place.get()
        now_s = self._clock()
        if self._turns or self._rate.wait_s(now_s) > 0:
            await self._wait(_rank.get() if place is None else place.turn.rank)
        else:
            self._rate.went(now_s)
        if place is not None:
            place.leave()

    async def _wait(self, rank: int) -> None:
        turn = self._turns.ask(rank)
        gate = self._gates[turn] = asyncio.get_running_loop().create_future()
        if self._giving is None or self._giving.done():
            self._giving = self._tasks.keep(
                self._give,
                "Requests wait for their turn",
                name="discord-turns",
                pause_s=_PAUSE_S,
                longest_s=_PAUSE_S,
            )
        try:
            await gate
        finally:
            self._turns.leave(turn)
            self._gates.pop(turn, None)

    async def _give(self) -> None:
        """Let those that wait through, one after the other."""
        while self._turns:
            await self._sleep(self._rate.wait_s(self._clock()))
            if (turn := self._turns.next()) is not None:
                self._rate.went(self._clock())
                gate = self._gates.pop(turn)
                if not gate.done():  # else its request has just been cancelled
                    gate.set_result(None)

    async def on_request_start(
        self,
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        params: aiohttp.TraceRequestStartParams,
    ) -> None:
        """Wait for the turn of a client's request (`aiohttp.TraceConfig.on_request_start`)."""
        await self.turn(params.url)


def _counts(url: URL) -> bool:
    """Say whether a request counts for the bot: the CDN's do not, nor do answers."""
    parts = url.parts[1:]
    return parts[:1] == ("api",) and not {"interactions", "webhooks"}.intersection(parts[:3])
