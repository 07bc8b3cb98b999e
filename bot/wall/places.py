"""How many connections there may be at the wall, from one address and in all.

Kept in memory: who came from where is written down by nobody.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from bot.errors import LimitError
from bot.wall.guard import HEALTH, address_of, block_of, is_trusted
from bot.wall.settings import WallSettings

RETRY_AFTER_S = 30
RESERVED = 16
"""Places beyond all others for who sits at the machine, so that strangers never lock them out."""
_OTHER_FILES = 512
"""Open files that the rest of the program needs: its database, its library, its own requests."""
_FILES_EACH = 2
"""A connection is an open file, and what it is sent may be another."""


class Full(Enum):
    """Why there is no place."""

    ADDRESS = "address"
    EVERYBODY = "everybody"


SENTENCES = {
    Full.ADDRESS: (
        429,
        "Too much is open from your address at once. Close some pages, and try again.",
    ),
    Full.EVERYBODY: (503, "Too many people are here at the moment. Try again in half a minute."),
}
"""What is answered where there is no place."""


class NoPlaceError(LimitError):
    """There is no place for a request, and `status` says whose doing that is."""

    def __init__(self, why: Full) -> None:
        self.status, sentence = SENTENCES[why]
        super().__init__(sentence, RETRY_AFTER_S)


class Places:
    """Counts who has a place."""

    def __init__(self, most: int, most_each: int) -> None:
        """At most `most` are had in all, and `most_each` from one address."""
        self.most = most
        self.most_each = most_each
        self._taken: Counter[str] = Counter()
        self._in_all = 0

    @property
    def taken(self) -> int:
        """How many places are had."""
        return self._in_all

    def has(self, address: str) -> int:
        """Return how many places an address has."""
        return self._taken[address]

    def heaviest(self, *, but: str = "") -> tuple[str, int]:
        """Return the address that has most places, and how many; ("", 0) where nobody has one."""
        others = (one for one in self._taken.items() if one[0] != but)
        return max(others, key=lambda one: one[1], default=("", 0))

    def full(self, address: str, *, each: bool = True, reserved: bool = False) -> Full | None:
        """Say whether there is a place; of whom `each` is not asked may have them all."""
        if self._in_all >= self.most + (RESERVED if reserved else 0):
            return Full.EVERYBODY
        if each and self._taken[address] >= self.most_each:
            return Full.ADDRESS
        return None

    def take(self, address: str) -> None:
        """Count a place as had."""
        self._taken[address] += 1
        self._in_all += 1

    def give_back(self, address: str) -> None:
        """Count it as free again."""
        self._in_all -= 1
        self._taken[address] -= 1
        if not self._taken[address]:
            del self._taken[address]


def room_for(wanted: int) -> int:
    """Return how many connections the system has open files for, `wanted` at most.

    The system's soft bound is raised as far as is needed and allowed.
    """
    try:
        import resource  # not everywhere
    except ImportError:
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted * _FILES_EACH + _OTHER_FILES
    if soft < needed and soft != resource.RLIM_INFINITY:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(RESERVED, (soft - _OTHER_FILES) // _FILES_EACH))


def bound_requests(settings: WallSettings) -> Middleware:
    """Return the middleware that bounds what is answered to one address at once, behind a proxy.

    There the proxy has the connections. Without one each has one request at a time.
    """
    under_way = Places(settings.connections, settings.connections_per_address)

    @web.middleware
    async def bound(request: web.Request, handler: Handler) -> web.StreamResponse:
        proxied = settings.mode == "proxy" and is_trusted(request.remote or "", settings)
        if not proxied or request.path in HEALTH:
            return await handler(request)
        address = address_of(request, settings)
        # Of whom the proxy says nothing is the proxy itself.
        each = address != block_of(request.remote or "", settings)
        why = under_way.full(address, each=each)
        if why is not None:
            raise NoPlaceError(why)
        under_way.take(address)
        try:
            return await handler(request)
        finally:
            under_way.give_back(address)

    return bound
