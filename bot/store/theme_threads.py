"""The threads that are made for themes in Discord: at most one for a theme in a channel.

A thread in a channel begins at a message of ours there, the card; a forum's post is its own first
message. In both cases Discord gives the thread the message's id, so one column names both.
"""

from __future__ import annotations

import aiosqlite
import msgspec

from bot.store import Row, Store
from bot.store.sent_messages import SentMessages

ALL = "SELECT * FROM theme_thread ORDER BY id"
BY_ID = "SELECT * FROM theme_thread WHERE id = ?"
IN_USE = "SELECT * FROM theme_thread WHERE parent_id = ? AND theme_id = ? AND gone = 0"

MESSAGES = SentMessages("theme_thread")


class ThemeThread(msgspec.Struct, frozen=True, kw_only=True):
    """A theme's thread in the channel `parent_id`, and what is known of its message.

    `sends` counts the messages begun: above 0 and without a `message_id`, one may be there that is
    not known. `shown` is a digest of what the card is known to show. `made` says that the thread is
    there and carries the theme; `gone` that it was, and the card is still to say so. `for_party`
    says that the theme's party is held in it; else the theme only hangs there.
    """

    id: int
    theme_id: int
    guild_id: int
    parent_id: int
    forum: bool
    name: str
    message_id: int | None
    sends: int
    shown: str
    made: bool
    gone: bool
    for_party: bool
    created_ms: int

    @property
    def thread_id(self) -> int | None:
        """The thread, once it is there."""
        return self.message_id if self.made else None


async def every(store: Store) -> list[ThemeThread]:
    """Return all of them, oldest first."""
    return [_from_row(row) for row in await store.read(ALL)]


async def by_id(store: Store, row_id: int) -> ThemeThread | None:
    """Return the one with this id."""
    row = await store.read_one(BY_ID, (row_id,))
    return None if row is None else _from_row(row)


async def in_use(store: Store, parent_id: int, theme_id: int) -> ThemeThread | None:
    """Return the thread that a theme has in a channel, or is to have."""
    row = await store.read_one(IN_USE, (parent_id, theme_id))
    return None if row is None else _from_row(row)


async def want(
    connection: aiosqlite.Connection,
    theme_id: int,
    *,
    guild_id: int,
    parent_id: int,
    forum: bool,
    name: str,
    now_ms: int,
    for_party: bool = False,
) -> None:
    """Have a theme have a thread in a channel, unless it has one there."""
    await connection.execute(
        """
        INSERT INTO theme_thread
            (theme_id, guild_id, parent_id, forum, name, created_ms, for_party)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (parent_id, theme_id) WHERE gone = 0 DO NOTHING
        """,
        (theme_id, guild_id, parent_id, forum, name, now_ms, for_party),
    )


async def made(connection: aiosqlite.Connection, row_id: int, message_id: int) -> None:
    """Note that the thread is there."""
    await connection.execute(
        "UPDATE theme_thread SET message_id = ?, made = 1 WHERE id = ?", (message_id, row_id)
    )


async def has_gone(connection: aiosqlite.Connection, row_id: int) -> None:
    """Note that the thread is there no more, or carries another theme."""
    await connection.execute("UPDATE theme_thread SET gone = 1 WHERE id = ?", (row_id,))


async def forget(connection: aiosqlite.Connection, row_id: int) -> None:
    """Forget a thread of which nothing is to be shown any more."""
    await connection.execute("DELETE FROM theme_thread WHERE id = ?", (row_id,))


def _from_row(row: Row) -> ThemeThread:
    return ThemeThread(
        id=row["id"],
        theme_id=row["theme_id"],
        guild_id=row["guild_id"],
        parent_id=row["parent_id"],
        forum=bool(row["forum"]),
        name=row["name"],
        message_id=row["message_id"],
        sends=row["sends"],
        shown=row["shown"],
        made=bool(row["made"]),
        gone=bool(row["gone"]),
        for_party=bool(row["for_party"]),
        created_ms=row["created_ms"],
    )
