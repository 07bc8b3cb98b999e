"""Whose request is begun next, where more come than can be answered at once.

One who sends hundreds would otherwise keep everybody waiting until all of theirs are answered. So
only a few are under way at a time, and of those that wait the addresses take turns: whoever asks
for one thing waits for one of each other's at most.

Source: J. Nagle, On packet switches with infinite storage, RFC 970 (fair queueing).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from bot.wall.guard import address_of
from bot.wall.settings import WallSettings

AT_ONCE = 8
"""They share one processor core, but for what they wait for."""
LONGEST_S = 0.25
"""Whoever takes longer waits for something else, and does not keep others from it."""


class Turns:
    """Lets so many begin at once, by turns of their addresses."""

    def __init__(self, at_once: int = AT_ONCE, longest_s: float = LONGEST_S) -> None:
        self._at_once, self._longest_s = at_once, longest_s
        self._under_way = 0
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def of(self, address: str) -> AsyncIterator[None]:
        """Wait for a turn of an address, and have it for a while."""
        if self._under_way < self._at_once:
            self._under_way += 1
        else:
            await self._wait(address)
        over = False

        def pass_on() -> None:
            """Give the place to the next, once: at the turn's end, or when it has been long."""
            nonlocal over
            if not over:
                over = True
                self._pass_on()

        ending = asyncio.get_running_loop().call_later(self._longest_s, pass_on)
        try:
            yield
        finally:
            ending.cancel()
            pass_on()

    async def _wait(self, address: str) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(address, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()
            raise

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


def take_turns(settings: WallSettings) -> Middleware:
    """Return the middleware that has requests begin by turns of the addresses they are from."""
    turns = Turns()

    @web.middleware
    async def in_turn(request: web.Request, handler: Handler) -> web.StreamResponse:
        async with turns.of(address_of(request, settings)):
            return await handler(request)

    return in_turn
