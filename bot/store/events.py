"""The append-only stream of what happened. Triggers in the schema refuse every change to it.

It names people by their pseudonyms, and here alone these are led back to ids, as long as there is
a row that does (`bot.store.people`).
"""

from __future__ import annotations

from typing import Any

import aiosqlite
import msgspec

from bot.model import EventKind, Person, StreamEvent
from bot.sentences import plain
from bot.store import Row, Store

_SELECT = """
    SELECT event.id, event.theme_id, event.kind, event.dream_id, person.id AS person_id,
           event.at_ms, event.payload, person.name AS person_name
    FROM stream_event AS event LEFT JOIN person ON person.pseudonym = event.pseudonym
"""
AFTER = f"{_SELECT} WHERE event.id > ? ORDER BY event.id LIMIT ?"
AFTER_IN_THEME = f"{_SELECT} WHERE event.theme_id = ? AND event.id > ? ORDER BY event.id LIMIT ?"
# The kind is said in so many words, or the index of a theme's own events would not do.
MADE_BY = """
    SELECT 1 FROM stream_event WHERE theme_id = ? AND kind = 'theme'
    AND pseudonym = (SELECT pseudonym FROM person WHERE id = ?) LIMIT 1
"""
MADE_IN = """
    SELECT 1 FROM stream_event INDEXED BY stream_event_of_theme
    WHERE theme_id = ? AND kind = 'theme' AND json_extract(payload, '$.guild_id') = ? LIMIT 1
"""
LAST_ID = "SELECT coalesce(max(id), 0) AS id FROM stream_event"
LAST_ID_IN_THEME = f"{LAST_ID} WHERE theme_id = ?"


async def append(
    connection: aiosqlite.Connection,
    kind: EventKind,
    theme_id: int,
    at_ms: int,
    *,
    dream_id: str | None = None,
    person_id: str | None = None,
    payload: dict[str, Any] | None = None,
) -> int:
    """Add an entry to the log and return its id. The person is known already.

    `payload` must hold nothing that a person said or is called: it can never be deleted.
    """
    cursor = await connection.execute(
        """
        INSERT INTO stream_event (theme_id, kind, dream_id, pseudonym, at_ms, payload)
        SELECT ?1, ?2, ?3, pseudonym, ?5, ?6 FROM (SELECT 1) LEFT JOIN person ON person.id = ?4
        WHERE ?4 IS NULL OR pseudonym IS NOT NULL
        """,
        (
            theme_id,
            kind,
            dream_id,
            person_id,
            at_ms,
            msgspec.json.encode(payload or {}, enc_hook=plain).decode(),
        ),
    )
    assert cursor.rowcount == 1 and cursor.lastrowid is not None, "somebody who is not known"
    return cursor.lastrowid


async def after(
    store: Store, event_id: int, limit: int, theme_id: int | None = None
) -> list[StreamEvent]:
    """Return the next `limit` entries after `event_id`, of one theme or of all."""
    if theme_id is None:
        rows = await store.read(AFTER, (event_id, limit))
    else:
        rows = await store.read(AFTER_IN_THEME, (theme_id, event_id, limit))
    return [from_row(row) for row in rows]


async def is_made_by(store: Store, theme_id: int, person_id: str) -> bool:
    """Say whether somebody has made a theme, or changed it."""
    return await store.read_one(MADE_BY, (theme_id, person_id)) is not None


async def is_made_by_now(connection: aiosqlite.Connection, theme_id: int, person_id: str) -> bool:
    """Say the same within a transaction."""
    return bool(await connection.execute_fetchall(MADE_BY, (theme_id, person_id)))


async def is_made_in(store: Store, theme_id: int, guild_id: int) -> bool:
    """Say whether a theme was made, or brought back, in a server."""
    return await store.read_one(MADE_IN, (theme_id, guild_id)) is not None


async def is_made_in_now(connection: aiosqlite.Connection, theme_id: int, guild_id: int) -> bool:
    """Say the same within a transaction."""
    return bool(await connection.execute_fetchall(MADE_IN, (theme_id, guild_id)))


async def last_id(store: Store, theme_id: int | None = None) -> int:
    """Return the newest entry's id, of one theme or of all; 0 if there is none."""
    if theme_id is None:
        row = await store.read_one(LAST_ID)
    else:
        row = await store.read_one(LAST_ID_IN_THEME, (theme_id,))
    return 0 if row is None else int(row["id"])


def from_row(row: Row) -> StreamEvent:
    """Read an entry from a row of the queries above."""
    person_id = row["person_id"]
    return StreamEvent(
        id=row["id"],
        theme_id=row["theme_id"],
        kind=EventKind(row["kind"]),
        dream_id=row["dream_id"],
        person=None if person_id is None else Person(person_id, row["person_name"] or ""),
        at_ms=row["at_ms"],
        payload=msgspec.json.decode(row["payload"], type=dict[str, Any]),
    )
