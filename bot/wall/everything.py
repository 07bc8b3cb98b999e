"""The stream of streams: all public themes in one, as a page and on the big screen."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from bot.model import Dream, Theme, Visibility
from bot.wall.events import EventStreams
from bot.wall.forming import Forming
from bot.wall.guests import guest_of
from bot.wall.pages import PAGE, WATCHED, Pages
from bot.wall.rendering import Renderer
from bot.wall.scopes import AllStreams
from bot.wall.services import Services
from bot.watching import Watching

# What the pages call it; it is no theme that can be had, asked in, or changed.
ALL = Theme(id=0, slug="all", title="All streams", topic="Whatever is being dreamt in any of them.")


class Everything:
    """Serves ``/all`` and what belongs to it."""

    def __init__(
        self,
        services: Services,
        renderer: Renderer,
        watching: Watching,
        *,
        pages: Pages,
        events: EventStreams,
    ) -> None:
        self._services = services
        self._renderer = renderer
        self._watching = watching
        self._pages = pages
        self._events = events

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [
            web.get("/all", self.page),
            web.get("/all/more", self.more),
            web.get("/all/watch", self.watch),
            web.get("/all/events", self.events, allow_head=False),
        ]

    async def page(self, request: web.Request) -> web.StreamResponse:
        """Show what forms and what is finished in all public streams."""
        context = await self._stream(request, PAGE, request.query.get("before"))
        return self._renderer.page(
            request, "all.html", themes=[ALL], drawer=self._services.drawer, **context
        )

    async def watch(self, request: web.Request) -> web.StreamResponse:
        """Show them on the big screen."""
        context = await self._stream(request, WATCHED, None)
        return self._renderer.page(
            request, "watch.html", themes=[ALL], address=self._pages.address, **context
        )

    async def more(self, request: web.Request) -> web.StreamResponse:
        """Return the next older pictures, for the end of the mosaic."""
        older = await self._watching.everything(before=request.query.get("before"), limit=PAGE)
        return self._renderer.fragment(
            "more.html", base="/all", theme=ALL, finished=older, more=len(older) == PAGE
        )

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Send what happens in them."""
        return await self._events.send(request, await AllStreams.now(self._services))

    async def _stream(self, request: web.Request, limit: int, before: str | None) -> dict[str, Any]:
        # In the order of `Pages`, for the same reasons.
        after = await self._services.feed.last_id()
        scope = await AllStreams.now(self._services)
        unfinished = [] if before else await scope.unfinished()
        finished = await self._watching.everything(before=before, limit=limit)
        done = {dream.id for dream in finished}
        forming = Forming(
            guest_of(request).persons, [dream for dream in unfinished if dream.id not in done]
        )
        return {
            "base": "/all",
            "theme": ALL,
            "streams": [
                theme
                for theme in await self._services.themes.list()
                if theme.visibility is Visibility.PUBLIC
            ],
            "after": after,
            "cards": [self._card(dream) for dream in unfinished if dream.id in forming.cards],
            "hidden": forming.hidden,
            "finished": finished,
            "more": len(finished) == limit,
            "paged": before is not None,
        }

    def _card(self, dream: Dream) -> dict[str, Any]:
        return self._renderer.standing(dream, self._services.dreams.live(dream.id))
