"""What a stream has to show: pages of pictures, seen by who asks, with buttons to turn them."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Self

import discord
from discord import ui

from bot.delivery import looking, words
from bot.delivery.interactions import (
    Interaction,
    acknowledged,
    chosen_ids,
    front_of,
    if_in_time,
    person_of,
    theme_of,
    told,
)
from bot.errors import DreamstreamError
from bot.front import Front
from bot.model import Dream, Theme
from bot.sentences import say
from bot.store import galleries
from bot.text import shorten

PAGE = 10
THUMBNAIL_PX = 768
Picture = tuple[Dream, bytes]
"""A dream, and its picture as a small WebP."""
_MOST = 1000  # pages are turned one by one; nobody means the hundredth


class Kind(StrEnum):
    """What is in a gallery."""

    LATEST = "latest"
    BEST = "best"
    MINE = "mine"


_TITLES = {
    Kind.LATEST: "The newest of {theme}",
    Kind.BEST: "What people like in {theme}",
    Kind.MINE: "Your pictures",
}
_EMPTY = {
    Kind.LATEST: say("Nothing has been drawn here yet. Be the first: /dream"),
    Kind.BEST: say("Nobody has marked a picture here yet. Press ♥ under one that you like."),
    Kind.MINE: say("You have no pictures yet. Ask for one: /dream"),
}


async def show(interaction: Interaction, kind: Kind, skip: int = 0) -> None:
    """Answer an acknowledged interaction with a page; `skip` pictures come before it."""
    front, theme = front_of(interaction), await theme_of(interaction)
    found = await _find(interaction, kind, theme, skip)
    dreams, more = found[:PAGE], len(found) > PAGE
    pictures = await thumbnails(front, dreams)
    hearts = await front.moderation.favourites([dream.id for dream, _ in pictures])
    view = _view(interaction, kind, theme, pictures, hearts, skip, more=more)
    await interaction.edit_original_response(view=view, attachments=files(pictures))


class PageButton(
    ui.DynamicItem[ui.Button[Any]],
    template=rf"gallery:(?P<kind>{'|'.join(Kind)}):(?P<skip>[0-9]{{1,4}})",
):
    """Turns to another page, whenever it is pressed and whatever was restarted since."""

    def __init__(self, kind: Kind, skip: int, label: str = "") -> None:
        self.kind = kind
        self.skip = skip
        super().__init__(
            ui.Button(
                label=label or "Turn",
                style=discord.ButtonStyle.secondary,
                custom_id=f"gallery:{kind}:{skip}",
            )
        )

    @classmethod
    async def from_custom_id(
        cls, interaction: Interaction, item: ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """Make the button that was pressed."""
        return cls(Kind(match["kind"]), int(match["skip"]))

    async def callback(self, interaction: Interaction) -> None:
        """Turn the page."""
        with if_in_time(f"A press of {self.custom_id}"):
            async with acknowledged(interaction, in_place=True):
                await show(interaction, self.kind, min(self.skip, _MOST))


class LookMenu(ui.DynamicItem[ui.Select[Any]], template=r"gallery:look"):
    """Leads from a page to one of its dreams, with that one's buttons."""

    def __init__(self, numbered: Sequence[tuple[int, Dream]] = ()) -> None:
        options = [
            discord.SelectOption(
                label=f"Picture {number}",
                value=dream.id,
                description=shorten(dream.prompt, 100) or None,
            )
            for number, dream in numbered
        ]
        super().__init__(
            ui.Select(
                custom_id="gallery:look",
                placeholder="Look closer at one of these …",
                options=options,
            )
        )

    @classmethod
    async def from_custom_id(
        cls, interaction: Interaction, item: ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """Make the menu that was used."""
        return cls()

    async def callback(self, interaction: Interaction) -> None:
        """Show the dream that was chosen."""
        chosen = chosen_ids(interaction)
        if not chosen:
            return
        with if_in_time("A choice"):
            async with acknowledged(interaction):
                await looking.show(interaction, chosen[0])


async def _find(interaction: Interaction, kind: Kind, theme: Theme, skip: int) -> list[Dream]:
    """Return a page of dreams and one more, if there is one."""
    front = front_of(interaction)
    if kind is Kind.LATEST:
        return await galleries.latest(front.store, theme.id, skip=skip, limit=PAGE + 1)
    if kind is Kind.BEST:
        return await galleries.best(front.store, theme.id, skip=skip, limit=PAGE + 1)
    person = person_of(interaction)
    return await galleries.of_person(front.store, person.id, skip=skip, limit=PAGE + 1)


async def thumbnails(front: Front, dreams: Sequence[Dream]) -> list[Picture]:
    """Return the dreams whose pictures are there, each with a small one."""
    shown = [(dream, await _thumbnail(front, dream)) for dream in dreams]
    return [(dream, data) for dream, data in shown if data is not None]


async def _thumbnail(front: Front, dream: Dream) -> bytes | None:
    if dream.image is None:
        return None
    try:
        return await front.library.read_thumbnail(dream.image.sha256, THUMBNAIL_PX)
    except (DreamstreamError, OSError):
        return None  # its file is gone: the others are shown


def _view(
    interaction: Interaction,
    kind: Kind,
    theme: Theme,
    pictures: Sequence[Picture],
    hearts: dict[str, int],
    skip: int,
    *,
    more: bool,
) -> ui.LayoutView:
    front, buttons = front_of(interaction), []
    if skip:
        back = told(interaction, say("Back"))
        buttons.append(PageButton(kind, max(0, skip - PAGE), back))
    if more and skip + PAGE <= _MOST:
        buttons.append(PageButton(kind, skip + PAGE, told(interaction, say("More"))))
    title = told(interaction, say(_TITLES[kind], theme=words.plain(theme.title, 80)))
    url = front.page_of(theme) if kind is not Kind.MINE else None
    lines = [
        line(front, theme, number, dream, hearts.get(dream.id, 0))
        for number, (dream, _) in enumerate(pictures, skip + 1)
    ]
    return page(
        theme,
        title if url is None else f"[{title}]({url})",
        pictures,
        lines or [told(interaction, say("There are no more.") if skip else _EMPTY[kind])],
        buttons,
        first=skip + 1,
    )


def page(
    theme: Theme,
    title: str,
    pictures: Sequence[Picture],
    lines: Sequence[str],
    buttons: Sequence[PageButton] = (),
    *,
    first: int = 1,
) -> ui.LayoutView:
    """Return a page of pictures with its lines below; without pictures only the lines.

    `first` is the number of the first picture.
    """
    view = ui.LayoutView(timeout=None)
    box: ui.Container[ui.LayoutView] = ui.Container(
        accent_colour=discord.Colour.from_str(theme.colour)
    )
    view.add_item(box)
    if pictures:
        box.add_item(ui.TextDisplay(f"## {title}"))
        box.add_item(gallery(pictures))
    box.add_item(ui.TextDisplay("\n".join(lines)))
    if pictures:
        dreams = [dream for dream, _ in pictures]
        box.add_item(ui.ActionRow(LookMenu(list(enumerate(dreams, first)))))
    if buttons:
        box.add_item(ui.ActionRow(*buttons))
    view.stop()  # its buttons' ids say all; the library need not remember it
    return view


def gallery(pictures: Sequence[Picture]) -> ui.MediaGallery[ui.LayoutView]:
    """Return pictures side by side, 1 to 10; their `files` go along with the message."""
    return ui.MediaGallery(
        *(
            discord.MediaGalleryItem(
                f"attachment://{_name(dream)}", description=words.alt_text(dream)
            )
            for dream, _ in pictures
        )
    )


def files(pictures: Sequence[Picture]) -> list[discord.File]:
    """Return the files that a page shows."""
    return [discord.File(io.BytesIO(data), _name(dream)) for dream, data in pictures]


def line(front: Front, theme: Theme, number: int, dream: Dream, hearts: int) -> str:
    """Return what stands below a page about one of its pictures."""
    parts = [f"{number}\\. **{words.plain(dream.prompt, 80)}**", words.plain(dream.person.name, 30)]
    if hearts:
        parts.append(f"♥ {hearts}")
    parts.append(f"`{dream.id}`")
    on_wall = dream.published and dream.theme_id == theme.id and front.page_of(theme) is not None
    if on_wall:
        parts.append(f"[open](<{front.wall_url}/d/{dream.id}>)")
    return " · ".join(parts)


def _name(dream: Dream) -> str:
    return f"dream-{dream.id}.webp"
