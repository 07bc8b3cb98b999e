"""Picking from a batch: several of its pictures at once are made larger, liked, or go on.

What was picked stands in the answer itself, in a menu with all of it chosen; so its buttons do
what they say after a restart too, and choosing fewer from the menu leaves only those.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, Protocol, Self, cast

import discord
from discord import ui

from bot.delivery import actions, party_choices
from bot.delivery.asking import permit
from bot.delivery.controls import dream_of
from bot.delivery.faces import TILE_THUMBNAIL_PX
from bot.delivery.forms import tell_coming
from bot.delivery.interactions import (
    Interaction,
    acknowledged,
    actor_of,
    answered,
    chosen_ids,
    front_of,
    if_in_time,
    person_of,
    tell,
)
from bot.delivery.looking import dreams_of_card, show, visible_dreams
from bot.delivery.sheets import sheet
from bot.delivery.words import MAX_ALT
from bot.errors import DreamstreamError, InvalidRequestError
from bot.ids import is_id
from bot.model import Dream, Relation
from bot.sentences import say
from bot.text import shorten

LIST = "picked"
_NUMBER = re.compile(r"Picture (\d{1,4})")
_GONE = "Nothing is picked here any more. Pick again, on the card."


class Use(StrEnum):
    """What is done with all that was picked."""

    UPSCALE = "upscale"
    LIKE = "like"
    CONTINUE = "on"


_LABELS = {Use.UPSCALE: "Upscale these", Use.LIKE: "♥ these", Use.CONTINUE: "Go on with these"}
_NEEDS = {Use.UPSCALE: Relation.UPSCALE, Use.CONTINUE: Relation.CONTINUE}


class _Refreshes(Protocol):
    def refresh(self, dream_id: str) -> None: ...


class _HasDelivery(Protocol):
    @property
    def delivery(self) -> _Refreshes: ...


async def pick(interaction: Interaction, dream_ids: Sequence[str]) -> None:
    """Show what was picked from a card: one dream with its buttons, several with those for all."""
    async with acknowledged(interaction):
        if len(dream_ids) == 1:
            await show(interaction, dream_ids[0])
        else:
            dreams = await visible_dreams(interaction, dream_ids)
            await _show_picked(interaction, dreams, await _numbers(interaction))


class PickedMenu(ui.DynamicItem[ui.Select[Any]], template=LIST):
    """Holds what was picked, each with its number on the card; leaves what is chosen from it."""

    def __init__(self, dreams: Sequence[tuple[int, Dream]] = ()) -> None:
        options = [
            discord.SelectOption(
                label=f"Picture {number}",
                value=dream.id,
                description=f"seed {dream.recipe.seed}",
                default=True,
            )
            for number, dream in dreams
        ]
        super().__init__(ui.Select(custom_id=LIST, max_values=len(options) or 1, options=options))

    @classmethod
    async def from_custom_id(
        cls, interaction: Interaction, item: ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """Make the menu that was used."""
        return cls()

    async def callback(self, interaction: Interaction) -> None:
        """Keep to what was chosen."""
        chosen = chosen_ids(interaction)
        if not chosen:
            return
        with if_in_time("A choice"):
            async with acknowledged(interaction, in_place=True):
                dreams = await visible_dreams(interaction, chosen)
                await _show_picked(interaction, dreams, dict(_listed(interaction)))


class PickedButton(ui.DynamicItem[ui.Button[Any]], template=rf"picked:(?P<use>{'|'.join(Use)})"):
    """Does something with all that is picked."""

    def __init__(self, use: Use) -> None:
        self.use = use
        style = discord.ButtonStyle.secondary
        if use is Use.UPSCALE:
            style = discord.ButtonStyle.primary
        super().__init__(ui.Button(label=_LABELS[use], style=style, custom_id=f"picked:{use}"))

    @classmethod
    async def from_custom_id(
        cls, interaction: Interaction, item: ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """Make the button that was pressed."""
        return cls(Use(match["use"]))

    async def callback(self, interaction: Interaction) -> None:
        """Do it. Who may not is told so."""
        dream_ids = [dream_id for dream_id, _ in _listed(interaction)]
        with if_in_time(f"A press of {self.custom_id}"):
            if not dream_ids:
                async with answered(interaction):
                    raise InvalidRequestError("dream", _GONE)
            elif self.use is Use.CONTINUE:
                await actions.go_on_with(interaction, dream_ids)
            elif self.use is Use.UPSCALE:
                await _upscale(interaction, dream_ids)
            else:
                await _like(interaction, dream_ids)


async def _upscale(interaction: Interaction, dream_ids: Sequence[str]) -> None:
    async with acknowledged(interaction):
        dreams = await visible_dreams(interaction, dream_ids)
        said = "\n".join(dict.fromkeys(dream.prompt for dream in dreams))
        also = await permit(interaction, prompt=said, count=len(dreams))
        made = await front_of(interaction).offspring.upscale_all(
            [dream.id for dream in dreams],
            actor_of(interaction),
            channel_id=interaction.channel_id,
            also=also,
        )
        if len(made) > 1:
            which = say("{count} are being made larger.", count=len(made))
        else:
            which = say("It is being made larger.")
        await tell_coming(interaction, which, len(made))


async def _like(interaction: Interaction, dream_ids: Sequence[str]) -> None:
    async with acknowledged(interaction):
        dreams = await visible_dreams(interaction, dream_ids)
        ids = [dream.id for dream in dreams]
        await front_of(interaction).moderation.like(ids, person_of(interaction))
        for dream_id in ids:
            await party_choices.favour(interaction, dream_id, likes=True)
        await tell(interaction, say("♥ You like these.") if len(ids) > 1 else say("♥ You like it."))
        delivery = cast(_HasDelivery, interaction.client).delivery
        for dream_id in ids:
            delivery.refresh(dream_id)


async def _show_picked(
    interaction: Interaction, dreams: Sequence[Dream], numbers: dict[str, int]
) -> None:
    numbered = sorted((numbers.get(dream.id, 0), dream) for dream in dreams)
    front = front_of(interaction)
    view = view_of(interaction, numbered)
    pictures = [await small(interaction, dream) for _, dream in numbered]
    paper = await front.library.run(sheet, pictures, [number for number, _ in numbered])
    listed = ", ".join(str(number) for number, _ in numbered)
    await tell(
        interaction,
        say("You picked {numbers}.", numbers=listed)
        if len(numbered) > 1
        else say("You picked number {number}.", number=listed),
        view=view,
        attachments=[
            discord.File(io.BytesIO(paper), "picked.webp", description=_alt_text(numbered))
        ],
    )


def _alt_text(numbered: Sequence[tuple[int, Dream]]) -> str:
    listed = ", ".join(str(number) for number, _ in numbered)
    words = "; ".join(dict.fromkeys(dream.prompt for _, dream in numbered))
    return shorten(f"Pictures {listed}, small and numbered, from the words: {words}", MAX_ALT)


def view_of(interaction: Interaction, numbered: Sequence[tuple[int, Dream]]) -> ui.View:
    """Return the menu that holds dreams, each with its number, and the buttons for all of them."""
    view = ui.View(timeout=None)
    view.add_item(PickedMenu(numbered))
    able = [front_of(interaction).offspring.can(dream) for _, dream in numbered]
    for use in Use:
        if use not in _NEEDS or all(_NEEDS[use] in can for can in able):
            view.add_item(PickedButton(use))
    view.stop()  # its message holds what it is for
    return view


async def small(
    interaction: Interaction, dream: Dream, side_px: int = TILE_THUMBNAIL_PX
) -> bytes | None:
    """Return a dream's picture as a small WebP, None where it cannot be had."""
    if dream.image is None:
        return None
    library = front_of(interaction).library
    sha256 = dream.image.sha256
    try:
        return await library.read_thumbnail(sha256, side_px)
    except (DreamstreamError, OSError):
        return None  # one that cannot be read must not cost the others theirs


async def _numbers(interaction: Interaction) -> dict[str, int]:
    """Return the numbers that dreams have on the card whose menu was used."""
    message = interaction.message
    card_id = None if message is None else dream_of(list(message.components))
    if card_id is None:
        return {}
    dreams = await dreams_of_card(interaction, card_id)
    return {dream.id: number for number, dream in enumerate(dreams, 1)}


def _listed(interaction: Interaction) -> Iterator[tuple[str, int]]:
    """Yield the dreams that the answer's own menu holds, each with its number."""
    if interaction.message is None:
        return
    for row in interaction.message.components:
        for one in getattr(row, "children", ()):
            if isinstance(one, discord.SelectMenu) and one.custom_id == LIST:
                for option in one.options:
                    number = _NUMBER.fullmatch(option.label)
                    if is_id(option.value):
                        yield option.value, 0 if number is None else int(number[1])
