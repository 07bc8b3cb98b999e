"""People who may not ask for dreams in a server."""

from __future__ import annotations

import aiosqlite

from bot.model import Block, Person
from bot.store import Row, Store

ALL = """
    SELECT block.*, person.name AS person_name, by.name AS by_name
    FROM blocked_person AS block
    JOIN person ON person.id = block.person_id
    JOIN person AS by ON by.id = block.blocked_by
    ORDER BY block.at_ms, block.person_id
"""


async def listing(store: Store) -> list[Block]:
    """Return all of every server, those that are over too, oldest first."""
    return [from_row(row) for row in await store.read(ALL)]


async def put(connection: aiosqlite.Connection, block: Block) -> None:
    """Block a person, in place of what was said of them before. Both people are known already."""
    await connection.execute(
        """
        INSERT INTO blocked_person (guild_id, person_id, blocked_by, reason, at_ms, until_ms)
        VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT (guild_id, person_id) DO UPDATE
        SET blocked_by = excluded.blocked_by, reason = excluded.reason,
            at_ms = excluded.at_ms, until_ms = excluded.until_ms
        """,
        (
            block.guild_id,
            block.person.id,
            block.by.id,
            block.reason,
            block.at_ms,
            block.until_ms,
        ),
    )


async def delete(connection: aiosqlite.Connection, guild_id: int, person_id: str) -> bool:
    """Let a person ask again, and say whether they were blocked."""
    cursor = await connection.execute(
        "DELETE FROM blocked_person WHERE guild_id = ? AND person_id = ?", (guild_id, person_id)
    )
    return cursor.rowcount == 1


def from_row(row: Row) -> Block:
    """Read a block from a row of the query above."""
    return Block(
        guild_id=row["guild_id"],
        person=Person(row["person_id"], row["person_name"]),
        by=Person(row["blocked_by"], row["by_name"]),
        reason=row["reason"],
        at_ms=row["at_ms"],
        until_ms=row["until_ms"],
    )
