"""Which dreams may be seen where, and showing one to who asks, with all its buttons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, cast

import discord

from bot.delivery.faces import Faces, Room
from bot.delivery.interactions import Interaction, front_of, person_of, theme_of, told
from bot.delivery.pictures import DEFAULT_LIMIT_BYTES
from bot.errors import GoneError, NotFoundError
from bot.front import Front
from bot.model import Dream, Visibility
from bot.sentences import say
from bot.store import deliveries
from bot.store import dreams as rows

NO_DREAM = "There is no such dream."
_STILL = say("This shows how it stands now, and does not change. Look again later.")
_TRIES = 8


class _HasFaces(Protocol):
    @property
    def faces(self) -> Faces: ...


async def visible_dream(interaction: Interaction, dream_id: str) -> Dream:
    """Return a dream that may be seen by who asks, in this channel.

    Raises:
        NotFoundError: there is none; it was deleted; or it belongs to a private theme of
            elsewhere, or to somebody who does not publish, and elsewhere.
    """
    dream = await front_of(interaction).dreams.existing(dream_id)
    await _check_visible(interaction, dream)
    return dream


async def visible_dreams(interaction: Interaction, dream_ids: Sequence[str]) -> list[Dream]:
    """Return those dreams, in this order, which are still there; raises as `visible_dream`."""
    front = front_of(interaction)
    found = {dream.id: dream for dream in await rows.by_ids(front.store, dream_ids)}
    dreams = [found[dream_id] for dream_id in dream_ids if dream_id in found]
    for dream in dreams:
        await _check_visible(interaction, dream)
    if not dreams:
        raise NotFoundError(NO_DREAM)
    there = [dream for dream in dreams if dream.deleted_ms is None]
    if not there:
        raise GoneError
    return there


async def dreams_of_card(interaction: Interaction, card_id: str) -> list[Dream]:
    """Return the dreams that the card of this name shows.

    Raises:
        NotFoundError: there is none that may be seen here.
    """
    front = front_of(interaction)
    cards = await deliveries.of_dream(front.store, card_id)
    for card in reversed(cards):
        if card.dream_id == card_id:
            return await visible_dreams(interaction, card.dream_ids)
    # Shown by a follow-up, which is in no row.
    ask_id = (await front.dreams.get(card_id)).ask_id
    together = await front.dreams.together(ask_id)
    return await visible_dreams(interaction, [dream.id for dream in together])


async def show(interaction: Interaction, dream_id: str) -> None:
    """Answer an acknowledged interaction with a dream: its picture and all its buttons.

    Raises:
        NotFoundError: there is none that may be seen here.
        discord.HTTPException: Discord does not take it.
    """
    dream = await visible_dream(interaction, dream_id)
    faces = cast(_HasFaces, interaction.client).faces
    room = Room(interaction.filesize_limit or DEFAULT_LIMIT_BYTES)
    for _ in range(_TRIES):
        face = await faces.of(dream.id, [dream.id], room)
        if face is None:
            raise GoneError
        if not face.over:
            face = replace(face, note=told(interaction, _STILL))
        try:
            await interaction.edit_original_response(view=face.view(), attachments=face.files())
        except discord.HTTPException as error:
            if error.status != 413 or face.largest_bytes == 0:
                raise
            room = replace(room, file_bytes=face.largest_bytes // 2)
        else:
            return


async def _check_visible(interaction: Interaction, dream: Dream) -> None:
    if dream.person.id == person_of(interaction).id:
        return
    front: Front = front_of(interaction)
    if not dream.published and dream.channel_id != interaction.channel_id:
        raise NotFoundError(NO_DREAM)
    theme = await front.themes.by_id(dream.theme_id)
    if theme.visibility is Visibility.PRIVATE and theme.id != (await theme_of(interaction)).id:
        # A party's pictures stay to be seen where it was held.
        party = await front.parties.of_theme(theme.id)
        if party is None or party.channel_id != interaction.channel_id:
            raise NotFoundError(NO_DREAM)
