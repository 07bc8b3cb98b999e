"""A stream's events, sent to a browser as they happen (server-sent events).

An entry of the log is sent with its id, as the HTML that it changes; a browser that comes back
names the last id it had and is sent what it missed first. How a dream stands in between is sent
without an id, at most every `LIVE_EVERY_S`, the latest only, and only where the page has a card
for it (`forming`). Whatever is sent is rendered once for all who watch. Nothing is kept for a
browser that does not read: it is let go, and comes back.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

from aiohttp import web

from bot.errors import GoneError, LimitError, RequestError
from bot.model import EventKind, Live, StreamEvent
from bot.unforeseen import Errors
from bot.wall.connection import Connection, Seen, last_seen, message
from bot.wall.forming import Forming
from bot.wall.guard import address_of
from bot.wall.messages import Messages
from bot.wall.rendering import Renderer
from bot.wall.scopes import OneStream, Scope
from bot.wall.services import Services, sees
from bot.wall.settings import WallSettings
from bot.wall.slices import Slices
from bot.wall.watcher import Watcher

log = logging.getLogger(__name__)

HEARTBEAT_S = 15.0
LIVE_EVERY_S = 0.4
PASSES_S = 20.0
RETRY_MS = 1500
# Someone further behind is better served by the page as it is now.
MAX_REPLAY = 500
_LOOK_S = 1.0


class EventStreams:
    """Every open connection of every stream's events."""

    def __init__(self, settings: WallSettings, services: Services, renderer: Renderer) -> None:
        self._settings = settings
        self._services = services
        self._cursors = renderer.cursors
        self._open: Counter[str] = Counter()
        self._closing = asyncio.Event()
        self._watchers: set[Watcher] = set()
        self._errors = Errors("wall-events", log)
        self._slices = Slices()
        self._messages = Messages(services, renderer, self._slices)

    @property
    def open(self) -> int:
        """How many connections there are."""
        return self._open.total()

    @property
    def addresses(self) -> int:
        """From how many addresses they are open."""
        return len(self._open)

    def forget(self, dream_id: str) -> None:
        """Render what is sent of a dream anew from now on: it shows another picture."""
        self._messages.forget(dream_id)

    def close(self) -> None:
        """End every connection; the browsers come back by themselves."""
        self._closing.set()
        for watcher in self._watchers:
            watcher.ready.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer ``/s/{slug}/events``; ``?dream=`` keeps to one dream."""
        slug, dream_id = request.match_info["slug"], request.query.get("dream")
        theme = await self._services.visible_theme(slug, dream_id, acts=False)
        scope = OneStream(self._services, theme.id, theme.slug, dream_id, alone=not sees(theme))
        return await self.send(request, scope)

    async def send(self, request: web.Request, scope: Scope) -> web.StreamResponse:
        """Answer with what happens in a part of the log, until the browser hangs up."""
        seen = last_seen(request, self._cursors)
        deleted = await self._is_deleted(request.query.get("dream"))
        with self.place_for(request):
            response = web.StreamResponse(
                headers={
                    "Content-Type": "text/event-stream; charset=utf-8",
                    "Cache-Control": "no-store",
                    "X-Accel-Buffering": "no",
                }
            )
            await response.prepare(request)
            try:
                connection = Connection(request, response)
                if deleted:
                    await connection.send(message("reload", "reload"))
                else:
                    await self._serve(connection, scope, seen)
            except ConnectionError:
                log.debug("a watcher of %s is gone", scope.name)
            except Exception as error:
                # The answer has begun: nothing can be said in it any more but its end.
                self._errors.tell(error, "the events of %s broke off", scope.name)
        return response

    async def _is_deleted(self, dream_id: str | None) -> bool:
        """Say whether the dream that a page keeps to is gone; refuse one that it may not see."""
        if dream_id is None:
            return False
        try:
            await self._services.visible_dream(dream_id, acts=False)
        except GoneError:
            return True
        return False

    async def _serve(self, connection: Connection, scope: Scope, seen: Seen) -> None:
        await connection.send(f"retry: {RETRY_MS}\n\n".encode())
        if seen.lost or not await self._catch_up(scope.theme_id, seen.last_id):
            newest = await self._services.feed.last_id()
            await connection.send(message("reload", "reload", self._cursors.of(newest)))
            return
        async with self._services.feed.listen(scope.theme_id, after=seen.last_id) as updates:
            # Read after listening began: what changes meanwhile comes as an event as well.
            dreams = [] if connection.only else await scope.unfinished()
            watcher = Watcher(connection.only, Forming(connection.visitor, dreams))
            if connection.again:
                watcher.send_all_cards()
            self._watchers.add(watcher)
            try:
                await self._follow(connection, scope.shown_of(updates), watcher, scope)
            finally:
                self._watchers.discard(watcher)

    @property
    def closing(self) -> bool:
        """Whether every connection is to end."""
        return self._closing.is_set()

    @contextmanager
    def place_for(self, request: web.Request) -> Iterator[None]:
        """Count a connection of these or of any other events among those of its address.

        Raises:
            LimitError: there are too many, from there or in all, or the wall is closing.
        """
        address = address_of(request, self._settings)
        if self._closing.is_set() or self._open[address] >= self._settings.streams_per_address:
            raise LimitError("Too many pages are open from your address. Close some.", 30)
        if self.open >= self._settings.streams:
            raise LimitError("Too many pages are open at the moment. This one stays as it is.", 30)
        self._open[address] += 1
        try:
            yield
        finally:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]

    async def _catch_up(self, theme_id: int | None, after: int | None) -> bool:
        """Say whether what a page has missed can be sent to it, and make it ready."""
        feed = self._services.feed
        if after is None or await feed.last_id() <= after:
            return True
        missed = await feed.replay(theme_id=theme_id, after=after, limit=MAX_REPLAY + 1)
        for event in missed:
            if event.kind is EventKind.DELETED:
                self._messages.forget(event.dream_id)
        return len(missed) <= MAX_REPLAY

    async def _follow(
        self,
        connection: Connection,
        updates: AsyncIterator[StreamEvent | Live],
        watcher: Watcher,
        scope: Scope,
    ) -> None:
        """Pass on updates until the browser, the feed or the wall ends it."""
        loop = asyncio.get_running_loop()
        live_at = looked_at = loop.time()
        heartbeat_at = loop.time() + HEARTBEAT_S
        reading = asyncio.create_task(watcher.read(updates, self._slices))
        reading.add_done_callback(lambda _: watcher.ready.set())
        try:
            while not self._closing.is_set() and not connection.gone:
                wake_at = min(heartbeat_at, live_at) if watcher.restless else heartbeat_at
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(min(wake_at, loop.time() + _LOOK_S)):
                        await watcher.ready.wait()
                watcher.ready.clear()
                while (coming := watcher.take()) is not None:
                    if isinstance(coming, StreamEvent) and coming.kind is EventKind.THEME:
                        # Raises, and so ends this, where nothing may be seen any more.
                        less = await scope.is_less()
                        if less:
                            cursor = self._cursors.of(coming.id)
                            await connection.send(message("reload", "reload", cursor))
                            return
                    if text := await self._messages.render(coming):
                        await connection.send(text)
                        # Not for what nobody here is to learn of: who counts would notice.
                        heartbeat_at = loop.time() + HEARTBEAT_S
                    await self._slices.rest()
                if reading.done():
                    await reading
                    return
                now = loop.time()
                if now >= looked_at + PASSES_S:
                    await scope.is_less()  # what was shown by a link may be so no more
                    looked_at = now
                if watcher.restless and now >= live_at:
                    await connection.send(await self._messages.standing(watcher))
                    live_at = now + LIVE_EVERY_S
                    heartbeat_at = now + HEARTBEAT_S
                elif now >= heartbeat_at:
                    await connection.send(b": still here\n\n")
                    heartbeat_at = now + HEARTBEAT_S
        except RequestError:
            log.debug("a stream was closed to its watchers: %s", scope.name)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
