"""Favourites at the wall: the same hearts as in Discord.

A like belongs to the guest whom a browser's cookie names, or to who is signed in there; at a party
to whom they take part as. It is one heart of all that they are: what they liked as the guest shows
as liked, and is taken back by the account. Whoever keeps no cookie is somebody else each time, so
they cannot like, and what comes from one address is bounded.
"""

from __future__ import annotations

from aiohttp import web

from bot.errors import ForbiddenError, NotFoundError
from bot.model import Dream, Theme
from bot.wall.guard import address_of
from bot.wall.guests import guest_of
from bot.wall.party.door import person_at
from bot.wall.rates import Rates
from bot.wall.rendering import Renderer, is_htmx
from bot.wall.services import Favourites, Services
from bot.wall.settings import WallSettings

MOST = 240  # of a room full of people behind one address
WINDOW_S = 3600.0


class Liking:
    """Serves ``/d/{dream_id}/heart``."""

    def __init__(
        self,
        settings: WallSettings,
        services: Services,
        renderer: Renderer,
        favourites: Favourites,
    ) -> None:
        self._settings = settings
        self._services = services
        self._renderer = renderer
        self._favourites = favourites
        self._rates = Rates(
            MOST, WINDOW_S, "That were many hearts from your address. Try again a little later."
        )

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [
            web.get("/d/{dream_id}/heart", self.heart),
            web.post("/d/{dream_id}/heart", self.like),
        ]

    async def heart(self, request: web.Request) -> web.StreamResponse:
        """Return how many like a dream, and whether the visitor does."""
        dream, _ = await self._finished(request)
        return await self._answer(request, dream, replaces=False)

    async def like(self, request: web.Request) -> web.StreamResponse:
        """Like a dream, or no more."""
        dream, theme = await self._finished(request)
        guest = guest_of(request)
        if guest.new:
            raise ForbiddenError(
                "Your browser keeps no cookie of this wall, so nobody would know that it was you. "
                "Allow cookies here, and press ♥ again."
            )
        self._rates.take(address_of(request, self._settings))
        person = await person_at(request, self._services.parties, theme)
        await self._favourites.favourite(dream.id, person, known_as=guest.persons)
        if not is_htmx(request):
            raise web.HTTPSeeOther(f"/d/{dream.id}")
        return await self._answer(request, dream, replaces=True)

    async def _finished(self, request: web.Request) -> tuple[Dream, Theme]:
        dream, theme = await self._services.visible_dream(request.match_info["dream_id"])
        if dream.image is None:
            raise NotFoundError("There is no picture of that dream yet.")
        return dream, theme

    async def _answer(
        self, request: web.Request, dream: Dream, *, replaces: bool
    ) -> web.StreamResponse:
        heart = await self._services.heart(dream, guest_of(request).persons)
        return self._renderer.fragment("heart.html", dream=dream, heart=heart, replaces=replaces)
