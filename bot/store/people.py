"""People: the id they ask under, and what they are called."""

from __future__ import annotations

import aiosqlite

from bot.model import Person


async def upsert(connection: aiosqlite.Connection, person: Person, now_ms: int) -> None:
    """Make sure the person is known under the present name."""
    await connection.execute(
        """
        INSERT INTO person (id, name, first_seen_ms) VALUES (?, ?, ?)
        ON CONFLICT (id) DO UPDATE SET name = excluded.name WHERE name <> excluded.name
        """,
        (person.id, person.name, now_ms),
    )
