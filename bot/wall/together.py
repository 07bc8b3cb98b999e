"""Dreams that were asked for together: their pictures, and their order by words."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from bot.errors import DreamstreamError, ForbiddenError
from bot.model import Dream, Theme
from bot.ranking import Eyes, rank
from bot.wall.errors import status_of
from bot.wall.rendering import Renderer, is_htmx
from bot.wall.services import Services
from bot.wall.settings import WallSettings


class Together:
    """Answers with a page, or for htmx with what is put into a dream's page."""

    def __init__(
        self, settings: WallSettings, services: Services, renderer: Renderer, eyes: Eyes
    ) -> None:
        self._settings = settings
        self._services = services
        self._renderer = renderer
        self._eyes = eyes

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [
            web.get("/d/{dream_id}/together", self.together),
            web.get("/d/{dream_id}/rank", self.rank),
        ]

    async def together(self, request: web.Request) -> web.StreamResponse:
        """Show what was asked for with a dream and is finished; nothing where it is alone."""
        dream, theme = await self._services.visible_dream(request.match_info["dream_id"])
        return self._answer(request, dream, theme, await self._finished(dream))

    async def rank(self, request: web.Request) -> web.StreamResponse:
        """Put them in order by their words, or by others (``?words=``).

        Looking at pictures costs time, so it is for those who may also ask.
        """
        dream, theme = await self._services.visible_dream(request.match_info["dream_id"])
        if not self._settings.asking:
            raise ForbiddenError("This wall is for watching. Pictures are ranked on Discord.")
        finished, text = await self._finished(dream), request.query.get("words", "").strip()
        try:
            ranked = await rank(finished, self._eyes, self._services.library, text)
        except DreamstreamError as error:
            return self._answer(request, dream, theme, finished, text=text, error=error)
        scores = {one.dream.id: one.score for one in ranked}
        return self._answer(
            request, dream, theme, [one.dream for one in ranked], text=text, scores=scores
        )

    async def _finished(self, dream: Dream) -> list[Dream]:
        return [
            one
            for one in await self._services.dreams.together(dream.ask_id)
            if one.image is not None and one.published and one.deleted_ms is None
        ]

    def _answer(
        self,
        request: web.Request,
        dream: Dream,
        theme: Theme,
        finished: list[Dream],
        *,
        text: str = "",
        scores: dict[str, float] | None = None,
        error: DreamstreamError | None = None,
    ) -> web.StreamResponse:
        context: dict[str, Any] = {
            "dream": dream,
            "theme": theme,
            "family": finished if len(finished) > 1 or error else [],
            "scores": scores or {},
            "words": text,
            "error": error,
        }
        if is_htmx(request):
            # htmx puts only what went well into a page: the sentence is part of that.
            return self._renderer.fragment("together.html", **context)
        status = 200 if error is None else status_of(error)
        return self._renderer.page(request, "ranked.html", status=status, themes=[theme], **context)
