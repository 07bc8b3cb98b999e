"""How much room is left on the disk: a warning while there is time, a refusal before it is full.

What is under way needs room to end: pictures, events, the journal. So nothing new is taken while
less than that is left, and asking is refused with a sentence before anything fails.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

from bot.errors import DiskError
from bot.side_tasks import SideTasks

log = logging.getLogger(__name__)

MIB, GIB = 1024**2, 1024**3
LOOK_S = 30.0
_REMIND_S = 3600.0
_EASE = 1.1  # refused again only after it was clearly more


class Level(IntEnum):
    """How it stands: enough, little, or less than what is under way may need."""

    ENOUGH = 0
    LITTLE = 1
    NONE = 2


class FreeSpace:
    """Looks at the disk of a folder now and then; `start` it, `stop` it in the end.

    Below `warn_bytes` the log says so, again every hour; below `least_bytes` nothing new is taken
    until there is a tenth more than that. 0 turns either off.
    """

    def __init__(
        self,
        folder: Path,
        *,
        warn_bytes: int,
        least_bytes: int,
        look_s: float = LOOK_S,
        free: Callable[[Path], int] | None = None,
    ) -> None:
        self._folder = folder
        self._warn_bytes = warn_bytes
        self._least_bytes = least_bytes
        self._look_s = look_s
        self._free = free or free_bytes
        self._level = Level.ENOUGH
        self._left_bytes = 0
        self._said_at = 0.0
        self._tasks = SideTasks()

    @property
    def refusing(self) -> str | None:
        """Why nothing new is taken at present, as a sentence; or None."""
        if self._level is not Level.NONE:
            return None
        return (
            f"The disk is almost full: {self._left_bytes // MIB} MiB are left, and "
            f"{self._least_bytes // MIB} MiB are kept for what is under way. Free some space. "
            "Until then nothing new is taken; dreams under way are kept."
        )

    def check(self) -> None:
        """Refuse what is new while there is too little room.

        Raises:
            DiskError: there is.
        """
        if (sentence := self.refusing) is not None:
            raise DiskError(sentence)

    async def start(self) -> None:
        """Look at once, and then now and then."""
        await self.look()
        self._tasks.every(
            self._look_s,
            self.look,
            "It cannot be told how full the disk is",
            name="free-space",
            after_s=self._look_s,
        )

    async def stop(self) -> None:
        """Look no more."""
        await self._tasks.stop()

    async def look(self) -> Level:
        """Look at the disk, say what has changed, and return how it stands."""
        try:
            self._left_bytes = await asyncio.to_thread(self._free, self._folder)
        except OSError as error:  # it says nothing of how much is left
            log.warning("The room on the disk is not known: %s", error)
            return self._level
        before, self._level = self._level, self._judge()
        again = time.monotonic() - self._said_at >= _REMIND_S
        if self._level is not before or (self._level is not Level.ENOUGH and again):
            self._say(before)
        return self._level

    def _judge(self) -> Level:
        left = self._left_bytes
        least, warn = self._least_bytes, self._warn_bytes
        if left < least * (_EASE if self._level is Level.NONE else 1):
            return Level.NONE
        if left < warn * (_EASE if self._level is not Level.ENOUGH else 1):
            return Level.LITTLE
        return Level.ENOUGH

    def _say(self, before: Level) -> None:
        self._said_at = time.monotonic()
        left = f"{self._left_bytes / GIB:.2f} GiB"
        if self._level is Level.NONE:
            log.error("The disk of %s has %s left: nothing new is taken.", self._folder, left)
        elif self._level is Level.LITTLE:
            log.warning(
                "The disk of %s has %s left. Free some space, or have old dreams go "
                "(storage.keep_days, storage.keep_gib). Below %d MiB nothing new is taken.",
                self._folder,
                left,
                self._least_bytes // MIB,
            )
        elif before is not Level.ENOUGH:
            log.info("The disk of %s has %s left, which is enough again.", self._folder, left)


def free_bytes(folder: Path) -> int:
    """Return how many bytes this process may still write to the disk of a folder. Blocks."""
    return shutil.disk_usage(folder).free
