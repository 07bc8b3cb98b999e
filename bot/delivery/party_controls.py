"""The buttons and menus of parties: which a stage has, and what their ids say.

What a control does, for which party and from which card, stands in its `custom_id`: it works for
as long as its message is there. Pure: what happens when one is used is in `party_buttons`.
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
from bot.parties.model import Stage
from bot.sentences import say

Button = ui.Button[Any]


class Do(StrEnum):
    """What a button of a party does."""

    JOIN = "join"
    SAY = "say"
    SKETCH = "sketch"
    GROW = "grow"
    COMBINE = "combine"
    COMPARE = "compare"
    POINTS = "points"
    STANDING = "standing"
    CHOOSE = "choose"
    NEXT = "next"
    BACK = "back"
    ROLES = "roles"
    END = "end"
    SURELY = "surely"


class Pick(StrEnum):
    """What a menu does with the party's pictures that were chosen from it."""

    GROW = "grow"
    COMBINE = "combine"
    FINALE = "finale"


class Preferred(StrEnum):
    """Which of two pictures is the better one."""

    FIRST = "first"
    SECOND = "second"
    NEITHER = "neither"


STAGES = tuple(Stage)
STAGE_NAMES = {
    Stage.GATHER: say("Gather"),
    Stage.SKETCH: say("Sketch"),
    Stage.ELABORATE: say("Elaborate"),
    Stage.CHOOSE: say("Choose"),
    Stage.FINALE: say("Finale"),
    Stage.PUBLISHED: say("Published"),
}
_GO_ON = {
    Stage.SKETCH: "Start sketching",
    Stage.ELABORATE: "Start elaborating",
    Stage.CHOOSE: "Start choosing",
    Stage.FINALE: "Start the finale",
    Stage.PUBLISHED: "Publish the evening",
}
_GO_BACK = {
    Stage.GATHER: "Back to gathering",
    Stage.SKETCH: "Back to sketching",
    Stage.ELABORATE: "Back to elaborating",
    Stage.CHOOSE: "Back to choosing",
    Stage.FINALE: "Back to the finale",
}
_ONES_OWN: dict[Stage, tuple[Do, ...]] = {
    Stage.GATHER: (Do.JOIN, Do.SAY),
    Stage.SKETCH: (Do.JOIN, Do.SKETCH, Do.SAY),
    Stage.ELABORATE: (Do.JOIN, Do.GROW, Do.COMBINE, Do.SKETCH, Do.SAY),
    Stage.CHOOSE: (Do.JOIN, Do.COMPARE, Do.POINTS, Do.STANDING),
    Stage.FINALE: (Do.JOIN, Do.STANDING),
    Stage.PUBLISHED: (Do.JOIN, Do.STANDING),
}
_LABELS = {
    Do.JOIN: "Join",
    Do.SAY: "Say a word",
    Do.SKETCH: "Sketch",
    Do.GROW: "Grow",
    Do.COMBINE: "Combine",
    Do.COMPARE: "Vote",
    Do.POINTS: "Points",
    Do.STANDING: "How they stand",
    Do.CHOOSE: "Choose for the finale …",
    Do.ROLES: "Roles …",
    Do.END: "End the party",
    Do.SURELY: "Yes, end it",
}
_STYLES = {
    Do.NEXT: discord.ButtonStyle.success,
    Do.END: discord.ButtonStyle.danger,
    Do.SURELY: discord.ButtonStyle.danger,
    Do.SAY: discord.ButtonStyle.primary,
    Do.SKETCH: discord.ButtonStyle.primary,
    Do.GROW: discord.ButtonStyle.primary,
    Do.COMPARE: discord.ButtonStyle.primary,
    Do.CHOOSE: discord.ButtonStyle.primary,
}
_PARTY = rf"(?P<party>[0-9a-z]{{{LENGTH}}})"
_CARD = r"(?P<card>[0-9]{1,12})"
BUTTON = rf"party:(?P<do>{'|'.join(Do)}):{_PARTY}:{_CARD}"
PICK = rf"party-pick:(?P<pick>{'|'.join(Pick)}):{_PARTY}:{_CARD}"
PAIR = (
    rf"party-pair:(?P<which>{'|'.join(Preferred)}):{_PARTY}"
    rf":(?P<first>[0-9a-z]{{{LENGTH}}}):(?P<second>[0-9a-z]{{{LENGTH}}})"
)
_BUTTON = re.compile(BUTTON)


def next_stage(stage: Stage) -> Stage | None:
    """Return the stage after one."""
    place = STAGES.index(stage) + 1
    return STAGES[place] if place < len(STAGES) else None


def stage_before(stage: Stage) -> Stage | None:
    """Return the stage before one."""
    place = STAGES.index(stage)
    return STAGES[place - 1] if place else None


def button(do: Do, party_id: str, card_id: int, label: str = "") -> Button:
    """Return a button of a party."""
    return ui.Button(
        label=label or _LABELS[do],
        style=_STYLES.get(do, discord.ButtonStyle.secondary),
        custom_id=f"party:{do}:{party_id}:{card_id}",
    )


def rows_for(stage: Stage, party_id: str, card_id: int) -> list[ui.ActionRow[Any]]:
    """Return a stage's buttons: those for everybody, and below them those of who leads."""
    own = [button(do, party_id, card_id) for do in _ONES_OWN[stage]]
    leading: list[Button] = []
    if stage is Stage.FINALE:
        leading.append(button(Do.CHOOSE, party_id, card_id))
    if (after := next_stage(stage)) is not None:
        leading.append(button(Do.NEXT, party_id, card_id, _GO_ON[after]))
    if (before := stage_before(stage)) is not None:
        leading.append(button(Do.BACK, party_id, card_id, _GO_BACK[before]))
    leading += [button(do, party_id, card_id) for do in (Do.ROLES, Do.END)]
    return [ui.ActionRow(*own), ui.ActionRow(*leading)]


def pair_button(which: Preferred, party_id: str, pair: tuple[str, str], label: str) -> Button:
    """Return a button that says which of two pictures is the better one."""
    first, second = pair
    return ui.Button(
        label=label,
        style=discord.ButtonStyle.primary
        if which is not Preferred.NEITHER
        else discord.ButtonStyle.secondary,
        custom_id=f"party-pair:{which}:{party_id}:{first}:{second}",
    )


def card_of(components: Sequence[Any]) -> int | None:
    """Return the card that a message is, by the buttons among its components."""
    found = id_among(components, _BUTTON)
    return None if found is None else int(found["card"])
