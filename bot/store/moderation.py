"""What was decided about people and pictures: a log that triggers keep from being changed.

Like the stream, it names people by their pseudonyms.
"""

from __future__ import annotations

from typing import Any

import aiosqlite
import msgspec

from bot.model import Act, ModerationEntry, Person
from bot.sentences import plain
from bot.store import Row, Store

LATEST = """
    SELECT entry.*, by.id AS by_id, by.name AS by_name, person.id AS person_id,
           person.name AS person_name
    FROM moderation_entry AS entry
    JOIN person AS by ON by.pseudonym = entry.by_pseudonym
    LEFT JOIN person ON person.pseudonym = entry.pseudonym
    WHERE entry.guild_id = :guild_id AND entry.id < :before
    AND (:act IS NULL OR entry.act = :act)
    AND (:person_id IS NULL OR (SELECT pseudonym FROM person WHERE id = :person_id)
         IN (entry.pseudonym, entry.by_pseudonym))
    ORDER BY entry.id DESC LIMIT :limit
"""
PAST_EVERY_ID = 2**63 - 1


async def append(
    connection: aiosqlite.Connection,
    act: Act,
    guild_id: int,
    by: Person,
    at_ms: int,
    *,
    person: Person | None = None,
    dream_id: str | None = None,
    channel_id: int | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Add an entry. Both people are known already.

    `detail` must hold nothing that a person said or is called: it cannot be deleted by them.
    """
    await connection.execute(
        """
        INSERT INTO moderation_entry (
            guild_id, act, by_pseudonym, pseudonym, dream_id, channel_id, at_ms, detail
        ) VALUES (
            ?, ?, (SELECT pseudonym FROM person WHERE id = ?),
            (SELECT pseudonym FROM person WHERE id = ?), ?, ?, ?, ?
        )
        """,
        (
            guild_id,
            act,
            by.id,
            None if person is None else person.id,
            dream_id,
            channel_id,
            at_ms,
            msgspec.json.encode(detail or {}, enc_hook=plain).decode(),
        ),
    )


async def latest(
    store: Store,
    guild_id: int,
    before: int | None,
    limit: int,
    *,
    act: Act | None = None,
    person_id: str | None = None,
) -> list[ModerationEntry]:
    """Return a server's newest entries, those before an id, newest first.

    Only of one kind, and only those that somebody is in, where that is said.
    """
    rows = await store.read(
        LATEST,
        {
            "guild_id": guild_id,
            "before": PAST_EVERY_ID if before is None else before,
            "limit": limit,
            "act": act,
            "person_id": person_id,
        },
    )
    return [from_row(row) for row in rows]


async def forget_before(connection: aiosqlite.Connection, before_ms: int, limit: int) -> int:
    """Remove entries that are older, so many at most; return how many. The newest 30 days stay."""
    cursor = await connection.execute(
        """
        DELETE FROM moderation_entry WHERE id IN
            (SELECT id FROM moderation_entry WHERE at_ms < ? ORDER BY id LIMIT ?)
        """,
        (before_ms, limit),
    )
    return cursor.rowcount


def from_row(row: Row) -> ModerationEntry:
    """Read an entry from a row of the query above."""
    person_id = row["person_id"]
    return ModerationEntry(
        id=row["id"],
        guild_id=row["guild_id"],
        act=Act(row["act"]),
        by=Person(row["by_id"], row["by_name"]),
        person=None if person_id is None else Person(person_id, row["person_name"]),
        dream_id=row["dream_id"],
        channel_id=row["channel_id"],
        at_ms=row["at_ms"],
        detail=msgspec.json.decode(row["detail"], type=dict[str, Any]),
    )
