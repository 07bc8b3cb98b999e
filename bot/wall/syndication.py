"""A stream's Atom feed. What is private has none."""

from __future__ import annotations

import asyncio
import hashlib

from aiohttp import web

from bot.atom import MEDIA_TYPE, feed
from bot.wall.guard import mark
from bot.wall.rendering import picture_url, thumbnail_url, unlisted
from bot.wall.services import Services
from bot.wall.settings import WallSettings

ENTRIES = 40


class Syndication:
    """Serves ``/s/{slug}/feed.atom``."""

    def __init__(self, settings: WallSettings, services: Services) -> None:
        self._settings = settings
        self._services = services

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [web.get("/s/{slug}/feed.atom", self.feed)]

    async def feed(self, request: web.Request) -> web.StreamResponse:
        """Send the newest pictures; 304 where the reader has just these.

        The tag is of the content, not of a time: it also changes where a picture was deleted.
        """
        theme = await self._services.visible_theme(request.match_info["slug"], acts=False)
        dreams = await self._services.dreams.recent(theme.id, limit=ENTRIES)
        here = self._settings.public_url.rstrip("/") or f"{request.scheme}://{request.host}"
        body = await asyncio.to_thread(
            feed,
            theme,
            dreams,
            lambda path: here + path,
            picture=picture_url,
            thumbnail=thumbnail_url,
        )
        tag = hashlib.sha256(body).hexdigest()
        headers = {"Cache-Control": "private, no-cache"} | unlisted(theme)
        mark(request, tag)
        if any(kept.value in (tag, "*") for kept in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, content_type=MEDIA_TYPE, charset="utf-8", headers=headers)
