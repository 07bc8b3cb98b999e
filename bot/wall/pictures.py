"""Pictures, small pictures and previews.

A picture is reached through a dream (``?d=``) whose theme may be seen: knowing the hash of a
picture in a private stream is not enough to see it.
"""

from __future__ import annotations

import re

from aiohttp import web

from bot.errors import NotFoundError
from bot.model import Theme, Visibility
from bot.wall.rendering import thumbnail_url
from bot.wall.services import Services

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NOT_HERE = "There is no such picture here."


class Pictures:
    """Serves files of the library, and what dreams look like on the way."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [
            web.get("/i/{sha256}.png", self.picture),
            web.get("/t/{sha256}.webp", self.thumbnail),
            web.get("/d/{dream_id}/preview.webp", self.preview),
        ]

    async def picture(self, request: web.Request) -> web.StreamResponse:
        """Send the PNG; ``?download`` has the browser keep it as a file."""
        sha256, theme = await self._allowed(request)
        headers = _kept(theme)
        headers["Content-Type"] = "image/png"
        if "download" in request.query:
            name = f"{theme.slug}-{sha256[:8]}.png"
            headers["Content-Disposition"] = f'attachment; filename="{name}"'
        return web.FileResponse(self._services.library.path(sha256), headers=headers)

    async def thumbnail(self, request: web.Request) -> web.StreamResponse:
        """Send the small WebP."""
        sha256, theme = await self._allowed(request)
        path = await self._services.library.make_thumbnail(sha256)
        headers = _kept(theme)
        headers["Content-Type"] = "image/webp"
        return web.FileResponse(path, headers=headers)

    async def preview(self, request: web.Request) -> web.StreamResponse:
        """Send what a dream looks like now; a finished one is sent on to its picture."""
        dream, _ = await self._services.visible_dream(request.match_info["dream_id"])
        preview = self._services.dreams.preview(dream.id)
        if preview is not None:
            version, webp = preview
            response = web.Response(body=webp, content_type="image/webp")
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
        dream, theme = await self._services.visible_dream(dream_id)
        own = {dream.recipe.init_sha256}
        if dream.image is not None:
            own.add(dream.image.sha256)
        if sha256 not in own:
            raise NotFoundError(_NOT_HERE)
        return sha256, theme


def _kept(theme: Theme) -> dict[str, str]:
    # Named by content, so it never changes; but only a public stream's may lie in a shared cache.
    who = "public" if theme.visibility is Visibility.PUBLIC else "private"
    return {"Cache-Control": f"{who}, max-age=31536000, immutable"}
