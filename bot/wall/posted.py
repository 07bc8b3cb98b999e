"""What is posted: how much of it is in memory at once, in all and from one address.

Who posts slowly has what came already be held here. Without a bound, whoever opens all connections
that an address may have, and posts almost all of a large picture by each, fills the memory of a
small machine. Who has most makes room: see `bot.wall.turns`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from bot.errors import LimitError
from bot.wall.guard import address_of
from bot.wall.settings import WallSettings

SMALL_BYTES = 64 * 1024
"""So much of each is not counted: a prompt is to come through whatever others upload."""
RETRY_AFTER_S = 30.0
TOO_MUCH = "Very much is being sent to this wall at the moment. Try again in half a minute."


class TooMuchPostedError(LimitError):
    """There is no room for more of what is posted."""

    def __init__(self) -> None:
        super().__init__(TOO_MUCH, RETRY_AFTER_S)


class Held:
    """What is held of one request."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.came = 0
        self.counted = 0
        self.reading: asyncio.Future[Any] | None = None
        """Whatever reads it; cancelled where it has to make room."""
        self.gave_way = False


class Room:
    """Bounds what is held at `most` bytes in all, and at `most_each` from one address."""

    def __init__(self, most: int, most_each: int) -> None:
        self._most, self._most_each = most, most_each
        self._held: dict[Held, None] = {}
        self._by_address: Counter[str] = Counter()
        self._in_all = 0

    @property
    def taken(self) -> int:
        """How many bytes are counted."""
        return self._in_all

    def take(self, held: Held, size: int) -> None:
        """Count `size` more bytes of a request.

        Raises:
            TooMuchPostedError: there is no room for them.
        """
        held.came += size
        more = max(0, held.came - SMALL_BYTES) - held.counted
        if not more:
            return
        has = self._by_address[held.address] + more
        if has > self._most_each:
            raise TooMuchPostedError
        while self._in_all + more > self._most:
            self._make_room(has)
        self._held[held] = None
        held.counted += more
        self._by_address[held.address] += more
        self._in_all += more

    def give_back(self, held: Held) -> None:
        """Count nothing of a request any more."""
        if self._held.pop(held, self) is not self:
            self._by_address[held.address] -= held.counted
            self._in_all -= held.counted
            held.counted = 0
            if not self._by_address[held.address]:
                del self._by_address[held.address]

    def _make_room(self, has: int) -> None:
        """Have the address that has most give up one that it still sends, if that is fair."""
        sending = [one for one in self._held if one.reading is not None and not one.reading.done()]
        heaviest = max(
            sending, key=lambda one: (self._by_address[one.address], one.counted), default=None
        )
        if heaviest is None or self._by_address[heaviest.address] <= has:
            raise TooMuchPostedError
        assert heaviest.reading is not None
        heaviest.gave_way = True
        heaviest.reading.cancel()
        self.give_back(heaviest)


ROOM = web.AppKey("room", Room)
_held_key = web.RequestKey("held", Held)


def held_of(request: web.Request) -> Held:
    """Return what is held of a request."""
    return request[_held_key]


def bound_posted(settings: WallSettings) -> Middleware:
    """Return the middleware that counts what is posted for as long as it is worked on."""

    @web.middleware
    async def bound(request: web.Request, handler: Handler) -> web.StreamResponse:
        held = request[_held_key] = Held(address_of(request, settings))
        try:
            return await handler(request)
        finally:
            request.app[ROOM].give_back(held)

    return bound
