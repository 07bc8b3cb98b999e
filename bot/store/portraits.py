"""Portraits: which dreams were drawn of the words that a person gave about themselves.

A row is made in the transaction that accepts its dream, and loses its words in the one that
deletes it (`bot.store.tombstones`). What is left says when somebody agreed, and until when.
"""

from __future__ import annotations

from enum import StrEnum

import aiosqlite
import msgspec

from bot.model import Dream
from bot.store import Row, Store

_MOST = 1000  # of a line of descent

BY_DREAM = "SELECT * FROM portrait WHERE dream_id = ?"
OF_PERSON = """
    SELECT * FROM portrait WHERE person_id = ? AND revoked_ms IS NULL
    ORDER BY dream_id DESC LIMIT ?
"""
# A dream comes of its parent, and of those whose pictures it is drawn from.
BEHIND = f"""
    WITH RECURSIVE line (id) AS (
        SELECT :dream_id
        UNION
        SELECT other.id FROM line
        JOIN dream ON dream.id = line.id
        JOIN dream AS other ON (
            other.id = dream.parent_id
            OR other.image_sha256 = dream.init_sha256
            OR other.image_sha256 IN (SELECT sha256 FROM dream_picture WHERE dream_id = dream.id)
        )
        LIMIT {_MOST}
    )
    SELECT portrait.* FROM line JOIN portrait ON portrait.dream_id = line.id
    WHERE line.id <> :dream_id
"""  # noqa: S608 (own text)
DRAWN_OF = f"""
    WITH RECURSIVE line (id) AS (
        SELECT :dream_id
        UNION
        SELECT other.id FROM line
        JOIN dream ON dream.id = line.id
        JOIN dream AS other ON (
            other.parent_id = dream.id
            OR other.init_sha256 = dream.image_sha256
            OR other.id IN (SELECT dream_id FROM dream_picture WHERE sha256 = dream.image_sha256)
        )
        LIMIT {_MOST}
    )
    SELECT dream.id FROM line JOIN dream ON dream.id = line.id
    WHERE dream.deleted_ms IS NULL AND line.id <> :dream_id ORDER BY dream.id DESC
"""  # noqa: S608 (own text)


class Reach(StrEnum):
    """Who is to see a portrait: its person alone, the channel it was asked for in, its stream."""

    SELF = "self"
    CHANNEL = "channel"
    STREAM = "stream"


class Portrait(msgspec.Struct, frozen=True, kw_only=True):
    """A dream drawn of what a person said about themselves: that they agreed to it, and when.

    One that was revoked has no words.
    """

    dream_id: str
    person_id: str
    words: str
    reach: Reach
    consented_ms: int
    revoked_ms: int | None = None


async def insert(connection: aiosqlite.Connection, portrait: Portrait) -> None:
    """Record that a person agreed to a portrait; its dream has just been accepted."""
    await connection.execute(
        """
        INSERT INTO portrait (dream_id, person_id, words, reach, consented_ms)
        VALUES (?, ?, ?, ?, ?)
        """,
        (
            portrait.dream_id,
            portrait.person_id,
            portrait.words,
            portrait.reach,
            portrait.consented_ms,
        ),
    )


async def revoke(connection: aiosqlite.Connection, dream_id: str, now_ms: int) -> None:
    """Take away the words that a dream was drawn of, if it is a portrait."""
    await connection.execute(
        """
        UPDATE portrait SET words = '', revoked_ms = ?
        WHERE dream_id = ? AND revoked_ms IS NULL
        """,
        (now_ms, dream_id),
    )


async def by_dream(store: Store, dream_id: str) -> Portrait | None:
    """Return what is recorded of a dream that is a portrait, revoked ones too."""
    row = await store.read_one(BY_DREAM, (dream_id,))
    return None if row is None else from_row(row)


async def of_person(store: Store, person_id: str, limit: int) -> list[Portrait]:
    """Return a person's portraits that are not revoked, the newest first."""
    return [from_row(row) for row in await store.read(OF_PERSON, (person_id, limit))]


async def behind(connection: aiosqlite.Connection, dream: Dream) -> list[Portrait]:
    """Return the portraits that a dream comes of, revoked ones too."""
    rows = await connection.execute_fetchall(BEHIND, {"dream_id": dream.id})
    return [from_row(row) for row in rows]


async def drawn_of(store: Store, dream_id: str) -> list[str]:
    """Return the dreams that came of a dream and are not deleted, the newest first."""
    return [row["id"] for row in await store.read(DRAWN_OF, {"dream_id": dream_id})]


def from_row(row: Row) -> Portrait:
    """Read a portrait from a row of the queries above."""
    return Portrait(
        dream_id=row["dream_id"],
        person_id=row["person_id"],
        words=row["words"],
        reach=Reach(row["reach"]),
        consented_ms=row["consented_ms"],
        revoked_ms=row["revoked_ms"],
    )
