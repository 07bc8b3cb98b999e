"""What a dream looks like in Discord: a container with its picture, words and buttons.

Pure: it makes the layout from what is handed in, and neither fetches nor sends anything.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import discord
from discord import ui

from bot.delivery import words
from bot.delivery.buttons import buttons_for
from bot.model import Dream, DreamState, Live, Theme

_MAX_STEERS = 3


@dataclass(frozen=True)
class Face:
    """All that a card shows.

    `picture` is the encoded picture (a preview or the finished one) and `suffix` its file's
    ending; `note` is a further sentence.
    """

    dream: Dream
    theme: Theme
    live: Live | None = None
    picture: bytes | None = None
    suffix: str = ".webp"
    note: str = ""
    steerable: bool = False

    @property
    def file_name(self) -> str:
        """Name the file by the dream, never by what somebody typed."""
        return f"dream-{self.dream.id}{self.suffix}"

    @property
    def looks(self) -> tuple[object, ...]:
        """Return something that is equal for faces between which nobody sees a difference."""
        return self.dream.state, self.steerable, self.file_name, self.picture, *self._texts()

    def files(self) -> list[discord.File]:
        """Return what is uploaded with the layout; made anew for each sending."""
        if self.picture is None:
            return []
        return [discord.File(io.BytesIO(self.picture), self.file_name)]

    def view(self) -> ui.LayoutView:
        """Return the layout. It keeps no state in this process: its buttons' ids say all."""
        view = ui.LayoutView(timeout=None)
        view.add_item(self._container())
        view.stop()  # or the library would remember every card that was ever sent
        return view

    def _container(self) -> ui.Container[ui.LayoutView]:
        box: ui.Container[ui.LayoutView] = ui.Container(
            accent_colour=discord.Colour.from_str(self.theme.colour)
        )
        box.add_item(ui.TextDisplay(f"**{words.plain(self.dream.prompt, words.MAX_PROMPT)}**"))
        if self.picture is not None:
            picture = discord.MediaGalleryItem(
                f"attachment://{self.file_name}", description=words.alt_text(self.dream)
            )
            box.add_item(ui.MediaGallery(picture))
        for text in self._texts():
            box.add_item(ui.TextDisplay(text))
        row: ui.ActionRow[ui.LayoutView] = ui.ActionRow()
        for button in buttons_for(self.dream, steerable=self.steerable):
            row.add_item(button)
        box.add_item(row)
        return box

    def _texts(self) -> list[str]:
        steers = self.dream.recipe.steers[-_MAX_STEERS:]
        texts = [f"→ {words.plain(steer.prompt, words.MAX_STEER)}" for steer in steers]
        match self.dream.state:
            case DreamState.WAITING | DreamState.DRAWING:
                texts.append(words.standing(self.dream, self.live))
                if self.live is not None and self.live.notice:
                    texts.append(f"-# {words.plain(self.live.notice, 300)}")
            case DreamState.FAILED:
                reason = words.plain(self.dream.reason, 500)
                texts.append(f"Could not be drawn. {reason}".rstrip())
            case DreamState.CANCELLED:
                texts.append("Cancelled.")
            case DreamState.DONE:
                pass
        if self.note:
            texts.append(f"-# {words.plain(self.note, 300)}")
        texts.append(f"-# {words.details(self.dream, self.theme.title)}")
        return texts
