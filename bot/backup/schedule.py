"""Backups made by the bot itself, every so many hours, in the background."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress
from pathlib import Path

from bot.backup.making import make
from bot.backup.model import BackupError, Stopped, read_made_ms, whole_backups
from bot.blobs import Blobs
from bot.ids import now_ms
from bot.side_tasks import SideTasks

log = logging.getLogger(__name__)

HOUR_MS = 3600 * 1000
_LOOK_S = 60.0
_RETRY_S = 15 * 60.0


class BackupSchedule:
    """Makes a backup whenever the newest one is `every_hours` old; keeps the newest `keep`.

    Times are taken from the backups themselves, so that a bot which is often started anew makes
    neither more nor fewer of them. Pictures are had from `blobs`, or from the library's folder.
    Where the folder is on the data folder's own disk, none is made that would leave it less than
    `leave_bytes`: what nobody asks for must not be why no new dreams are taken.
    """

    def __init__(
        self,
        data_dir: Path,
        folder: Path,
        *,
        every_hours: float,
        keep: int,
        blobs: Blobs | None = None,
        leave_bytes: int = 0,
        look_s: float = _LOOK_S,
        retry_s: float = _RETRY_S,
    ) -> None:
        self._data_dir = data_dir
        self._folder = folder
        self._every_ms = every_hours * HOUR_MS
        self._keep = keep
        self._blobs = blobs
        self._leave_bytes = leave_bytes
        self._look_s = look_s
        self._retry_s = retry_s
        self._stopping = threading.Event()
        self._tasks = SideTasks()

    def start(self) -> None:
        """Begin to look after the backups, if any are to be made."""
        if self._every_ms > 0:
            self._tasks.every(
                self._look_s,
                self._look,
                "No backup was made",
                name="backup",
                again_s=self._retry_s,
            )

    async def stop(self) -> None:
        """Leave what is not finished; what is left of it goes with the next one."""
        self._stopping.set()
        await self._tasks.stop()

    async def _look(self) -> None:
        with suppress(Stopped):
            if await asyncio.to_thread(self._due):
                await self._make()

    def _due(self) -> bool:
        newest = newest_ms(self._folder)
        return newest is None or now_ms() - newest >= self._every_ms

    async def _make(self) -> None:
        near = await asyncio.to_thread(on_one_disk, self._data_dir, self._folder)
        made = await make(
            self._data_dir,
            self._folder,
            keep=self._keep,
            blobs=self._blobs,
            leave_bytes=self._leave_bytes if near else 0,
            stopped=self._stopping.is_set,
        )
        log.info(
            "Backed up into %s: %d files, %d of them new",
            made.path,
            len(made.manifest.files),
            made.new_files,
        )


def on_one_disk(data_dir: Path, folder: Path) -> bool:
    """Say whether a folder, which may not be there yet, is on the data folder's disk. Blocks."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return data_dir.exists() and there.stat().st_dev == data_dir.stat().st_dev


def newest_ms(folder: Path) -> int | None:
    """Return when the newest backup of a folder was made; None where there is none. Blocks.

    One of the future was made under another clock, and one that cannot be read counts for nothing:
    they do not keep others from being made.
    """
    for backup in reversed(whole_backups(folder)):
        with suppress(BackupError):
            if (made_ms := read_made_ms(backup)) <= now_ms():
                return made_ms
    return None
