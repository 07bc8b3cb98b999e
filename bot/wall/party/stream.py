"""A party's pages kept up to date (server-sent events).

What happened is told as which parts of a page it changed; a page then fetches those parts, as its
visitor may see them. So nobody's page depends on what it missed: one that comes back is told of
all parts, and one whose stage is over becomes the next stage's. In between, `live` tells how
forming pictures stand and `round` what is played, at most every `EVERY_S`, the latest only,
rendered once for all.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress

from aiohttp import web
from markupsafe import Markup

from bot.errors import RequestError
from bot.model import ENDINGS, EventKind, Live, StreamEvent
from bot.unforeseen import Errors
from bot.wall.connection import Connection, Seen, last_seen, message
from bot.wall.events import HEARTBEAT_S, RETRY_MS, EventStreams
from bot.wall.party.door import Door
from bot.wall.party.evening import Evening
from bot.wall.party.rounds import Rounds
from bot.wall.rendering import Renderer
from bot.wall.services import Services

log = logging.getLogger(__name__)

EVERY_S = 0.4
_LOOK_S = 1.0
_KEPT = 512
_PERSONAL = frozenset({"desk", "said", "pictures", "votes"})
_DREAM = frozenset({"pictures", "votes"})
# What each thing that happens at a party changes on its pages. "reload" is the whole page.
_CHANGED: dict[str, frozenset[str]] = {
    "opened": frozenset(),
    "held": frozenset({"desk"}),
    "joined": frozenset({"desk"}),
    "left": frozenset({"desk"}),
    "removed": _PERSONAL,  # whom it is about finds that there is nothing here for them any more
    "role": frozenset({"desk", "said"}),
    "host": frozenset({"desk", "said"}),
    "credit": frozenset(),
    "said": frozenset({"said"}),
    "hidden": frozenset({"said"}),
    "drawn": frozenset({"pictures"}),
    "stage": frozenset({"reload"}),
    "ended": frozenset({"reload"}),
    "bundled": frozenset({"desk"}),
    "timer": frozenset({"desk"}),
    "time": frozenset({"desk"}),
    "settings": frozenset({"desk"}),
    "voted": frozenset({"votes"}),
    "finale": frozenset({"pictures", "desk"}),
    "enlarged": frozenset({"pictures", "desk"}),
}


class PartyStreams:
    """Tells a party's pages what changed. `events` counts and ends all of the wall's streams."""

    def __init__(
        self,
        services: Services,
        renderer: Renderer,
        door: Door,
        events: EventStreams,
        rounds: Rounds | None = None,
    ) -> None:
        self._services = services
        self._renderer = renderer
        self._cursor = renderer.cursors.of
        self._door = door
        self._events = events
        self._rounds = rounds
        self._rendered: OrderedDict[tuple[Live, bool], bytes] = OrderedDict()
        self._errors = Errors("wall-party-events", log)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer ``/p/{code}/events``; the page says its ``stage`` and the ``after`` it shows."""
        evening = await self._door.see(request)
        seen = last_seen(request, self._renderer.cursors)
        with self._events.place_for(request):
            response = web.StreamResponse(
                headers={
                    "Content-Type": "text/event-stream; charset=utf-8",
                    "Cache-Control": "no-store",
                    "X-Accel-Buffering": "no",
                }
            )
            await response.prepare(request)
            connection = Connection(request, response)
            try:
                await connection.send(f"retry: {RETRY_MS}\n\n".encode())
                await self._serve(connection, request, evening.theme.id, seen)
            except ConnectionError:
                log.debug("somebody at a party hung up")
            except RequestError:
                # It may be seen no more: the page comes back, and is told so.
                with suppress(ConnectionError):
                    await connection.send(message("reload", "reload"))
            except Exception as error:
                # The answer has begun: nothing can be said in it any more but its end.
                self._errors.tell(error, "a party's events broke off")
        return response

    async def _serve(
        self, connection: Connection, request: web.Request, theme_id: int, seen: Seen
    ) -> None:
        async with self._services.feed.listen(theme_id) as updates:
            # Read after listening began: what changes meanwhile comes as an event as well.
            evening = await self._door.see(request)
            if request.query.get("stage", evening.stage) != evening.stage:
                await connection.send(message("reload", "reload", self._cursor(evening.version)))
                return
            missed = seen.last_id is not None and seen.last_id < evening.version
            page = _Page(evening, behind=seen.lost or missed)
            # What a page shows that was away, or that says it tells of a game, may be over.
            page.round = None if connection.again or "round" in request.query else Markup()
            reading = asyncio.create_task(page.read(updates))
            reading.add_done_callback(lambda _: page.ready.set())
            try:
                with ExitStack() as stack:
                    if self._rounds is not None:
                        stack.enter_context(self._rounds.telling(page.note_round))
                        page.note_round()
                    await self._follow(connection, request, page, reading)
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _follow(
        self,
        connection: Connection,
        request: web.Request,
        page: _Page,
        reading: asyncio.Task[None],
    ) -> None:
        loop = asyncio.get_running_loop()
        heartbeat_at = loop.time() + HEARTBEAT_S
        while not (self._events.closing or connection.gone or reading.done()):
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await page.ready.wait()
            page.ready.clear()
            if page.doubted:
                page.doubted = False
                await self._door.see(request)  # raises where they may see it no more
            if text := self._take(page) + await self._round(page):
                await connection.send(text)
                heartbeat_at = loop.time() + HEARTBEAT_S
                await asyncio.sleep(EVERY_S)
            elif loop.time() >= heartbeat_at:
                await connection.send(b": still here\n\n")
                heartbeat_at = loop.time() + HEARTBEAT_S
        if reading.done():
            await reading  # raises what it ended by

    def _take(self, page: _Page) -> bytes:
        """Return all that has come up, each part once."""
        parts, page.parts = page.parts, set()
        if "reload" in parts:
            return message("reload", "reload", self._cursor(page.last_id))
        messages = [message(part, "changed", self._cursor(page.last_id)) for part in sorted(parts)]
        standing, page.standing = page.standing, {}
        for live in standing.values():
            fresh = page.versions.get(live.dream_id) != live.preview_version
            page.versions[live.dream_id] = live.preview_version
            messages.append(self._live(live, fresh))
        return b"".join(messages)

    async def _round(self, page: _Page) -> bytes:
        """Return what is played, if that is other than the page was told."""
        if self._rounds is None or not page.round_doubted:
            return b""
        page.round_doubted = False
        told, page.round = page.round, await self._rounds.now(page.theme_id)
        # Pages take only what is about something that they have: its first id says what.
        place = Markup('<div id="round-now">{}</div>').format(page.round)
        return b"" if told == page.round else message("round", place)

    def _live(self, live: Live, fresh: bool) -> bytes:
        made = self._rendered.get((live, fresh))
        if made is None:
            made = message("live", self._renderer.live(live, fresh))
            self._rendered[live, fresh] = made
            while len(self._rendered) > _KEPT:
                self._rendered.popitem(last=False)
        return made


class _Page:
    """What one page has yet to be told."""

    def __init__(self, evening: Evening, *, behind: bool) -> None:
        self.ready = asyncio.Event()
        self.parts: set[str] = set(_PERSONAL) if behind else set()
        self.standing: dict[str, Live] = {}
        self.versions: dict[str, int] = {}
        self.last_id = evening.version
        self.doubted = False
        self.theme_id = evening.theme.id
        self.round: Markup | None = None
        self.round_doubted = False
        # Of what else forms, which is not published, nothing leaves the channel it was asked in.
        self._forming = {one.dream.id for one in evening.forming}
        if behind:
            self.ready.set()

    def note_round(self) -> None:
        """Have it looked at again what is played."""
        self.round_doubted = True
        self.ready.set()

    async def read(self, updates: AsyncIterator[StreamEvent | Live]) -> None:
        """Sort what comes, until it ends."""
        async for update in updates:
            if isinstance(update, Live):
                if update.dream_id not in self._forming:
                    continue
                self.standing[update.dream_id] = update
            else:
                self.last_id = max(self.last_id, update.id)
                self._note(update)
            self.ready.set()

    def _note(self, event: StreamEvent) -> None:
        if event.kind is EventKind.PARTY:
            what = event.payload.get("what", "")
            self.parts |= _CHANGED.get(what, _PERSONAL)
            self.doubted |= what == "removed"
        elif event.kind is EventKind.THEME:
            self.doubted = True
        else:
            self.parts |= _DREAM
            if event.dream_id is None:
                return
            if event.kind is EventKind.ASKED and event.payload.get("published", True):
                self._forming.add(event.dream_id)
            elif event.kind in ENDINGS or event.kind is EventKind.DELETED:
                self._forming.discard(event.dream_id)
            self.standing.pop(event.dream_id, None)
