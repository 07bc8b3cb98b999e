"""Where a copy in the pool of backups is damaged, take the file from where it is whole. Blocks.

Backups share their files, so one damaged copy is in all of them, and in those to come: a backup
copies only what the pool has not got. The library mostly has the file still.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bot.backup.making import copy_entry, lock_backups
from bot.backup.model import POOL, Entry, SourceError, told
from bot.blobs import Blobs
from bot.files import sync_folder

_LEFT_OUT = "not all was mended, and what could be used is as it was."


def mend(root: Path, damaged: Iterable[Entry], blobs: Blobs) -> set[Entry]:
    """Copy anew what the pool of a folder of backups has not got whole; return what now is.

    What `blobs` has not got whole either stays as it is.

    Raises:
        BackupError: a backup is being made there.
        DiskError: the folder cannot be written, or a store of pictures does not answer.
    """
    pool, mended = root / POOL, set[Entry]()
    with lock_backups(root), told(root, _LEFT_OUT):
        for entry in damaged:
            try:
                if not copy_entry(blobs, entry, pool):
                    continue
            except SourceError:
                continue
            sync_folder((pool / entry.path).parent)
            mended.add(entry)
    return mended
