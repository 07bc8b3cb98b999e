"""How the guide to a channel's theme looks, and its buttons, which live for ever."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any, Self

import discord
from discord import ui

from bot.delivery import words
from bot.delivery.asking import permit
from bot.delivery.forms import COMING
from bot.delivery.guide import show
from bot.delivery.interactions import (
    Interaction,
    acknowledged,
    actor_of,
    answered,
    front_of,
    if_in_time,
    person_of,
    tell,
    theme_of,
)
from bot.delivery.layouts import looks_of
from bot.delivery.modals import purpose_of, send_form, typed_in
from bot.model import AskedBy, DreamRequest, Theme
from bot.palettes import listed
from bot.sentences import say

_ASK, _HELP, _FORM, _FIELD = "theme:ask", "theme:help", "theme:asked", "prompt"
_MAX_TEXT = 1000
_WORDS = 12
_WHO = {
    AskedBy.EVERYBODY: "Everybody may ask",
    AskedBy.MEMBERS: "Everybody on Discord may ask",
    AskedBy.HOSTS: "Its hosts ask, all may watch",
}


@dataclass(frozen=True)
class Face:
    """What a guide shows: its theme, a picture of that as WebP, and where its stream is."""

    theme: Theme
    page: str | None
    picture: bytes | None

    @property
    def looks(self) -> str:
        """A digest of all that is shown."""
        return looks_of(self.view())

    def files(self) -> list[discord.File]:
        """Return the picture as it is attached."""
        if self.picture is None:
            return []
        return [discord.File(io.BytesIO(self.picture), self._name)]

    def view(self) -> ui.LayoutView:
        """Return the message."""
        theme = self.theme
        view = ui.LayoutView(timeout=None)
        box: ui.Container[ui.LayoutView] = ui.Container(
            accent_colour=discord.Colour.from_str(theme.colour)
        )
        view.add_item(box)
        head = f"## {words.plain(theme.title, 80)}"
        box.add_item(ui.TextDisplay(f"{head}\n{words.plain(theme.topic, 300)}".rstrip()))
        if self.picture is not None:
            description = words.plain(f"A picture that stands for {theme.title}", 200)
            box.add_item(
                ui.MediaGallery(
                    discord.MediaGalleryItem(f"attachment://{self._name}", description=description)
                )
            )
        box.add_item(ui.TextDisplay("\n".join(self._lines())))
        buttons: list[ui.Button[Any]] = [
            ui.Button(label="Ask for a picture", style=discord.ButtonStyle.primary, custom_id=_ASK),
            ui.Button(label="Help", custom_id=_HELP),
        ]
        if self.page is not None:
            buttons.append(ui.Button(label="The stream", url=self.page))
        box.add_item(ui.ActionRow(*buttons))
        view.stop()  # its buttons' ids say all; the library need not remember it
        return view

    @property
    def _name(self) -> str:
        return f"theme-{(self.theme.picture_sha256 or '')[:16]}.webp"

    def _lines(self) -> list[str]:
        theme = self.theme
        if theme.paused:
            return ["It rests at present: nothing more is drawn in it for now."]
        lines = ["Say what you would like to see: `/dream prompt:`, or the button below."]
        if theme.template != "{prompt}" or theme.modifiers:
            lines.append("The theme puts words of its own around yours.")
        if own := listed(theme.palette):
            some = ", ".join(words.plain(word, 40) for word in own[:_WORDS])
            lines.append(
                f"Write `__palette__` for one of these: {some}{' …' if len(own) > _WORDS else ''}"
            )
        if theme.subject:
            lines.append(f"It is about {words.plain(theme.subject, 300)}.")
        bounds = {
            f"{theme.max_side} pixels a side": theme.max_side,
            f"{theme.max_steps} steps": theme.max_steps,
            f"{theme.max_count} at once": theme.max_count,
        }
        most = ", ".join(text for text, bound in bounds.items() if bound)
        lines.append(f"-# {_WHO[theme.asked_by]}{f' · at most {most}' if most else ''}")
        return lines


class ThemeButton(ui.DynamicItem[ui.Button[Any]], template=r"theme:(?P<do>ask|help)"):
    """Asks for a picture in the channel's theme, or shows the help."""

    def __init__(self, do: str) -> None:
        self._do = do
        super().__init__(ui.Button(label=do.capitalize(), custom_id=f"theme:{do}"))

    @classmethod
    async def from_custom_id(
        cls, interaction: Interaction, item: ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """Make the button that was pressed."""
        return cls(match["do"])

    async def callback(self, interaction: Interaction) -> None:
        """Do it, in whatever theme the channel carries by now."""
        with if_in_time(f"A press of {self.custom_id}"):
            if self._do == "help":
                async with acknowledged(interaction):
                    await show(interaction)
                return
            async with answered(interaction):
                await _show_form(interaction)


async def submitted(interaction: Interaction) -> None:
    """Ask for what was typed into the form; leave other forms alone.

    Raises:
        TooLateError: it could not be acknowledged.
    """
    if purpose_of(interaction) != _FORM:
        return
    prompt = typed_in(interaction, _FIELD)
    async with acknowledged(interaction):
        also = await permit(interaction, prompt=prompt)
        request = DreamRequest(
            theme=(await theme_of(interaction)).slug,
            person=person_of(interaction),
            prompt=prompt,
            guild_id=interaction.guild_id,
            channel_id=interaction.channel_id,
            moderates=actor_of(interaction).moderates,
        )
        await front_of(interaction).dreams.ask(request, also)
        await tell(interaction, COMING)


async def _show_form(interaction: Interaction) -> None:
    field: ui.TextInput[Any] = ui.TextInput(
        custom_id=_FIELD, style=discord.TextStyle.paragraph, max_length=_MAX_TEXT
    )
    shown = say("What it should show")
    await send_form(interaction, _FORM, say("Ask for a picture"), (shown, field))
