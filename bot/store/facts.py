"""Small facts under a name, which must outlive the process."""

from __future__ import annotations

import aiosqlite

from bot.store import Store

BY_NAME = "SELECT value FROM fact WHERE name = ?"


async def get(store: Store, name: str) -> str | None:
    """Return what is kept under a name, None where nothing is."""
    row = await store.read_one(BY_NAME, (name,))
    return None if row is None else str(row["value"])


async def put(connection: aiosqlite.Connection, name: str, value: str) -> None:
    """Keep something under a name, in place of what was there."""
    await connection.execute(
        """
        INSERT INTO fact (name, value) VALUES (?, ?)
        ON CONFLICT (name) DO UPDATE SET value = excluded.value
        """,
        (name, value),
    )
