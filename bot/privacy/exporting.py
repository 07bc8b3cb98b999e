"""A copy of all that is kept about a person: one ZIP, made on the side, that soon goes again.

It has the rows as JSON, as they are kept, and the pictures and films. It is written piece by piece
in a thread, one at a time, and for each person only once in a while. It lies under a name that
nobody can guess, is reached by that name alone, and goes once its person has got it in Discord,
after a day, at the next start, or when its person is forgotten.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bot.errors import LimitError, NotFoundError
from bot.library import Library
from bot.model import Dream, File, Person, PictureCheck
from bot.privacy.copying import RESERVE_BYTES, Copy
from bot.privacy.gathering import (
    OF_DREAMS,
    OWNED,
    known_as,
    pages_about,
    pages_of_steers,
    told,
    told_steers,
)
from bot.sentences import say
from bot.side_tasks import SideTasks
from bot.store import Row, Store
from bot.store import dreams as rows

log = logging.getLogger(__name__)

KEPT_S = 24 * 3600.0
AGAIN_S = 600.0
MAX_BYTES = 2 * 1024**3
TOTAL_BYTES = 4 * MAX_BYTES
_PURGE_S = 600.0
_TOKEN_BYTES = 24
_PAGE = 100
_OWN = (PictureCheck.SPOILER, PictureCheck.BLUR)
"""What is covered so is its author's all the same; the rest nobody but moderators sees."""


@dataclass(frozen=True)
class Export:
    """A finished copy: its file, how it is reached, and how large it is."""

    path: Path
    token: str
    size_bytes: int


@dataclass
class _Held:
    export: Export
    person_id: str
    until_s: float


@dataclass(eq=False)
class _Making:
    """A copy that is being made, or waits for that."""

    person_id: str
    wanted: bool = True

    def check(self) -> None:
        if not self.wanted:
            raise NotFoundError(say("You wanted to be forgotten: there is no copy any more."))


class Exports:
    """Makes copies, and serves them for a while."""

    def __init__(
        self,
        store: Store,
        library: Library,
        folder: Path,
        *,
        max_bytes: int = MAX_BYTES,
        total_bytes: int = TOTAL_BYTES,
        reserve_bytes: int = RESERVE_BYTES,
        purge_s: float = _PURGE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep copies in `folder`: of `max_bytes` each, `total_bytes` together, besides the rows.

        They leave `reserve_bytes` of the disk. What is over goes within `purge_s`.
        """
        self._store = store
        self._library = library
        self._folder = folder
        self._max_bytes = max_bytes
        self._clock = clock
        self._total_bytes = total_bytes
        self._reserve_bytes = reserve_bytes
        self._purge_s = purge_s
        self._turn = asyncio.Lock()
        self._last: dict[str, float] = {}
        self._held: dict[str, _Held] = {}
        self._making: set[_Making] = set()
        self._unwanted: set[Path] = set()  # what is to be removed
        self._tasks = SideTasks()

    async def start(self) -> None:
        """Remove what an earlier process left: nobody has a name of it any more."""
        await asyncio.to_thread(_empty, self._folder)
        trouble = "Copies that nobody has asked for of late are still there"
        self._tasks.every(self._purge_s, self.purge, trouble, name="exports", after_s=self._purge_s)

    async def stop(self) -> None:
        """Remove all of them."""
        await self._tasks.stop()
        self._held.clear()
        await asyncio.to_thread(_empty, self._folder)

    async def make(self, person: Person, *, pictures: bool = True) -> Export:
        """Make a copy of all that is kept about a person; without `pictures`, of the rows alone.

        An earlier one of theirs goes.

        Raises:
            LimitError: they have had one of late, or one is just being made for them; or so many
                copies of others lie there that there is no room for pictures.
            NotFoundError: they were forgotten meanwhile.
            DiskError: the disk is almost full, or may not be written; an OutOfReachError where a
                picture cannot be had at present.
            StoreError: the database cannot be read.
        """
        self._library.check_space()
        now = self._clock()
        if pictures and now - self._last.get(person.id, float("-inf")) < AGAIN_S:
            raise LimitError(
                say("You have had a copy just now. Ask for another one in ten minutes."), AGAIN_S
            )
        await self.purge(person.id)
        if pictures:
            self._last[person.id] = now
        making = _Making(person.id)
        self._making.add(making)
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        path = self._folder / f"{token}.zip"
        try:
            async with self._turn:
                await self._write(path, making, self._room() if pictures else None)
            size_bytes = (await asyncio.to_thread(path.stat)).st_size
            making.check()
        except BaseException:
            self._last.pop(person.id, None)
            self._unwanted.add(path)
            self._tasks.spawn(self._sweep())
            raise
        finally:
            self._making.discard(making)
        export = Export(path, token, size_bytes)
        self._held[token] = _Held(export, person.id, self._clock() + KEPT_S)
        return export

    def find(self, token: str) -> Export:
        """Return a copy by its name.

        Raises:
            NotFoundError: there is none, or it has gone.
        """
        held = self._held.get(token)
        if held is None or held.until_s <= self._clock():
            raise NotFoundError("There is no such copy any more. Ask for another: /privacy export.")
        return held.export

    async def remove(self, export: Export) -> None:
        """Remove a copy that its person has got. One that is gone changes nothing."""
        self._drop(export.token)
        await self._sweep()

    def forgotten(self, person_id: str) -> None:
        """Remove the copies of a person who wants to be forgotten, also those not finished yet."""
        for making in self._making:
            if making.person_id == person_id:
                making.wanted = False
        self._tasks.spawn(self.purge(person_id))

    async def purge(self, person_id: str | None = None) -> None:
        """Remove the copies whose time is over, and those of a person."""
        now = self._clock()
        for token, held in [*self._held.items()]:
            if held.until_s <= now or held.person_id == person_id:
                self._drop(token)
        self._last = {one: at for one, at in self._last.items() if now - at < AGAIN_S}
        await self._sweep()

    def _drop(self, token: str) -> None:
        if (held := self._held.pop(token, None)) is not None:
            self._unwanted.add(held.export.path)

    async def _sweep(self) -> None:
        """Remove what is not wanted any more; what cannot be removed is tried again later."""
        self._unwanted -= await asyncio.to_thread(_remove, [*self._unwanted])

    def _room(self) -> int:
        """Return how many bytes a copy's pictures and files may have beside those that lie there.

        Raises:
            LimitError: none.
        """
        left = self._total_bytes - sum(held.export.size_bytes for held in self._held.values())
        if left <= 0:
            raise LimitError(
                say("Many have asked for copies, and there is no room. Try again tomorrow."), KEPT_S
            )
        return min(left, self._max_bytes)

    # --- writing ------------------------------------------------------------------------------

    async def _write(self, path: Path, making: _Making, max_bytes: int | None) -> None:
        making.check()
        copy = await asyncio.to_thread(
            Copy, path, max_bytes or 0, reserve_bytes=self._reserve_bytes
        )
        try:
            own = await known_as(self._store, making.person_id)
            for table in (*OWNED, *OF_DREAMS):
                await asyncio.to_thread(copy.begin, table)
                async for page in pages_about(self._store, table, making.person_id):
                    making.check()
                    await asyncio.to_thread(_add, copy, table, page, own)
                await asyncio.to_thread(copy.end)
            await asyncio.to_thread(copy.begin, "steer")
            async for page in pages_of_steers(self._store, making.person_id):
                making.check()
                await asyncio.to_thread(_add_steers, copy, page)
            await asyncio.to_thread(copy.end)
            if max_bytes is not None:
                await self._pictures(copy, making)
            await asyncio.to_thread(copy.finish)
        finally:
            await asyncio.to_thread(copy.close)

    async def _pictures(self, copy: Copy, making: _Making) -> None:
        before = rows.PAST_EVERY_ID
        while page := await rows.of_person(self._store, making.person_id, before, _PAGE):
            before = page[-1].id
            for dream in page:
                making.check()
                if dream.veil in _OWN:  # it has none, read as for everybody
                    dream = msgspec.structs.replace(
                        dream, files=await rows.files_of(self._store, dream.id)
                    )
                for name, path in await _files(self._library, dream):
                    await asyncio.to_thread(copy.file, name, path)
        entries = await self._store.read(
            "SELECT id, image_sha256 FROM game_entry "
            "WHERE person_id = ? AND image_sha256 IS NOT NULL",
            (making.person_id,),
        )
        for row in entries:
            making.check()
            path = await _picture(self._library, row["image_sha256"])
            await asyncio.to_thread(copy.file, f"uploads/game-{row['id']}.png", path)


def _add(copy: Copy, table: str, page: list[Row], own: frozenset[str]) -> None:
    copy.add(told(table, page, own))


def _add_steers(copy: Copy, page: list[Row]) -> None:
    copy.add(told_steers(page))


async def _files(library: Library, dream: Dream) -> list[tuple[str, Path]]:
    """Return what belongs to a dream: names in the copy, and where the files are."""
    found: list[tuple[str, Path]] = []
    image = dream.behind if dream.veil in _OWN else dream.image
    if image is not None:
        found.append((f"pictures/{dream.id}.png", await _picture(library, image.sha256)))
    for file in dream.files:
        path = library.file_path(file)
        with suppress(NotFoundError):
            path = await library.local_file(file)
        found.append((f"files/{dream.id}-{_plain(file)}", path))
    if dream.init_kept:
        found += [
            (f"uploads/{sha256}.png", await _picture(library, sha256))
            for sha256 in dream.recipe.named_pictures
        ]
    return found


async def _picture(library: Library, sha256: str) -> Path:
    """Return where a picture is; or would be, where it cannot be had: the copy says so then."""
    with suppress(NotFoundError):
        return await library.local(sha256)
    return library.path(sha256)


def _plain(file: File) -> str:
    return "".join(sign if sign.isalnum() or sign in ".-" else "-" for sign in file.name)[:60]


def _remove(paths: Iterable[Path]) -> set[Path]:
    """Remove files; return which are gone."""
    gone = set()
    for path in paths:
        try:
            path.unlink(missing_ok=True)
            gone.add(path)
        except OSError as error:
            log.warning("A copy is still there: %s", error)
    return gone


def _empty(folder: Path) -> None:
    _remove(folder.glob("*.zip"))
