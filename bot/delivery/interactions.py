"""What every command and button does: who asks, where, may we post there, and how to answer.

An interaction must be acknowledged within 3 s, so `acknowledged` comes before anything that may
wait. Answers are seen by the asker alone and call nobody.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any, Protocol, cast

import aiohttp
import aiosqlite
import discord

from bot import logs
from bot.acceptance import Also
from bot.delivery import words
from bot.delivery.attempts import once
from bot.delivery.followups import WORD, FollowUps
from bot.delivery.offers import Offers
from bot.delivery.underway import Underway
from bot.errors import DreamstreamError, ForbiddenError
from bot.front import Front
from bot.ids import is_id, now_ms
from bot.model import Dream, Person, Theme
from bot.network import UNREACHABLE
from bot.rights import Actor
from bot.sentences import say
from bot.store import deliveries
from bot.subject import FarFromSubjectError
from bot.text import shorten
from bot.translations import in_language_of

log = logging.getLogger(__name__)

ACKNOWLEDGE_S = 2.5
ATTEMPT_S = 0.7
RETRY_S = 0.1
ACKNOWLEDGED = 40060
"""What Discord says to an answer that is not the first."""
PERMISSIONS = discord.Permissions(
    view_channel=True,
    send_messages=True,
    send_messages_in_threads=True,
    attach_files=True,
    create_public_threads=True,
    read_message_history=True,
    pin_messages=True,
)
"""What the bot asks for when it is invited; each is used."""

WENT_WRONG = say("Something went wrong here, and has been written down.")

_UNINVITED = say(
    "I post for everybody only where I was invited as a bot, so only you see this, and for a "
    "quarter of an hour; /show finds it later."
)

Interaction = discord.Interaction[Any]


class _HasFront(Protocol):
    front: Front


class _Delivery(Protocol):
    def answered(self, interaction_id: int) -> None: ...


class _HasDelivery(Protocol):
    @property
    def delivery(self) -> _Delivery: ...
    @property
    def follow_ups(self) -> FollowUps: ...
    @property
    def offers(self) -> Offers: ...
    @property
    def underway(self) -> Underway: ...


class TooLateError(Exception):
    """The interaction could not be acknowledged: nobody would learn what came of it."""


@contextmanager
def if_in_time(what: str) -> Iterator[None]:
    """Write it down where `what` somebody did could not be acknowledged: nothing was done."""
    try:
        yield
    except TooLateError:
        log.info("%s could not be acknowledged; nothing was done", what)


def chosen_ids(interaction: Interaction) -> list[str]:
    """Return the ids chosen from a menu, without what is none: anybody may send anything."""
    data: Any = interaction.data or {}
    return [value for value in map(str, data.get("values", ())) if is_id(value)]


def front_of(interaction: Interaction) -> Front:
    """Return the services of the client that got the interaction."""
    return cast(_HasFront, interaction.client).front


def person_of(interaction: Interaction) -> Person:
    """Return who asks."""
    return Person(f"discord:{interaction.user.id}", interaction.user.display_name)


def actor_of(interaction: Interaction) -> Actor:
    """Return who acts, and whether they moderate: who may manage messages in the channel."""
    permissions = interaction.permissions
    return Actor(
        person_of(interaction),
        guild_id=interaction.guild_id,
        moderates=interaction.guild_id is not None and permissions.manage_messages,
    )


def moderator_of(interaction: Interaction) -> Actor:
    """Return who acts, if they moderate here: a command's default permission can be changed.

    Raises:
        ForbiddenError: they do not.
    """
    actor = actor_of(interaction)
    if not actor.moderates:
        raise ForbiddenError(say("Only who may manage messages here can do that."))
    return actor


async def theme_of(interaction: Interaction) -> Theme:
    """Return the theme of the channel in which something is asked."""
    parent_id = getattr(interaction.channel, "parent_id", None)
    channels = front_of(interaction).channels
    return await channels.theme_of(interaction.channel_id or 0, parent_id)


def channel_of(interaction: Interaction) -> tuple[int, int]:
    """Return the ids of the guild and the channel in which something is asked.

    Raises:
        ForbiddenError: it is asked in no channel of a server.
    """
    if interaction.guild_id is None or interaction.channel_id is None:
        raise ForbiddenError("This is asked for in a channel of a server.")
    return interaction.guild_id, interaction.channel_id


def posting_here(interaction: Interaction) -> Also:
    """Return what orders one card in this channel, along with the dreams it is to show.

    It can be used for several asks, one after the other: all their dreams come onto that card.
    Where the bot may not post, only the asker sees it.
    """
    if why := _why_not_post(interaction):
        follow_ups = cast(_HasDelivery, interaction.client).follow_ups
        return follow_ups.ordering(interaction, told(interaction, why))
    guild_id, channel_id = channel_of(interaction)
    card_id: str | None = None

    async def order(connection: aiosqlite.Connection, dreams: Sequence[Dream]) -> None:
        nonlocal card_id
        card_id = await deliveries.order(
            connection, dreams, guild_id, channel_id, now_ms(), onto=card_id
        )

    return order


@asynccontextmanager
async def acknowledged(interaction: Interaction, *, in_place: bool = False) -> AsyncIterator[None]:
    """Acknowledge first; then answer with a sentence whatever goes wrong inside.

    `in_place` is for what is pressed on a message that only the asker sees: the answer comes in
    place of it.
    """
    try:
        async with asyncio.timeout(ACKNOWLEDGE_S):
            await _defer(interaction, in_place=in_place)
    except (discord.HTTPException, *UNREACHABLE) as error:
        raise TooLateError from error
    underway = cast(_HasDelivery, interaction.client).underway
    try:
        with _about(interaction):
            async with underway.answering(), answered(interaction), underway.until_stop():
                yield
    finally:
        if WORD in interaction.extras:
            cast(_HasDelivery, interaction.client).delivery.answered(interaction.id)


def _about(interaction: Interaction) -> AbstractContextManager[None]:
    """Name an interaction in what is logged within."""
    guild = interaction.guild
    return logs.about(
        interaction=interaction.id,
        guild=interaction.guild_id,
        channel=interaction.channel_id,
        shard=None if guild is None else guild.shard_id,
    )


async def _defer(interaction: Interaction, *, in_place: bool) -> None:
    """Acknowledge; try again what Discord's or the network's trouble prevented.

    The library would wait for 1, 3, 5 s between its own attempts, which is too long.
    """
    tried = False
    while True:
        try:
            with once():
                async with asyncio.timeout(ATTEMPT_S):
                    if in_place:
                        await interaction.response.defer()
                    else:
                        await interaction.response.defer(ephemeral=True, thinking=True)
            return
        except discord.RateLimited as error:
            await asyncio.sleep(error.retry_after)  # past `ACKNOWLEDGE_S` it is too late anyway
        except discord.HTTPException as error:
            if tried and error.code == ACKNOWLEDGED:  # an attempt whose answer did not come
                kinds = discord.InteractionResponseType
                interaction.response._response_type = (
                    kinds.deferred_message_update if in_place else kinds.deferred_channel_message
                )
                return
            if error.status < 500 and error.status != 429:
                raise
        except UNREACHABLE:
            pass
        tried = True
        await asyncio.sleep(RETRY_S)


@asynccontextmanager
async def answered(interaction: Interaction) -> AsyncIterator[None]:
    """Answer with a sentence whatever goes wrong inside."""
    try:
        yield
    except TooLateError:
        raise
    except FarFromSubjectError as error:
        view = cast(_HasDelivery, interaction.client).offers.view(error)
        buttons = {} if view is None else {"view": view}
        await tell(interaction, words.sentence(error, interaction.locale), **buttons)
    except DreamstreamError as error:
        await tell(interaction, words.sentence(error, interaction.locale))
    except (aiohttp.ClientError, discord.DiscordServerError, discord.NotFound) as error:
        log.info("An answer did not arrive: %s", error)
        await tell(interaction, say("Discord did not take the answer. Try again."))
    except Exception as error:
        if isinstance(error, discord.HTTPException) and error.code == ACKNOWLEDGED:
            # The library tried again what had arrived; only Discord's word of it was lost.
            log.info("It was answered before: %s", error)
            return
        log.exception("An interaction failed: %s", interaction.data)
        await tell(interaction, WENT_WRONG)


def told(interaction: Interaction, text: str) -> str:
    """Return a text in the asker's language."""
    return in_language_of(interaction.locale, text)


async def tell(interaction: Interaction, text: str, **more: Any) -> None:
    """Answer the asker alone, in their language. What does not arrive is only logged."""
    word = interaction.extras.get(WORD, "")
    text = shorten(f"{told(interaction, text)}\n{word}".rstrip(), 1900)
    try:
        if interaction.response.is_done():
            await interaction.edit_original_response(content=text, **more)
        else:
            await interaction.response.send_message(text, ephemeral=True)
    except (discord.HTTPException, *UNREACHABLE) as error:
        log.info("An answer did not arrive: %s", error)
    except RuntimeError as error:  # how its session says that the bot is just being stopped
        if not interaction.client.is_closed():
            raise
        log.info("An answer did not arrive: %s", error)


def _why_not_post(interaction: Interaction) -> str:
    """Return why the bot may not post pictures where something is asked; empty where it may."""
    by_user_alone = interaction.is_user_integration() and not interaction.is_guild_integration()
    if interaction.guild_id is None or by_user_alone:
        return _UNINVITED
    has = interaction.app_permissions
    in_thread = isinstance(interaction.channel, discord.Thread)
    needed = {
        say("View Channel"): has.view_channel,
        (say("Send Messages in Threads") if in_thread else say("Send Messages")): (
            has.send_messages_in_threads if in_thread else has.send_messages
        ),
        say("Attach Files"): has.attach_files,
    }
    missing = [told(interaction, name) for name, granted in needed.items() if not granted]
    if not missing:
        return ""
    return say(
        "I may not post pictures here (I lack {permissions}), so only you see this, and for a "
        "quarter of an hour; /show finds it later.",
        permissions=", ".join(missing),
    )
