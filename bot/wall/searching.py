"""Searching a stream: by words as they are typed, by a picture, and for what is like a dream."""

from __future__ import annotations

from aiohttp import web

from bot.errors import DreamstreamError, ForbiddenError, InvalidRequestError
from bot.model import Theme
from bot.search import Found
from bot.wall.errors import status_of
from bot.wall.forms import read_form
from bot.wall.guard import address_of
from bot.wall.multipart import Upload
from bot.wall.rates import Rates
from bot.wall.rendering import Renderer, is_htmx
from bot.wall.services import Services
from bot.wall.settings import WallSettings

LIKE = 12
SEARCHES, WINDOW_S = 240, 60.0
"""As many as eight people who type without a pause; they may share an address."""


class Searching:
    """Answers searches: with a page, or for htmx with what is put into one."""

    def __init__(self, settings: WallSettings, services: Services, renderer: Renderer) -> None:
        self._settings = settings
        self._services = services
        self._renderer = renderer
        self._rates = Rates(
            SEARCHES,
            WINDOW_S,
            "Very much was searched from where you are. Wait for a moment, then try again.",
        )

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [
            web.get("/s/{slug}/search", self.words),
            web.post("/s/{slug}/search", self.picture),
            web.get("/d/{dream_id}/like", self.like),
        ]

    async def words(self, request: web.Request) -> web.StreamResponse:
        """Find pictures by words (``?q=``); no words at all find nothing, and are no mistake."""
        theme = await self._services.visible_theme(request.match_info["slug"])
        typed = request.query.get("q", "")
        if not typed.strip():
            return self._answer(request, theme, None, typed)
        try:
            found = await self.by_text(request, theme, typed)
        except DreamstreamError as error:
            return self._answer(request, theme, None, typed, error)
        return self._answer(request, theme, found, typed)

    async def by_text(self, request: web.Request, theme: Theme, typed: str) -> Found:
        """Search as often as an address may, whatever page it is for.

        Raises:
            LimitError: very much was searched from there.
            InvalidRequestError, SchedulerError: as `Search.by_text` does.
        """
        # Each new text is work for the drawing process, and each search compares every picture.
        self._rates.take(address_of(request, self._settings))
        return await self._services.search.by_text(theme, typed)

    async def picture(self, request: web.Request) -> web.StreamResponse:
        """Find pictures by an uploaded one. It is looked at, and not kept.

        Decoding what strangers send costs time, so it is for those who may also ask.
        """
        theme = await self._services.visible_theme(request.match_info["slug"])
        if not self._settings.asking:
            raise ForbiddenError("This wall is for watching. Search it by words.")
        field = (await read_form(request)).get("picture")
        try:
            if not isinstance(field, Upload):
                raise InvalidRequestError("picture", "Choose a picture to search by.")
            self._rates.take(address_of(request, self._settings))
            found = await self._services.search.by_picture(theme, field.data)
        except DreamstreamError as error:
            return self._answer(request, theme, None, "", error)
        return self._answer(request, theme, found, "")

    async def like(self, request: web.Request) -> web.StreamResponse:
        """Find what is like a dream; within its page nothing is shown where nothing can look."""
        dream, theme = await self._services.visible_dream(request.match_info["dream_id"])
        if not is_htmx(request):
            found = await self._services.search.like(dream, theme)
            return self._page(request, theme, found=found, typed="", like=dream)
        try:
            found = await self._services.search.like(dream, theme, count=LIKE)
        except DreamstreamError:
            return web.Response(text="", content_type="text/html")
        return self._renderer.fragment("like.html", theme=theme, found=found, dream=dream)

    def _answer(
        self,
        request: web.Request,
        theme: Theme,
        found: Found | None,
        typed: str,
        error: DreamstreamError | None = None,
    ) -> web.StreamResponse:
        status = 200 if error is None else status_of(error)
        if is_htmx(request):
            return self._renderer.fragment(
                "found.html", status=status, theme=theme, found=found, typed=typed, error=error
            )
        return self._page(
            request, theme, status=status, found=found, typed=typed, error=error, like=None
        )

    def _page(
        self, request: web.Request, theme: Theme, *, status: int = 200, **context: object
    ) -> web.Response:
        context.setdefault("error", None)
        return self._renderer.page(
            request, "search.html", status=status, themes=[theme], theme=theme, **context
        )
