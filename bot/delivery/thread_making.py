"""What Discord is asked to do for a theme's thread: make it, wake it, bring somebody in.

Knows neither when that is due nor what is written down of it afterwards. A thread in a channel is
made of a message, and Discord makes one of a message at most, so making it again does no harm. A
forum's post has no such guard: it is looked for before it is made again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Set
from typing import Final

import discord

from bot.delivery.sender import (
    LOOK_BACK_MS,
    ChannelGoneError,
    NeverError,
    TryLaterError,
    meanings,
    snowflake_at,
)
from bot.delivery.theme_face import Face
from bot.errors import ForbiddenError
from bot.sentences import say
from bot.store.theme_threads import ThemeThread

log = logging.getLogger(__name__)

SLEEPS_AFTER_MIN: Final = 10_080
"""After so long without a message Discord archives a thread; a week is the most."""
_HAS_THREAD = 160004
_TOO_MANY_AWAKE = 160006
_TOO_MANY = say("This server has as many open threads as Discord allows. Close one, and try again.")


class ThreadMaking:
    """Makes the threads of rows, as one client."""

    def __init__(self, client: discord.Client) -> None:
        self._client = client

    async def of_message(self, row: ThemeThread, message_id: int) -> None:
        """Make a row's thread of a message in its channel, unless that has one.

        Raises:
            NeverError, TryLaterError: Discord does not do it.
        """
        if self._client.get_guild(row.guild_id) is None:  # the library makes no thread without it
            raise TryLaterError("Discord has not told of this server yet.", outage=True)
        channel = self._client.get_partial_messageable(row.parent_id, guild_id=row.guild_id)
        message = channel.get_partial_message(message_id)
        with meanings():
            try:
                await message.create_thread(name=row.name, auto_archive_duration=SLEEPS_AFTER_MIN)
            except discord.HTTPException as error:
                if error.code == _TOO_MANY_AWAKE:
                    raise NeverError(_TOO_MANY) from error
                if error.code != _HAS_THREAD:
                    raise

    async def post(
        self,
        row: ThemeThread,
        face: Face,
        known: Set[int | None],
        begin: Callable[[], Awaitable[None]],
    ) -> tuple[int, int | None]:
        """Return a row's post in its forum, and its first message if it was made just now.

        `begin` writes down that it is about to be. `known` are the posts of other rows. Where an
        earlier attempt may have made it, it is looked for by its name and its age.

        Raises:
            NeverError, TryLaterError, TooLargeError: Discord does not make it.
        """
        with meanings():
            forum = await self._client.fetch_channel(row.parent_id)
            if not isinstance(forum, discord.ForumChannel):
                raise NeverError(f"Channel {row.parent_id} is no forum.")
            if row.sends and (found := await self._earlier(forum, row, known)) is not None:
                return found, None
            await begin()
            made = await forum.create_thread(
                name=row.name,
                view=face.view(),
                files=face.files(),
                applied_tags=_tags(forum, row.name),
                auto_archive_duration=SLEEPS_AFTER_MIN,
                allowed_mentions=discord.AllowedMentions.none(),
            )
        return made.thread.id, made.message.id

    async def open(self, thread_id: int, person: discord.abc.Snowflake | None = None) -> bool:
        """Wake a thread, and bring somebody into it; say whether it is there.

        Raises:
            ForbiddenError: it is there, but locked, or Discord does not do it.
        """
        try:
            with meanings():
                thread = await self._client.fetch_channel(thread_id)
                assert isinstance(thread, discord.Thread)
                if thread.archived:
                    await _wake(thread)
                if person is not None:
                    await thread.add_user(person)
        except ChannelGoneError:
            return False
        except NeverError as error:
            log.info("Thread %s cannot be opened: %s", thread_id, error)
            raise ForbiddenError(
                say("Discord did not let me open the thread: {error}", error=error)
            ) from error
        except TryLaterError as error:
            log.info("Thread %s cannot be opened: %s", thread_id, error)
            raise ForbiddenError(
                "The thread cannot be opened at present. A moderator may have locked it."
            ) from error
        return True

    async def is_gone(self, thread_id: int) -> bool:
        """Say whether a thread is known not to be there any more."""
        if self._client.get_channel(thread_id) is not None:
            return False
        try:
            with meanings():
                await self._client.fetch_channel(thread_id)  # one that sleeps is known to Discord
        except ChannelGoneError:
            return True
        except (NeverError, TryLaterError) as error:
            log.info("It cannot be told whether thread %s is there: %s", thread_id, error)
        return False

    async def _earlier(
        self, forum: discord.ForumChannel, row: ThemeThread, known: Set[int | None]
    ) -> int | None:
        since = snowflake_at(row.created_ms - LOOK_BACK_MS)
        me = self._client.user

        def is_it(post: discord.Thread) -> bool:
            ours = me is not None and (post.parent_id, post.owner_id) == (forum.id, me.id)
            return ours and post.id > since and post.id not in known and post.name == row.name

        for post in await forum.guild.active_threads():
            if is_it(post):
                return post.id
        async for post in forum.archived_threads(limit=100):
            if is_it(post):
                return post.id
        return None


async def _wake(thread: discord.Thread) -> None:
    try:
        await thread.edit(archived=False)
    except discord.HTTPException as error:
        if error.code != _TOO_MANY_AWAKE:
            raise
        raise ForbiddenError(_TOO_MANY) from error


def _tags(forum: discord.ForumChannel, name: str) -> list[discord.ForumTag]:
    """Return a forum's tag of a post's name; else the first to be used, where it wants one."""
    free = [tag for tag in forum.available_tags if not tag.moderated]
    named = [tag for tag in free if tag.name.casefold() == name.casefold()]
    return named[:1] or (free[:1] if forum.flags.require_tag else [])
