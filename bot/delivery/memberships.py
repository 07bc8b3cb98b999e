"""Which channels somebody may read, as the bot finds it out in Discord.

Without the members' intent Discord tells the bot of no member by itself. So each is asked for, and
what was said is believed for a minute: by then, whoever has left, or lost a role, has lost what it
showed them. What a role or a channel allows is known at once. While Discord cannot be reached, what
it last said holds for five minutes, and then nobody is a member. Right after a start, while the bot
comes into Discord, whoever asks waits for that for a moment.

Somebody may open themes in any number of servers, and Discord takes only so much of the whole bot.
So for one person it is asked `ASKED_AT_ONCE` times, and then `ASKED_A_SECOND`. Beyond that they see
what is known still, and only while it is fresh: who has lost something gains no time by it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

import discord

from bot.delivery.whole_bot import unhurried
from bot.membership import AskedTooMuchError, Place, UnreachedError
from bot.network import UNREACHABLE

FRESH_S = 60.0
STALE_S = 300.0
ANSWER_S = 4.0
RETRY_S = 5.0
START_S = 10.0
"""For how long after a start it is waited for that Discord is reached, each time `ANSWER_S`."""
_LOOK_S = 0.1
MOST = 4096
ASKED_AT_ONCE, ASKED_A_SECOND = 150, 2.0
"""Three of the costliest pages with no thread that sleeps; one such page stays open for less."""
MOST_THREADS = 25
"""How many threads that are archived are looked at of a theme's in a server: the newest."""
_PRIVATE = discord.ChannelType.private_thread
_NEVER_S = float("-inf")
_ROUNDING_S = 1e-6

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Answers(Generic[K, V]):
    """What Discord has said, each with when it was asked, of the `MOST` that it said last.

    Whoever asks for the same at the same time waits for one answer. After one that did not come
    it is not asked for `RETRY_S`: so those who look wait for it now and then, and not each time.
    """

    def __init__(self, clock: Callable[[], float], *, fresh_s: float) -> None:
        self._clock = clock
        self._fresh_s = fresh_s
        self._said: dict[K, tuple[float, V]] = {}
        self._failed_s: dict[K, float] = {}
        self._asking: dict[K, asyncio.Task[V]] = {}

    async def get(
        self,
        key: K,
        ask: Callable[[], Awaitable[V]],
        is_good: Callable[[V], bool],
        allow: Callable[[], None],
    ) -> V:
        """Return what was said not long ago, or else what Discord says, where `allow` lets it.

        Raises:
            AskedTooMuchError: by `allow`.
            UnreachedError: it says nothing, and has not for `STALE_S`.
        """
        now_s = self._clock()
        known = self._said.get(key)
        if known is not None and not is_good(known[1]):
            known = None
        failed = now_s - self._failed_s.get(key, _NEVER_S) < RETRY_S
        if known is not None and now_s - known[0] < (STALE_S if failed else self._fresh_s):
            return known[1]
        if failed:
            raise UnreachedError("Discord did not say a moment ago.")
        asking = self._asking.get(key)
        if asking is None:
            allow()
            asking = asyncio.create_task(self._ask(key, ask))
            self._asking[key] = asking
            asking.add_done_callback(lambda task: self._answered(key, task))
        try:
            return await asyncio.shield(asking)
        except UnreachedError:
            if known is None or self._clock() - known[0] >= STALE_S:
                raise
            return known[1]

    async def _ask(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        at_s = self._clock()
        try:
            async with asyncio.timeout(ANSWER_S):
                with unhurried():
                    said = await ask()
        except (discord.HTTPException, discord.RateLimited, *UNREACHABLE) as error:
            _keep(self._failed_s, key, self._clock())
            raise UnreachedError(f"Discord does not say ({type(error).__name__}).") from None
        self._failed_s.pop(key, None)
        _keep(self._said, key, (at_s, said))
        return said

    def _answered(self, key: K, task: asyncio.Task[V]) -> None:
        self._asking.pop(key, None)
        if not task.cancelled():
            task.exception()  # whoever waited for it may have hung up


def _keep(known: dict[K, V], key: K, value: V) -> None:
    """Note the newest; the oldest makes room."""
    known.pop(key, None)
    known[key] = value
    if len(known) > MOST:
        del known[next(iter(known))]


class _Allowances:
    """How often Discord is asked for each person, by their ids (GCRA, a leaky bucket as a meter).

    Kept of each is until when what was asked for them is worked off.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until_s: dict[int, float] = {}

    def take(self, user_id: int) -> None:
        """Count it once more.

        Raises:
            AskedTooMuchError: it was asked too often.
        """
        now_s = self._clock()
        until_s = max(now_s, self._until_s.get(user_id, _NEVER_S)) + 1 / ASKED_A_SECOND
        if until_s - now_s > ASKED_AT_ONCE / ASKED_A_SECOND + _ROUNDING_S:
            raise AskedTooMuchError("Too much was asked of Discord for them of late.")
        _keep(self._until_s, user_id, until_s)


class DiscordMembers:
    """Asks the client that is in Discord at present."""

    def __init__(
        self,
        client: Callable[[], discord.Client | None],
        *,
        clock: Callable[[], float] = time.monotonic,
        start_s: float = 0.0,
    ) -> None:
        """Wait for the client to be ready, for `start_s` from now on."""
        self._client = client
        self._clock = clock
        self._started_s = clock() + start_s
        self._members = _Answers[tuple[int, int], discord.Member | None](clock, fresh_s=FRESH_S)
        self._threads = _Answers[int, discord.Thread | None](clock, fresh_s=STALE_S)
        self._allowances = _Allowances(clock)

    async def places(self, guild_id: int, user_id: int, channel_ids: Sequence[int]) -> list[Place]:
        """Return those of a guild's channels that somebody may read; none for who is no member.

        Raises:
            AskedTooMuchError: it was asked too often for them; it has what is known nevertheless.
            UnreachedError: Discord is not reached, or does not say; of some threads, where it
                has the other channels.
        """
        client = await self._ready_client()
        guild = client.get_guild(guild_id)
        if guild is None:
            return []  # the bot is not there any more, so nobody sees anything by it
        if guild.unavailable:
            raise UnreachedError("Discord has trouble with this server.")
        member = await self._member(guild, user_id)
        if member is None:
            return []
        channels = {one: guild.get_channel_or_thread(one) for one in channel_ids}
        archived = sorted(one for one, channel in channels.items() if channel is None)
        archived = archived[-MOST_THREADS:]
        threads = await asyncio.gather(*(self._thread(guild, one, user_id) for one in archived))
        channels |= {one.id: one for one in threads if isinstance(one, discord.Thread)}
        found = (_place(channel, member) for channel in channels.values() if channel is not None)
        places = [place for place in found if place is not None]
        unsaid = next((one for one in threads if isinstance(one, UnreachedError)), None)
        if unsaid is not None:
            raise type(unsaid)(str(unsaid), places)
        return places

    async def _ready_client(self) -> discord.Client:
        limit_s = min(self._started_s, self._clock() + ANSWER_S)
        while (client := self._client()) is None or not client.is_ready():
            if self._clock() >= limit_s:
                raise UnreachedError("Discord is not reached at present.")
            await asyncio.sleep(_LOOK_S)  # nothing tells of a client that is not made yet
        return client

    async def _thread(
        self, guild: discord.Guild, channel_id: int, user_id: int
    ) -> discord.Thread | UnreachedError | None:
        """Return a thread that the gateway does not tell of, since it is archived, for somebody.

        None for what is no thread; an error, for the caller to raise once it has the others, where
        nothing is said.
        """

        async def ask() -> discord.Thread | None:
            try:
                found = await guild.fetch_channel(channel_id)
            except (discord.NotFound, discord.Forbidden, discord.InvalidData):
                return None
            return found if isinstance(found, discord.Thread) else None

        try:
            return await self._threads.get(
                channel_id,
                ask,
                lambda one: _is_of(guild, one),
                lambda: self._allowances.take(user_id),
            )
        except UnreachedError as error:
            return error

    async def _member(self, guild: discord.Guild, user_id: int) -> discord.Member | None:
        async def ask() -> discord.Member | None:
            try:
                return await guild.fetch_member(user_id)
            except discord.NotFound:
                return None

        key = guild.id, user_id
        return await self._members.get(
            key, ask, lambda one: _is_of(guild, one), lambda: self._allowances.take(user_id)
        )


def _is_of(guild: discord.Guild, one: discord.Member | discord.Thread | None) -> bool:
    """Say whether it was said of a guild as it is known now: its roles and channels are there."""
    return one is None or one.guild is guild


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
