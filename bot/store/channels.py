"""Which theme a Discord channel carries."""

from __future__ import annotations

import aiosqlite

from bot.model import Theme
from bot.store import Store, themes

THEME_OF = """
    SELECT theme.* FROM channel_theme JOIN theme ON theme.id = channel_theme.theme_id
    WHERE channel_theme.channel_id = ?
"""

ELSEWHERE = "SELECT 1 FROM channel_theme WHERE theme_id = ? AND guild_id <> ? LIMIT 1"


async def theme_of(store: Store, channel_id: int) -> Theme | None:
    """Return the theme that hangs on a channel, None where none does."""
    row = await store.read_one(THEME_OF, (channel_id,))
    return None if row is None else themes.from_row(row)


async def is_used_elsewhere(store: Store, theme_id: int, guild_id: int) -> bool:
    """Say whether a theme hangs on a channel of another server."""
    return await store.read_one(ELSEWHERE, (theme_id, guild_id)) is not None


async def bind(
    connection: aiosqlite.Connection, channel_id: int, guild_id: int, theme_id: int, now_ms: int
) -> None:
    """Hang a theme on a channel, in place of what was there."""
    await connection.execute(
        """
        INSERT INTO channel_theme (channel_id, guild_id, theme_id, bound_ms) VALUES (?, ?, ?, ?)
        ON CONFLICT (channel_id) DO UPDATE
        SET guild_id = excluded.guild_id, theme_id = excluded.theme_id,
            bound_ms = excluded.bound_ms
        """,
        (channel_id, guild_id, theme_id, now_ms),
    )


async def unbind_theme(connection: aiosqlite.Connection, theme_id: int) -> None:
    """Take a theme off all channels."""
    await connection.execute("DELETE FROM channel_theme WHERE theme_id = ?", (theme_id,))


async def unbind(connection: aiosqlite.Connection, channel_id: int) -> bool:
    """Take the theme off a channel, and say whether there was one."""
    cursor = await connection.execute(
        "DELETE FROM channel_theme WHERE channel_id = ?", (channel_id,)
    )
    return cursor.rowcount == 1
