"""``/help``: pages with pictures, seen by who asks, with buttons that lead from one to another."""

from __future__ import annotations

import io
import re
from typing import Any, Self

import discord
from discord import ui

from bot.delivery.interactions import Interaction, acknowledged, front_of, if_in_time, told
from bot.help import Page, pages
from bot.sentences import say
from bot.translations import LANGUAGES

_COLOUR = discord.Colour(0x7C6CFF)
_ROW = 5


async def show(interaction: Interaction, number: int = 0) -> None:
    """Answer an acknowledged interaction with a page; 0 is the first."""
    run = front_of(interaction).library.run
    found = await run(pages, LANGUAGES.get(interaction.locale, ""))
    number = min(number, len(found) - 1)
    page = found[number]
    pictures = [(one.file, await run(one.read)) for one in page.pictures]
    await interaction.edit_original_response(
        view=_view(interaction, found, number),
        attachments=[discord.File(io.BytesIO(data), name) for name, data in pictures],
    )


class GuideButton(ui.DynamicItem[ui.Button[Any]], template=r"guide:(?P<number>[0-9])"):
    """Leads to another page, whenever it is pressed and whatever was restarted since."""

    def __init__(self, number: int, label: str = "Help", *, here: bool = False) -> None:
        self.number = number
        style = discord.ButtonStyle.primary if here else discord.ButtonStyle.secondary
        super().__init__(
            ui.Button(label=label, style=style, disabled=here, custom_id=f"guide:{number}")
        )

    @classmethod
    async def from_custom_id(
        cls, interaction: Interaction, item: ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """Make the button that was pressed."""
        return cls(int(match["number"]))

    async def callback(self, interaction: Interaction) -> None:
        """Show its page in place of the one that is there."""
        with if_in_time(f"A press of {self.custom_id}"):
            async with acknowledged(interaction, in_place=True):
                await show(interaction, self.number)


def _view(interaction: Interaction, found: tuple[Page, ...], number: int) -> ui.LayoutView:
    page = found[number]
    view = ui.LayoutView(timeout=None)
    box: ui.Container[ui.LayoutView] = ui.Container(accent_colour=_COLOUR)
    view.add_item(box)
    box.add_item(ui.TextDisplay(f"## {page.title}\n{page.text.strip()}"))
    if page.pictures:
        box.add_item(
            ui.MediaGallery(
                *(
                    discord.MediaGalleryItem(
                        f"attachment://{one.file}",
                        description=told(
                            interaction,
                            say("A picture drawn from the words: {prompt}", prompt=one.prompt),
                        ),
                    )
                    for one in page.pictures
                )
            )
        )
        drawn = dict.fromkeys(one.prompt for one in page.pictures)
        box.add_item(ui.TextDisplay("-# " + " · ".join(f"“{prompt}”" for prompt in drawn)))
    buttons = [
        GuideButton(place, one.name, here=place == number) for place, one in enumerate(found)
    ]
    for start in range(0, len(buttons), _ROW):
        box.add_item(ui.ActionRow(*buttons[start : start + _ROW]))
    view.stop()  # its buttons' ids say all; the library need not remember it
    return view
