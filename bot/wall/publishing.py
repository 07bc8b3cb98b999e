"""Parties' bundles: each a folder of pages and files, seen by whom the party's stream is seen by.

The pages hold words that people typed, so the policy lets them load nothing but their own files,
and run nothing, whatever is in them.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import web

from bot.errors import NotFoundError
from bot.ids import is_id
from bot.model import Theme
from bot.publish.model import INDEX, ORIGINALS, WHOLE
from bot.wall.guard import mark
from bot.wall.rendering import unlisted
from bot.wall.services import Services, looks_at

_NOT_HERE = "There is no such bundle here."
_HEADERS = {
    "Cache-Control": "private, no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
_KEPT = {ORIGINALS: "originals", WHOLE: "bundle"}
_STEPS = frozenset({"", ".", ".."})
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".png": "image/png",
    ".webp": "image/webp",
    ".mp4": "video/mp4",
    ".zip": "application/zip",
}


class Bundles:
    """Serves what parties have published."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [web.get("/b/{party_id}", self.begin), web.get("/b/{party_id}/{path:.*}", self.file)]

    async def begin(self, request: web.Request) -> web.StreamResponse:
        """Send on to the first page, from which the other addresses are reckoned."""
        await self._bundle(request)
        raise web.HTTPFound(f"/b/{request.match_info['party_id']}/")

    async def file(self, request: web.Request) -> web.StreamResponse:
        """Send a page or a file of a bundle."""
        folder, theme = await self._bundle(request)
        path = await asyncio.to_thread(_inside, folder, request.match_info["path"])
        headers = _HEADERS | unlisted(theme) | {"Content-Type": _TYPES[path.suffix]}
        tag = f"{folder.name}-{request.match_info['path']}".encode().hex()
        if any(known.value in (tag, "*") for known in request.if_none_match or ()):
            return web.Response(status=304, headers={**headers, "ETag": f'"{tag}"'})
        if path.name in _KEPT and path.parent == folder:
            name = f"{request.match_info['party_id']}-{_KEPT[path.name]}.zip"
            headers["Content-Disposition"] = f'attachment; filename="{name}"'
        mark(request, tag)
        return web.FileResponse(path, headers=headers)

    async def _bundle(self, request: web.Request) -> tuple[Path, Theme]:
        """Return the folder of what was published, and the theme that it is of."""
        party_id = request.match_info["party_id"]
        parties, publishing = self._services.parties, self._services.publishing
        if parties is None or publishing is None or not is_id(party_id):
            raise NotFoundError(_NOT_HERE)
        try:
            party = await parties.get(party_id)
        except NotFoundError:
            raise NotFoundError(_NOT_HERE) from None
        theme = await parties.theme_of(party)
        if not await looks_at(theme):
            raise NotFoundError(_NOT_HERE)
        made = await publishing.bundle_of(party_id)
        if made is None:
            raise NotFoundError(_NOT_HERE)
        return made.folder, theme


def _inside(folder: Path, asked: str) -> Path:
    """Return the file of a bundle that an address names; it may block.

    Raises:
        NotFoundError: there is none, or it is not one of the bundle's.
    """
    # Each file has one address: a page's links are reckoned from it, and so is what is remembered.
    if asked and not _STEPS.isdisjoint(asked.split("/")):
        raise NotFoundError(_NOT_HERE)
    path = folder / (asked or INDEX)
    try:
        whole = path.resolve()
        found = whole.is_relative_to(folder.resolve()) and whole.is_file()
    except (OSError, ValueError):
        found = False
    if not found or path.suffix not in _TYPES:
        raise NotFoundError(_NOT_HERE)
    return path
