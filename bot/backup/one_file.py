"""Make a backup that is one file, a TAR: made as a folder beside it, packed, and removed."""

from __future__ import annotations

import asyncio
import re
import shutil
import tarfile
from contextlib import suppress
from pathlib import Path

from bot.backup.making import LEFT_OUT, Made, lock_backups, make_locked
from bot.backup.model import BACKUPS, POOL, BackupError, sync_file, told
from bot.blobs import Blobs, FolderBlobs
from bot.errors import DiskError
from bot.files import TEMPORARY_PREFIX, sync_folder

_EARLIER = re.compile(re.escape(TEMPORARY_PREFIX) + "[0-9a-f]{16}")


async def make_file(data_dir: Path, target: Path, *, blobs: Blobs | None = None) -> Made:
    """Make a backup that is one file, a TAR; for a while it takes its size twice.

    Raises:
        As `make` does.
    """
    await asyncio.to_thread(_sweep, target.parent)
    root = target.with_name(f"{TEMPORARY_PREFIX}{target.name}")
    with await asyncio.to_thread(lock_backups, root):
        try:
            blobs = blobs or FolderBlobs(data_dir / "library")
            made = await make_locked(data_dir, root, 0, blobs, 0, lambda: False)
            await asyncio.to_thread(_pack, made, root, target)
            return made
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, root, ignore_errors=True))


def _sweep(folder: Path) -> None:
    """Remove what backups into one file have left that were killed: whole copies of everything."""
    for left in folder.glob(f"{TEMPORARY_PREFIX}*"):
        # Earlier versions left it without a TAR's name, as other things that are half made have.
        known = left.suffix == ".tar" or (
            _EARLIER.fullmatch(left.name) and (left / BACKUPS).is_dir()
        )
        if known and left.is_dir() and not left.is_symlink():
            # Unless one is being made at this moment.
            with suppress(BackupError, DiskError), lock_backups(left):
                shutil.rmtree(left, ignore_errors=True)


def _pack(made: Made, root: Path, target: Path) -> None:
    temporary = root / "whole.tar"
    with told(target.parent, LEFT_OUT):
        with tarfile.open(temporary, "w") as archive:
            for folder in (POOL, f"{BACKUPS}/{made.path.name}"):
                if (root / folder).exists():
                    archive.add(root / folder, folder)
        sync_file(temporary)
        temporary.replace(target)
        sync_folder(target.parent.absolute())
