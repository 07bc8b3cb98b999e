"""The buttons and menus of a card: which there are, what they are called, what their ids say.

What a control does stands in its `custom_id`, so it works for as long as its message is there.
Pure: what happens when one is used is in `buttons` and `actions`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import discord
from discord import ui

from bot.delivery.layouts import id_among
from bot.ids import LENGTH
from bot.model import Dream, DreamState, PictureCheck, Relation
from bot.text import shorten

Button = ui.Button[Any]
Select = ui.Select[Any]
MAX_OPTIONS = 25
_ROW = 5


class Action(StrEnum):
    """What a button does to a dream, or to all dreams of a card."""

    REROLL = "reroll"
    VARIATIONS = "variations"
    REMIX = "remix"
    STEER = "steer"
    CANCEL = "cancel"
    CONTINUE = "continue"
    UPSCALE = "upscale"
    ANIMATE = "animate"
    FAVOURITE = "favourite"
    DELETE = "delete"
    SURELY = "surely"
    RANK = "rank"
    RANK_BY = "rankby"
    UNCOVER = "uncover"


class Pick(StrEnum):
    """What a menu does with the dreams that were chosen from it."""

    LOOK = "look"
    PICK = "pick"
    GO_ON = "on"


_LABELS = {
    Action.REROLL: "Another seed",
    Action.VARIATIONS: "Variations",
    Action.REMIX: "Remix",
    Action.STEER: "Steer",
    Action.CANCEL: "Cancel",
    Action.CONTINUE: "Go on",
    Action.UPSCALE: "Upscale",
    Action.ANIMATE: "Animate",
    Action.FAVOURITE: "♥",
    Action.DELETE: "Delete",
    Action.SURELY: "Yes, delete",
    Action.RANK: "Rank",
    Action.RANK_BY: "Rank by other words",
    Action.UNCOVER: "Show it to me",
}
_LABELS_OF_ALL = {
    Action.REROLL: "Other seeds",
    Action.STEER: "Steer all",
    Action.CANCEL: "Cancel all",
    Action.DELETE: "Delete all",
}
_STYLES = {
    Action.REROLL: discord.ButtonStyle.primary,
    Action.STEER: discord.ButtonStyle.primary,
    Action.CONTINUE: discord.ButtonStyle.primary,
    Action.CANCEL: discord.ButtonStyle.danger,
    Action.SURELY: discord.ButtonStyle.danger,
}
_NEEDS = {
    Action.VARIATIONS: Relation.VARIATION,
    Action.CONTINUE: Relation.CONTINUE,
    Action.UPSCALE: Relation.UPSCALE,
    Action.ANIMATE: Relation.ANIMATE,
}
_DONE = (
    Action.REROLL,
    Action.VARIATIONS,
    Action.REMIX,
    Action.UPSCALE,
    Action.ANIMATE,
    Action.CONTINUE,
    Action.FAVOURITE,
    Action.DELETE,
)
_WORDED = (Action.REROLL, Action.REMIX)
_ID = rf"(?P<id>[0-9a-z]{{{LENGTH}}})"
BUTTON = rf"(?P<whole>dream|card):(?P<action>{'|'.join(Action)}):{_ID}"
PICK = rf"pick:(?P<pick>{'|'.join(Pick)}):{_ID}:(?P<sheet>[0-9])"
_ANY = re.compile(rf"{BUTTON}|{PICK.replace('(?P<id>', '(?P<about>')}")


def button(action: Action, dream_id: str, *, of_all: bool = False, hearts: int = 0) -> Button:
    """Return a button about a dream, or about all dreams of the card that it names."""
    label = _LABELS[action]
    if of_all:
        label = _LABELS_OF_ALL.get(action, label)
    elif action is Action.FAVOURITE and hearts:
        label = f"{label} {hearts}"
    return ui.Button(
        label=label,
        style=_STYLES.get(action, discord.ButtonStyle.secondary),
        custom_id=f"{'card' if of_all else 'dream'}:{action}:{dream_id}",
    )


def actions_for(
    dream: Dream, *, can: frozenset[Relation] = frozenset(), steerable: bool, worded: bool
) -> list[Action]:
    """Return what makes sense for a dream as it is.

    `can` is what the engines here can make of it; it is not `worded` where words, and chance,
    have no part in it.
    """
    match dream.state:
        case DreamState.WAITING | DreamState.DRAWING:
            return [Action.STEER, Action.CANCEL] if steerable else [Action.CANCEL]
        case DreamState.DONE:
            fit = [one for one in _DONE if one not in _NEEDS or _NEEDS[one] in can]
            if dream.veil in (PictureCheck.BLUR, PictureCheck.REFUSE):
                fit = [Action.UNCOVER, *fit]
        case DreamState.FAILED | DreamState.CANCELLED:
            fit = [Action.REROLL, Action.REMIX, Action.DELETE]
    return fit if worded else [one for one in fit if one not in _WORDED]


def actions_for_all(dreams: Sequence[Dream], *, steerable: bool, worded: bool) -> list[Action]:
    """Return what makes sense for all dreams of a card at once."""
    if all(dream.state.final for dream in dreams):
        if not worded:
            return [Action.DELETE]
        done = sum(dream.state is DreamState.DONE for dream in dreams)
        order = [Action.RANK] if done > 1 else []
        return [Action.REROLL, Action.REMIX, *order, Action.DELETE]
    return [Action.STEER, Action.CANCEL] if steerable else [Action.CANCEL]


def rows(buttons: Sequence[Button]) -> list[ui.ActionRow[Any]]:
    """Return buttons in as many rows as they need."""
    return [ui.ActionRow(*buttons[start : start + _ROW]) for start in range(0, len(buttons), _ROW)]


def menu(
    pick: Pick,
    card_id: str,
    sheet: int,
    offered: Sequence[tuple[int, Dream, str]],
    *,
    placeholder: str,
) -> ui.ActionRow[Any]:
    """Return a menu of dreams: each with its number on the card, and a few words about it."""
    select: Select = ui.Select(
        custom_id=f"pick:{pick}:{card_id}:{sheet}",
        placeholder=placeholder,
        max_values=1 if pick is Pick.LOOK else len(offered),
        options=[
            discord.SelectOption(
                label=f"Picture {number}", value=dream.id, description=shorten(words, 100)
            )
            for number, dream, words in offered
        ],
    )
    return ui.ActionRow(select)


def dream_of(components: Sequence[Any]) -> str | None:
    """Return the dream that names a message's card, by the controls among its components."""
    found = id_among(components, _ANY)
    return None if found is None else found["id"] or found["about"]
