"""People: the id they ask under, and what they are called."""

from __future__ import annotations

import aiosqlite

from bot.model import Person
from bot.store import Store

PUBLISHES = "SELECT publishes FROM person WHERE id = ?"


async def upsert(connection: aiosqlite.Connection, person: Person, now_ms: int) -> None:
    """Make sure the person is known under the present name."""
    await connection.execute(
        """
        INSERT INTO person (id, name, first_seen_ms) VALUES (?, ?, ?)
        ON CONFLICT (id) DO UPDATE SET name = excluded.name WHERE name <> excluded.name
        """,
        (person.id, person.name, now_ms),
    )


async def known(connection: aiosqlite.Connection, person: Person, now_ms: int) -> None:
    """Make sure the person is known, under whatever name they have.

    For what is written later than it happened: it must not bring an older name back, least of all
    that of somebody who has been forgotten meanwhile.
    """
    await connection.execute(
        "INSERT INTO person (id, name, first_seen_ms) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING",
        (person.id, person.name, now_ms),
    )


async def publishes(store: Store, person_id: str) -> bool:
    """Say whether what a person asks for is shown outside the place where they ask."""
    row = await store.read_one(PUBLISHES, (person_id,))
    return row is None or bool(row["publishes"])


async def publishes_now(connection: aiosqlite.Connection, person_id: str) -> bool:
    """Say the same within a transaction, of a person who is known."""
    (row,) = await connection.execute_fetchall(PUBLISHES, (person_id,))
    return bool(row["publishes"])


async def set_publishes(
    connection: aiosqlite.Connection, person_id: str, *, publishes: bool
) -> None:
    """Record what a person who is known wants to become of what they ask for from now on."""
    await connection.execute("UPDATE person SET publishes = ? WHERE id = ?", (publishes, person_id))
