"""The copies of the database from before upgrades: kept for some days, then removed.

They are there in case an upgrade went wrong, and have everything that was in the database then,
also of people who are forgotten since. So they go once a version has run well for a while, and at
once when somebody is forgotten.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from bot.side_tasks import SideTasks
from bot.store import Store
from bot.trusted_time import is_sure_of_the_time

log = logging.getLogger(__name__)

KEPT_S = 7 * 24 * 3600.0
GOOD_START_S = 3600.0
"""A version that has run for so long has started well."""
_LOOK_S = 24 * 3600.0


class UpgradeCopies:
    """Removes those that are old, from `start` to `stop`."""

    def __init__(self, store: Store, *, good_start_s: float = GOOD_START_S) -> None:
        self._store = store
        self._good_start_s = good_start_s
        self._tasks = SideTasks()

    def start(self) -> None:
        """Begin to look, once this version has run for a while."""
        self._tasks.every(
            _LOOK_S,
            self.look,
            "Copies of before upgrades are still there",
            name="upgrade-copies",
            after_s=self._good_start_s,
        )

    async def stop(self) -> None:
        """Leave the rest to the next start."""
        await self._tasks.stop()

    async def look(self) -> None:
        """Remove the copies that are old, unless the clock may be wrong.

        Raises:
            DiskError, StoreError: nothing can be written at present.
        """
        if await is_sure_of_the_time(self._store):
            before_s = time.time() - KEPT_S
            try:
                await asyncio.to_thread(remove_copies, self._store.path, before_s)
            except OSError as error:
                log.warning("A copy of before an upgrade cannot be deleted: %s", error)


def remove_copies(database: Path, before_s: float = float("inf")) -> None:
    """Remove the copies that were made of a database before a time (Unix, seconds). Blocks.

    Raises:
        OSError: one cannot be removed.
    """
    for path in database.parent.glob(f"{database.name}.before-*"):
        if path.stat().st_mtime < before_s:
            path.unlink()
            log.info("Removed %s, a copy of before an upgrade", path.name)
