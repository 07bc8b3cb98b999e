"""Copies of what is kept about people, under names that nobody can guess.

Who has the name has the copy: it was told to its person alone, and is good for a day. No cache
keeps it, and no page leads there.
"""

from __future__ import annotations

from aiohttp import web

from bot.privacy.exporting import Exports


class ExportRoutes:
    """Serves them."""

    def __init__(self, exports: Exports) -> None:
        self._exports = exports

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [web.get("/exports/{token:[A-Za-z0-9_-]{20,60}}.zip", self.send)]

    async def send(self, request: web.Request) -> web.StreamResponse:
        """Send a copy."""
        found = self._exports.find(request.match_info["token"])
        headers = {
            "Cache-Control": "no-store",
            "Content-Type": "application/zip",
            "Content-Disposition": 'attachment; filename="dreamstream.zip"',
            "X-Robots-Tag": "noindex",
        }
        return web.FileResponse(found.path, headers=headers)
