"""Find the dream that somebody means: by its id, a link to it, or the message that shows it."""

from __future__ import annotations

import re

import discord

from bot.delivery.controls import dream_of
from bot.delivery.interactions import Interaction, front_of
from bot.delivery.looking import dreams_of_card, visible_dream, visible_dreams
from bot.errors import InvalidRequestError, NotFoundError
from bot.ids import is_id
from bot.model import Dream
from bot.store.messages import dreams_on

_MESSAGE = re.compile(
    r"https?://(?:\w+\.)?discord(?:app)?\.com/channels/(?:\d{1,20}|@me)/(\d{1,20})/(\d{1,20})"
)
_MAX_TEXT = 500
_LARGEST_ID = 2**63 - 1


async def find_dream(interaction: Interaction, text: str) -> Dream:
    """Return the dream that is meant by an id, a link to the wall, or a link to a message.

    Of a message that shows several it is the first.

    Raises:
        InvalidRequestError: it is none of these.
        NotFoundError: there is no such dream that may be seen here.
    """
    text = text.strip()[:_MAX_TEXT]
    found = _MESSAGE.search(text)
    if found is not None:
        dreams = await _dreams_on(interaction, int(found[1]), int(found[2]))
        if not dreams:
            raise NotFoundError("That message shows no dream of mine.")
        return dreams[0]
    for word in reversed(re.split(r"[^0-9a-z]+", text.lower())):
        if is_id(word):
            return await visible_dream(interaction, word)
    raise InvalidRequestError(
        "dream",
        "Which dream? Give its id, the link to its page on the wall, or the link to its message.",
    )


async def dreams_of_message(interaction: Interaction, message: discord.Message) -> list[Dream]:
    """Return the dreams that a message of ours shows, in order; none for any other message.

    Raises:
        NotFoundError: they may not be seen here, or were deleted.
    """
    if interaction.client.user is None or message.author.id != interaction.client.user.id:
        return []
    dreams = await _dreams_on(interaction, message.channel.id, message.id)
    if dreams:
        return dreams
    # Follow-ups, and what only the asker sees, are in no row; their buttons tell.
    card_id = dream_of(list(message.components))
    return [] if card_id is None else await dreams_of_card(interaction, card_id)


async def _dreams_on(interaction: Interaction, channel_id: int, message_id: int) -> list[Dream]:
    if max(channel_id, message_id) > _LARGEST_ID:
        return []
    found = await dreams_on(front_of(interaction).store, channel_id, message_id)
    return await visible_dreams(interaction, found) if found else []
