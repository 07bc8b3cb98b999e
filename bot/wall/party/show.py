"""Serves a party's slow show: to whoever may open its big screen."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from bot.wall.party.door import Door
from bot.wall.party.pages import STAGES
from bot.wall.party.slides import slides_of
from bot.wall.rendering import Renderer

_LONGEST = 6  # digits of a place


class PartyShow:
    """Answers ``/p/{code}/show``; ``?at=`` is a slide's place, 0 the first.

    A slide is read anew whenever it is shown: what was deleted meanwhile is in none.
    """

    def __init__(self, renderer: Renderer, door: Door) -> None:
        self._renderer = renderer
        self._door = door

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [
            web.get("/p/{code}/show", self.page),
            web.get("/p/{code}/show/slide", self.slide),
        ]

    async def page(self, request: web.Request) -> web.StreamResponse:
        """Show a slide, with what leads to the others."""
        context = await self._context(request)
        theme = context["evening"].theme
        return self._renderer.page(request, "party/show.html", themes=[theme], **context)

    async def slide(self, request: web.Request) -> web.StreamResponse:
        """Return a slide alone; past the last comes the first again."""
        return self._renderer.fragment("party/slide.html", **await self._context(request))

    async def _context(self, request: web.Request) -> dict[str, Any]:
        evening = await self._door.see(request)
        slides = slides_of(evening)
        text = request.query.get("at", "")
        at = int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST else 0
        at = at if at < len(slides) else 0
        return {
            "evening": evening,
            "party": evening.party,
            "stage": evening.stage.value,
            "stages": STAGES,
            "base": f"/p/{evening.party.code}",
            "slide": slides[at],
            "at": at,
            "total": len(slides),
        }
