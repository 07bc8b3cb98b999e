"""How the card looks that a theme's thread begins at, in the channel above; and its button."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, cast

import discord
from discord import ui

from bot.delivery import words
from bot.delivery.interactions import Interaction, acknowledged, if_in_time, tell
from bot.model import Theme
from bot.sentences import say

_JOIN = r"theme:join:(?P<id>[0-9]{1,18})"


class _Threads(Protocol):
    async def join(self, row_id: int, person: discord.abc.Snowflake) -> int: ...


class _HasThreads(Protocol):
    @property
    def theme_threads(self) -> _Threads: ...


@dataclass(frozen=True)
class ThreadCard:
    """What is shown of a theme's thread, by its row's id; where it is `gone`, that it is."""

    row_id: int
    theme: Theme
    page: str | None
    gone: bool = False

    @property
    def looks(self) -> str:
        """A digest of all that is shown."""
        components = self.view().to_components()  # type: ignore[no-untyped-call]
        return hashlib.blake2b(json.dumps(components).encode(), digest_size=16).hexdigest()

    def files(self) -> list[discord.File]:
        """Return no files: it has none."""
        return []

    def view(self) -> ui.LayoutView:
        """Return the message."""
        theme = self.theme
        view = ui.LayoutView(timeout=None)
        colour = discord.Colour.from_str(theme.colour)
        box: ui.Container[ui.LayoutView] = ui.Container(accent_colour=colour)
        view.add_item(box)
        title = words.plain(theme.title, 80)
        if theme.retired:
            box.add_item(ui.TextDisplay(f"**{title}** has ended. What was drawn stays."))
        elif self.gone:
            hint = "`/theme thread` makes another."
            box.add_item(ui.TextDisplay(f"**{title}** has no thread here any more. {hint}"))
        else:
            topic = words.plain(theme.topic, 300)
            where = "-# Its pictures come into the thread of this message. Ask for yours there."
            lines = [line for line in (f"## {title}", topic, where) if line]
            box.add_item(ui.TextDisplay("\n".join(lines)))
            buttons: list[ui.Button[Any]] = [
                ui.Button(label="Join the thread", custom_id=f"theme:join:{self.row_id}")
            ]
            if self.page is not None:
                buttons.append(ui.Button(label="The stream", url=self.page))
            box.add_item(ui.ActionRow(*buttons))
        view.stop()  # its button's id says all; the library need not remember it
        return view


class JoinButton(ui.DynamicItem[ui.Button[Any]], template=_JOIN):
    """Brings somebody into a theme's thread."""

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
    for component in components:
        found = re.fullmatch(_JOIN, getattr(component, "custom_id", None) or "")
        if found:
            return int(found["id"])
        inside = row_of(list(getattr(component, "children", ())))
        if inside is not None:
            return inside
    return None
