"""Who is signed in at the wall: a row for each browser, named by the hash of its token."""

from __future__ import annotations

import aiosqlite

from bot.model import Person
from bot.store import Store

SIGNED_IN = """
    SELECT person.id, person.name FROM wall_session JOIN person ON person.id = person_id
    WHERE token_sha256 = ? AND created_ms <= ? AND until_ms > ?
"""
OF_PERSON = "SELECT count(*) AS count FROM wall_session WHERE person_id = ? AND until_ms > ?"


async def person_of(
    store: Store, token_sha256: str, *, created_by_ms: int, now_ms: int
) -> Person | None:
    """Return whose a session is that was begun by a time and is not over; None where it is none."""
    row = await store.read_one(SIGNED_IN, (token_sha256, created_by_ms, now_ms))
    return None if row is None else Person(row["id"], row["name"])


async def count(store: Store, person_id: str, now_ms: int) -> int:
    """Return in how many browsers a person is signed in."""
    row = await store.read_one(OF_PERSON, (person_id, now_ms))
    assert row is not None, "a count has a row"
    return int(row["count"])


async def insert(
    connection: aiosqlite.Connection,
    token_sha256: str,
    person_id: str,
    *,
    now_ms: int,
    until_ms: int,
    most: int,
) -> None:
    """Keep a session of a person who is known; of more than `most`, their oldest go."""
    await connection.execute(
        "INSERT INTO wall_session (token_sha256, person_id, created_ms, until_ms) "
        "VALUES (?, ?, ?, ?)",
        (token_sha256, person_id, now_ms, until_ms),
    )
    await connection.execute(
        """
        DELETE FROM wall_session WHERE person_id = :person_id AND token_sha256 NOT IN (
            SELECT token_sha256 FROM wall_session WHERE person_id = :person_id
            ORDER BY token_sha256 = :newest DESC, created_ms DESC LIMIT :most
        )
        """,
        {"person_id": person_id, "newest": token_sha256, "most": most},
    )


async def delete(connection: aiosqlite.Connection, token_sha256: str) -> None:
    """Forget a session."""
    await connection.execute("DELETE FROM wall_session WHERE token_sha256 = ?", (token_sha256,))


async def delete_of(connection: aiosqlite.Connection, person_id: str) -> None:
    """Forget all sessions of a person."""
    await connection.execute("DELETE FROM wall_session WHERE person_id = ?", (person_id,))


async def delete_over(connection: aiosqlite.Connection, now_ms: int) -> None:
    """Forget the sessions that are over."""
    await connection.execute("DELETE FROM wall_session WHERE until_ms <= ?", (now_ms,))


async def delete_all(connection: aiosqlite.Connection) -> None:
    """Forget all of them."""
    await connection.execute("DELETE FROM wall_session")
