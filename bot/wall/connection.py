"""One browser that takes a stream's events (server-sent events)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp import web

from bot.wall.cursors import Cursors
from bot.wall.guests import guest_of

SLOW_S = 10.0


def message(name: str, data: str, cursor: str | None = None) -> bytes:
    """Return an event; the browser remembers what it has for an id, if it has one."""
    lines = [f"id: {cursor}"] if cursor is not None else []
    lines.append(f"event: {name}")
    lines.extend(f"data: {line}" for line in data.splitlines() if line.strip())
    if not lines[-1].startswith("data:"):
        # Without data a browser would not take notice of the id.
        lines.append("data: ")
    return ("\n".join(lines) + "\n\n").encode()


class Connection:
    """One browser's side."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self._request = request
        self._response = response
        self.only = request.query.get("dream")
        self.visitor = guest_of(request).persons
        # Whether the page was there before, or has not room for all: it may lack cards.
        self.again = "Last-Event-ID" in request.headers or "again" in request.query

    @property
    def gone(self) -> bool:
        """Whether the browser has hung up."""
        transport = self._request.transport
        return transport is None or transport.is_closing()

    async def send(self, data: bytes) -> None:
        """Write; one who has not read for `SLOW_S` is let go (`ConnectionResetError`)."""
        try:
            async with asyncio.timeout(SLOW_S):
                await self._response.write(data)
        except TimeoutError:
            transport = self._request.transport
            if transport is not None:
                transport.abort()
            raise ConnectionResetError("the browser does not read") from None


@dataclass(frozen=True, slots=True)
class Seen:
    """How far a page says it is."""

    last_id: int | None = None
    """Of the last entry it has; None where it did not say, or nobody can read what it said."""
    lost: bool = False
    """Whether nobody can read it, as under another key: so nobody knows what the page missed."""


def last_seen(request: web.Request, cursors: Cursors) -> Seen:
    """Return how far a page is; the browser's own word goes before the page's."""
    said = [request.headers.get("Last-Event-ID"), request.query.get("after")]
    signs = [text for text in said if text]
    for text in signs:
        if (event_id := cursors.read(text)) is not None:
            return Seen(event_id)
    return Seen(lost=bool(signs))
