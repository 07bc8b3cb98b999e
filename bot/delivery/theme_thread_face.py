"""How the card looks that a thread begins at, in the channel above; and its button."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, cast

import discord
from discord import ui

from bot.delivery import words
from bot.delivery.interactions import Interaction, acknowledged, if_in_time, tell
from bot.delivery.layouts import id_among, looks_of
from bot.model import Theme
from bot.sentences import say

_OURS = re.compile(r"theme:join:(?P<id>[0-9]{1,18})")


class _Threads(Protocol):
    async def join(self, row_id: int, person: discord.abc.Snowflake) -> int: ...


class _HasThreads(Protocol):
    @property
    def theme_threads(self) -> _Threads: ...


@dataclass(frozen=True)
class ThreadCard:
    """What the card of a row's thread shows: `text` in Markdown, and a button where it is `open`.

    `page` is what a second button leads to.
    """

    row_id: int
    colour: str
    text: str
    open: bool
    page: str | None = None

    @property
    def looks(self) -> str:
        """A digest of all that is shown."""
        return looks_of(self.view())

    def files(self) -> list[discord.File]:
        """Return no files: it has none."""
        return []

    def view(self) -> ui.LayoutView:
        """Return the message."""
        view = ui.LayoutView(timeout=None)
        colour = discord.Colour.from_str(self.colour)
        box: ui.Container[ui.LayoutView] = ui.Container(accent_colour=colour)
        view.add_item(box)
        box.add_item(ui.TextDisplay(self.text))
        if self.open:
            buttons: list[ui.Button[Any]] = [
                ui.Button(label="Join the thread", custom_id=f"theme:join:{self.row_id}")
            ]
            if self.page is not None:
                buttons.append(ui.Button(label="The stream", url=self.page))
            box.add_item(ui.ActionRow(*buttons))
        view.stop()  # its button's id says all; the library need not remember it
        return view


def card_of_theme(row_id: int, theme: Theme, page: str | None, *, gone: bool) -> ThreadCard:
    """Return the card of a theme's thread; `page` is its stream on the wall, if people see it."""
    title = words.plain(theme.title, 80)
    if theme.retired:
        text = f"**{title}** has ended. What was drawn stays."
    elif gone:
        text = f"**{title}** has no thread here any more. `/theme thread` makes another."
    else:
        topic = words.plain(theme.topic, 300)
        where = "-# Its pictures come into the thread of this message. Ask for yours there."
        text = "\n".join(line for line in (f"## {title}", topic, where) if line)
    return ThreadCard(row_id, theme.colour, text, not (gone or theme.retired), page)


def card_of_party(row_id: int, theme: Theme, *, over: bool, gone: bool) -> ThreadCard:
    """Return the card of a party's thread; `theme` is the party's own, named after its topic."""
    topic = words.plain(theme.title, 80)
    if gone:
        text = f"The party **{topic}** has no thread here any more. `/party start` opens another."
    elif over:
        text = f"The party **{topic}** is over. What was drawn stays."
    else:
        text = f"## {topic}\n-# A party. It is held in the thread of this message: come in."
    return ThreadCard(row_id, theme.colour, text, not (gone or over))


class JoinButton(ui.DynamicItem[ui.Button[Any]], template=_OURS):
    """Brings somebody into a thread of ours."""

    def __init__(self, row_id: int) -> None:
        self._row_id = row_id
        custom_id = f"theme:join:{row_id}"
        super().__init__(ui.Button(label="Join the thread", custom_id=custom_id))

    @classmethod
    async def from_custom_id(
        cls, interaction: Interaction, item: ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """Make the button that was pressed."""
        return cls(int(match["id"]))

    async def callback(self, interaction: Interaction) -> None:
        """Bring them in, and tell them where that is."""
        with if_in_time(f"A press of {self.custom_id}"):
            async with acknowledged(interaction):
                threads = cast(_HasThreads, interaction.client).theme_threads
                thread_id = await threads.join(self._row_id, interaction.user)
                await tell(interaction, say("You are in {channel}.", channel=f"<#{thread_id}>"))


def row_of(components: Sequence[Any]) -> int | None:
    """Return the row whose card a message is, by the button among its components."""
    found = id_among(components, _OURS)
    return None if found is None else int(found["id"])
