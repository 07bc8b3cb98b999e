"""Portraits: which dreams were drawn of the words that a person gave about themselves.

A row is made in the transaction that accepts its dream, and loses its words in the one that
deletes it (`bot.store.tombstones`). What is left says when somebody agreed, and until when.

What is drawn of a portrait, and of that in turn, is recorded as it is accepted (`portrait_line`).
No deletion takes that away: what comes of a dream that is gone still comes of the portrait.
"""

from __future__ import annotations

from enum import StrEnum

import aiosqlite
import msgspec

from bot.model import Dream
from bot.store import Row, Store

BY_DREAM = "SELECT * FROM portrait WHERE dream_id = ?"
SOMEBODY = """
    SELECT 1 FROM portrait WHERE dream_id = :dream_id
    UNION ALL SELECT 1 FROM portrait_line WHERE dream_id = :dream_id LIMIT 1
"""
OF_PERSON = """
    SELECT * FROM portrait WHERE person_id = ? AND revoked_ms IS NULL
    ORDER BY dream_id DESC LIMIT ?
"""
BEHIND = """
    SELECT portrait.* FROM portrait_line JOIN portrait ON portrait.dream_id = portrait_id
    WHERE portrait_line.dream_id = :dream_id
"""
DRAWN_OF = """
    SELECT dream.id FROM portrait_line JOIN dream ON dream.id = portrait_line.dream_id
    WHERE portrait_id = :dream_id AND dream.deleted_ms IS NULL ORDER BY dream.id DESC
"""
# A dream comes of its parent, and of those whose pictures it is drawn from: and of all portraits
# that these are, or come of.
LINE = """
    WITH origin (id) AS (
        SELECT parent_id FROM dream WHERE id = :dream_id AND parent_id IS NOT NULL
        UNION
        SELECT other.id FROM dream JOIN dream AS other ON other.image_sha256 = dream.init_sha256
        WHERE dream.id = :dream_id
        UNION
        SELECT other.id FROM dream_picture JOIN dream AS other ON other.image_sha256 = sha256
        WHERE dream_id = :dream_id
    )
    INSERT INTO portrait_line (dream_id, portrait_id)
    SELECT :dream_id, portrait.dream_id FROM origin JOIN portrait ON portrait.dream_id = origin.id
    UNION
    SELECT :dream_id, portrait_id FROM origin JOIN portrait_line ON dream_id = origin.id
    WHERE true ON CONFLICT DO NOTHING
"""


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


async def is_agreed_now(connection: aiosqlite.Connection, dream_id: str) -> bool:
    """Say, within a transaction, whether a dream is a portrait to which its person still agrees."""
    return bool(
        await connection.execute_fetchall(
            "SELECT 1 FROM portrait WHERE dream_id = ? AND revoked_ms IS NULL", (dream_id,)
        )
    )


async def by_dream(store: Store, dream_id: str) -> Portrait | None:
    """Return what is recorded of a dream that is a portrait, revoked ones too."""
    row = await store.read_one(BY_DREAM, (dream_id,))
    return None if row is None else from_row(row)


async def shows_somebody(store: Store, dream_id: str) -> bool:
    """Say whether a dream is a portrait or comes of one, revoked ones too."""
    return await store.read_one(SOMEBODY, {"dream_id": dream_id}) is not None


async def of_person(store: Store, person_id: str, limit: int) -> list[Portrait]:
    """Return a person's portraits that are not revoked, the newest first."""
    return [from_row(row) for row in await store.read(OF_PERSON, (person_id, limit))]


async def trace(connection: aiosqlite.Connection, dream: Dream) -> list[Portrait]:
    """Record of which portraits a new dream comes, and return them, revoked ones too."""
    await connection.execute(LINE, {"dream_id": dream.id})
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
