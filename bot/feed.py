"""The stream's events, replayed from the log and live; and how unfinished dreams stand.

Every event is read back from the database after its transaction was committed, in the order of
ids, by one task for all listeners: what a listener gets is exactly the log. How a dream stands
(`Live`) is never stored, and only the latest matters: a slow listener skips the rest. A listener
that cannot keep up with the events themselves is ended; it comes back with the id of the last
event it saw and loses nothing. This module does not know who listens, or what a dream is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from bot.model import ENDINGS, Live, StreamEvent
from bot.side_tasks import SideTasks
from bot.store import Store, events

MAX_BEHIND = 1000
_PAGE = 200
_RETRY_S = 1.0


class Feed:
    """What happens, for whoever watches."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listeners: set[_Listener] = set()
        self._tasks = SideTasks()
        self._pump: asyncio.Task[None] | None = None
        self._last = 0  # the newest event that was handed round, while anybody listens
        self._starting = asyncio.Lock()
        self._committed = asyncio.Event()
        self._reading = False
        self._held: dict[str, Live] = {}
        store.on_commit(self._committed.set)

    async def replay(
        self, *, theme_id: int | None, after: int, limit: int = 200
    ) -> list[StreamEvent]:
        """Return the next `limit` events after the one with id `after`, of one theme or of all."""
        return await events.after(self._store, after, limit, theme_id)

    async def last_id(self, theme_id: int | None = None) -> int:
        """Return the newest event's id, of one theme or of all; 0 if nothing has happened yet."""
        return await events.last_id(self._store, theme_id)

    def publish(self, live: Live) -> None:
        """Tell the listeners how a dream stands. Returns at once.

        It reaches them after every event that was committed before this call.
        """
        if not self._listeners:
            return
        if self._reading or self._committed.is_set():
            self._held[live.dream_id] = live
        else:
            self._spread(live)

    @asynccontextmanager
    async def listen(
        self, theme_id: int | None, *, after: int | None = None
    ) -> AsyncIterator[AsyncIterator[StreamEvent | Live]]:
        """Give what happens from now on, in one theme or in all, without end.

        With `after`, first everything since the event with that id: nothing is lost between the
        replayed and the live, and nothing comes twice. The iterator ends only where the listener
        fell `MAX_BEHIND` events behind.
        """
        listener = _Listener(theme_id)
        self._listeners.add(listener)
        try:
            # One at a time: the task must start at or before the newest event of every listener.
            async with self._starting:
                newest = await events.last_id(self._store)
                if self._pump is None:
                    self._last = newest
                    self._pump = self._tasks.keep(
                        self._run,
                        "The stream's events cannot be read",
                        name="feed",
                        pause_s=_RETRY_S,
                        longest_s=_RETRY_S,
                    )
            yield self._updates(listener, newest if after is None else min(after, newest), newest)
        finally:
            self._listeners.discard(listener)
            if not self._listeners and self._pump is not None:
                pump, self._pump = self._pump, None
                self._held.clear()
                pump.cancel()
                with suppress(asyncio.CancelledError):
                    await pump

    async def _updates(
        self, listener: _Listener, seen: int, newest: int
    ) -> AsyncIterator[StreamEvent | Live]:
        while seen < newest:
            page = await events.after(self._store, seen, _PAGE, listener.theme_id)
            for event in page:
                if event.id <= newest:
                    yield event
            seen = min(newest, page[-1].id) if len(page) == _PAGE else newest
        async for update in listener.updates():
            if isinstance(update, StreamEvent) and update.id <= seen:
                continue
            yield update

    async def _run(self) -> None:
        """Hand round each commit's events, for as long as anybody listens."""
        self._committed.set()
        while True:
            await self._committed.wait()
            self._reading = True
            try:
                while self._committed.is_set():
                    # Cleared before the read: a commit during it makes another round.
                    self._committed.clear()
                    while page := await events.after(self._store, self._last, _PAGE):
                        for event in page:
                            self._last = event.id
                            self._spread(event)
            except Exception:
                self._committed.set()  # how dreams stand is held back until it works again
                raise
            finally:
                self._reading = False
            if not self._committed.is_set():
                held, self._held = self._held, {}
                for live in held.values():
                    self._spread(live)

    def _spread(self, update: StreamEvent | Live) -> None:
        if isinstance(update, StreamEvent) and update.kind in ENDINGS and update.dream_id:
            self._held.pop(update.dream_id, None)
        for listener in self._listeners:
            if listener.theme_id in (None, update.theme_id):
                listener.put(update)


class _Listener:
    """What one listener has not taken yet: events in order, and the latest of each dream."""

    def __init__(self, theme_id: int | None) -> None:
        self.theme_id = theme_id
        self._events: deque[StreamEvent] = deque()
        self._live: dict[str, Live] = {}
        self._ready = asyncio.Event()
        self._lost = False

    def put(self, update: StreamEvent | Live) -> None:
        if self._lost:
            return
        if isinstance(update, Live):
            self._live[update.dream_id] = update
        elif len(self._events) >= MAX_BEHIND:
            self._lost = True
            self._events.clear()
            self._live.clear()
        else:
            self._events.append(update)
            if update.kind in ENDINGS and update.dream_id:
                self._live.pop(update.dream_id, None)
        self._ready.set()

    async def updates(self) -> AsyncIterator[StreamEvent | Live]:
        while not self._lost:
            if self._events:
                yield self._events.popleft()
            elif self._live:
                yield self._live.pop(next(iter(self._live)))
            else:
                self._ready.clear()
                await self._ready.wait()
