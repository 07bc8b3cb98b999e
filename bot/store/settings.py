"""What servers and channels have set, as JSON: `bot.settings` says what it means."""

from __future__ import annotations

import aiosqlite

from bot.store import Store

GUILDS = "SELECT guild_id, settings FROM guild_settings"
CHANNELS = "SELECT guild_id, channel_id, settings FROM channel_settings"


async def guilds(store: Store) -> dict[int, str]:
    """Return every server's settings."""
    return {row["guild_id"]: row["settings"] for row in await store.read(GUILDS)}


async def channels(store: Store) -> dict[tuple[int, int], str]:
    """Return every channel's settings, by the ids of its server and of itself."""
    rows = await store.read(CHANNELS)
    return {(row["guild_id"], row["channel_id"]): row["settings"] for row in rows}


async def put_guild(
    connection: aiosqlite.Connection, guild_id: int, settings: str, now_ms: int
) -> None:
    """Keep a server's settings in place of those before."""
    await connection.execute(
        """
        INSERT INTO guild_settings (guild_id, settings, changed_ms) VALUES (?, ?, ?)
        ON CONFLICT (guild_id) DO UPDATE
        SET settings = excluded.settings, changed_ms = excluded.changed_ms
        """,
        (guild_id, settings, now_ms),
    )


async def put_channel(
    connection: aiosqlite.Connection, guild_id: int, channel_id: int, settings: str, now_ms: int
) -> None:
    """Keep a channel's settings in place of those before."""
    await connection.execute(
        """
        INSERT INTO channel_settings (channel_id, guild_id, settings, changed_ms)
        VALUES (?, ?, ?, ?)
        ON CONFLICT (channel_id) DO UPDATE
        SET guild_id = excluded.guild_id, settings = excluded.settings,
            changed_ms = excluded.changed_ms
        """,
        (channel_id, guild_id, settings, now_ms),
    )
