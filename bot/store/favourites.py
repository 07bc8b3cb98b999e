"""Which dreams people like."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import aiosqlite

from bot.store import Store

COUNT = "SELECT count(*) AS count FROM favourite WHERE dream_id = ?"
LIKED = "SELECT 1 FROM favourite WHERE dream_id = ? AND person_id = ?"
OF_PERSON = """
    SELECT favourite.dream_id FROM favourite JOIN dream ON dream.id = favourite.dream_id
    WHERE favourite.person_id = ? AND dream.deleted_ms IS NULL
    ORDER BY favourite.at_ms DESC, favourite.dream_id DESC LIMIT ?
"""
_AT_ONCE = 500  # within the variables that every SQLite takes


async def toggle(
    connection: aiosqlite.Connection,
    dream_id: str,
    person_id: str,
    now_ms: int,
    *,
    known_as: Iterable[str] = (),
) -> bool | None:
    """Like a dream, or no more; say whether it is liked now, None where it is gone.

    A like of any id that they are `known_as` is theirs: it is taken back, and none is added to it.
    """
    cursor = await connection.executemany(
        "DELETE FROM favourite WHERE dream_id = ? AND person_id = ?",
        [(dream_id, one) for one in {person_id, *known_as}],
    )
    if cursor.rowcount:
        return False
    cursor = await connection.execute(
        """
        INSERT INTO favourite (dream_id, person_id, at_ms)
        SELECT id, ?, ? FROM dream WHERE id = ? AND deleted_ms IS NULL
        """,
        (person_id, now_ms, dream_id),
    )
    return True if cursor.rowcount else None


async def put(
    connection: aiosqlite.Connection, dream_ids: Sequence[str], person_id: str, now_ms: int
) -> None:
    """Like those of the dreams that are not gone, and not liked already."""
    await connection.executemany(
        """
        INSERT INTO favourite (dream_id, person_id, at_ms)
        SELECT id, ?, ? FROM dream WHERE id = ? AND deleted_ms IS NULL
        ON CONFLICT DO NOTHING
        """,
        [(person_id, now_ms, dream_id) for dream_id in dream_ids],
    )


async def put_or_take(
    connection: aiosqlite.Connection, dream_id: str, person_id: str, now_ms: int, *, liked: bool
) -> bool:
    """Like a dream that is not gone, or no more; say whether that changed anything."""
    if liked:
        cursor = await connection.execute(
            """
            INSERT INTO favourite (dream_id, person_id, at_ms)
            SELECT id, ?, ? FROM dream WHERE id = ? AND deleted_ms IS NULL
            ON CONFLICT DO NOTHING
            """,
            (person_id, now_ms, dream_id),
        )
    else:
        cursor = await connection.execute(
            "DELETE FROM favourite WHERE dream_id = ? AND person_id = ?", (dream_id, person_id)
        )
    return cursor.rowcount > 0


async def is_liked(store: Store, dream_id: str, person_id: str) -> bool:
    """Say whether a person likes a dream."""
    return await store.read_one(LIKED, (dream_id, person_id)) is not None


async def count(connection: aiosqlite.Connection, dream_id: str) -> int:
    """Return how many people like a dream."""
    (row,) = await connection.execute_fetchall(COUNT, (dream_id,))
    return int(row["count"])


async def counts(store: Store, dream_ids: Sequence[str]) -> dict[str, int]:
    """Return how many people like each of these dreams."""
    found = dict.fromkeys(dream_ids, 0)
    for begin in range(0, len(dream_ids), _AT_ONCE):
        some = dream_ids[begin : begin + _AT_ONCE]
        marks = ", ".join("?" for _ in some)
        rows = await store.read(
            "SELECT dream_id, count(*) AS count FROM favourite "  # noqa: S608 (own text)
            f"WHERE dream_id IN ({marks}) GROUP BY dream_id",
            some,
        )
        found.update((row["dream_id"], row["count"]) for row in rows)
    return found


async def of_person(store: Store, person_id: str, limit: int) -> list[str]:
    """Return the ids of the dreams that a person likes, the newest liked first."""
    return [row["dream_id"] for row in await store.read(OF_PERSON, (person_id, limit))]
