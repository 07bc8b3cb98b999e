"""Which channels somebody may read, as the bot finds it out in Discord.

Without the members' intent Discord tells the bot of no member by itself. So each is asked for, and
what was said is believed for a minute: by then, whoever has left, or lost a role, has lost what it
showed them. What a role or a channel allows is known at once. While Discord cannot be reached, what
it last said holds for five minutes, and then nobody is a member.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import discord

from bot.membership import Place, UnreachedError
from bot.network import UNREACHABLE

FRESH_S = 60.0
STALE_S = 300.0
ANSWER_S = 4.0
RETRY_S = 5.0
_MOST = 4096
_PRIVATE = discord.ChannelType.private_thread

Key = tuple[int, int]


@dataclass
class _Known:
    """What Discord last said of a member, None for none, and when it was asked since in vain."""

    member: discord.Member | None
    at_s: float
    failed_s: float = float("-inf")


class DiscordMembers:
    """Asks the client that is in Discord at present."""

    def __init__(
        self,
        client: Callable[[], discord.Client | None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._clock = clock
        self._known: dict[Key, _Known] = {}
        self._threads: dict[int, tuple[float, discord.Thread | None]] = {}
        self._asking: dict[Key, asyncio.Task[discord.Member | None]] = {}

    async def places(self, guild_id: int, user_id: int, channel_ids: Sequence[int]) -> list[Place]:
        """Return those of a guild's channels that somebody may read; none for who is no member.

        Raises:
            UnreachedError: Discord is not reached, or does not say.
        """
        client = self._client()
        if client is None or not client.is_ready():
            raise UnreachedError("Discord is not reached at present.")
        guild = client.get_guild(guild_id)
        if guild is None:
            return []  # the bot is not there any more, so nobody sees anything by it
        if guild.unavailable:
            raise UnreachedError("Discord has trouble with this server.")
        member = await self._member(guild, user_id)
        if member is None:
            return []
        found = []
        for channel_id in channel_ids:
            channel = guild.get_channel_or_thread(channel_id)
            if channel is None:
                channel = await self._archived(guild, channel_id)
            place = None if channel is None else _place(channel, member)
            if place is not None:
                found.append(place)
        return found

    async def _archived(self, guild: discord.Guild, channel_id: int) -> discord.Thread | None:
        """Return a thread that the gateway does not tell of, since it is archived."""
        now = self._clock()
        at_s, thread = self._threads.get(channel_id, (float("-inf"), None))
        if now - at_s < STALE_S and (thread is None or thread.guild is guild):
            return thread
        try:
            async with asyncio.timeout(ANSWER_S):
                found = await guild.fetch_channel(channel_id)
        except (discord.NotFound, discord.Forbidden, discord.InvalidData):
            thread = None
        except (discord.HTTPException, discord.RateLimited, *UNREACHABLE):
            return None
        else:
            thread = found if isinstance(found, discord.Thread) else None
        if len(self._threads) >= _MOST:
            self._threads.clear()
        self._threads[channel_id] = now, thread
        return thread

    async def _member(self, guild: discord.Guild, user_id: int) -> discord.Member | None:
        key, now = (guild.id, user_id), self._clock()
        known = self._known.get(key)
        if known is not None:
            same = known.member is None or known.member.guild is guild
            if same and now - known.at_s < FRESH_S:
                return known.member
            if same and now - known.at_s < STALE_S and now - known.failed_s < RETRY_S:
                return known.member
        asking = self._asking.get(key)
        if asking is None:
            asking = asyncio.create_task(self._ask(guild, user_id))
            self._asking[key] = asking
            asking.add_done_callback(lambda _: self._asking.pop(key, None))
        try:
            return await asyncio.shield(asking)
        except UnreachedError:
            known = self._known.get(key)
            if known is None or self._clock() - known.at_s >= STALE_S:
                raise
            known.failed_s = self._clock()
            return known.member

    async def _ask(self, guild: discord.Guild, user_id: int) -> discord.Member | None:
        at_s = self._clock()
        try:
            async with asyncio.timeout(ANSWER_S):
                member = await guild.fetch_member(user_id)
        except discord.NotFound:
            member = None
        except (discord.HTTPException, discord.RateLimited, *UNREACHABLE) as error:
            raise UnreachedError(f"Discord does not say ({type(error).__name__}).") from None
        if len(self._known) >= _MOST:
            self._forget(at_s)
        self._known[guild.id, user_id] = _Known(member, at_s)
        return member

    def _forget(self, now_s: float) -> None:
        """Forget what is over; where that is not much, all of it: it can be asked for again."""
        self._known = {
            key: known for key, known in self._known.items() if now_s - known.at_s < FRESH_S
        }
        if len(self._known) > _MOST // 2:
            self._known.clear()


def _place(
    channel: discord.abc.GuildChannel | discord.Thread, member: discord.Member
) -> Place | None:
    """Return what somebody may do in a channel; None where they may not read it."""
    thread = channel if isinstance(channel, discord.Thread) else None
    if thread is not None and thread.parent is None:
        return None
    may = channel.permissions_for(member)
    if not (may.view_channel and may.read_message_history):
        return None
    if thread is not None and thread.type is _PRIVATE and not may.manage_threads:
        return None  # who was invited to it would have to be asked for one by one
    over = channel if thread is None else thread.parent
    sends = may.send_messages if thread is None else may.send_messages_in_threads
    return Place(
        guild_id=member.guild.id,
        channel_id=channel.id,
        parent_id=None if thread is None else thread.parent_id,
        role_ids=frozenset(role.id for role in member.roles),
        asks=sends and may.use_application_commands and not member.pending,
        moderates=may.manage_messages,
        age_restricted=bool(getattr(over, "nsfw", False)),
    )
