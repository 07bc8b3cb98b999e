"""Look at every finished picture once, in the background, and have where it lies in memory.

New pictures are looked at at once, older ones while at most a fifth of the time goes into it. The
vectors are kept in the database, and read again at the start. What the model that looks is called
is a part of them: another model begins anew, and the vectors of the old one stay for when it is
back. A picture that cannot be had keeps no other waiting; it is come back to. This module does not
search.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress

from bot.errors import DreamstreamError, InvalidRequestError, NotFoundError, OutOfReachError
from bot.feed import Feed
from bot.library import Library
from bot.model import EventKind, StreamEvent
from bot.seeing import Eyes, Seeing
from bot.side_tasks import SideTasks
from bot.store import Store, vectors
from bot.store.dreams import PAST_EVERY_ID
from bot.store.vectors import Seeable
from bot.vectors import NOWHERE, PUBLISHED, Shelf, read_many, written

log = logging.getLogger(__name__)

_PAGE = 1000
_AT_ONCE = 8
_MOST_FRESH = 1000
_REST = 4.0  # times as long as older pictures took to look at
_LONGEST_PAUSE_S = 300.0


class Looker:
    """The shelves of all streams, and what fills them, from `start` to `stop`."""

    def __init__(
        self,
        store: Store,
        library: Library,
        feed: Feed,
        eyes: Eyes,
        seeing: Seeing,
        *,
        pause_s: float = 5.0,
    ) -> None:
        self._store = store
        self._library = library
        self._feed = feed
        self._eyes = eyes
        self._seeing = seeing
        self._pause_s = pause_s
        self._perceptor = ""
        self._shelves: dict[int, Shelf] = {}
        self._gone: set[str] | None = None  # while vectors are read: what was deleted meanwhile
        self._fresh: deque[str] = deque()
        self._before: str | None = PAST_EVERY_ID  # where older pictures go on; None after the last
        self._missed = False  # some could not be had: they are found among the older ones
        self._again_s = pause_s  # how long to wait then, and until when that is
        self._again_at_s = 0.0
        self._wake = asyncio.Event()
        self._tasks = SideTasks()

    @property
    def perceptor(self) -> str:
        """The model whose vectors these are, empty while they are being read."""
        return self._perceptor

    @property
    def complete(self) -> bool:
        """Whether every picture has been looked at that could be."""
        return self._before is None and not self._fresh and not self._missed

    def shelf(self, theme_id: int) -> Shelf | None:
        """Return the vectors of a theme's pictures, if there are any."""
        return self._shelves.get(theme_id)

    async def start(self) -> None:
        """Begin to look at pictures."""
        self._tasks.keep(
            self._listen,
            "The search does not learn of new pictures",
            name="looker-listen",
            pause_s=self._pause_s,
        )
        self._tasks.keep(
            self._look,
            "The search does not look at pictures",
            name="looker-look",
            pause_s=self._pause_s,
            longest_s=_LONGEST_PAUSE_S,
        )

    async def stop(self) -> None:
        """Look at no more."""
        await self._tasks.stop()

    def changed(self, dream_id: str) -> None:
        """Look at a dream anew, which shows another picture now, or elsewhere."""
        for shelf in self._shelves.values():
            shelf.remove(dream_id)
        if self._gone is not None:
            self._gone.add(dream_id)
        self._look_at(dream_id)

    async def _listen(self) -> None:
        """Learn which dreams are done, and which are deleted."""
        while True:
            async with self._feed.listen(None) as happenings:
                self._before = PAST_EVERY_ID  # what was done until now, or was missed
                self._wake.set()
                async for happening in happenings:
                    if isinstance(happening, StreamEvent):
                        self._note(happening)
            await asyncio.sleep(self._pause_s)

    def _note(self, event: StreamEvent) -> None:
        if event.dream_id is None:
            return
        if event.kind is EventKind.DONE:
            self._look_at(event.dream_id)
        elif event.kind is EventKind.DELETED:
            if self._gone is not None:
                self._gone.add(event.dream_id)
            if shelf := self._shelves.get(event.theme_id):
                shelf.remove(event.dream_id)

    def _look_at(self, dream_id: str) -> None:
        if len(self._fresh) < _MOST_FRESH:
            self._fresh.append(dream_id)
        else:
            self._before = PAST_EVERY_ID  # found among the older ones
        self._wake.set()

    async def _look(self) -> None:
        await asyncio.to_thread(importlib.import_module, "numpy")  # slow to load
        pause_s = self._pause_s
        if not self._perceptor:
            with suppress(DreamstreamError):  # tried again once the model is known
                await self._load(await vectors.newest_perceptor(self._store))
        while True:
            try:
                await self._turn()
                pause_s = self._pause_s
            except DreamstreamError as error:
                log.info("Pictures cannot be looked at for the search: %s", error)
                await self._rest(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _turn(self) -> None:
        """Look at some pictures, or wait until there are any."""
        self._wake.clear()
        if not self._eyes.up or not self._eyes.perceptors:
            await self._rest(self._pause_s)
            return
        if self._perceptor != (perceptor := self._eyes.perceptors[0]):
            await self._load(perceptor)
            self._before = PAST_EVERY_ID
        if self._before is None and self._missed and time.monotonic() >= self._again_at_s:
            self._before, self._missed = PAST_EVERY_ID, False
            self._again_s = min(2 * self._again_s, _LONGEST_PAUSE_S)
        if self._fresh:
            some = [self._fresh[index] for index in range(min(_AT_ONCE, len(self._fresh)))]
            missed = await self._see(await vectors.unseen_of(self._store, perceptor, some))
            for _ in some:  # only once they are kept
                self._fresh.popleft()
            self._note_missed(missed)
        elif (before := self._before) is not None:
            begun = time.monotonic()
            older = await vectors.older_unseen(self._store, perceptor, before, _AT_ONCE)
            missed = await self._see(older)
            if self._before == before:  # else it has begun anew meanwhile
                self._before = older[-1].dream_id if older else None
            self._note_missed(missed)
            if older:
                await self._rest(_REST * (time.monotonic() - begun))
            elif not self._missed:
                self._again_s = self._pause_s
        else:
            await self._rest(self._pause_s)

    def _note_missed(self, missed: OutOfReachError | None) -> None:
        """Have pictures come back to that could not be had.

        Raises:
            OutOfReachError: it is why.
        """
        if missed is not None:
            self._missed = True
            self._again_at_s = time.monotonic() + self._again_s
            raise missed

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _see(self, pictures: list[Seeable]) -> OutOfReachError | None:
        """Look at pictures, and keep where they lie; return why some could not be had.

        Raises:
            DreamstreamError: they cannot be looked at, or it not be kept.
        """
        if not pictures:
            return None
        seen = await asyncio.gather(
            *(self._vector(picture) for picture in pictures), return_exceptions=True
        )
        missed: OutOfReachError | None = None
        for outcome in seen:
            if isinstance(outcome, OutOfReachError):
                missed = outcome
            elif isinstance(outcome, BaseException):
                raise outcome
        async with self._store.write() as connection:
            kept = [
                (picture, data)
                for picture, data in zip(pictures, seen, strict=True)
                if isinstance(data, bytes)
                and await vectors.insert(connection, picture, self._perceptor, data)
            ]
        # No await since the commit: a deletion is noted after this.
        self._put(kept)
        return missed

    async def _vector(self, picture: Seeable) -> bytes | None:
        """Return where a picture lies, None where it cannot be read."""
        try:
            data = await self._library.read(picture.sha256)
            seen = await self._seeing.embed([data], perceptor=self._perceptor)
        except (InvalidRequestError, NotFoundError) as error:
            log.info("Dream %s cannot be searched for: %s", picture.dream_id, error)
            return None
        (vector,) = seen.pictures
        return None if vector is None else written(vector)

    async def _load(self, perceptor: str) -> None:
        """Have the vectors of a model in memory, and no others."""
        self._shelves, self._perceptor = {}, ""
        self._gone = gone = set[str]()
        try:
            await self._read(perceptor, gone)
        finally:
            self._gone = None
        self._perceptor = perceptor

    async def _read(self, perceptor: str, gone: set[str]) -> None:
        number = 0
        while perceptor:
            page, number = await vectors.page(self._store, perceptor, number, _PAGE)
            if not page:
                break
            # The event loop is held up for milliseconds at most.
            for start in range(0, len(page), 100):
                some = page[start : start + 100]
                self._put(one for one in some if one[0].dream_id not in gone)
                await asyncio.sleep(0)

    def _put(self, seen: Iterable[tuple[Seeable, bytes]]) -> None:
        together: dict[tuple[int, int, int], dict[str, bytes]] = {}
        for picture, data in seen:
            place = PUBLISHED if picture.published else picture.channel_id or NOWHERE
            key = (picture.theme_id, place, len(data) // 2)
            together.setdefault(key, {})[picture.dream_id] = data
        for (theme_id, place, dim), found in together.items():
            shelf = self._shelves.get(theme_id)
            if shelf is None:
                shelf = self._shelves[theme_id] = Shelf(dim)
            if dim == shelf.dim:
                shelf.extend([*found], read_many(found.values(), dim), place)
