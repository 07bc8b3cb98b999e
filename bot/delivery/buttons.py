"""The buttons of a card. They live for ever: what each does stands in its `custom_id`."""

from __future__ import annotations

import logging
import re
from enum import StrEnum
from typing import Any, Self

import discord
from discord import ui

from bot.delivery import actions
from bot.delivery.interactions import Interaction, TooLateError
from bot.ids import LENGTH
from bot.model import Dream

log = logging.getLogger(__name__)


class Action(StrEnum):
    """What a button does to a dream."""

    REROLL = "reroll"
    REMIX = "remix"
    STEER = "steer"
    CANCEL = "cancel"


_LABELS = {
    Action.REROLL: "Another seed",
    Action.REMIX: "Remix",
    Action.STEER: "Steer",
    Action.CANCEL: "Cancel",
}
_STYLES = {
    Action.REROLL: discord.ButtonStyle.primary,
    Action.STEER: discord.ButtonStyle.primary,
    Action.CANCEL: discord.ButtonStyle.danger,
}
_HANDLERS = {
    Action.REROLL: actions.reroll,
    Action.REMIX: actions.ask_for_remix,
    Action.STEER: actions.ask_for_steer,
    Action.CANCEL: actions.cancel,
}
_TEMPLATE = rf"dream:(?P<action>{'|'.join(Action)}):(?P<id>[0-9a-z]{{{LENGTH}}})"


class DreamButton(ui.DynamicItem[ui.Button[Any]], template=_TEMPLATE):
    """Does something to a dream, whenever it is pressed and whatever was restarted since."""

    def __init__(self, action: Action, dream_id: str) -> None:
        self.action = action
        self.dream_id = dream_id
        super().__init__(
            ui.Button(
                label=_LABELS[action],
                style=_STYLES.get(action, discord.ButtonStyle.secondary),
                custom_id=f"dream:{action}:{dream_id}",
            )
        )

    @classmethod
    async def from_custom_id(
        cls, interaction: Interaction, item: ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """Make the button that was pressed."""
        return cls(Action(match["action"]), match["id"])

    async def callback(self, interaction: Interaction) -> None:
        """Do it. Who may not is told so."""
        try:
            await _HANDLERS[self.action](interaction, self.dream_id)
        except TooLateError:
            log.info("A press of %s could not be acknowledged; nothing was done", self.custom_id)


def buttons_for(dream: Dream, *, steerable: bool) -> list[DreamButton]:
    """Return the buttons that make sense for a dream as it is."""
    if dream.state.final:
        wanted = [Action.REROLL, Action.REMIX]
    else:
        wanted = [Action.STEER, Action.CANCEL] if steerable else [Action.CANCEL]
    return [DreamButton(action, dream.id) for action in wanted]


def dream_of(components: list[Any]) -> str | None:
    """Return which dream a message is about, by the buttons among its components."""
    for component in components:
        found = re.fullmatch(_TEMPLATE, getattr(component, "custom_id", None) or "")
        if found:
            return found["id"]
        inside = dream_of(list(getattr(component, "children", ())))
        if inside is not None:
            return inside
    return None
