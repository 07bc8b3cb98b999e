"""The buttons and menus of games: which a round has, and what their ids say.

What a control does, and for which game, stands in its `custom_id`: it works for as long as its
message is there. Pure: what happens when one is used is in `game_buttons`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import discord
from discord import ui

from bot.delivery.layouts import id_among
from bot.games.model import Entry, Game, GameKind, Standing
from bot.ids import LENGTH
from bot.text import shorten

Button = ui.Button[Any]


class Do(StrEnum):
    """What a button of a game does."""

    ENTER = "enter"
    SAY = "say"
    OWN = "own"
    END = "end"
    SURELY = "surely"
    TIDY = "tidy"
    OFF = "off"


_LABELS = {
    Do.ENTER: "Enter",
    Do.SAY: "Say",
    Do.OWN: "My entry",
    Do.END: "End the game",
    Do.SURELY: "Yes, end it",
    Do.TIDY: "Moderate",
    Do.OFF: "Call it off",
}
_STYLES = {
    Do.ENTER: discord.ButtonStyle.primary,
    Do.SAY: discord.ButtonStyle.primary,
    Do.END: discord.ButtonStyle.danger,
    Do.SURELY: discord.ButtonStyle.danger,
    Do.OFF: discord.ButtonStyle.danger,
}
_FIRST = {GameKind.DRAW: (Do.ENTER,), GameKind.SAY: (Do.SAY,), GameKind.GUESS: ()}
_GAME = rf"(?P<game>[0-9a-z]{{{LENGTH}}})"
BUTTON = rf"game:(?P<do>{'|'.join(Do)}):{_GAME}"
CHOICE = rf"game-choice:(?P<index>[0-9]):{_GAME}"
HEART = rf"game-heart:{_GAME}"
TIDY = rf"game-tidy:(?P<part>[0-9]):{_GAME}"
WITHDRAW = rf"game-withdraw:(?P<entry>[0-9a-z]{{{LENGTH}}})"
FORM = re.compile(rf"game-form:{_GAME}")
MOST_OFFERED = 10
_IN_A_MENU, _MENUS = 25, 4  # Discord's bounds, with a row left for a button
_OURS = re.compile(f"(?:{BUTTON})")


def button(do: Do, game_id: str, label: str = "") -> Button:
    """Return a button of a game."""
    return ui.Button(
        label=label or _LABELS[do],
        style=_STYLES.get(do, discord.ButtonStyle.secondary),
        custom_id=f"game:{do}:{game_id}",
    )


def withdraw_button(entry_id: str, label: str) -> Button:
    """Return the button that takes an entry away."""
    return ui.Button(
        label=label,
        style=discord.ButtonStyle.danger,
        custom_id=f"game-withdraw:{entry_id}",
    )


def rows_for(game: Game, standings: Sequence[Standing]) -> list[ui.ActionRow[Any]]:
    """Return a game's buttons as it is now: to play while it goes on, then to like entries."""
    if not game.open:
        rows = [ui.ActionRow(button(Do.OWN, game.id), button(Do.TIDY, game.id))]
        if standings and game.kind is not GameKind.GUESS:
            rows.insert(0, ui.ActionRow(_hearts(game, standings)))
        return rows
    rows = []
    if game.kind is GameKind.GUESS:
        choices: list[Button] = [
            ui.Button(
                label=str(number + 1),
                style=discord.ButtonStyle.primary,
                custom_id=f"game-choice:{number}:{game.id}",
            )
            for number, words in enumerate(game.choices)
            if words
        ]
        # A row takes five.
        rows = [ui.ActionRow(*choices[at : at + 5]) for at in range(0, len(choices), 5)]
    return [
        *rows,
        ui.ActionRow(
            *(button(do, game.id) for do in (*_FIRST[game.kind], Do.OWN, Do.END, Do.TIDY))
        ),
    ]


def tidying_menus(game: Game, entries: Sequence[Entry], placeholder: str) -> list[ui.Select[Any]]:
    """Return the menus that an entry is taken away with; the first hundred are in them."""
    parts = [entries[at : at + _IN_A_MENU] for at in range(0, len(entries), _IN_A_MENU)]
    return [
        ui.Select(
            custom_id=f"game-tidy:{number}:{game.id}",
            placeholder=placeholder,
            options=[
                discord.SelectOption(
                    label=shorten(entry.person.name, 100) or "?",
                    value=entry.id,
                    description=shorten(entry.text, 100) or None,
                )
                for entry in part
            ],
        )
        for number, part in enumerate(parts[:_MENUS])
    ]


def game_of(components: Sequence[Any]) -> str | None:
    """Return the game whose card a message is, by the buttons among its components."""
    found = id_among(components, _OURS)
    return None if found is None else found["game"]


def _hearts(game: Game, standings: Sequence[Standing]) -> ui.Select[Any]:
    return ui.Select(
        custom_id=f"game-heart:{game.id}",
        placeholder="♥ one of these",
        options=[
            discord.SelectOption(
                label=shorten(f"{one.place} · {one.entry.person.name}", 100),
                value=one.entry.id,
                description=shorten(one.entry.text, 100) or None,
            )
            for one in standings[:MOST_OFFERED]
        ],
    )
