"""``/words``: a kind of words with their pictures, seen by who asks, with a menu of all kinds."""

from __future__ import annotations

import io
import re
from functools import cache
from typing import Any, Self

import discord
from discord import ui

from bot.delivery import words
from bot.delivery.interactions import (
    Interaction,
    acknowledged,
    front_of,
    if_in_time,
    theme_of,
    told,
)
from bot.delivery.sheets import labelled_sheet
from bot.errors import InvalidRequestError
from bot.modifiers import SUBJECT, Kind, find_kind, kinds
from bot.sentences import say
from bot.text import shorten

_TILE_PX = 144
_NOTE = say(
    "Each put after “{subject}”, with the same seed. The small model that drew these knows few "
    "artists by name; larger ones know more.",
    subject=SUBJECT,
)


async def show(interaction: Interaction, name: str) -> None:
    """Answer an acknowledged interaction with the words of a kind.

    Raises:
        InvalidRequestError: there is no such kind.
    """
    kind = find_kind(name)
    if kind is None:
        titles = ", ".join(one.title for one in kinds())
        raise InvalidRequestError("kind", say("The kinds are: {kinds}.", kinds=titles))
    front = front_of(interaction)
    picture = await front.library.run(_sheet, kind)
    url = front.page_of(await theme_of(interaction))
    await interaction.edit_original_response(
        view=_view(interaction, kind, None if url is None else f"{url}/words#{kind.name}"),
        attachments=[discord.File(io.BytesIO(picture), _file_name(kind))],
    )


class KindMenu(ui.DynamicItem[ui.Select[Any]], template=r"words:kind"):
    """Leads to another kind, whenever it is used and whatever was restarted since."""

    def __init__(self, here: Kind | None = None) -> None:
        options = [
            discord.SelectOption(
                label=kind.title, value=kind.name, description=kind.about, default=kind is here
            )
            for kind in kinds()
        ]
        super().__init__(ui.Select(custom_id="words:kind", options=options))

    @classmethod
    async def from_custom_id(
        cls, interaction: Interaction, item: ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """Make the menu that was used."""
        return cls()

    async def callback(self, interaction: Interaction) -> None:
        """Show the kind that was chosen in place of the one that is there."""
        data: Any = interaction.data or {}
        chosen = [str(value) for value in data.get("values", ())]
        if not chosen:
            return
        with if_in_time("A choice"):
            async with acknowledged(interaction, in_place=True):
                await show(interaction, chosen[0])


def _view(interaction: Interaction, kind: Kind, url: str | None) -> ui.LayoutView:
    view = ui.LayoutView(timeout=None)
    box: ui.Container[ui.LayoutView] = ui.Container(accent_colour=discord.Colour(0x7C6CFF))
    view.add_item(box)
    title = kind.title if url is None else f"[{kind.title}](<{url}>)"
    box.add_item(ui.TextDisplay(f"## {title}\n{kind.about}."))
    said = ", ".join(one.words for one in kind.modifiers)
    box.add_item(
        ui.MediaGallery(
            discord.MediaGalleryItem(
                f"attachment://{_file_name(kind)}",
                description=shorten(f"{SUBJECT}, drawn with each of: {said}", words.MAX_ALT),
            )
        )
    )
    box.add_item(
        ui.TextDisplay("\n".join(f"**{one.words}** · {one.about}" for one in kind.modifiers))
    )
    box.add_item(ui.TextDisplay(f"-# {told(interaction, _NOTE)}"))
    box.add_item(ui.ActionRow(KindMenu(kind)))
    view.stop()  # its menu's id says all; the library need not remember it
    return view


def _file_name(kind: Kind) -> str:
    return f"words-{kind.name}.webp"


@cache
def _sheet(kind: Kind) -> bytes:
    """Return a kind's pictures as one, with the words in it. Blocks the first time."""
    pictures = [one.picture.read_bytes() for one in kind.modifiers]
    return labelled_sheet(pictures, [one.words for one in kind.modifiers], _TILE_PX)
