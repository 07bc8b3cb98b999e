"""Copies on this machine of what lies in a store that is far away: at most so many bytes of them.

What was used longest ago goes first, but nothing that was used within the last minute: whoever was
told where a file is may still be about to open it. Files are written whole or not at all, and
hashed before they are used for the first time in a process: what a power cut or anybody else has
spoilt counts for nothing. Everything here blocks, and may be called from any thread.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bot.blobs import PLACES, remove_temporaries, sha256_of
from bot.files import write_atomic

YOUNG_S = 60.0


@dataclass
class _Copy:
    """A file, whether its bytes are known to be right, and when it was last used."""

    size_bytes: int
    proved: bool
    used_s: float


class BlobCache:
    """A folder of copies, each under its key."""

    def __init__(
        self,
        root: Path,
        most_bytes: int,
        *,
        young_s: float = YOUNG_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take up what an earlier process left in `root`; `young_s` are seconds."""
        self.root = root
        self._most_bytes = most_bytes
        self._young_s = young_s
        self._clock = clock
        self._lock = threading.Lock()
        self._copies: OrderedDict[str, _Copy] = OrderedDict()  # what was used longest ago first
        self._bytes = 0
        self._take_up()

    def find(self, key: str) -> Path | None:
        """Return the file with a key's bytes, proved; None where there is none."""
        path = self.root / key
        with self._lock:
            copy = self._copies.get(key)
            if copy is None:
                return None
            self._use(key, copy)
        if _is_whole(path, key, copy):
            copy.proved = True
            return path
        self.drop(key)
        return None

    def read(self, key: str) -> bytes | None:
        """Return a key's bytes, proved; None where they are not here."""
        if self.find(key) is None:
            return None
        with suppress(OSError):
            data = (self.root / key).read_bytes()
            if hashlib.sha256(data).hexdigest() == sha256_of(key):
                return data
        self.drop(key)
        return None

    def keep(self, key: str, data: bytes) -> Path:
        """Keep a key's bytes, which are right, and let go of what is too much.

        Raises:
            DiskError: they cannot be kept.
        """
        path = self.root / key
        write_atomic(path, data, durable=False)
        with self._lock:
            self._forget(key)
            self._copies[key] = _Copy(len(data), True, self._clock())
            self._bytes += len(data)
            old = self._too_much()
        for one in old:
            with suppress(OSError):
                (self.root / one).unlink(missing_ok=True)
        return path

    def drop(self, key: str) -> None:
        """Remove the copy of a key, also one that another process made.

        Raises:
            OSError: it cannot be removed.
        """
        with self._lock:
            self._forget(key)
        (self.root / key).unlink(missing_ok=True)

    def _take_up(self) -> None:
        remove_temporaries(self.root)
        found = []
        for place in PLACES:
            for path in (self.root / place).rglob("*"):
                with suppress(OSError):
                    if path.is_file():
                        stat = path.stat()
                        key = path.relative_to(self.root).as_posix()
                        found.append((stat.st_mtime, key, stat.st_size))
        for _, key, size_bytes in sorted(found):
            self._copies[key] = _Copy(size_bytes, False, float("-inf"))
            self._bytes += size_bytes

    def _use(self, key: str, copy: _Copy) -> None:
        copy.used_s = self._clock()
        self._copies.move_to_end(key)

    def _forget(self, key: str) -> None:
        if (copy := self._copies.pop(key, None)) is not None:
            self._bytes -= copy.size_bytes

    def _too_much(self) -> list[str]:
        """Forget what is too much and not young; return its keys."""
        old: list[str] = []
        while self._bytes > self._most_bytes and len(self._copies) > 1:
            key, copy = next(iter(self._copies.items()))
            if self._clock() - copy.used_s < self._young_s:
                break
            self._forget(key)
            old.append(key)
        return old


def _is_whole(path: Path, key: str, copy: _Copy) -> bool:
    try:
        if path.stat().st_size != copy.size_bytes:
            return False
        if copy.proved:
            return True
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256_of(key)
    except OSError:
        return False
