"""Signed links at the wall: what somebody sees because they were given one.

A link leads to `/l/<token>`, which puts the token into a cookie that scripts cannot read and goes
on to what it shows, so that the token stays in no address bar. From then on every request is looked
at with the cookie's tokens, each verified anew: one that is over or withdrawn opens nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from bot.errors import NotFoundError
from bot.ids import now_ms
from bot.signed_links import MAX_TOKEN, NOT_GOOD, Grant, Shows, SignedLinks
from bot.wall.guard import address_of
from bot.wall.passes import Pass, showing, shown
from bot.wall.rates import Rates
from bot.wall.services import Services
from bot.wall.settings import WallSettings

COOKIE = "dreamer-links"
MOST = 8
"""How many links a browser keeps; of more, the newest."""
WRONG, WINDOW_S = 60, 600.0
_SEPARATOR = "~"  # in no token
OF_ONE_DREAM = frozenset(
    {
        "/d/{dream_id}",
        "/d/{dream_id}/files/{name}",
        "/d/{dream_id}/preview.webp",
        "/i/{sha256}.png",
        "/t/{sha256}.webp",
        "/s/{slug}/events",
    }
)
"""The addresses at which one dream is shown, and nothing of what is around it."""


class SignedRoutes:
    """Takes links in."""

    def __init__(self, settings: WallSettings, services: Services, links: SignedLinks) -> None:
        self._settings = settings
        self._services = services
        self._links = links
        self._rates = Rates(
            WRONG, WINDOW_S, "Too many links from where you are were wrong. Try again later."
        )

    def routes(self) -> list[web.RouteDef]:
        """Return the route and what answers it."""
        return [web.get("/l/{token}", self.take)]

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Keep a link's token, and lead to what it shows."""
        token = request.match_info["token"]
        address = address_of(request, self._settings)
        self._rates.check(address)
        try:
            grant = self._links.read(token)
            with showing(Pass(lambda: (grant,), with_dreams=True)):
                path = await self._path(grant)
        except NotFoundError:
            self._rates.count(address)
            raise NotFoundError(NOT_GOOD) from None
        others = {
            one: known.until_ms
            for one in tokens_of(request)
            if one != token and (known := _read(self._links, one)) is not None
        }
        until_ms = max(grant.until_ms, *others.values(), 0)
        response = web.Response(status=302, headers={"Location": path})
        response.set_cookie(
            COOKIE,
            _SEPARATOR.join([token, *others][:MOST]),
            max_age=max(1, (until_ms - now_ms()) // 1000),
            httponly=True,
            samesite="Lax",
            secure=self._settings.secure,
        )
        return response

    async def _path(self, grant: Grant) -> str:
        if grant.shows is Shows.DREAM:
            dream, _ = await self._services.visible_dream(grant.id)
            return f"/d/{dream.id}"
        theme = await self._services.themes.by_id(int(grant.id))
        return f"/s/{theme.slug}"


def look_with(links: SignedLinks) -> Middleware:
    """Return the middleware that has every request seen with its links."""

    @web.middleware
    async def look(request: web.Request, handler: Handler) -> web.StreamResponse:
        tokens = tokens_of(request)
        if not tokens:
            return await handler(request)

        def grants() -> Iterator[Grant]:
            return (grant for token in tokens if (grant := _read(links, token)) is not None)

        resource = request.match_info.route.resource
        one = resource is not None and resource.canonical in OF_ONE_DREAM
        with showing(Pass(grants, with_dreams=one, member=shown().member)):
            return await handler(request)

    return look


def tokens_of(request: web.Request) -> tuple[str, ...]:
    """Return the tokens that a browser keeps; nothing says yet that they are good."""
    said = request.cookies.get(COOKIE, "")[: (MAX_TOKEN + 1) * MOST]
    return tuple(one for one in said.split(_SEPARATOR)[:MOST] if one)


def _read(links: SignedLinks, token: str) -> Grant | None:
    try:
        return links.read(token)
    except NotFoundError:
        return None
