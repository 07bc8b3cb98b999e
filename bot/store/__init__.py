"""The SQLite database: one writer, a reader beside it, and a module of queries per aggregate.

Whoever changes something opens `Store.write` and calls the functions of `themes`, `dreams`,
`events` and `images` on the connection it gives: all of it is committed together or not at all.
Whoever only looks uses `Store.read`, which never waits for the writer (WAL). This package does
not know what the rows are for, nor about files, Discord or the wall.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiosqlite

from bot.errors import DiskError, StoreError
from bot.monitoring import metrics
from bot.store.migrate import BUSY_TIMEOUT_MS, upgrade
from bot.store.texts import readable

Row = sqlite3.Row
Parameters = Iterable[Any] | Mapping[str, Any]

_SCRUB_WAIT_MS = 200  # longer than our own readers need; nobody else can write meanwhile


class Store:
    """An open database. Make one with `Store.open`."""

    def __init__(
        self, path: Path, writer: aiosqlite.Connection, reader: aiosqlite.Connection
    ) -> None:
        self.path = path
        self._writer = writer
        self._reader = reader
        self._lock = asyncio.Lock()
        self._watchers: list[Callable[[], None]] = []

    @classmethod
    async def open(cls, path: Path) -> Store:
        """Open the database at `path`; make it if it is not there, upgrade it if it is older.

        Raises:
            NewerDatabaseError: a newer version of Dreamstream wrote it. The file is not touched.
            StoreError: it is damaged, not ours, or cannot be opened or written.
        """
        await asyncio.to_thread(upgrade, path)
        with _sentences():
            # What is deleted is written over, not only left out of the tables.
            writer = await _connect(path, "PRAGMA synchronous = FULL", "PRAGMA secure_delete = ON")
            try:
                reader = await _connect(path, "PRAGMA query_only = ON")
            except BaseException:
                await writer.close()
                raise
        return cls(path, writer, reader)

    async def close(self) -> None:
        """Finish the transaction under way, if there is one, and close the file."""
        async with self._lock:
            await self._reader.close()
            await self._writer.close()

    def on_commit(self, watcher: Callable[[], None]) -> None:
        """Call `watcher` after every transaction that was committed."""
        self._watchers.append(watcher)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[aiosqlite.Connection]:
        """Give the connection for one transaction: committed at the end, undone by any error.

        Once it returns without an error the changes survive a power cut.

        Raises:
            DiskError: the disk is full or may not be written.
            StoreError: the database is damaged or locked by another program.
        """
        async with AsyncExitStack() as turn:
            with metrics.timing(metrics.STORE_WAIT_S):
                await turn.enter_async_context(self._lock)
            with metrics.timing(metrics.STORE_WRITE_S), _sentences():
                try:
                    await self._writer.execute("BEGIN IMMEDIATE")
                    yield self._writer
                    await self._writer.commit()
                except BaseException:
                    # The connection works through a queue, so this comes after whatever a
                    # cancelled caller left in it, and before the next transaction.
                    await asyncio.shield(self._writer.rollback())
                    raise
                finally:
                    # Also after an error: a cancelled caller's commit may still have been done.
                    for watcher in self._watchers:
                        watcher()

    async def scrub(self) -> bool:
        """Empty the journal, which may still hold what was deleted; say whether it is empty now.

        It stays while somebody reads it, as a backup does that is being made.

        Raises:
            DiskError, StoreError: the database cannot be written, or is damaged.
        """
        async with self._lock:
            with _sentences():
                try:
                    await self._set_patience(_SCRUB_WAIT_MS)
                    rows = await self._writer.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
                finally:
                    await asyncio.shield(self._set_patience(BUSY_TIMEOUT_MS))
        return not any(row[0] for row in rows)

    async def _set_patience(self, milliseconds: int) -> None:
        await self._writer.execute_fetchall(f"PRAGMA busy_timeout = {milliseconds}")

    async def read(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Return all rows of a query over what has been committed.

        Raises:
            StoreError: the database is damaged.
        """
        with _sentences():
            return list(await self._reader.execute_fetchall(sql, parameters))

    async def read_one(self, sql: str, parameters: Parameters = ()) -> Row | None:
        """Return the first row of a query over what has been committed, or None."""
        rows = await self.read(sql, parameters)
        return rows[0] if rows else None


async def _connect(path: Path, *pragmas: str) -> aiosqlite.Connection:
    # Transactions are opened by hand (`isolation_level`), so that none is opened by accident.
    connection = await aiosqlite.connect(path, isolation_level=None)
    try:
        connection.row_factory = Row
        connection.text_factory = readable
        for pragma in (
            f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}",
            "PRAGMA foreign_keys = ON",
            *pragmas,
        ):
            await connection.execute(pragma)
    except BaseException:
        await connection.close()
        raise
    return connection


_DISK = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR)


@contextmanager
def _sentences() -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError:
        raise  # a mistake of ours, or a guard that did its work: for the caller to see
    except sqlite3.DatabaseError as error:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if code in _DISK:
            raise DiskError(
                f"The database cannot be written: {error}. Free some space on its disk, or make "
                "it writable."
            ) from error
        raise StoreError(
            f"The database cannot be used: {error}. If it is damaged, put a backup in its place."
        ) from error
