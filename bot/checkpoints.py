"""The newest checkpoint of every unfinished dream, one file each; and of those that can go on.

A checkpoint only saves work: losing one costs steps, not a dream. So the files are whole or
absent after a crash of the process, but not synced, and carry a checksum that tells one which a
power cut has torn. Files of dreams that are over are swept away, but for those that were put by
(`put_by`): a finished dream that can go on keeps its last one for some days, as far as there is
room. These functions block.
"""

from __future__ import annotations

import hashlib
import logging
import os
import struct
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from bot.files import write_atomic
from generation.protocol import EngineInfo, Recipe

log = logging.getLogger(__name__)

_MAGIC = b"DSCP0001"
_DIGEST_BYTES = 16
_HEADER = struct.Struct(f">{len(_MAGIC)}sQ{_DIGEST_BYTES}s")
_SUFFIX = ".checkpoint"
CHECKPOINTS = "checkpoints"
"""The folder's name in the library."""
KEPT_S = 5 * 24 * 3600.0
KEPT_BYTES = 2 * 1024**3


class Kept(NamedTuple):
    """A checkpoint, and the step at which it was made."""

    step: int
    data: bytes


class Checkpoints:
    """A folder of checkpoints, named by dream.

    What was put by stays for `kept_s` seconds after its last use, the newest of it within
    `kept_bytes`.
    """

    def __init__(
        self, folder: Path, *, kept_s: float = KEPT_S, kept_bytes: int = KEPT_BYTES
    ) -> None:
        self._folder = folder
        self._kept = folder / "kept"
        self._kept_s = kept_s
        self._kept_bytes = kept_bytes

    def write(self, dream_id: str, step: int, data: bytes) -> None:
        """Keep a checkpoint in place of the one before.

        Raises:
            DiskError: the disk is full, or may not be written. The one before is kept.
        """
        header = _HEADER.pack(_MAGIC, step, _digest(step, data))
        write_atomic(self._path(dream_id), header + data, durable=False)

    def read(self, dream_id: str) -> Kept | None:
        """Return the newest checkpoint; None if there is none, or only a damaged one."""
        return _read(self._path(dream_id))

    def read_put_by(self, dream_id: str) -> Kept | None:
        """Return what a finished dream can go on from; None as for `read`."""
        path = self._put_by(dream_id)
        kept = _read(path)
        if kept is not None:
            with suppress(OSError):
                os.utime(path)
            return kept
        return self.read(dream_id)  # it has just ended

    def put_by(self, dream_id: str) -> None:
        """Keep a finished dream's newest checkpoint, if there is one, and make room for it."""
        with suppress(OSError):
            self._kept.mkdir(parents=True, exist_ok=True)
            self._path(dream_id).replace(self._put_by(dream_id))
        self.retain()

    def retain(self) -> int:
        """Remove what was put by too long ago, or is too much; return how many files."""
        found: list[tuple[float, int, Path]] = []
        with suppress(OSError):
            for entry in os.scandir(self._kept):
                with suppress(OSError):
                    status = entry.stat()
                    found.append((status.st_mtime, status.st_size, Path(entry.path)))
        oldest = time.time() - self._kept_s
        room, removed = self._kept_bytes, 0
        for used, size, path in sorted(found, reverse=True):
            room -= size
            if used < oldest or room < 0 or path.suffix != _SUFFIX:
                with suppress(OSError):
                    path.unlink()
                    removed += 1
        return removed

    def delete(self, dream_id: str) -> None:
        """Remove a dream's checkpoint, also one that was put by, if there is one."""
        for path in (self._path(dream_id), self._put_by(dream_id)):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def sweep(self, unfinished: Collection[str]) -> int:
        """Remove what belongs to no unfinished dream, and what was put by for too long.

        Returns how many files those were.
        """
        if not self._folder.is_dir():
            return 0
        removed = self.retain()
        for path in self._folder.iterdir():
            if path == self._kept:
                continue
            if path.suffix != _SUFFIX or path.stem not in unfinished:
                with suppress(OSError):
                    path.unlink()
                    removed += 1
        return removed

    def _path(self, dream_id: str) -> Path:
        return self._folder / f"{dream_id}{_SUFFIX}"

    def _put_by(self, dream_id: str) -> Path:
        return self._kept / f"{dream_id}{_SUFFIX}"


def goes_on(parent: Recipe, child: Recipe, engine: EngineInfo | None) -> bool:
    """Whether a child's recipe begins as its parent's ended: from that one's last checkpoint.

    Then the picture is the same as if it had been drawn in one go.
    """
    if child.last_step <= parent.last_step:
        return False
    if child.steps != parent.steps and (engine is None or not engine.continues):
        return False
    alike = {"steps": 0, "until_step": None, "film": False, "steers": ()}
    begun = child.steers[: len(parent.steers)]
    later = child.steers[len(parent.steers) :]
    return (
        msgspec.structs.replace(parent, **alike) == msgspec.structs.replace(child, **alike)
        and begun == parent.steers
        and all(steer.step >= parent.last_step for steer in later)
    )


def _read(path: Path) -> Kept | None:
    try:
        content = path.read_bytes()
        magic, step, digest = _HEADER.unpack_from(content)
    except FileNotFoundError:
        return None
    except (OSError, struct.error) as error:
        log.warning("The checkpoint %s cannot be read: %s", path.name, error)
        return None
    data = content[_HEADER.size :]
    if magic != _MAGIC or digest != _digest(step, data):
        log.warning("The checkpoint %s is damaged, and not used", path.name)
        return None
    return Kept(step, data)


def _digest(step: int, data: bytes) -> bytes:
    return hashlib.blake2b(struct.pack(">Q", step) + data, digest_size=_DIGEST_BYTES).digest()
