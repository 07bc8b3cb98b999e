"""What moderators did: an append-only log, kept so by triggers in the schema."""

from __future__ import annotations

from typing import Any

import aiosqlite
import msgspec

from bot.model import Act, ModerationEntry, Person
from bot.sentences import plain
from bot.store import Row, Store

LATEST = """
    SELECT entry.*, by.name AS by_name, person.name AS person_name
    FROM moderation_entry AS entry
    JOIN person AS by ON by.id = entry.by_id
    LEFT JOIN person ON person.id = entry.person_id
    WHERE entry.guild_id = ? AND entry.id < ? ORDER BY entry.id DESC LIMIT ?
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

    `detail` must hold nothing that a person said or is called: it can never be deleted.
    """
    await connection.execute(
        """
        INSERT INTO moderation_entry (
            guild_id, act, by_id, person_id, dream_id, channel_id, at_ms, detail
        ) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
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
    store: Store, guild_id: int, before: int | None, limit: int
) -> list[ModerationEntry]:
    """Return a server's newest entries, those before an id, newest first."""
    rows = await store.read(LATEST, (guild_id, before or PAST_EVERY_ID, limit))
    return [from_row(row) for row in rows]


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
