"""What somebody may see in Discord of a theme: the channels with it that they may read there.

The bot asks Discord for a member of a server itself, which needs no privileged intent; the rest it
knows: roles, channels, and what those allow. So nobody has to let it read which servers they are
in. Where that cannot be found out nobody is a member.

Source: https://docs.discord.com/developers/resources/guild#get-guild-member
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from bot.errors import RequestError
from bot.store import Store, carriers

log = logging.getLogger(__name__)

MOST_GUILDS = 25
"""In how many servers it is looked for somebody at once; each costs Discord a request."""
_DISCORD = "discord:"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A channel that somebody may read, with what has gone before in it, and who they are there.

    `parent_id` is the channel that a thread belongs to. Whoever `asks` may use commands there,
    whoever `moderates` may manage others' messages.
    """

    guild_id: int
    channel_id: int
    parent_id: int | None = None
    role_ids: frozenset[int] = frozenset()
    asks: bool = False
    moderates: bool = False
    age_restricted: bool = False


class UnreachedError(RequestError):
    """Discord cannot say at present all that it was asked of a server.

    `places` are those of the channels asked for that are known nevertheless.
    """

    def __init__(self, sentence: str, places: Sequence[Place] = ()) -> None:
        super().__init__(sentence)
        self.places = tuple(places)


class AskedTooMuchError(UnreachedError):
    """So much was asked of Discord for somebody of late that nothing more is at present."""


class Looker(Protocol):
    """Whoever is in Discord."""

    async def places(self, guild_id: int, user_id: int, channel_ids: Sequence[int]) -> list[Place]:
        """Return those of a guild's channels that somebody may read; none for who is no member.

        Raises:
            UnreachedError: that cannot be said, or not of all of them.
        """
        ...


Unreached = Callable[[UnreachedError], None]
"""Is called with why Discord could not say something."""


def _tell_nobody(_: UnreachedError) -> None:
    """Say to nobody that Discord did not answer."""


class Memberships:
    """Says which themes people may see because of where they are in Discord.

    Each question calls `unreached` where Discord could not say something that it asked for: then
    what is returned may be less than there is.
    """

    def __init__(self, store: Store, looker: Looker) -> None:
        self._store = store
        self._looker = looker

    async def places(
        self, person_id: str, theme_id: int, *, unreached: Unreached = _tell_nobody
    ) -> list[Place]:
        """Return the channels with a theme that somebody may read, in the order of their ids.

        Of a theme in more than `MOST_GUILDS` servers, those count in which they have asked for
        something before: anybody could have Discord asked of all of them with one look at it.

        Raises:
            StoreError: the database cannot be read.
        """
        user_id = _user_of(person_id)
        if user_id is None:
            return []
        channels = await carriers.of_theme(self._store, theme_id)
        guilds = await self._nearest(person_id, [*channels])
        looks = [self._look(guild, user_id, channels[guild], unreached) for guild in guilds]
        return [place for found in await asyncio.gather(*looks) for place in found]

    async def place(
        self,
        person_id: str,
        guild_id: int,
        channel_id: int,
        *,
        unreached: Unreached = _tell_nobody,
    ) -> Place | None:
        """Return a channel if somebody may read it; None where they may not, or nobody can tell."""
        user_id = _user_of(person_id)
        if user_id is None:
            return None
        found = await self._look(guild_id, user_id, [channel_id], unreached)
        return found[0] if found else None

    async def private_themes(
        self, person_id: str, *, unreached: Unreached = _tell_nobody
    ) -> list[int]:
        """Return the private themes on channels that somebody may read.

        Of more than `MOST_GUILDS` servers that have any, those count in which they have asked for
        something; what hangs in the others they can still open.

        Raises:
            StoreError: the database cannot be read.
        """
        user_id = _user_of(person_id)
        if user_id is None:
            return []
        carried = await carriers.of_private_themes(self._store)
        guilds = await self._nearest(person_id, [*carried])
        looks = [
            self._look(guild, user_id, [channel for _, channel in carried[guild]], unreached)
            for guild in guilds
        ]
        seen = {place.channel_id for found in await asyncio.gather(*looks) for place in found}
        themes = (one for guild in guilds for one in carried[guild])
        return sorted({theme for theme, channel in themes if channel in seen})

    async def _nearest(self, person_id: str, guild_ids: list[int]) -> list[int]:
        """Return at most `MOST_GUILDS`, of more those first in which somebody has asked."""
        if len(guild_ids) <= MOST_GUILDS:
            return guild_ids
        own = frozenset(await carriers.guilds_of(self._store, person_id))
        nearest = sorted(guild_ids, key=lambda guild_id: guild_id not in own)
        return sorted(nearest[:MOST_GUILDS])

    async def _look(
        self, guild_id: int, user_id: int, channel_ids: list[int], unreached: Unreached
    ) -> list[Place]:
        try:
            return await self._looker.places(guild_id, user_id, channel_ids)
        except UnreachedError as error:
            if not isinstance(error, AskedTooMuchError):  # each page of theirs would fill the log
                log.info(
                    "It cannot be told all that somebody sees in server %s: %s", guild_id, error
                )
            unreached(error)
            return [*error.places]


def _user_of(person_id: str) -> int | None:
    """Return somebody's id in Discord; None for who is not there."""
    kind, _, user_id = person_id.partition(":")
    return int(user_id) if f"{kind}:" == _DISCORD and user_id.isdecimal() else None
