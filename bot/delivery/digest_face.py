"""What the best of a channel's day looks like. Pure: it neither fetches nor sends.

Everybody sees it, so it is in English. Its menu carries the row's id: by that the message is found
again, and it works for as long as the message is there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import discord
from discord import ui

from bot.delivery import galleries, looking, words
from bot.delivery.galleries import Picture
from bot.delivery.interactions import Interaction, acknowledged, chosen_ids, if_in_time
from bot.delivery.layouts import id_among, looks_of
from bot.digest import page_day
from bot.front import Front
from bot.model import Dream, Theme
from bot.store.digests import DigestRow
from bot.text import shorten

_OURS = re.compile(r"digest:(?P<id>[0-9]{1,18})")


class DigestMenu(ui.DynamicItem[ui.Select[Any]], template=_OURS):
    """Leads from a digest to one of its dreams, with that one's buttons."""

    def __init__(self, digest_id: int, dreams: Sequence[Dream] = ()) -> None:
        options = [
            discord.SelectOption(
                label=f"Picture {number}",
                value=dream.id,
                description=shorten(dream.prompt, 100) or None,
            )
            for number, dream in enumerate(dreams, 1)
        ]
        super().__init__(
            ui.Select(
                custom_id=f"digest:{digest_id}",
                placeholder="Look closer at one of these …",
                options=options,
            )
        )

    @classmethod
    async def from_custom_id(
        cls, interaction: Interaction, item: ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """Make the menu that was used."""
        return cls(int(match["id"]))

    async def callback(self, interaction: Interaction) -> None:
        """Show the dream that was chosen."""
        chosen = chosen_ids(interaction)
        if not chosen:
            return
        with if_in_time("A choice"):
            async with acknowledged(interaction):
                await looking.show(interaction, chosen[0])


@dataclass(frozen=True)
class DigestFace:
    """A digest as its message is to show it: 1 to 9 `dreams`, the best first, and their hearts.

    `pictures` are those whose files are there.
    """

    front: Front
    row: DigestRow
    theme: Theme
    dreams: Sequence[Dream]
    pictures: Sequence[Picture]
    hearts: Mapping[str, int]

    def view(self) -> ui.LayoutView:
        """Return the layout, made anew for each sending."""
        row, page = self.row, self.front.page_of(self.theme)
        view = ui.LayoutView(timeout=None)
        colour = discord.Colour.from_str(self.theme.colour)
        box: ui.Container[ui.LayoutView] = ui.Container(accent_colour=colour)
        view.add_item(box)
        title = words.plain(self.theme.title, 80)
        named = title if page is None else f"[{title}]({page})"
        span = f"<t:{row.since_ms // 1000}:f> to <t:{row.until_ms // 1000}:f>"
        box.add_item(ui.TextDisplay(f"## The best of the day · {named}\n-# {span}"))
        if self.pictures:
            box.add_item(galleries.gallery(self.pictures))
        lines = [
            galleries.line(self.front, self.theme, number, dream, self.hearts.get(dream.id, 0))
            for number, dream in enumerate(self.dreams, 1)
        ]
        box.add_item(ui.TextDisplay("\n".join(lines)))
        box.add_item(ui.ActionRow(DigestMenu(row.id, self.dreams)))
        if page is not None:
            day = page_day(row.since_ms, row.until_ms)
            link: ui.Button[ui.LayoutView] = ui.Button(
                label="The whole day on the wall", url=f"{page}/day/{day.isoformat()}"
            )
            box.add_item(ui.ActionRow(link))
        view.stop()  # its menu's id says all; the library need not remember it
        return view

    def files(self) -> list[discord.File]:
        """Return the files that go with it, made anew for each sending."""
        return galleries.files(self.pictures)

    @cached_property
    def looks(self) -> str:
        """Return a digest of all that is seen."""
        return looks_of(self.view())


def digest_of(components: Sequence[Any]) -> int | None:
    """Return the row whose digest a message shows, by the menu among its components."""
    found = id_among(components, _OURS)
    return None if found is None else int(found["id"])
