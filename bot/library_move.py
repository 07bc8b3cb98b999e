"""Move a library's pictures and files to another place, so that it can be cut off at any time.

A journal says from where and to where. First everything is copied, and proved to be there; then the
note of where the library's pictures lie is changed, in one step; then they are removed where they
were. As long as the journal is there nothing else starts on the library, so nothing comes or goes
meanwhile. The same again goes on where it was; a move back to where they came from undoes it.

What is not named by its bytes, or is damaged, stays where it is and is told of. All of it blocks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from itertools import islice
from pathlib import Path

import msgspec
from tqdm import tqdm

from bot.blobs import PLACES, Blob, Blobs, UnreachableError, sha256_of
from bot.errors import ConfigError, DiskError, InvalidRequestError
from bot.files import sync_folder, write_atomic
from bot.library_place import (
    FOLDER,
    JOURNAL,
    claim,
    is_address,
    library_id,
    note_place,
    placed,
)

Open = Callable[[str], Blobs]
_AT_ONCE = 8
_BATCH = 64
_AGAIN = "Do the same again: it goes on where it was."


class Phase(StrEnum):
    """How far a move is."""

    COPYING = "copying"
    REMOVING = "removing"


class Journal(msgspec.Struct, frozen=True):
    """A move that was begun: from where, to where, and how far it is."""

    source: str
    target: str
    phase: Phase


@dataclass
class Moved:
    """What was moved: how many files, and keys of those that stay where they were."""

    source: str
    target: str
    files: int = 0
    undone: bool = False
    left: list[str] = field(default_factory=list)


def move(root: Path, target: str, open_blobs: Open) -> Moved:
    """Have the pictures and files of the library folder `root` lie at `target`.

    That is `FOLDER`, or the address of a store; `open_blobs` opens either. The library must be
    this process's alone.

    Raises:
        InvalidRequestError: `target` is no such place.
        ConfigError: a move to elsewhere was cut off, or the place is another library's.
        DiskError: something cannot be read or written. The same again goes on from there.
    """
    if target != FOLDER and not is_address(target):
        raise InvalidRequestError(
            "to", f"Say where to: s3://bucket/prefix, or “{FOLDER}” for the data folder."
        )
    journal = read_journal(root)
    if journal is None:
        source = placed(root)
        if source == target:
            return Moved(source, target)
        journal = Journal(source, target, Phase.COPYING)
    back = journal.source == target and journal.phase is Phase.COPYING
    if journal.target != target and not back:
        raise ConfigError(
            [
                f"A move of the pictures to {journal.target} was cut off. Finish it first: "
                f"dreamstream library move {journal.target}"
            ]
        )
    with (
        closing(open_blobs(journal.source)) as here,
        closing(open_blobs(journal.target)) as there,
        ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="move") as threads,
    ):
        one = _Move(root, journal, here, there, threads)
        try:
            own = library_id(root)
            claim(there, own, own)
            _write_journal(root, journal)
            for place in (here, there):
                place.sweep()  # what was half written when it was cut off
            return one.undo() if back else one.finish()
        except UnreachableError as error:
            raise DiskError(f"Not all is moved yet: {error.strerror}. {_AGAIN}") from error
        except OSError as error:
            raise DiskError(f"Not all is moved yet: {error.strerror}. {_AGAIN}") from error
        except DiskError as error:
            raise DiskError(f"Not all is moved yet. {error} {_AGAIN}", error.where) from error


def read_journal(root: Path) -> Journal | None:
    """Return the move that was begun and is not over, if there is one.

    Raises:
        DiskError: it cannot be read.
    """
    path = root / JOURNAL
    try:
        return msgspec.json.decode(path.read_bytes(), type=Journal)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise DiskError(f"{path} cannot be read ({error}).", str(root)) from error


class _Move:
    """A move between two places."""

    def __init__(
        self, root: Path, journal: Journal, here: Blobs, there: Blobs, threads: ThreadPoolExecutor
    ) -> None:
        self._root = root
        self._journal = journal
        self._here = here
        self._there = there
        self._threads = threads
        self._moved = Moved(journal.source, journal.target)

    def finish(self) -> Moved:
        """Go on where it was, to the end."""
        if self._journal.phase is Phase.COPYING:
            self._copy()
            note_place(self._root, self._journal.target)
            _write_journal(self._root, msgspec.structs.replace(self._journal, phase=Phase.REMOVING))
        arrived = _listed(self._there)
        gone = [one for one in _named(self._here) if arrived.get(one.key) == one.size_bytes]
        self._each("removed", gone, lambda one: self._here.delete(one.key))
        self._moved.files = len(arrived)
        self._moved.left = [one.key for place in PLACES for one in self._here.list(place)]
        self._here.leave()
        _end_journal(self._root)
        return self._moved

    def undo(self) -> Moved:
        """Remove what was copied already; what it was copied from was not touched."""
        note_place(self._root, self._journal.source)
        kept = _listed(self._here)
        copied = [one for one in _named(self._there) if one.key in kept]
        self._each("removed", copied, lambda one: self._there.delete(one.key))
        self._there.leave()
        _end_journal(self._root)
        self._moved.undone = True
        return self._moved

    def _copy(self) -> None:
        arrived = _listed(self._there)
        to_go = [one for one in _named(self._here) if arrived.get(one.key) != one.size_bytes]
        whole = dict(zip(to_go, self._each("copied", to_go, self._copy_one), strict=True))
        arrived = _listed(self._there)
        for one, was_whole in whole.items():
            if was_whole and arrived.get(one.key) != one.size_bytes:
                raise DiskError(f"{one.key} was written to {self._there.where}, and is not there.")

    def _copy_one(self, one: Blob) -> bool:
        """Copy something; say whether it was whole, and so is there now."""
        data = self._here.raw(one.key)
        if sha256(data).hexdigest() != sha256_of(one.key):
            return False
        self._there.put(one.key, data)
        return True

    def _each(
        self, what: str, blobs: list[Blob], work: Callable[[Blob], bool | None]
    ) -> list[bool | None]:
        """Do something with each, several at a time; nothing more once one has failed."""
        done: list[bool | None] = []
        with tqdm(total=len(blobs), desc=what, unit="file", file=sys.stderr, disable=None) as bar:
            for batch in _batches(blobs):
                done += self._threads.map(work, batch)
                bar.update(len(batch))
        return done


def _named(blobs: Blobs) -> Iterator[Blob]:
    """Yield what is named by its bytes: all that anything can name."""
    for place in PLACES:
        yield from (one for one in blobs.list(place) if sha256_of(one.key) is not None)


def _listed(blobs: Blobs) -> dict[str, int]:
    return {one.key: one.size_bytes for one in _named(blobs)}


def _batches(blobs: Iterable[Blob]) -> Iterator[list[Blob]]:
    rest = iter(blobs)
    while batch := [*islice(rest, _BATCH)]:
        yield batch


def _write_journal(root: Path, journal: Journal) -> None:
    write_atomic(root / JOURNAL, msgspec.json.encode(journal))


def _end_journal(root: Path) -> None:
    (root / JOURNAL).unlink()
    sync_folder(root)
