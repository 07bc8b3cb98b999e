"""The newest checkpoint of every unfinished dream, one file each.

A checkpoint only saves work: losing one costs steps, not a dream. So the files are whole or
absent after a crash of the process, but not synced, and carry a checksum that tells one which a
power cut has torn. Files of dreams that are over are swept away. These functions block.
"""

from __future__ import annotations

import hashlib
import logging
import struct
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import msgspec

from bot.files import write_atomic
from generation.protocol import EngineInfo, Recipe

log = logging.getLogger(__name__)

_MAGIC = b"DSCP0001"
_DIGEST_BYTES = 16
_HEADER = struct.Struct(f">{len(_MAGIC)}sQ{_DIGEST_BYTES}s")
_SUFFIX = ".checkpoint"


class Checkpoints:
    """A folder of checkpoints, named by dream."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, dream_id: str, step: int, data: bytes) -> None:
        """Keep a checkpoint in place of the one before.

        Raises:
            DiskError: the disk is full, or may not be written. The one before is kept.
        """
        header = _HEADER.pack(_MAGIC, step, _digest(step, data))
        write_atomic(self._path(dream_id), header + data, durable=False)

    def read(self, dream_id: str) -> bytes | None:
        """Return the newest checkpoint; None if there is none, or only a damaged one."""
        try:
            content = self._path(dream_id).read_bytes()
            magic, step, digest = _HEADER.unpack_from(content)
        except FileNotFoundError:
            return None
        except (OSError, struct.error) as error:
            log.warning("The checkpoint of dream %s cannot be read: %s", dream_id, error)
            return None
        data = content[_HEADER.size :]
        if magic != _MAGIC or digest != _digest(step, data):
            log.warning("The checkpoint of dream %s is damaged; it begins anew", dream_id)
            return None
        return data

    def delete(self, dream_id: str) -> None:
        """Remove a dream's checkpoint, if there is one."""
        with suppress(OSError):
            self._path(dream_id).unlink(missing_ok=True)

    def sweep(self, unfinished: Collection[str]) -> int:
        """Remove what belongs to no unfinished dream, and return how many files those were."""
        if not self._folder.is_dir():
            return 0
        removed = 0
        for path in self._folder.iterdir():
            if path.suffix != _SUFFIX or path.stem not in unfinished:
                with suppress(OSError):
                    path.unlink()
                    removed += 1
        return removed

    def _path(self, dream_id: str) -> Path:
        return self._folder / f"{dream_id}{_SUFFIX}"


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


def _digest(step: int, data: bytes) -> bytes:
    return hashlib.blake2b(struct.pack(">Q", step) + data, digest_size=_DIGEST_BYTES).digest()
