"""Looks after open parties: tells when a stage has lasted, ends what everybody has left alone.

It sleeps until the next of these is due. What was due while the process was down is done at its
start. When it is to look sooner it is woken; this module does not know by what.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from bot.errors import RequestError
from bot.parties.acting import note
from bot.parties.model import Party
from bot.side_tasks import SideTasks
from bot.store import Store, parties

HOUR_MS = 3600 * 1000
_LONGEST_S = 600.0  # clocks are set


class Keeper:
    """`end` ends a party that nobody has touched for `idle_hours`."""

    def __init__(
        self,
        store: Store,
        end: Callable[[Party], Awaitable[None]],
        idle_hours: float,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._end = end
        self._idle_ms = round(idle_hours * HOUR_MS)
        self._clock = clock
        self._woken = asyncio.Event()
        self._tasks = SideTasks()

    def start(self) -> None:
        """Begin."""
        self._tasks.keep(self._run, "The parties cannot be looked after", name="parties")

    async def stop(self) -> None:
        """End."""
        await self._tasks.stop()

    def wake(self) -> None:
        """Look again now: something may be due sooner."""
        self._woken.set()

    async def look(self) -> int | None:
        """Do what is due, and return when the next is, in milliseconds since 1970.

        Raises:
            DiskError, StoreError: nothing can be kept at present.
        """
        now_ms = self._clock()
        nexts = []
        for party in await parties.open_ones(self._store):
            ends_ms = party.active_ms + self._idle_ms
            if ends_ms <= now_ms:
                with suppress(RequestError):  # somebody ended it
                    await self._end(party)
                continue
            nexts.append(ends_ms)
            if party.due_ms is not None and party.due_ms <= now_ms:
                await self._tell(party, party.due_ms)
            elif party.due_ms is not None:
                nexts.append(party.due_ms)
        return min(nexts, default=None)

    async def _tell(self, party: Party, due_ms: int) -> None:
        async with self._store.write() as connection:
            if await parties.was_told(connection, party.id, due_ms):
                await note(connection, party, None, "time", self._clock(), stage=party.stage.value)

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            next_ms = await self.look()
            wait_s = _LONGEST_S if next_ms is None else (next_ms - self._clock()) / 1000
            with suppress(TimeoutError):
                async with asyncio.timeout(min(_LONGEST_S, max(0.05, wait_s))):
                    await self._woken.wait()
