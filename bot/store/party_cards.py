"""Cards of parties in Discord: one message for each time a stage began, and what it shows.

Queries take the store, or the connection of a transaction to see what that has changed already.
"""

from __future__ import annotations

import aiosqlite
import msgspec

from bot.parties.model import Stage
from bot.store import Row, Store
from bot.store.parties import fetch
from bot.store.sent_messages import SentMessages

Source = Store | aiosqlite.Connection

_SELECT = """
    SELECT party_card.*, party_stage.stage, party_stage.id = (
        SELECT max(id) FROM party_stage AS each WHERE each.party_id = party_card.party_id
    ) AS newest
    FROM party_card JOIN party_stage ON party_stage.id = party_card.stage_id
"""
BY_ID = f"{_SELECT} WHERE party_card.id = ?"
OPEN_OF = f"{_SELECT} WHERE party_card.party_id = ? AND open = 1 ORDER BY party_card.id"
_NEWEST = "SELECT max(id) FROM party_stage WHERE party_id = ?"
NEWEST_OF = f"{_SELECT} WHERE party_card.stage_id = ({_NEWEST})"
UNSETTLED = """
    SELECT id FROM party WHERE ended_ms IS NULL AND channel_id IS NOT NULL
    UNION SELECT party_id FROM party_card WHERE open = 1
"""

MESSAGES = SentMessages("party_card")


class PartyCard(msgspec.Struct, frozen=True, kw_only=True):
    """One card. It is the `newest` where no other stage has begun since."""

    id: int
    party_id: str
    stage: Stage
    newest: bool
    message_id: int | None
    sends: int
    shown: str
    open: bool
    revision: int
    created_ms: int


async def order(connection: aiosqlite.Connection, party_id: str, now_ms: int) -> None:
    """Have the stage that a party is at shown by a card of its own; it has one at most."""
    await connection.execute(
        """
        INSERT INTO party_card (party_id, stage_id, created_ms)
        SELECT party_id, max(id), ? FROM party_stage WHERE party_id = ? GROUP BY party_id
        ON CONFLICT (stage_id) DO NOTHING
        """,
        (now_ms, party_id),
    )


async def by_id(source: Source, card_id: int) -> PartyCard | None:
    """Return a card, if there is one with this id."""
    return next(iter([_from_row(row) for row in await fetch(source, BY_ID, (card_id,))]), None)


async def newest_of(source: Source, party_id: str) -> PartyCard | None:
    """Return the card of the stage that a party is at, if it was ordered already."""
    return next(iter([_from_row(row) for row in await fetch(source, NEWEST_OF, (party_id,))]), None)


async def open_of(source: Source, party_id: str) -> list[PartyCard]:
    """Return a party's cards that do not show yet that they are over, oldest first."""
    return [_from_row(row) for row in await fetch(source, OPEN_OF, (party_id,))]


async def unsettled(source: Source) -> list[str]:
    """Return the parties that are going on in a channel, and those with cards that are open."""
    return [str(row["id"]) for row in await fetch(source, UNSETTLED)]


async def reopen(connection: aiosqlite.Connection, party_id: str) -> None:
    """Have the cards that show pictures shown anew, since one of those was deleted."""
    await connection.execute(
        """
        UPDATE party_card SET open = 1, revision = revision + 1
        WHERE party_id = ? AND message_id IS NOT NULL AND stage_id IN (
            SELECT id FROM party_stage WHERE stage IN ('finale', 'published')
        )
        """,
        (party_id,),
    )


async def close(connection: aiosqlite.Connection, card_id: int, revision: int) -> bool:
    """Record that a card is not to be shown any more, unless it was reopened since `revision`."""
    cursor = await connection.execute(
        "UPDATE party_card SET open = 0 WHERE id = ? AND revision = ?", (card_id, revision)
    )
    return cursor.rowcount == 1


def _from_row(row: Row) -> PartyCard:
    return PartyCard(
        id=row["id"],
        party_id=row["party_id"],
        stage=Stage(row["stage"]),
        newest=bool(row["newest"]),
        message_id=row["message_id"],
        sends=row["sends"],
        shown=row["shown"],
        open=bool(row["open"]),
        revision=row["revision"],
        created_ms=row["created_ms"],
    )
