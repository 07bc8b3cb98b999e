"""Move a library's pictures and files to another place, so that it can be cut off at any time.

A journal says from where and to where. First everything is copied, and proved to be there: what the
target has already is read and hashed, for it may be damaged in the very size. Then the note of
where the library's pictures lie is changed, in one step; then they are removed where they were. As
long as the journal is there nothing else starts on the library, so nothing comes or goes meanwhile.
The same again goes on where it was; a move back to where they came from undoes it.

What is not named by its bytes, or is whole in neither place, stays where it is and is told of. A
store that is another library's is no place to move from or to: nothing is taken from it or put
there. All of it blocks.
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
from typing import TypeVar

import msgspec
from tqdm import tqdm

from bot.blobs import PLACES, Blob, Blobs, sha256_of
from bot.errors import ConfigError, DiskError, InvalidRequestError
from bot.files import sync_folder, write_atomic
from bot.library_place import (
    FOLDER,
    JOURNAL,
    claim,
    drop_copies,
    is_address,
    library_id,
    note_path,
    note_place,
    placed,
)

Open = Callable[[str], Blobs]
T = TypeVar("T")
_AT_ONCE = 8
_BATCH = 64
_AGAIN = "Do the same again: it goes on where it was."


class Phase(StrEnum):
    """How far a move is."""

    COPYING = "copying"
    REMOVING = "removing"


class Journal(msgspec.Struct, frozen=True):
    """A move that was begun: from where, to where, and how far it is.

    Once it is removing, `damaged` has the keys of what is whole in neither place.
    """

    source: str
    target: str
    phase: Phase
    damaged: tuple[str, ...] = ()


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
        ConfigError: a move to elsewhere was cut off, or one of the places is another library's.
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
            left = there if back else here
            if (back or journal.phase is Phase.REMOVING) and _is_anothers(left, own):
                return one.leave()  # it was left, and then this was cut off
            _claim_source(here, own, root, undoing=back)
            claim(there, own, own)
            _write_journal(root, journal)
            for place in (here, there):
                place.sweep()  # what was half written when it was cut off
            return one.undo() if back else one.finish()
        except OSError as error:
            which = f" ({error.filename})" if error.filename else ""
            raise DiskError(f"Not all is moved yet: {error.strerror}{which}. {_AGAIN}") from error
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
            damaged = self._copy()
            note_place(self._root, self._journal.target)
            self._journal = msgspec.structs.replace(
                self._journal, phase=Phase.REMOVING, damaged=damaged
            )
            _write_journal(self._root, self._journal)
        arrived = _listed(self._there)
        moved = arrived - set(self._journal.damaged)
        gone = [one for one in _named(self._here) if one.key in moved]
        self._each("removed", gone, lambda one: self._here.delete(one.key))
        self._moved.files = len(arrived)
        self._moved.left = [one.key for place in PLACES for one in self._here.list(place)]
        return self._end(self._here)

    def undo(self) -> Moved:
        """Remove what was copied already; what it was copied from has not been removed."""
        note_place(self._root, self._journal.source)
        kept = _listed(self._here)
        copied = [one for one in _named(self._there) if one.key in kept]
        removed = self._each("removed", copied, self._take_back)
        self._moved.left = [one.key for one, gone in zip(copied, removed, strict=True) if not gone]
        self._moved.undone = True
        return self._end(self._there)

    def leave(self) -> Moved:
        """End a move whose last step alone was not done; it is undone where nothing had moved."""
        self._moved.undone = self._journal.phase is Phase.COPYING
        return self._end(None)

    def _end(self, left: Blobs | None) -> Moved:
        """Leave a place to anybody, and let other work on the library begin."""
        if left is not None:
            left.leave()
        if FOLDER in (self._journal.source, self._journal.target):
            drop_copies(self._root)  # the one place has none, and the other begins without
        _end_journal(self._root)
        return self._moved

    def _copy(self) -> tuple[str, ...]:
        """Copy everything; return the keys of what is whole in neither place."""
        before = _listed(self._there)
        to_go = [*_named(self._here)]
        whole = self._each("copied", to_go, lambda one: self._copy_one(one, one.key in before))
        arrived = _listed(self._there)
        for one, is_whole in zip(to_go, whole, strict=True):
            if is_whole and one.key not in arrived:
                raise DiskError(f"{one.key} was written to {self._there.where}, and is not there.")
        return tuple(one.key for one, is_whole in zip(to_go, whole, strict=True) if not is_whole)

    def _copy_one(self, one: Blob, present: bool) -> bool:
        """Copy something, unless it is there, whole; say whether it is there now."""
        if present and _read(self._there, one.key) is not None:
            return True
        data = _read(self._here, one.key)
        if data is None:
            return False
        self._there.put(one.key, data)
        return True

    def _take_back(self, one: Blob) -> bool:
        """Remove a copy, once what it was copied from is whole; say whether it is removed."""
        if _read(self._here, one.key) is None:
            data = _read(self._there, one.key)
            if data is None:
                return False
            self._here.put(one.key, data)
        self._there.delete(one.key)
        return True

    def _each(self, what: str, blobs: list[Blob], work: Callable[[Blob], T]) -> list[T]:
        """Do something with each, several at a time; nothing more once one has failed."""
        done: list[T] = []
        with tqdm(total=len(blobs), desc=what, unit="file", file=sys.stderr, disable=None) as bar:
            for batch in _batches(blobs):
                done += self._threads.map(work, batch)
                bar.update(len(batch))
        return done


def _is_anothers(blobs: Blobs, own: str) -> bool:
    return blobs.claim(None) not in (None, own)


def _claim_source(here: Blobs, own: str, root: Path, *, undoing: bool) -> None:
    """See that what is moved is this library's, and that it is so whenever something changes there.

    What a version that did not do so copied from another's can be undone: nothing changes there.

    Raises:
        ConfigError: it is another's.
        OSError: that cannot be said.
    """
    if here.claim(own, kept=placed(root) == here.where) != own and not undoing:
        raise ConfigError(
            [
                f"library.store: {here.where} has the pictures of another Dreamstream, and nothing "
                "is taken from it. If this one has none there, give it a prefix of its own in "
                f"library.store and remove {note_path(root)}; if they are its own, put a backup "
                "back: dreamstream restore --take-store."
            ]
        )


def _named(blobs: Blobs) -> Iterator[Blob]:
    """Yield what is named by its bytes: all that anything can name."""
    for place in PLACES:
        yield from (one for one in blobs.list(place) if sha256_of(one.key) is not None)


def _listed(blobs: Blobs) -> set[str]:
    return {one.key for one in _named(blobs)}


def _read(blobs: Blobs, key: str) -> bytes | None:
    """Return what lies under a key; None where it is damaged."""
    data = blobs.raw(key)
    return data if sha256(data).hexdigest() == sha256_of(key) else None


def _batches(blobs: Iterable[Blob]) -> Iterator[list[Blob]]:
    rest = iter(blobs)
    while batch := [*islice(rest, _BATCH)]:
        yield batch


def _write_journal(root: Path, journal: Journal) -> None:
    write_atomic(root / JOURNAL, msgspec.json.encode(journal))


def _end_journal(root: Path) -> None:
    (root / JOURNAL).unlink()
    sync_folder(root)
