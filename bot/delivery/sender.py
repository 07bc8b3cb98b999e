"""Bring one card to Discord: send it, edit it, or find the one that is there already.

Safe to be interrupted anywhere: that a message is about to be sent is written down before, and
where one may have been sent that is not known, it is looked for. Sending twice within minutes
under one nonce gives one message. This module does not know when a card is to be sent, nor why.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Protocol

import discord

from bot.delivery.attempts import EDITED_TOO_OFTEN, EditedTooOftenError, once
from bot.delivery.card import Face
from bot.delivery.controls import dream_of
from bot.delivery.discord_time import DiscordTime
from bot.delivery.pictures import DEFAULT_LIMIT_BYTES
from bot.ids import now_ms
from bot.monitoring import metrics
from bot.network import UNREACHABLE
from bot.store import Store, deliveries
from bot.store.deliveries import DeliveryRow

log = logging.getLogger(__name__)

FRESH_S = 55 * 60
LOOK_BACK_MS = 60_000
_UNKNOWN_CHANNEL = 10003
_UNKNOWN_MESSAGE = 10008
_TOO_LARGE = 40005
_THREAD_ARCHIVED = 50083
_LOOK_AT = 200


class TryLaterError(Exception):
    """It cannot be shown at present; it may be later.

    `outage` says that it is Discord as a whole, which comes back sooner than a permission does.
    `after_s` is when Discord takes this again, where it has said so, and `closed_s` for how long it
    takes no such request of any message there.
    """

    def __init__(
        self, reason: str, *, outage: bool, after_s: float | None = None, closed_s: float = 0.0
    ) -> None:
        self.outage = outage
        self.after_s = after_s
        self.closed_s = closed_s
        super().__init__(reason)


class AsleepError(TryLaterError):
    """The message is in a thread that is archived: it takes new messages, but no edits.

    `woken` says that it is not any more.
    """

    def __init__(self, *, woken: bool = False) -> None:
        after_s = 0.0 if woken else None
        super().__init__("The thread was archived.", outage=False, after_s=after_s)


class NeverError(Exception):
    """It can never be shown. The text says why."""


class ChannelGoneError(NeverError):
    """The channel or thread it was meant for is there no more."""


class TooLargeError(Exception):
    """The files are larger than what may be uploaded there."""


class Sender(Protocol):
    """Brings cards to Discord; tests put another in its place."""

    async def show(self, row: DeliveryRow, face: Face) -> DeliveryRow:
        """Have the row's message show a face; return the row as it is then.

        Raises:
            TryLaterError, NeverError, TooLargeError: it does not show it.
        """
        ...

    async def repaint(self, row: DeliveryRow, face: Face) -> None:
        """Change a message that is done with, where it is.

        Raises:
            TryLaterError, NeverError, TooLargeError: it is as it was.
        """
        ...

    async def take_away(self, row: DeliveryRow) -> None:
        """Delete the row's message, if there is one.

        Raises:
            TryLaterError, NeverError: it is still there.
        """
        ...

    def limit_bytes(self, guild_id: int) -> int:
        """Return how large an upload may be in a guild."""
        ...


class DiscordSender:
    """The `Sender` that does it."""

    def __init__(self, client: discord.Client, store: Store) -> None:
        self._client = client
        self._store = store
        self._time = DiscordTime()

    def limit_bytes(self, guild_id: int) -> int:
        """Return how large an upload may be in a guild."""
        guild = self._client.get_guild(guild_id)
        return DEFAULT_LIMIT_BYTES if guild is None else guild.filesize_limit

    async def show(self, row: DeliveryRow, face: Face) -> DeliveryRow:
        """Have the row's message show a face; return the row as it is then.

        Raises:
            TryLaterError, NeverError, TooLargeError: it does not show it.
        """
        async with awake(self._client, row.channel_id):
            row = await self._again(row)  # an attempt that failed has left more than it knows
            if row.message_id is None and row.sends:
                row = await self._found(row)
            if row.message_id is None:
                first = not row.sends
                row = await self._send(row, face)
                if first:
                    return row
                # Under its nonce Discord gives back what an earlier attempt has sent, as it was.
                assert row.message_id is not None
            # One that has shown its end is changed where it is, if that can be.
            elif not row.shown and self._is_stale(row.message_id):
                return await self._send(row, face)
            try:
                await self._edit(row, row.message_id, face)
            except discord.HTTPException as error:
                if error.code != EDITED_TOO_OFTEN:
                    raise
                return await self._send(row, face)
            return await self._without_older(row)

    async def repaint(self, row: DeliveryRow, face: Face) -> None:
        """Change a message that is done with, where it is.

        Raises:
            TryLaterError, NeverError, TooLargeError: it is as it was.
        """
        if row.message_id is not None:
            with meanings():
                await self._edit(row, row.message_id, face)

    async def take_away(self, row: DeliveryRow) -> None:
        """Delete the row's message, if there is one.

        Raises:
            TryLaterError, NeverError: it is still there.
        """
        with meanings():
            row = await self._again(row)
            if row.message_id is None and row.sends:
                row = await self._found(row)
            for message_id in (row.message_id, row.replaced_id):
                if message_id is not None:
                    with suppress(discord.NotFound):
                        await self._channel(row).get_partial_message(message_id).delete()

    async def _send(self, row: DeliveryRow, face: Face) -> DeliveryRow:
        first = not row.sends
        async with self._store.write() as connection:
            await deliveries.begin_send(connection, row.id, now_ms())
        row = await self._again(row)
        try:
            message = await self._channel(row).send(
                view=face.view(), files=face.files(), nonce=f"{row.dream_id}-{row.sends}"
            )
        except (discord.HTTPException, discord.RateLimited) as error:
            if first and (isinstance(error, discord.RateLimited) or error.status < 500):
                async with self._store.write() as connection:
                    await deliveries.refused(connection, row.id)
            raise
        self._time.saw(message)
        if row.replaced_id is None:
            metrics.posted(row.created_ms)
            log.info("The card of dream %s is message %d", row.dream_id, message.id)
        return await self._without_older(await self._known(row, message.id))

    async def _edit(self, row: DeliveryRow, message_id: int, face: Face) -> None:
        message = self._channel(row).get_partial_message(message_id)
        # The client's own default holds for an edit's content only, and cards have none.
        edited = await message.edit(
            view=face.view(),
            attachments=face.files(),
            allowed_mentions=discord.AllowedMentions.none(),
        )
        self._time.saw(edited)

    def _is_stale(self, message_id: int) -> bool:
        """Say whether a message is so old that Discord lets it be edited but slowly.

        Where nobody knows, it is edited: then Discord says so itself.
        """
        return self._time.least_age_s(message_id) > FRESH_S

    async def _found(self, row: DeliveryRow) -> DeliveryRow:
        """Look for the message that an earlier attempt may have sent."""
        found = await earlier_message(
            self._client,
            self._channel(row),
            row.created_ms,
            lambda message: (
                message.id != row.replaced_id
                and dream_of(list(message.components)) in row.dream_ids
            ),
        )
        return row if found is None else await self._known(row, found)

    async def _known(self, row: DeliveryRow, message_id: int) -> DeliveryRow:
        async with self._store.write() as connection:
            await deliveries.sent(connection, row.id, message_id, now_ms())
        return await self._again(row)

    async def _again(self, row: DeliveryRow) -> DeliveryRow:
        return await deliveries.by_id(self._store, row.id)

    async def _without_older(self, row: DeliveryRow) -> DeliveryRow:
        """Take away the message that the present one has replaced."""
        if row.replaced_id is None:
            return row
        try:
            await self._channel(row).get_partial_message(row.replaced_id).delete()
        except discord.NotFound:
            pass
        except discord.HTTPException as error:
            log.info("An older message of dream %s stays: %s", row.dream_id, error)
        async with self._store.write() as connection:
            await deliveries.replaced(connection, row.id)
        return await self._again(row)

    def _channel(self, row: DeliveryRow) -> discord.PartialMessageable:
        return self._client.get_partial_messageable(row.channel_id, guild_id=row.guild_id)


@contextmanager
def meanings() -> Iterator[None]:
    """Try each request once, and raise what Discord's errors mean for a card."""
    try:
        with once():
            yield
    except discord.RateLimited as error:
        after_s = error.retry_after
        raise TryLaterError(str(error), outage=False, after_s=after_s, closed_s=after_s) from error
    except discord.HTTPException as error:
        raise _meaning(error) from error
    except UNREACHABLE as error:
        raise TryLaterError(f"Discord cannot be reached ({error})", outage=True) from error


@asynccontextmanager
async def awake(client: discord.Client, channel_id: int) -> AsyncIterator[None]:
    """Do as `meanings` does; besides, wake a thread that sleeps, for the next attempt.

    A new message wakes one by itself. Where a moderator has locked it, it stays asleep.
    """
    try:
        with meanings():
            yield
    except AsleepError as error:
        with meanings():
            thread = await client.fetch_channel(channel_id)
            if isinstance(thread, discord.Thread):
                await thread.edit(archived=False)
        raise AsleepError(woken=True) from error


def _meaning(error: discord.HTTPException) -> Exception:
    """Tell whether something can ever be shown from what Discord answered."""
    if error.status == 413 or error.code == _TOO_LARGE:
        return TooLargeError(str(error))
    if isinstance(error, discord.NotFound):
        if error.code == _UNKNOWN_MESSAGE:
            return NeverError("The message was deleted.")
        # Without a code it is the address that is unknown, and that begins with the channel's id.
        if error.code in (0, _UNKNOWN_CHANNEL):
            return ChannelGoneError("The channel is gone.")
    if error.code == _THREAD_ARCHIVED:
        return AsleepError()
    if isinstance(error, EditedTooOftenError):  # of this message alone
        return TryLaterError(str(error), outage=False, after_s=error.retry_after)
    if error.status in (401, 403, 408, 429) or error.status >= 500:
        return TryLaterError(str(error), outage=error.status >= 500)
    return NeverError(f"Discord refuses the message: {error}")


async def earlier_message(
    client: discord.Client,
    channel: discord.PartialMessageable,
    since_ms: int,
    is_it: Callable[[discord.Message], bool],
) -> int | None:
    """Return the message of ours that an earlier attempt may have sent, if it is there.

    Raises:
        discord.HTTPException: Discord does not tell.
    """
    # What is dated later than now was written down while the clock was ahead.
    after = discord.Object(snowflake_at(min(since_ms, now_ms()) - LOOK_BACK_MS))
    me = client.user
    try:
        async for message in channel.history(limit=_LOOK_AT, after=after, oldest_first=True):
            if me is not None and message.author.id == me.id and is_it(message):
                return message.id
    except discord.Forbidden:
        log.info("The history of channel %s may not be read", channel.id)
    return None


def snowflake_at(at_ms: int) -> int:
    """Return what sorts before the ids of messages that were made at this time or later.

    A time before there was Discord, as of a clock that has lost it, is before them all.
    """
    return max(0, at_ms - discord.utils.DISCORD_EPOCH) << 22
