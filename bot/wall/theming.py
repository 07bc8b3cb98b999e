"""Themes at the wall: files for everybody who sees them, new ones from the machine itself."""

from __future__ import annotations

import asyncio
import re

from aiohttp import web

from bot.errors import DreamstreamError, ForbiddenError, InvalidRequestError
from bot.ids import is_id
from bot.model import Theme, Visibility
from bot.theme_files import MAX_BYTES, ThemeFile, file_name, read, shipped, shipped_one, write
from bot.theme_pictures import ThemePictures
from bot.wall.errors import status_of
from bot.wall.forms import read_form
from bot.wall.here import is_here
from bot.wall.multipart import Upload
from bot.wall.rendering import Renderer
from bot.wall.services import Services
from bot.wall.settings import WallSettings

_HERE = (
    "Themes are added from the machine that Dreamstream runs on, from Discord with /theme, or with "
    "dreamstream themes."
)


class Theming:
    """The page of themes, and what is sent from it."""

    def __init__(
        self,
        settings: WallSettings,
        services: Services,
        renderer: Renderer,
        pictures: ThemePictures | None = None,
    ) -> None:
        self._settings = settings
        self._pictures = pictures
        self._services = services
        self._renderer = renderer

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [
            web.get("/themes", self.themes),
            web.post("/themes", self.take_in),
            web.post("/themes/{slug}/picture", self.show),
            web.get("/s/{slug}/theme.toml", self.export),
        ]

    async def export(self, request: web.Request) -> web.StreamResponse:
        """Send a theme as a file."""
        theme = await self._services.visible_theme(request.match_info["slug"])
        return web.Response(
            body=write(theme),
            content_type="application/toml",
            headers={"Content-Disposition": f'attachment; filename="{file_name(theme)}"'},
        )

    async def themes(self, request: web.Request) -> web.StreamResponse:
        """List the public streams and, at the machine itself, what can be added."""
        return await self._page(request)

    async def take_in(self, request: web.Request) -> web.StreamResponse:
        """Add a shipped theme (``shipped``), or one of an uploaded file (``file``)."""
        if not is_here(request, self._settings):
            raise ForbiddenError(_HERE)
        form = await read_form(request)
        field, name = form.get("file"), form.get("shipped")
        try:
            if isinstance(name, str) and name:
                one = await asyncio.to_thread(shipped_one, name)
            elif isinstance(field, Upload):
                one = await asyncio.to_thread(_read, field)
            else:
                raise InvalidRequestError("file", "Choose a theme's file, such as planets.toml.")
            theme = await self._services.themes.take_up(one.slug, one.title, **one.details)
        except DreamstreamError as error:
            return await self._page(request, error)
        raise web.HTTPSeeOther(
            "/themes" if theme.visibility is Visibility.PRIVATE else f"/s/{theme.slug}"
        )

    async def show(self, request: web.Request) -> web.StreamResponse:
        """Have a dream's picture (``dream``), an uploaded one (``file``) or none stand for one."""
        if not is_here(request, self._settings) or self._pictures is None:
            raise ForbiddenError(_HERE)
        theme = await self._services.visible_theme(request.match_info["slug"])
        form = await read_form(request)
        field, words = form.get("file"), str(form.get("dream", ""))
        try:
            if isinstance(field, Upload):
                await self._pictures.take_in(theme.slug, field.data)
            elif named := [word for word in re.split(r"[^0-9a-z]+", words.lower()) if is_id(word)]:
                dream, _ = await self._services.visible_dream(named[-1])
                await self._pictures.choose(theme.slug, dream)
            elif form.get("none"):
                await self._pictures.take_off(theme.slug)
            else:
                raise InvalidRequestError(
                    "picture", "Choose a picture's file, or give a dream's id or its address."
                )
        except DreamstreamError as error:
            return await self._page(request, error)
        raise web.HTTPSeeOther("/themes")

    async def _page(
        self, request: web.Request, error: DreamstreamError | None = None
    ) -> web.Response:
        known: list[Theme] = await self._services.themes.list()
        here = is_here(request, self._settings)
        offered: list[ThemeFile] = []
        if here:
            slugs = {theme.slug for theme in known if not theme.retired}
            found = await asyncio.to_thread(shipped)
            offered = [one for one in found.values() if one.slug not in slugs]
        public = [theme for theme in known if theme.visibility is Visibility.PUBLIC]
        return self._renderer.page(
            request,
            "themes.html",
            status=200 if error is None else status_of(error),
            themes=public,
            here=here,
            picturing=here and self._pictures is not None,
            offered=offered,
            error=error,
        )


def _read(field: Upload) -> ThemeFile:
    return read(field.data[: MAX_BYTES + 1], field.filename)
