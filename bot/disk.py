"""Whether the disk takes what is to be kept, and when it does so again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from bot.errors import DiskError, StoreError
from bot.side_tasks import SideTasks

log = logging.getLogger(__name__)

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 30.0

# Why something could not be kept now and may be kept later.
TROUBLE = (DiskError, StoreError)


class DiskWatch:
    """Remembers that something could not be kept, and tries until the disk is well again."""

    def __init__(
        self, probe: Callable[[], Awaitable[None]], first_delay_s: float = FIRST_DELAY_S
    ) -> None:
        self.trouble: str | None = None
        self._probe = probe
        self._probing = asyncio.Lock()  # trials would take away each other's
        self._first_delay_s = first_delay_s
        self._delay_s = first_delay_s
        self._well = asyncio.Event()
        self._well.set()
        self._tasks = SideTasks()
        self._task: asyncio.Task[None] | None = None

    def report(self, error: DiskError | StoreError) -> None:
        """Something could not be kept: from now on `trouble` says why, until a probe succeeds."""
        if self.trouble is None:
            where = error.where if isinstance(error, DiskError) else ""
            log.error("%s%s Trying again until it works.", error, where and f" ({where})")
        self.trouble = str(error)
        self._well.clear()
        if self._task is None or self._task.done():
            self._task = self._tasks.keep(
                self._watch, "It cannot be tried whether the disk is well again", name="disk"
            )

    async def is_outage(self) -> bool:
        """Find out, once something kept could not be had, whether nothing can; if so, report it."""
        async with self._probing:
            if self.trouble is None:
                try:
                    await self._probe()
                except TROUBLE as error:
                    self.report(error)
        return self.trouble is not None

    def succeeded(self) -> None:
        """Something was kept: the next trouble is a new one."""
        self._delay_s = self._first_delay_s

    def check(self) -> None:
        """Refuse what would have to be kept while nothing can be.

        Raises:
            DiskError: there is trouble.
        """
        if self.trouble is not None:
            raise DiskError(
                f"{self.trouble} Until then no new dreams are taken; those under way are kept."
            )

    async def well(self) -> None:
        """Wait until there is no trouble."""
        await self._well.wait()

    async def stop(self) -> None:
        """Watch no more."""
        await self._tasks.stop()

    async def _watch(self) -> None:
        while True:
            # What works for a probe may fail for the real thing, so the delay grows until that
            # succeeds.
            await asyncio.sleep(self._delay_s)
            self._delay_s = min(2 * self._delay_s, LONGEST_DELAY_S)
            try:
                async with self._probing:
                    await self._probe()
            except TROUBLE as error:
                self.trouble = str(error)
            else:
                break
        log.info("The disk can be written again")
        self.trouble = None
        self._well.set()
