"""A copy of all that is kept about a person: one ZIP, made on the side, that soon goes again.

It has the rows as JSON, as they are kept, and the pictures and films. It is written piece by piece
in a thread, one at a time, and for each person only once in a while. It lies under a name that
nobody can guess, is reached by that name alone, and goes after a day, at the next start, or when
its person is forgotten.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bot.errors import DiskError, LimitError, NotFoundError
from bot.files import disk_sentences
from bot.library import Library
from bot.model import Dream, File, Person, PictureCheck
from bot.privacy.gathering import OWNED, rows_about
from bot.sentences import say
from bot.side_tasks import SideTasks
from bot.store import Store
from bot.store import dreams as rows

log = logging.getLogger(__name__)

KEPT_S = 24 * 3600.0
AGAIN_S = 600.0
MAX_BYTES = 2 * 1024**3
_TOKEN_BYTES = 24
_PAGE = 100
_README = """\
This is what Dreamstream keeps about you.

data/       the rows of its database, a file for each kind of thing; times are milliseconds since
            1970 UTC
pictures/   the pictures you asked for, by the dream's id; the recipe of each is in the file itself
files/      films and drawings that were made with them
uploads/    the pictures that yours were drawn from, and what you entered in games

Who else is in a row is called "somebody else".
"""
_LEFT_OUT = """
Left out here, since the whole would have been too large or a file was not to be had:
"""


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


class Exports:
    """Makes copies, and serves them for a while."""

    def __init__(
        self,
        store: Store,
        library: Library,
        folder: Path,
        *,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._library = library
        self._folder = folder
        self._max_bytes = max_bytes
        self._clock = clock
        self._turn = asyncio.Lock()
        self._last: dict[str, float] = {}
        self._held: dict[str, _Held] = {}
        self._tasks = SideTasks()

    async def start(self) -> None:
        """Remove what an earlier process left: nobody has a name of it any more."""
        await asyncio.to_thread(_empty, self._folder)

    async def stop(self) -> None:
        """Remove all of them."""
        await self._tasks.stop()
        self._held.clear()
        await asyncio.to_thread(_empty, self._folder)

    async def make(self, person: Person, *, pictures: bool = True) -> Export:
        """Make a copy of all that is kept about a person; without `pictures`, of the rows alone.

        Raises:
            LimitError: they have had one of late, or one is just being made for them.
            DiskError: the disk is almost full, or may not be written.
            StoreError: the database cannot be read.
        """
        self._library.check_space()
        await self.purge()
        now = self._clock()
        if pictures and now - self._last.get(person.id, float("-inf")) < AGAIN_S:
            raise LimitError(
                say("You have had a copy just now. Ask for another one in ten minutes."), AGAIN_S
            )
        if pictures:
            self._last[person.id] = now
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        path = self._folder / f"{token}.zip"
        try:
            async with self._turn:
                await self._write(path, person, pictures=pictures)
            size_bytes = (await asyncio.to_thread(path.stat)).st_size
        except BaseException:
            self._last.pop(person.id, None)
            with suppress(OSError):
                path.unlink(missing_ok=True)
            raise
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

    def forgotten(self, person_id: str) -> None:
        """Remove the copies of a person who wants to be forgotten."""
        self._tasks.spawn(self.purge(person_id))

    async def purge(self, person_id: str | None = None) -> None:
        """Remove the copies whose time is over, and those of a person."""
        now = self._clock()
        for token, held in [*self._held.items()]:
            if held.until_s <= now or held.person_id == person_id:
                del self._held[token]
                with suppress(OSError):
                    await asyncio.to_thread(held.export.path.unlink, missing_ok=True)
        self._last = {one: at for one, at in self._last.items() if now - at < AGAIN_S}

    # --- writing ------------------------------------------------------------------------------

    async def _write(self, path: Path, person: Person, *, pictures: bool) -> None:
        writer = await asyncio.to_thread(_Writer, path, self._max_bytes)
        try:
            for table in OWNED:
                found = [row async for row in rows_about(self._store, table, person.id)]
                await asyncio.to_thread(writer.rows, table, found)
            if pictures:
                await self._pictures(writer, person)
            await asyncio.to_thread(writer.finish)
        finally:
            await asyncio.to_thread(writer.close)

    async def _pictures(self, writer: _Writer, person: Person) -> None:
        before = rows.PAST_EVERY_ID
        while page := await rows.of_person(self._store, person.id, before, _PAGE):
            before = page[-1].id
            for dream in page:
                for name, path in _files(self._library, dream):
                    await asyncio.to_thread(writer.file, name, path)
        entries = await self._store.read(
            "SELECT id, image_sha256 FROM game_entry "
            "WHERE person_id = ? AND image_sha256 IS NOT NULL",
            (person.id,),
        )
        for row in entries:
            path = self._library.path(row["image_sha256"])
            await asyncio.to_thread(writer.file, f"uploads/game-{row['id']}.png", path)


class _Writer:
    """A ZIP that grows file by file. Blocks."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        with disk_sentences(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.parent.chmod(0o700)
            # What is in it is compressed already.
            self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED)
        self._folder = path.parent
        self._left_bytes = max_bytes
        self._left_out: list[str] = []
        self._names: set[str] = set()

    def rows(self, table: str, found: list[dict[str, Any]]) -> None:
        """Add a table's rows."""
        data = msgspec.json.format(msgspec.json.encode(found), indent=1)
        with disk_sentences(self._folder):
            self._zip.writestr(f"data/{table}.json", data, zipfile.ZIP_DEFLATED)

    def file(self, name: str, path: Path) -> None:
        """Add a file once, if there is room; else its name is noted."""
        if name in self._names:
            return
        self._names.add(name)
        try:
            size_bytes = path.stat().st_size
        except OSError:
            self._left_out.append(name)
            return
        if size_bytes > self._left_bytes:
            self._left_out.append(name)
            return
        self._left_bytes -= size_bytes
        with disk_sentences(self._folder):
            self._zip.write(path, name)

    def finish(self) -> None:
        """Say what it is, and what it has not."""
        text = _README
        if self._left_out:
            text += _LEFT_OUT + "".join(f"  {name}\n" for name in self._left_out)
        with disk_sentences(self._folder):
            self._zip.writestr("README.txt", text, zipfile.ZIP_DEFLATED)

    def close(self) -> None:
        """Close the file."""
        with suppress(DiskError), disk_sentences(self._folder):
            self._zip.close()


def _files(library: Library, dream: Dream) -> list[tuple[str, Path]]:
    """Return what belongs to a dream: names in the copy, and where the files are."""
    found: list[tuple[str, Path]] = []
    # What is covered is its author's all the same, but where nobody but moderators sees it.
    image = dream.image if dream.veil in (None, PictureCheck.REFUSE) else dream.behind
    if image is not None:
        found.append((f"pictures/{dream.id}.png", library.path(image.sha256)))
    found += [(f"files/{dream.id}-{_plain(file)}", library.file_path(file)) for file in dream.files]
    if dream.init_kept:
        found += [
            (f"uploads/{sha256}.png", library.path(sha256))
            for sha256 in dream.recipe.named_pictures
        ]
    return found


def _plain(file: File) -> str:
    return "".join(sign if sign.isalnum() or sign in ".-" else "-" for sign in file.name)[:60]


def _empty(folder: Path) -> None:
    for path in folder.glob("*.zip"):
        with suppress(OSError):
            path.unlink()
