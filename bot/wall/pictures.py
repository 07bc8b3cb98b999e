"""Pictures, small pictures and previews.

A picture is reached through a dream (``?d=``) whose theme may be seen: knowing the hash of a
picture in a private stream is not enough to see it; one that stands for a theme, through that
theme. It never changes, but may be seen no more at
any time: so a browser keeps it and asks each time whether it still may, and no cache that several
share keeps it at all.
"""

from __future__ import annotations

import re

from aiohttp import web

from bot.errors import NotFoundError
from bot.model import Theme
from bot.rights import may_look_behind
from bot.thumbnails import THUMBNAIL_SIDE
from bot.wall.guard import mark
from bot.wall.here import actor_of
from bot.wall.rendering import LARGE_THUMBNAIL_SIDE, thumbnail_url, unlisted
from bot.wall.services import Services, looks_at
from bot.wall.settings import WallSettings

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CACHED = {"Cache-Control": "private, no-cache"}
_NOT_HERE = "There is no such picture here."


class Pictures:
    """Serves files of the library, and what dreams look like on the way."""

    def __init__(self, settings: WallSettings, services: Services) -> None:
        self._settings = settings
        self._services = services

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [
            web.get("/i/{sha256}.png", self.picture),
            web.get("/t/{sha256}.webp", self.thumbnail),
            web.get("/s/{slug}/picture.webp", self.of_theme),
            web.get("/d/{dream_id}/preview.webp", self.preview),
        ]

    async def picture(self, request: web.Request) -> web.StreamResponse:
        """Send the PNG; ``?download`` has the browser keep it as a file."""
        sha256, theme = await self._allowed(request)
        if _has(request, sha256):
            return _not_modified(sha256)
        headers = _CACHED | unlisted(theme) | {"Content-Type": "image/png"}
        if "download" in request.query:
            name = f"{theme.slug}-{sha256[:8]}.png"
            headers["Content-Disposition"] = f'attachment; filename="{name}"'
        path = await self._services.library.local(sha256)
        mark(request, sha256)
        return web.FileResponse(path, headers=headers)

    async def thumbnail(self, request: web.Request) -> web.StreamResponse:
        """Send the small WebP; with ``?side=`` the one for large and for fine screens."""
        sha256, theme = await self._allowed(request)
        match request.query.get("side"):
            case None:
                return await self._small(request, sha256, theme)
            case side if side == str(LARGE_THUMBNAIL_SIDE):
                return await self._small(request, sha256, theme, LARGE_THUMBNAIL_SIDE)
        raise NotFoundError(_NOT_HERE)

    async def of_theme(self, request: web.Request) -> web.StreamResponse:
        """Send the picture that stands for a theme, as a small WebP."""
        slug = request.match_info["slug"]
        theme = await self._services.visible_theme(slug, acts=False)
        if theme.picture_sha256 is None:
            raise NotFoundError(_NOT_HERE)
        return await self._small(request, theme.picture_sha256, theme)

    async def _small(
        self, request: web.Request, sha256: str, theme: Theme, side: int = THUMBNAIL_SIDE
    ) -> web.StreamResponse:
        tag = f"{sha256}.{side}.webp"
        if _has(request, tag):
            return _not_modified(tag)
        path = await self._services.library.make_thumbnail(sha256, side)
        mark(request, tag)
        headers = _CACHED | unlisted(theme) | {"Content-Type": "image/webp"}
        return web.FileResponse(path, headers=headers)

    async def preview(self, request: web.Request) -> web.StreamResponse:
        """Send what a dream looks like now; a finished one is sent on to its picture."""
        dream_id = request.match_info["dream_id"]
        dream, theme = await self._services.visible_dream(dream_id, acts=False)
        preview = self._services.dreams.preview(dream.id)
        if preview is not None:
            version, webp = preview
            response = web.Response(body=webp, content_type="image/webp", headers=unlisted(theme))
            if request.query.get("v") == str(version):
                response.headers["Cache-Control"] = "private, max-age=600"
            return response
        if dream.image is not None:
            raise web.HTTPFound(thumbnail_url(dream))
        raise NotFoundError("There is no preview of that dream yet.")

    async def _allowed(self, request: web.Request) -> tuple[str, Theme]:
        sha256 = request.match_info["sha256"]
        dream_id = request.query.get("d")
        if not _SHA256.fullmatch(sha256) or not dream_id:
            raise NotFoundError(_NOT_HERE)
        dream, theme = await self._services.visible_dream(dream_id, acts=False)
        own = set(dream.recipe.named_pictures) if dream.init_kept else set()
        if dream.image is not None:
            own.add(dream.image.sha256)
        if dream.behind is not None and dream.behind.sha256 == sha256:
            await looks_at(theme)  # who moderates may look behind
            if may_look_behind(dream, actor_of(request, self._settings, dream)):
                own.add(sha256)
        if sha256 not in own:
            raise NotFoundError(_NOT_HERE)
        return sha256, theme


def _has(request: web.Request, tag: str) -> bool:
    """Say whether the browser has this already."""
    return any(kept.value in (tag, "*") for kept in request.if_none_match or ())


def _not_modified(tag: str) -> web.Response:
    return web.Response(status=304, headers={**_CACHED, "ETag": f'"{tag}"'})
