"""Cards of games in Discord: one message for each game of a channel, and what it shows."""

from __future__ import annotations

import aiosqlite
import msgspec

from bot.store import Row
from bot.store.parties import Source, fetch
from bot.store.sent_messages import SentMessages

BY_ID = "SELECT * FROM game_card WHERE id = ?"
OF_GAME = "SELECT * FROM game_card WHERE game_id = ?"
# Games that go on in a channel, and those whose card does not show yet that they are over.
UNSETTLED = """
    SELECT id FROM game WHERE state = 'open' AND carded
    UNION SELECT game_id FROM game_card WHERE open = 1
"""

MESSAGES = SentMessages("game_card")


class GameCard(msgspec.Struct, frozen=True, kw_only=True):
    """One card. As of `bot.store.party_cards`.

    `revision` counts what has changed of what it shows.
    """

    id: int
    game_id: str
    message_id: int | None
    sends: int
    shown: str
    open: bool
    revision: int
    created_ms: int


async def order(connection: aiosqlite.Connection, game_id: str, now_ms: int) -> None:
    """Have a game shown by a card; it has one at most."""
    await connection.execute(
        "INSERT INTO game_card (game_id, created_ms) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (game_id, now_ms),
    )


async def by_id(source: Source, card_id: int) -> GameCard | None:
    """Return a card, if there is one with this id."""
    return next((_from_row(row) for row in await fetch(source, BY_ID, (card_id,))), None)


async def of_game(source: Source, game_id: str) -> GameCard | None:
    """Return a game's card, if it was ordered."""
    return next((_from_row(row) for row in await fetch(source, OF_GAME, (game_id,))), None)


async def unsettled(source: Source) -> list[str]:
    """Return the games that go on in a channel, and those with cards that are open."""
    return [str(row["id"]) for row in await fetch(source, UNSETTLED)]


async def reopen(connection: aiosqlite.Connection, game_id: str) -> None:
    """Have a game's card shown anew: something of it has changed.

    Called in the transaction that changes it: from then on no crash leaves the card as it was.
    """
    await connection.execute(
        """
        UPDATE game_card SET open = 1, revision = revision + 1
        WHERE game_id = ? AND (open = 1 OR message_id IS NOT NULL)
        """,
        (game_id,),
    )


async def close(connection: aiosqlite.Connection, card_id: int, revision: int) -> bool:
    """Record that a card shows all up to a revision; say whether that is the newest one.

    Where it is not the card stays open: something has changed since it was read.
    """
    cursor = await connection.execute(
        "UPDATE game_card SET open = 0 WHERE id = ? AND revision = ?", (card_id, revision)
    )
    return cursor.rowcount == 1


def _from_row(row: Row) -> GameCard:
    return GameCard(
        id=row["id"],
        game_id=row["game_id"],
        message_id=row["message_id"],
        sends=row["sends"],
        shown=row["shown"],
        open=bool(row["open"]),
        revision=row["revision"],
        created_ms=row["created_ms"],
    )
