"""The files that pages are made with: styles, scripts, the sign. Only those that are there."""

from __future__ import annotations

import hashlib
from pathlib import Path

from aiohttp import web

from bot.errors import NotFoundError

FOLDER = Path(__file__).parent / "static"
# Not left to the system's own table, which on some knows no type for scripts.
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
    ".webp": "image/webp",
}


class Files:
    """Knows each file by its name, and its version by its content."""

    def __init__(self) -> None:
        self._versions = {
            path.relative_to(FOLDER).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:10]
            for path in FOLDER.rglob("*")
            if path.suffix in _TYPES
        }

    def url(self, name: str) -> str:
        """Say where a file is served; with its version, so that browsers may keep it for good."""
        return f"/static/{name}?v={self._versions[name]}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer ``/static/{name}``."""
        name = request.match_info["name"]
        if name not in self._versions:
            raise NotFoundError("There is nothing here.")
        kept = "max-age=31536000, immutable" if "v" in request.query else "no-cache"
        headers = {
            "Content-Type": _TYPES[Path(name).suffix],
            "Cache-Control": f"public, {kept}",
        }
        return web.FileResponse(FOLDER / name, headers=headers)
