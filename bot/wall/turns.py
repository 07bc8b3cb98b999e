"""Whose request is begun next, where more come than can be answered at once.

One who sends hundreds would otherwise keep everybody waiting until all of theirs are answered. So
only a few are under way at a time, and of those that wait the addresses take turns: whoever asks
for one thing waits for one of each other's at most. Who hangs up is no longer in line, so there are
never more in it than there are connections.

Source: J. Nagle, On packet switches with infinite storage, RFC 970 (fair queueing).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from bot.wall.guard import HEALTH, address_of
from bot.wall.link import Link
from bot.wall.settings import WallSettings

AT_ONCE = 8
"""They share one processor core, but for what they wait for."""
LONGEST_S = 0.25
"""Whoever takes longer waits for something else, and does not keep others from it."""


class Turn:
    """A place among those under way, until it is given to the next."""

    def __init__(self, pass_on: Callable[[], None]) -> None:
        self._pass_on = pass_on
        self._over = False

    def end(self) -> None:
        """Give the place to the next, once: when it is done with, or when it has been long."""
        if not self._over:
            self._over = True
            self._pass_on()


_turn_key = web.RequestKey("turn", Turn)


class Turns:
    """Lets so many begin at once, by turns of their addresses."""

    def __init__(self, at_once: int = AT_ONCE, longest_s: float = LONGEST_S) -> None:
        self._at_once, self._longest_s = at_once, longest_s
        self._under_way = 0
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many wait for a turn."""
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def of(
        self, address: str, lost: asyncio.Future[None] | None = None
    ) -> AsyncIterator[Turn]:
        """Wait for a turn of an address, and have it for a while, or until it is ended.

        Raises:
            ConnectionError: who asked hung up, at which `lost` is done, before it was their turn.
        """
        if self._under_way < self._at_once:
            self._under_way += 1
        else:
            await self._wait(address, lost)
        turn = Turn(self._pass_on)
        ending = asyncio.get_running_loop().call_later(self._longest_s, turn.end)
        try:
            yield turn
        finally:
            ending.cancel()
            turn.end()

    async def _wait(self, address: str, lost: asyncio.Future[None] | None) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(address, deque()).append(turn)

        def leave(_: object) -> None:
            if not turn.done():
                self._leave(address, turn)
                turn.set_exception(ConnectionResetError("hung up while waiting"))

        if lost is not None:
            lost.add_done_callback(leave)
        try:
            await turn
            if lost is not None and lost.done():
                self._pass_on()
                raise ConnectionResetError("hung up while waiting")
        except asyncio.CancelledError:
            if turn.cancelled():
                self._leave(address, turn)
            elif turn.exception() is None:
                self._pass_on()
            raise
        finally:
            if lost is not None:
                lost.remove_done_callback(leave)

    def _leave(self, address: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(address, deque())
        with suppress(ValueError):  # passed over in the meantime
            turns.remove(turn)
            if not turns:
                del self._waiting[address]

    def _pass_on(self) -> None:
        while self._waiting:
            address, turns = self._waiting.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self._waiting[address] = turns  # behind all others
            if not turn.done():
                turn.set_result(None)
                return
        self._under_way -= 1


def take_turns(settings: WallSettings, turns: Turns) -> Middleware:
    """Return the middleware that has requests begin by turns of the addresses they are from.

    A health check waits for nobody: else a crowd looks like a program that hangs.
    """

    @web.middleware
    async def in_turn(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in HEALTH:
            return await handler(request)
        link = request.protocol
        lost = link.lost if isinstance(link, Link) else None
        async with turns.of(address_of(request, settings), lost) as request[_turn_key]:
            return await handler(request)

    return in_turn


async def pass_turn_on(request: web.Request, _: web.StreamResponse) -> None:
    """End a request's turn once its answer begins: a stream of events takes nothing more by itself.

    To be called as `aiohttp` prepares an answer.
    """
    if (turn := request.get(_turn_key)) is not None:
        turn.end()
