"""Steers that were accepted and not answered yet, one row each."""

from __future__ import annotations

import aiosqlite

from bot.model import PendingSteer, Person
from bot.store import Row, Store

ALL = """
    SELECT steer.id, steer.dream_id, steer.prompt, steer.glide_steps, steer.person_id,
           person.name AS person_name
    FROM pending_steer AS steer JOIN person ON person.id = steer.person_id
    ORDER BY steer.id
"""


async def insert(
    connection: aiosqlite.Connection,
    dream_id: str,
    person: Person,
    prompt: str,
    glide_steps: int,
    now_ms: int,
) -> PendingSteer | None:
    """Record a steer of an unfinished dream; None where the dream is over.

    Its person is known already.
    """
    cursor = await connection.execute(
        """
        INSERT INTO pending_steer (dream_id, person_id, prompt, glide_steps, asked_ms)
        SELECT id, ?, ?, ?, ? FROM dream WHERE id = ? AND state IN ('waiting', 'drawing')
        """,
        (person.id, prompt, glide_steps, now_ms, dream_id),
    )
    if cursor.rowcount != 1:
        return None
    assert cursor.lastrowid is not None
    return PendingSteer(
        id=cursor.lastrowid,
        dream_id=dream_id,
        person=person,
        prompt=prompt,
        glide_steps=glide_steps,
    )


async def delete(connection: aiosqlite.Connection, steer_id: int) -> None:
    """Forget a steer that has been answered."""
    await connection.execute("DELETE FROM pending_steer WHERE id = ?", (steer_id,))


async def pending(store: Store) -> list[PendingSteer]:
    """Return all that wait for an answer, oldest first."""
    return [from_row(row) for row in await store.read(ALL)]


def from_row(row: Row) -> PendingSteer:
    """Read a steer from a row of the query above."""
    return PendingSteer(
        id=row["id"],
        dream_id=row["dream_id"],
        person=Person(row["person_id"], row["person_name"]),
        prompt=row["prompt"],
        glide_steps=row["glide_steps"],
    )
