"""Where in Discord a theme is: the channels that carry it, and those that a party of it was in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from bot.store import Store

OF_THEME = """
    SELECT guild_id, channel_id FROM channel_theme WHERE theme_id = :theme_id
    UNION
    SELECT guild_id, channel_id FROM party
    WHERE theme_id = :theme_id AND guild_id IS NOT NULL AND channel_id IS NOT NULL
    ORDER BY guild_id, channel_id
"""
OF_PRIVATE = """
    SELECT channel_theme.theme_id, guild_id, channel_id
    FROM channel_theme JOIN theme ON theme.id = channel_theme.theme_id
    WHERE theme.visibility = 'private' ORDER BY guild_id, channel_id
"""
GUILDS_OF = "SELECT DISTINCT guild_id FROM dream WHERE person_id = ? AND guild_id IS NOT NULL"

Channels = dict[int, list[int]]
"""The ids of channels, by the guild that they are in."""


async def of_theme(store: Store, theme_id: int) -> Channels:
    """Return the channels in which a theme is, or was while a party of it went on."""
    found: Channels = defaultdict(list)
    for row in await store.read(OF_THEME, {"theme_id": theme_id}):
        found[row["guild_id"]].append(row["channel_id"])
    return dict(found)


async def of_private_themes(store: Store) -> dict[int, list[tuple[int, int]]]:
    """Return the channels that carry private themes, by guild: each with its theme's id first."""
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for row in await store.read(OF_PRIVATE):
        found[row["guild_id"]].append((row["theme_id"], row["channel_id"]))
    return dict(found)


async def guilds_of(store: Store, person_id: str) -> Sequence[int]:
    """Return the guilds in which a person has asked for something."""
    return [row["guild_id"] for row in await store.read(GUILDS_OF, (person_id,))]
