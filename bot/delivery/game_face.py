"""What a game's card looks like while it goes on, and with its result. Pure.

Cards are seen by everybody and are in English. `GameFace.looks` is a digest of all that is on one,
so that what is shown already is not sent again, also after a restart.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import discord
from discord import ui

from bot.delivery import words
from bot.delivery.game_controls import MOST_OFFERED, rows_for
from bot.delivery.layouts import looks_of
from bot.games.model import Entry, Game, GameKind, GameState, Standing

TITLES = {GameKind.DRAW: "Draw it", GameKind.SAY: "Say it", GameKind.GUESS: "Guess it"}
_WHAT_TO_DO = {
    GameKind.DRAW: (
        "Draw this, by hand or as you like: *Enter* says how. CLIP looks how near it comes. "
        "Written words do not count, and cost points."
    ),
    GameKind.SAY: "What does this show? The words that come nearest to it win: press *Say*.",
    GameKind.GUESS: "Which of these was it drawn from? You can choose once.",
}
_MOST_NAMES = 20


@dataclass(frozen=True)
class Shown:
    """A picture on a card: its file's name, what it is for those who do not see it, its bytes."""

    name: str
    alt: str
    webp: bytes


@dataclass(frozen=True)
class GameFace:
    """A card's layout and files; both are made anew for each sending.

    `standings` are as the channel may see them, `players` how many have entered. `url` is where
    the game is on the wall.
    """

    game: Game
    colour: str
    players: int = 0
    standings: Sequence[Standing] = ()
    pictures: Sequence[Shown] = ()
    url: str | None = None

    def view(self) -> ui.LayoutView:
        """Return the layout."""
        view = ui.LayoutView(timeout=None)
        box: ui.Container[ui.LayoutView] = ui.Container(
            accent_colour=discord.Colour.from_str(self.colour)
        )
        view.add_item(box)
        box.add_item(ui.TextDisplay("\n".join(lines(self))))
        if self.pictures:
            box.add_item(
                ui.MediaGallery(
                    *(
                        discord.MediaGalleryItem(f"attachment://{one.name}", description=one.alt)
                        for one in self.pictures
                    )
                )
            )
        if self.game.state is not GameState.CALLED_OFF:
            for row in rows_for(self.game, self.standings):
                box.add_item(row)
        view.stop()  # its buttons' ids say all; the library need not remember it
        return view

    def files(self) -> list[discord.File]:
        """Return the files that go with it."""
        return [
            discord.File(io.BytesIO(one.webp), one.name, description=one.alt)
            for one in self.pictures
        ]

    @cached_property
    def looks(self) -> str:
        """Return a digest of all that is seen."""
        return looks_of(self.view())


def lines(face: GameFace) -> list[str]:
    """Return what a card says."""
    game = face.game
    title = TITLES[game.kind]
    if game.kind is GameKind.DRAW and game.prompt:
        title += f": {words.plain(game.prompt, 300)}"
    found = [f"## {title}"]
    host = words.plain(game.host.name, 40)
    if game.state is GameState.CALLED_OFF:
        return [*found, f"-# Game by {host} · It was called off."]
    if not game.open:
        found.append(f"-# Game by {host} · It is over.")
        return found + _result(face)
    at_s = game.ends_ms // 1000
    found += [f"-# Game by {host}", _WHAT_TO_DO[game.kind], f"Until <t:{at_s}:t>, <t:{at_s}:R>."]
    if game.kind is GameKind.GUESS:
        found += _choices(game)
    if face.players:
        who = "1 has entered" if face.players == 1 else f"{face.players} have entered"
        names = [f"{one.place}. {_name(one.entry)}" for one in face.standings[:_MOST_NAMES]]
        found.append(f"**{who}.**" + (f" In front: {' · '.join(names)}" if names else ""))
    if face.url is not None:
        found.append(f"[Play it on the wall]({face.url})")
    return found


def _result(face: GameFace) -> list[str]:
    game = face.game
    if game.kind is GameKind.GUESS:
        right = [_name(one.entry) for one in face.standings if one.entry.score == 100]
        found = _choices(game, solved=True)
        found.append(
            f"**Right:** {', '.join(right[:_MOST_NAMES])}" if right else "Nobody was right."
        )
        wrong = len(face.standings) - len(right)
        return [*found, f"{wrong} took another one."] if wrong else found
    found = []
    if game.kind is GameKind.SAY and game.prompt:
        found.append(f"It was drawn from: **{words.plain(game.prompt, 300)}**")
    if not face.standings:
        return [*found, "Nobody entered anything."]
    for one in face.standings[:MOST_OFFERED]:
        entry = one.entry
        parts = [f"{one.place}. {_name(entry)} · {entry.score or 0:.1f}"]
        if entry.text:
            parts.append(f"“{words.plain(entry.text, 200)}”")
        if entry.writing:
            parts.append("with words in it")
        if entry.hearts:
            parts.append(f"♥ {entry.hearts}")
        found.append(" · ".join(parts))
    more = len(face.standings) - MOST_OFFERED
    return [*found, f"And {more} more."] if more > 0 else found


def _choices(game: Game, *, solved: bool = False) -> list[str]:
    found = []
    for number, text in enumerate(game.choices, 1):
        shown = words.plain(text, 200) or "(deleted)"
        right = solved and bool(game.prompt) and text == game.prompt
        found.append(f"{number}. **{shown}** ✓" if right else f"{number}. {shown}")
    return found


def _name(entry: Entry) -> str:
    name = words.plain(entry.person.name, 40)
    return f"🤖 *{name}*" if entry.by_machine else f"**{name}**"
