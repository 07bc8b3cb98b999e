"""Films and drawings of a dream, reached through the dream that they belong to.

An SVG can hold scripts and ask for other files. Ours hold none, but whoever opens one must not
have to rely on that: it is sent as a file to keep, with a policy that lets it do nothing.
"""

from __future__ import annotations

from aiohttp import web

from bot.errors import NotFoundError
from bot.wall.guard import mark
from bot.wall.rendering import unlisted
from bot.wall.services import Services

_SHOWN = frozenset({"video/mp4", "image/webp", "image/gif"})
"""What a browser may show by itself; all else is only to be kept."""
_KEPT = frozenset({"image/svg+xml"})
_HEADERS = {
    "Cache-Control": "private, no-cache",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
}
_NOT_HERE = "There is no such file here."


class Attachments:
    """Serves what was made besides pictures."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def routes(self) -> list[web.RouteDef]:
        """Return the route and what answers it."""
        return [web.get("/d/{dream_id}/files/{name}", self.file)]

    async def file(self, request: web.Request) -> web.StreamResponse:
        """Send a file; ``?download`` has the browser keep it."""
        dream_id = request.match_info["dream_id"]
        dream, theme = await self._services.visible_dream(dream_id, acts=False)
        name = request.match_info["name"]
        file = next((file for file in dream.files if file.name == name), None)
        if file is None or file.media_type not in _SHOWN | _KEPT:
            raise NotFoundError(_NOT_HERE)
        headers = _HEADERS | unlisted(theme) | {"Content-Type": file.media_type}
        if any(tag.value in (file.sha256, "*") for tag in request.if_none_match or ()):
            return web.Response(status=304, headers={**headers, "ETag": f'"{file.sha256}"'})
        if file.media_type in _KEPT or "download" in request.query:
            # The name is of our own making: see bot.endings.
            kept = f"{theme.slug}-{dream.id[-8:]}-{file.name}"
            headers["Content-Disposition"] = f'attachment; filename="{kept}"'
        path = await self._services.library.local_file(file)
        mark(request, file.sha256)
        return web.FileResponse(path, headers=headers)
