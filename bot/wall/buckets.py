"""How much one address may fetch of the wall, by what each request costs the machine.

Each address has a token bucket: it fills steadily, every request takes from it what it costs, and
who finds too little in it is told when there is enough. Kept in memory: who came from where is
written down by nobody.

Source: ITU-T Recommendation I.371, annex A (the generic cell rate algorithm as virtual scheduling:
a bucket is known by the one moment at which it will be full).
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from enum import IntEnum

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from bot.errors import LimitError
from bot.monitoring.metrics import WALL_SLOWED
from bot.wall.guard import HEALTH, block_of, heard_from, is_trusted
from bot.wall.here import is_here
from bot.wall.settings import WallSettings

log = logging.getLogger(__name__)

REMEMBERED = 16_384
"""Addresses whose buckets are not full; a few megabytes."""
_TOLD_EVERY_S = 60.0
_ROUNDING_S = 1e-6
"""Who waited for as long as they were told is served, and who takes all that fits in."""
SLOW_DOWN = (
    "Very much is being fetched from where you are. Wait for a moment, then load the page again."
)


class TooFastError(LimitError):
    """An address fetches faster than it may."""


class Cost(IntEnum):
    """What a request costs, in small pictures: about a millisecond of a processor core each."""

    LITTLE = 1
    PAGE = 5
    MUCH = 20


_LITTLE = (
    "/b/{party_id}/{path}",
    "/d/{dream_id}/files/{name}",
    "/d/{dream_id}/preview.webp",
    "/g/{game_id}/entries/{entry_id}.webp",
    "/g/{game_id}/picture.webp",
    "/i/{sha256}.png",
    "/p/{code}/part/{part}",
    "/p/{code}/qr.svg",
    "/p/{code}/screen/{part}",
    "/portraits/{dream_id}/picture.webp",
    "/s/{slug}/picture.webp",
    "/static/{name}",
    "/t/{sha256}.webp",
)
"""Pictures and files, and what open pages fetch by themselves whenever something changes."""
_MUCH = (
    "/d/{dream_id}/like",
    "/d/{dream_id}/rank",
    "/d/{dream_id}/study.webp",
    "/exports/{token}.zip",
    "/s/{slug}/found",
    "/s/{slug}/found/part",
    "/s/{slug}/search",
)
"""What a model has to look at, what is compared with every picture, and what is put together."""
COSTS = dict.fromkeys(_LITTLE, Cost.LITTLE) | dict.fromkeys(_MUCH, Cost.MUCH)
"""By route; what is not here is a page."""


class Buckets:
    """A token bucket for each key. Full ones are forgotten, the oldest first."""

    def __init__(
        self,
        per_s: float,
        most: float,
        *,
        remembered: int = REMEMBERED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`per_s` tokens come into each in a second, and `most` fit into it.

        `most` is to be no less than the most that is taken at once. Where more than `remembered`
        keys have taken something of late, who has taken nothing for longest is forgotten.
        """
        self._per_s = per_s
        self._whole_s = most / per_s
        self._remembered = remembered
        self._clock = clock
        # When each will be full; who took something last is last.
        self._full_at_s: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._full_at_s)

    def take(self, key: str, cost: float) -> float:
        """Take tokens and return 0.0; or take none, and return in how many seconds they are there.

        Microseconds, however many keys there are.
        """
        now_s = self._clock()
        full_at_s = self._full_at_s.get(key)
        after_s = max(now_s, full_at_s or now_s) + cost / self._per_s
        wait_s = after_s - now_s - self._whole_s
        if wait_s > _ROUNDING_S:
            return wait_s
        if full_at_s is None:
            self._forget(now_s)
        self._full_at_s[key] = after_s
        self._full_at_s.move_to_end(key)
        return 0.0

    def _forget(self, now_s: float) -> None:
        """Make room for one more: two at the most go, so that nobody waits for a long sweep."""
        for _ in range(2):
            oldest = next(iter(self._full_at_s), None)
            if oldest is None:
                return
            if self._full_at_s[oldest] > now_s and len(self) < self._remembered:
                return
            del self._full_at_s[oldest]


def bound_rate(settings: WallSettings) -> Middleware:
    """Return the middleware that refuses an address what it fetches too fast.

    Who sits at the machine has no bound, nor who asks how the wall is. A stream of events counts
    once, as a page.
    """
    buckets = Buckets(settings.requests_per_address, settings.requests_at_once)
    told_s = -_TOLD_EVERY_S

    @web.middleware
    async def bound(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal told_s
        address = None if request.path in HEALTH else _counted(request, settings)
        if address is None:
            return await handler(request)
        resource = request.match_info.route.resource
        cost = COSTS.get("" if resource is None else resource.canonical, Cost.PAGE)
        wait_s = buckets.take(address, cost)
        if wait_s:
            WALL_SLOWED.labels(cost.name.lower()).inc()
            if time.monotonic() >= told_s + _TOLD_EVERY_S:
                told_s = time.monotonic()
                log.warning(
                    "An address fetches more than wall.requests_per_address allows, and is "
                    "refused. If it is your proxy's, name that in wall.trusted_proxies."
                )
            raise TooFastError(SLOW_DOWN, wait_s)
        return await handler(request)

    return bound


def _counted(request: web.Request, settings: WallSettings) -> str | None:
    """Return the address that a request counts for; None where it counts for nobody."""
    remote = request.remote or ""
    if is_here(request, settings):
        return None
    heard = heard_from(request, settings)
    # Of whom the proxy says nothing is the proxy itself; visitors may have their network in common.
    if settings.mode == "proxy" and heard == remote and is_trusted(remote, settings):
        return None
    return block_of(heard, settings)
