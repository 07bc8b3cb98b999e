"""A copy of what is kept about who asks, and its end: both are for them alone."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import discord
from discord import ui

from bot.delivery.interactions import (
    Interaction,
    acknowledged,
    answered,
    front_of,
    person_of,
    tell,
    told,
)
from bot.delivery.modals import purpose_of, send_form, typed_in
from bot.delivery.pictures import DEFAULT_LIMIT_BYTES
from bot.errors import InvalidRequestError, LimitError
from bot.privacy.exporting import Export, Exports
from bot.sentences import say

PATIENCE_S = 13 * 60.0
"""How long a copy may take: Discord takes the answer for a quarter of an hour."""
_FIELD = "sure"
_FORM = "forget"
_NAME = "dreamstream.zip"
_NOT_HERE = say("That cannot be done here.")
_SURE = say("forget me")


async def export(interaction: Interaction) -> None:
    """Make a copy of what is kept about who asks, and hand it to them."""
    async with acknowledged(interaction):
        exports = front_of(interaction).exports
        if exports is None:
            raise InvalidRequestError("privacy", _NOT_HERE)
        await tell(
            interaction,
            say("It is being put together, and comes here. With many pictures that takes minutes."),
        )
        person = person_of(interaction)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await _hand_over(interaction, exports, await exports.make(person))
        except TimeoutError:
            raise LimitError(
                say("It takes too long at present. Try again later, when less is going on."), 600.0
            ) from None


async def _hand_over(interaction: Interaction, exports: Exports, made: Export) -> None:
    """Send a copy, or the address at which it lies, or one without pictures if there is no way."""
    limit_bytes = interaction.filesize_limit or DEFAULT_LIMIT_BYTES
    wall_url = front_of(interaction).wall_url
    whole = made.size_bytes <= limit_bytes
    if whole or not wall_url:
        try:
            if not whole:
                made = await exports.make(person_of(interaction), pictures=False)
            await _send(interaction, made, whole=whole)
        finally:
            await exports.remove(made)
        return
    await tell(
        interaction,
        say(
            "It is ready: {url}\nWho has this address has the copy. It is there for a day, or "
            "until I am started anew.",
            url=f"<{wall_url}/exports/{made.token}.zip>",
        ),
    )


async def _send(interaction: Interaction, made: Export, *, whole: bool) -> None:
    said = (
        say("This is all that is kept about you.")
        if whole
        else say(
            "This is what is kept about you, without the pictures: with them it is too large for "
            "Discord. Save those you want from their cards."
        )
    )
    file = await asyncio.to_thread(discord.File, made.path, _NAME)
    with file.fp:
        await interaction.edit_original_response(
            content=told(interaction, said), attachments=[file]
        )


async def ask_whether_to_forget(interaction: Interaction) -> None:
    """Show the form that says what goes and what stays, and asks once more."""
    async with answered(interaction):
        sure = told(interaction, _SURE)
        field: ui.TextInput[Any] = ui.TextInput(custom_id=_FIELD, max_length=40)
        await send_form(
            interaction,
            _FORM,
            say("Forget everything about you?"),
            (say("Type “{words}”", words=sure), field),
            text=say(
                "For good and everywhere: your pictures, words and recipes, what you "
                "liked, said and voted for, portraits, entries in games, your name. You "
                "leave every party, and are off the wall.\n"
                "What stays: that there were dreams, and when; the themes you made; what you "
                "steered others' pictures to; who may not ask in a server; what moderators "
                "decided, until it is old."
            ),
        )


async def submitted(interaction: Interaction) -> None:
    """Forget who sent the form, if they said so; leave other forms alone.

    Raises:
        TooLateError: it could not be acknowledged.
    """
    if purpose_of(interaction) != _FORM:
        return
    async with acknowledged(interaction):
        forgetting = front_of(interaction).forgetting
        if forgetting is None:
            raise InvalidRequestError("privacy", _NOT_HERE)
        typed = typed_in(interaction, _FIELD)
        if not _is_sure(typed, told(interaction, _SURE)):
            raise InvalidRequestError("sure", say("Nothing was deleted: the words were others."))
        await forgetting.forget(person_of(interaction))
        await tell(
            interaction,
            say(
                "You are forgotten. It takes a moment until all messages are gone. Whatever you "
                "ask for from now on is kept again."
            ),
        )


def _is_sure(typed: str, words: str) -> bool:
    def plain(text: str) -> str:
        return re.sub(r"[\W_]+", " ", text).strip().casefold()

    return plain(typed) in (plain(words), plain(_SURE))
