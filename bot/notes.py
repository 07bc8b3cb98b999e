"""Write down what is good to have in the database, but can be done without."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import aiosqlite

from bot.disk import TROUBLE, DiskWatch
from bot.store import Store


class Notes:
    """Called with what writes; where that cannot be kept, the disk is watched and all goes on."""

    def __init__(self, store: Store, disk: DiskWatch) -> None:
        self._store = store
        self._disk = disk

    async def __call__(self, write: Callable[[aiosqlite.Connection], Awaitable[object]]) -> None:
        """Write in one transaction, or not at all."""
        try:
            async with self._store.write() as connection:
                await write(connection)
        except TROUBLE as error:
            self._disk.report(error)
