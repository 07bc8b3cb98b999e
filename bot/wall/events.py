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
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress

from aiohttp import web

from bot.errors import GoneError, LimitError, RequestError
from bot.model import DreamState, EventKind, Live, StreamEvent, Theme
from bot.wall.forming import Forming
from bot.wall.guard import address_of
from bot.wall.guests import guest_of
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
_REMEMBERED = 2048  # more than a replay, and than all pages' cards together change at once
_AHEAD = 200
_SLICE_S = 0.002
_ENDINGS = (EventKind.DONE, EventKind.FAILED, EventKind.CANCELLED)
_Key = tuple[str | None, int | Live | None]


class EventStreams:
    """Every open connection of every stream's events."""

    def __init__(self, settings: WallSettings, services: Services, renderer: Renderer) -> None:
        self._settings = settings
        self._services = services
        self._renderer = renderer
        self._open: Counter[str] = Counter()
        self._closing = asyncio.Event()
        self._watchers: set[_Watcher] = set()
        # Rendered once for all who watch: entries of the log by their dream and id, cards and
        # standings by the standing that they show.
        self._made: OrderedDict[_Key, asyncio.Task[bytes]] = OrderedDict()
        self._standings: OrderedDict[tuple[Live, bool], bytes] = OrderedDict()
        # For all watchers: else each one's slice comes in the same round of the event loop.
        self._rendering = asyncio.Lock()
        self._pace = _Pace()

    @property
    def open(self) -> int:
        """How many connections there are."""
        return self._open.total()

    def close(self) -> None:
        """End every connection; the browsers come back by themselves."""
        self._closing.set()
        for watcher in self._watchers:
            watcher.ready.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer ``/s/{slug}/events``; ``?dream=`` keeps to one dream."""
        theme = await self._services.visible_theme(request.match_info["slug"])
        after = _last_seen(request)
        deleted = await self._is_deleted(request.query.get("dream"))
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
                connection = _Connection(request, response)
                if deleted:
                    await connection.send(_message("reload", "reload"))
                else:
                    await self._serve(connection, theme, after)
            except ConnectionError:
                log.debug("a watcher of %s is gone", theme.slug)
            except Exception:
                # The answer has begun: nothing can be said in it any more but its end.
                log.exception("the events of %s broke off", theme.slug)
        return response

    async def _is_deleted(self, dream_id: str | None) -> bool:
        """Say whether the dream that a page keeps to is gone; refuse one that it may not see."""
        if dream_id is None:
            return False
        try:
            await self._services.visible_dream(dream_id)
        except GoneError:
            return True
        return False

    async def _serve(self, connection: _Connection, theme: Theme, after: int | None) -> None:
        await connection.send(f"retry: {RETRY_MS}\n\n".encode())
        if after is not None and not await self._catch_up(theme.id, after):
            newest = await self._services.feed.last_id()
            await connection.send(_message("reload", "reload", newest))
            return
        async with self._services.feed.listen(theme.id, after=after) as updates:
            # Read after listening began: what changes meanwhile comes as an event as well.
            dreams = [] if connection.only else await self._services.unfinished(theme.id)
            watcher = _Watcher(connection.only, Forming(connection.person_id, dreams))
            if connection.again:
                watcher.send_all_cards()
            self._watchers.add(watcher)
            try:
                await self._follow(connection, updates, watcher, theme.slug)
            finally:
                self._watchers.discard(watcher)

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

    async def _catch_up(self, theme_id: int, after: int) -> bool:
        """Say whether what a page has missed can be sent to it, and make it ready."""
        feed = self._services.feed
        if await feed.last_id() <= after:
            return True
        missed = await feed.replay(theme_id=theme_id, after=after, limit=MAX_REPLAY + 1)
        for event in missed:
            if event.kind is EventKind.DELETED:
                self._forget(event.dream_id)
        return len(missed) <= MAX_REPLAY

    def _forget(self, dream_id: str | None) -> None:
        """Keep nothing that was rendered of a dream that has been deleted."""
        for key in [key for key in self._made if key[0] == dream_id]:
            del self._made[key]

    async def _follow(
        self,
        connection: _Connection,
        updates: AsyncIterator[StreamEvent | Live],
        watcher: _Watcher,
        slug: str,
    ) -> None:
        """Pass on updates until the browser, the feed or the wall ends it."""
        loop = asyncio.get_running_loop()
        live_at = loop.time()
        heartbeat_at = loop.time() + HEARTBEAT_S
        reading = asyncio.create_task(watcher.read(updates, self._pace))
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
                        # Raises, and so ends this, where the theme may be seen no more.
                        await self._services.visible_theme(slug)
                    if message := await self._render(coming):
                        await connection.send(message)
                    heartbeat_at = loop.time() + HEARTBEAT_S
                    await self._pace.rest()
                if reading.done():
                    await reading
                    return
                now = loop.time()
                if watcher.restless and now >= live_at:
                    await connection.send(await self._render_standing(watcher))
                    live_at = now + LIVE_EVERY_S
                    heartbeat_at = now + HEARTBEAT_S
                elif now >= heartbeat_at:
                    await connection.send(b": still here\n\n")
                    heartbeat_at = now + HEARTBEAT_S
        except RequestError:
            log.debug("a stream was closed to its watchers: %s", slug)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _render(self, coming: StreamEvent | _Passed | str) -> bytes:
        """Return an entry of the log, or the card of a dream, as a message."""
        if isinstance(coming, _Passed):
            return _message(EventKind.ASKED.value, "", coming.event_id)
        if isinstance(coming, StreamEvent):
            event = coming
            key = (event.dream_id, event.id)
            if event.kind is EventKind.DELETED and key not in self._made:
                self._forget(event.dream_id)
            return await self._once(key, lambda: self._make_message(event))
        dream_id, live = coming, self._services.dreams.live(coming)
        return await self._once((dream_id, live), lambda: self._make_card(dream_id, live))

    async def _once(self, key: _Key, make: Callable[[], Coroutine[None, None, bytes]]) -> bytes:
        task = self._made.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = asyncio.create_task(make())
            self._made[key] = task
            while len(self._made) > _REMEMBERED:
                self._made.popitem(last=False)
        # One watcher's end must not end it for the others.
        return await asyncio.shield(task)

    async def _make_message(self, event: StreamEvent) -> bytes:
        html = ""
        if event.dream_id is not None:
            try:
                dream = await self._services.dreams.get(event.dream_id)
                gone = dream.deleted_ms is not None
                if dream.published and gone == (event.kind is EventKind.DELETED):
                    async with self._rendering:
                        live = self._services.dreams.live(event.dream_id)
                        html = self._renderer.event(event.kind, dream, live)
                        await self._pace.rest()
            except RequestError:
                log.warning("event %d names a dream that is gone: %s", event.id, event.dream_id)
        return _message(event.kind.value, html, event.id)

    async def _make_card(self, dream_id: str, live: Live | None) -> bytes:
        try:
            dream = await self._services.dreams.get(dream_id)
        except RequestError:
            return b""
        # It may be over by now: its end is on the way, and must not find a card made after it.
        if dream.state.final or not dream.published:
            return b""
        async with self._rendering:
            html = self._renderer.card(dream, live)
            await self._pace.rest()
        return _message(EventKind.ASKED.value, html)

    async def _render_standing(self, watcher: _Watcher) -> bytes:
        """Return how a page's dreams stand; a preview is named only where it is a new one."""
        messages = []
        hidden = watcher.hidden_if_changed()
        if hidden is not None:
            messages.append(_message("live", self._renderer.hidden(hidden)))
        for live, fresh in watcher.take_standing():
            messages.append(await self._standing(live, fresh))
            await self._pace.rest()
        return b"".join(messages)

    async def _standing(self, live: Live, fresh: bool) -> bytes:
        message = self._standings.get((live, fresh))
        if message is not None:
            return message
        async with self._rendering:
            message = self._standings.get((live, fresh))
            if message is None:
                message = _message("live", self._renderer.live(live, fresh))
                self._standings[live, fresh] = message
                while len(self._standings) > _REMEMBERED:
                    self._standings.popitem(last=False)
                await self._pace.rest()
        return message


class _Passed:
    """An entry of the log that changes nothing on this page but the last id it has."""

    def __init__(self, event_id: int) -> None:
        self.event_id = event_id


class _Watcher:
    """What is to be sent to one page, and which cards it has."""

    def __init__(self, only: str | None, forming: Forming) -> None:
        self.ready = asyncio.Event()
        self._only = only
        self._forming = forming
        self._coming: deque[StreamEvent | _Passed | str] = deque()
        self._room = asyncio.Event()
        self._standing: dict[str, Live] = {}
        self._versions: dict[str, int] = {}
        self._hidden = 0

    @property
    def restless(self) -> bool:
        """Whether something stands otherwise than the page shows it."""
        return bool(self._standing) or self._forming.hidden != self._hidden

    def send_all_cards(self) -> None:
        """Send every card: the page may lack those that came into view while it was away."""
        self._coming.extend(self._forming.cards)
        self._hidden = -1
        self.ready.set()

    async def read(self, updates: AsyncIterator[StreamEvent | Live], pace: _Pace) -> None:
        """Sort what comes, until it ends; waits where the browser does not keep up."""
        async for update in updates:
            await pace.rest()
            # Also on the page of one dream others are shown: those it came of, and that came of it.
            deletes = isinstance(update, StreamEvent) and update.kind is EventKind.DELETED
            if self._only is not None and update.dream_id not in (self._only, None) and not deletes:
                continue
            if isinstance(update, Live):
                self._note(update)
            else:
                self._coming.append(self._follow(update))
                if update.kind in _ENDINGS and update.dream_id is not None:
                    following = self._forming.end(update.dream_id)
                    if following is not None:
                        self._coming.append(following)
            self.ready.set()
            while len(self._coming) >= _AHEAD:
                self._room.clear()
                await self._room.wait()

    def take(self) -> StreamEvent | _Passed | str | None:
        """Return the next entry of the log, or dream whose card is to be sent."""
        if not self._coming:
            return None
        self._room.set()
        return self._coming.popleft()

    def take_standing(self) -> Iterator[tuple[Live, bool]]:
        """Return how dreams stand, and whether each has a new preview."""
        standing, self._standing = self._standing, {}
        for dream_id, live in standing.items():
            yield live, live.preview_version != self._versions.get(dream_id, 0)
            self._versions[dream_id] = live.preview_version

    def hidden_if_changed(self) -> int | None:
        """Return how many dreams have no card, where the page says another number."""
        if self._forming.hidden == self._hidden:
            return None
        self._hidden = self._forming.hidden
        return self._hidden

    def _note(self, live: Live) -> None:
        if self._only is None and live.dream_id not in self._forming.cards:
            if live.state is not DreamState.DRAWING or not self._forming.begin(live.dream_id):
                return
            self._coming.append(live.dream_id)
        self._standing[live.dream_id] = live

    def _follow(self, event: StreamEvent) -> StreamEvent | _Passed:
        if event.dream_id is None:
            return event
        if event.kind in _ENDINGS:
            self._standing.pop(event.dream_id, None)
            self._versions.pop(event.dream_id, None)
        elif event.kind is EventKind.ASKED and self._only is None:
            person_id = "" if event.person is None else event.person.id
            if event.payload.get("published") is False:
                return _Passed(event.id)
            if not self._forming.add(event.dream_id, person_id):
                return _Passed(event.id)
        return event


class _Pace:
    """Lets others have the event loop whenever those who share this have had it for a while."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._over = False

    async def rest(self) -> None:
        """Step aside, if it is time, until there is time again."""
        while time.monotonic() - self._since > _SLICE_S:
            if not self._over:
                self._over = True
                # Ahead of all who step aside now: the next slice is one for them together.
                asyncio.get_running_loop().call_soon(self._begin)
            await asyncio.sleep(0)

    def _begin(self) -> None:
        self._since = time.monotonic()
        self._over = False


class _Connection:
    """One browser's side."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self._request = request
        self._response = response
        self.only = request.query.get("dream")
        self.person_id = guest_of(request).person.id
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
