"""The ZIP that a copy of what is kept about a person is, as it grows."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from bot.errors import DiskError
from bot.files import disk_sentences
from bot.free_space import GIB
from bot.sentences import say
from bot.zips import begin_zip, packed_member

RESERVE_BYTES = GIB
"""What a copy leaves of the disk."""
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


class Copy:
    """A ZIP that grows file by file. Blocks.

    Its methods may be called from several threads: who gives up waiting for one of them can `close`
    it all the same.
    """

    def __init__(self, path: Path, max_bytes: int, *, reserve_bytes: int = RESERVE_BYTES) -> None:
        """Begin a copy with files of `max_bytes` together, leaving `reserve_bytes` of the disk.

        Raises:
            DiskError: the disk is full, or may not be written.
        """
        with disk_sentences(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.parent.chmod(0o700)
            self._zip = begin_zip(path)  # what is in it is compressed already
        self._folder = path.parent
        self._turn = threading.Lock()
        self._left_bytes = max_bytes
        self._reserve_bytes = reserve_bytes
        self._left_out: list[str] = []
        self._names: set[str] = set()
        self._table: IO[bytes] | None = None
        self._between = b""

    def begin(self, table: str) -> None:
        """Begin a table, which `add` fills and `end` ends; no file comes between.

        Raises:
            DiskError: the disk is full, or may not be written. So do all that follow.
        """
        with self._turn, disk_sentences(self._folder):
            self._table = self._zip.open(packed_member(f"data/{table}.json"), "w")
            self._table.write(b"[")
            self._between = b"\n"

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add rows to the table that was begun."""
        self._check_space(0)
        with self._turn, disk_sentences(self._folder):
            assert self._table is not None, "no table was begun"
            for row in rows:
                text = msgspec.json.format(msgspec.json.encode(row), indent=1)
                self._table.write(self._between + text)
                self._between = b",\n"

    def end(self) -> None:
        """End the table."""
        with self._turn, disk_sentences(self._folder):
            assert self._table is not None, "no table was begun"
            self._table.write(b"\n]\n")
            self._table.close()
            self._table = None

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
        self._check_space(size_bytes)
        self._left_bytes -= size_bytes
        with self._turn, disk_sentences(self._folder):
            self._zip.write(path, name)

    def finish(self) -> None:
        """Say what it is, and what it has not."""
        text = _README
        if self._left_out:
            text += _LEFT_OUT + "".join(f"  {name}\n" for name in self._left_out)
        with self._turn, disk_sentences(self._folder):
            self._zip.writestr(packed_member("README.txt"), text)
            self._zip.close()

    def close(self) -> None:
        """Close the file, whole or not."""
        with self._turn, suppress(DiskError), disk_sentences(self._folder):
            if self._table is not None:
                self._table.close()
            self._zip.close()

    def _check_space(self, size_bytes: int) -> None:
        with disk_sentences(self._folder):
            free_bytes = shutil.disk_usage(self._folder).free
        if free_bytes < size_bytes + self._reserve_bytes:
            raise DiskError(say("The disk is almost full: no copy can be made. Try again later."))
