"""A stream's events, sent to a browser as they happen (server-sent events).

An entry of the log is sent with its id, as the HTML that it changes; a browser that comes back
names the last id it had and is sent what it missed first. How a dream stands in between is sent
without an id, at most every `LIVE_EVERY_S`, the latest only. Nothing is kept for a browser that
does not read: it is let go, and comes back.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import lru_cache

from aiohttp import web

from bot.errors import LimitError, RequestError
from bot.model import EventKind, Live, StreamEvent, Theme
from bot.wall.guard import address_of
from bot.wall.rendering import Renderer
from bot.wall.services import Services
from bot.wall.settings import WallSettings

log = logging.getLogger(__name__)

HEARTBEAT_S = 15.0
LIVE_EVERY_S = 0.4
SLOW_S = 10.0
RETRY_MS = 1500
# Someone further behind is better served by the page as it is now.
MAX_REPLAY = 500
_LOOK_S = 1.0
_REMEMBERED = 256


class EventStreams:
    """Every open connection of every stream's events."""

    def __init__(self, settings: WallSettings, services: Services, renderer: Renderer) -> None:
        self._settings = settings
        self._services = services
        self._renderer = renderer
        self._open: Counter[str] = Counter()
        self._closing = asyncio.Event()
        # Rendered once for all who watch: entries of the log by their id, standings by themselves.
        self._entries: OrderedDict[int, asyncio.Task[bytes]] = OrderedDict()
        self._live_message = lru_cache(_REMEMBERED)(self._make_live_message)

    @property
    def open(self) -> int:
        """How many connections there are."""
        return self._open.total()

    def close(self) -> None:
        """End every connection; the browsers come back by themselves."""
        self._closing.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer ``/s/{slug}/events``; ``?dream=`` keeps to one dream."""
        theme = await self._services.visible_theme(request.match_info["slug"])
        after = _last_seen(request)
        with self._place_for(address_of(request, self._settings)):
            response = web.StreamResponse(
                headers={
                    "Content-Type": "text/event-stream; charset=utf-8",
                    "Cache-Control": "no-store",
                    "X-Accel-Buffering": "no",
                }
            )
            await response.prepare(request)
            try:
                await self._serve(_Connection(request, response), theme, after)
            except ConnectionError:
                log.debug("a watcher of %s is gone", theme.slug)
            except Exception:
                # The answer has begun: nothing can be said in it any more but its end.
                log.exception("the events of %s broke off", theme.slug)
        return response

    async def _serve(self, connection: _Connection, theme: Theme, after: int | None) -> None:
        await connection.send(f"retry: {RETRY_MS}\n\n".encode())
        if after is not None and await self._too_far_behind(theme.id, after):
            newest = await self._services.feed.last_id()
            await connection.send(_message("reload", "reload", newest))
            return
        async with self._services.feed.listen(theme.id, after=after) as updates:
            await self._follow(connection, updates, theme.slug)

    @contextmanager
    def _place_for(self, address: str) -> Iterator[None]:
        if self._closing.is_set() or self._open[address] >= self._settings.streams_per_address:
            raise LimitError("Too many pages are open from your address. Close some.", 30)
        self._open[address] += 1
        try:
            yield
        finally:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]

    async def _too_far_behind(self, theme_id: int, after: int) -> bool:
        feed = self._services.feed
        if await feed.last_id() - after <= MAX_REPLAY:
            return False
        missed = await feed.replay(theme_id=theme_id, after=after, limit=MAX_REPLAY + 1)
        return len(missed) > MAX_REPLAY

    async def _follow(
        self,
        connection: _Connection,
        updates: AsyncIterator[StreamEvent | Live],
        slug: str,
    ) -> None:
        """Pass on updates until the browser, the feed or the wall ends it."""
        only = connection.only
        loop = asyncio.get_running_loop()
        standing: dict[str, Live] = {}
        shown: dict[str, int] = {}
        live_at = loop.time()
        heartbeat_at = loop.time() + HEARTBEAT_S
        closing = asyncio.ensure_future(self._closing.wait())
        coming = asyncio.ensure_future(anext(updates, None))
        try:
            while not closing.done() and not connection.gone:
                wake_at = min(heartbeat_at, live_at) if standing else heartbeat_at
                await asyncio.wait(
                    (coming, closing),
                    timeout=max(0.0, min(wake_at - loop.time(), _LOOK_S)),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if coming.done():
                    update = coming.result()
                    if update is None:
                        return
                    coming = asyncio.ensure_future(anext(updates, None))
                    if only is not None and update.dream_id not in (only, None):
                        continue
                    if isinstance(update, Live):
                        standing[update.dream_id] = update
                    else:
                        standing.pop(update.dream_id or "", None)
                        if update.kind is EventKind.THEME:
                            # Raises, and so ends this, where the theme may be seen no more.
                            await self._services.visible_theme(slug)
                        await connection.send(await self._render(update))
                        heartbeat_at = loop.time() + HEARTBEAT_S
                now = loop.time()
                if standing and now >= live_at:
                    await connection.send(self._render_live(standing, shown))
                    standing.clear()
                    live_at = now + LIVE_EVERY_S
                    heartbeat_at = now + HEARTBEAT_S
                elif now >= heartbeat_at:
                    await connection.send(b": still here\n\n")
                    heartbeat_at = now + HEARTBEAT_S
        except RequestError:
            log.debug("a stream was closed to its watchers: %s", slug)
        finally:
            coming.cancel()
            closing.cancel()
            await asyncio.gather(coming, closing, return_exceptions=True)

    async def _render(self, event: StreamEvent) -> bytes:
        """Return an entry of the log as a message."""
        task = self._entries.get(event.id)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = asyncio.ensure_future(self._make_message(event))
            self._entries[event.id] = task
            while len(self._entries) > _REMEMBERED:
                self._entries.popitem(last=False)
        # One watcher's end must not end it for the others.
        return await asyncio.shield(task)

    async def _make_message(self, event: StreamEvent) -> bytes:
        html = ""
        if event.dream_id is not None:
            try:
                dream = await self._services.dreams.get(event.dream_id)
                html = self._renderer.event(
                    event.kind, dream, self._services.dreams.live(event.dream_id)
                )
            except RequestError:
                log.warning("event %d names a dream that is gone: %s", event.id, event.dream_id)
        return _message(event.kind.value, html, event.id)

    def _render_live(self, standing: dict[str, Live], shown: dict[str, int]) -> bytes:
        """Return messages for each dream; a preview is named only where it is a new one."""
        messages = []
        for dream_id, live in standing.items():
            fresh = live.preview_version != shown.get(dream_id, 0)
            shown[dream_id] = live.preview_version
            messages.append(self._live_message(live, fresh))
        return b"".join(messages)

    def _make_live_message(self, live: Live, fresh: bool) -> bytes:
        return _message("live", self._renderer.live(live, fresh))


class _Connection:
    """One browser's side."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self._request = request
        self._response = response
        self.only = request.query.get("dream")

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


def _last_seen(request: web.Request) -> int | None:
    """Return the id of the last entry the browser has; its own word goes before the page's."""
    for text in (request.headers.get("Last-Event-ID"), request.query.get("after")):
        # Longer than any id; SQLite's integers have 63 bits.
        if text and text.isascii() and text.isdigit() and len(text) <= 18:
            return int(text)
    return None


def _message(name: str, data: str, event_id: int | None = None) -> bytes:
    lines = [f"id: {event_id}"] if event_id is not None else []
    lines.append(f"event: {name}")
    lines.extend(f"data: {line}" for line in data.splitlines() if line.strip())
    if not lines[-1].startswith("data:"):
        # Without data a browser would not take notice of the id.
        lines.append("data: ")
    return ("\n".join(lines) + "\n\n").encode()
