"""Taking the cover of a picture away at the wall: by who moderates where it was asked for."""

from __future__ import annotations

from aiohttp import web

from bot.checking.model import Decision
from bot.checking.reviews import Reviews
from bot.wall.guests import guest_of
from bot.wall.here import actor_of
from bot.wall.services import Services
from bot.wall.settings import WallSettings


class Releasing:
    """Serves ``/d/{dream_id}/release``."""

    def __init__(self, settings: WallSettings, services: Services, reviews: Reviews) -> None:
        self._settings = settings
        self._services = services
        self._reviews = reviews

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [web.post("/d/{dream_id}/release", self.release)]

    async def release(self, request: web.Request) -> web.StreamResponse:
        """Show a covered picture to everybody from now on."""
        dream, _ = await self._services.visible_dream(request.match_info["dream_id"])
        # As the moderator that they are signed in as, also where they asked for it as a guest.
        actor = actor_of(request, self._settings, dream, whose=guest_of(request).person)
        await self._reviews.decide(dream, actor, Decision.RELEASED)
        raise web.HTTPSeeOther(f"/d/{dream.id}")
