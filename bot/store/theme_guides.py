"""The guides to themes in Discord: one pinned message in each channel that has one."""

from __future__ import annotations

import aiosqlite
import msgspec

from bot.store import Row, Store

ALL = "SELECT * FROM theme_guide ORDER BY channel_id"
OF = "SELECT * FROM theme_guide WHERE channel_id = ?"


class ThemeGuide(msgspec.Struct, frozen=True, kw_only=True):
    """A channel's guide, and what is known of its message.

    `sends` counts the messages begun: above 0 and without a `message_id`, one may be there that is
    not known. `shown` is a digest of what it shows.
    """

    channel_id: int
    guild_id: int
    message_id: int | None
    sends: int
    pinned: bool
    shown: str
    created_ms: int


async def every(store: Store) -> list[ThemeGuide]:
    """Return all of them."""
    return [_from_row(row) for row in await store.read(ALL)]


async def of(store: Store, channel_id: int) -> ThemeGuide | None:
    """Return a channel's, if it is to have one."""
    row = await store.read_one(OF, (channel_id,))
    return None if row is None else _from_row(row)


async def want(
    connection: aiosqlite.Connection, channel_id: int, guild_id: int, now_ms: int
) -> None:
    """Have a channel have one."""
    await connection.execute(
        """
        INSERT INTO theme_guide (channel_id, guild_id, created_ms) VALUES (?, ?, ?)
        ON CONFLICT (channel_id) DO NOTHING
        """,
        (channel_id, guild_id, now_ms),
    )


async def begin_send(
    connection: aiosqlite.Connection, channel_id: int, number: int, now_ms: int
) -> None:
    """Note that the channel's so-manieth message is about to be sent, perhaps once more."""
    await connection.execute(
        """
        UPDATE theme_guide
        SET message_id = NULL, pinned = 0, shown = '', sends = ?1,
            created_ms = CASE WHEN sends = ?1 THEN created_ms ELSE ?2 END
        WHERE channel_id = ?3
        """,
        (number, now_ms, channel_id),
    )


async def sent(connection: aiosqlite.Connection, channel_id: int, message_id: int) -> None:
    """Note which message it is."""
    await connection.execute(
        "UPDATE theme_guide SET message_id = ? WHERE channel_id = ?", (message_id, channel_id)
    )


async def showed(connection: aiosqlite.Connection, channel_id: int, shown: str) -> None:
    """Note what it is known to show."""
    await connection.execute(
        "UPDATE theme_guide SET shown = ? WHERE channel_id = ?", (shown, channel_id)
    )


async def was_pinned(connection: aiosqlite.Connection, channel_id: int) -> None:
    """Note that it is pinned."""
    await connection.execute(
        "UPDATE theme_guide SET pinned = 1 WHERE channel_id = ?", (channel_id,)
    )


async def forget(connection: aiosqlite.Connection, channel_id: int) -> None:
    """Have a channel have none."""
    await connection.execute("DELETE FROM theme_guide WHERE channel_id = ?", (channel_id,))


def _from_row(row: Row) -> ThemeGuide:
    return ThemeGuide(
        channel_id=row["channel_id"],
        guild_id=row["guild_id"],
        message_id=row["message_id"],
        sends=row["sends"],
        pinned=bool(row["pinned"]),
        shown=row["shown"],
        created_ms=row["created_ms"],
    )
