"""Buttons and menus that live for ever: whatever was restarted since, they do what they say."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence

from bot.delivery import actions, controls, forms, picking, ranking, uncovering
from bot.delivery.controls import Action, Pick
from bot.delivery.interactions import Interaction, if_in_time
from bot.delivery.remade import RemadeButton, RemadeMenu
from bot.ids import is_id

Handler = Callable[[Interaction, str], Awaitable[None]]

_OF_ONE: dict[Action, Handler] = {
    Action.REROLL: actions.reroll,
    Action.VARIATIONS: actions.variations,
    Action.REMIX: forms.ask_for_remix,
    Action.STEER: forms.ask_for_steer,
    Action.CANCEL: actions.cancel,
    Action.CONTINUE: actions.go_on,
    Action.UPSCALE: actions.upscale,
    Action.ANIMATE: actions.animate,
    Action.FAVOURITE: actions.favourite,
    Action.DELETE: actions.ask_whether_to_delete,
    Action.SURELY: actions.delete,
    Action.UNCOVER: uncovering.uncover,
}
_OF_ALL: dict[Action, Handler] = {
    Action.REROLL: actions.reroll_all,
    Action.REMIX: forms.ask_for_remix_of_all,
    Action.STEER: forms.ask_for_steer_of_all,
    Action.CANCEL: actions.cancel_all,
    Action.DELETE: actions.ask_whether_to_delete_all,
    Action.SURELY: actions.delete_all,
    Action.RANK: ranking.rank_card,
    Action.RANK_BY: ranking.ask_for_words,
}
_OF_PICKED: dict[Pick, Callable[[Interaction, Sequence[str]], Awaitable[None]]] = {
    Pick.LOOK: actions.look,
    Pick.PICK: picking.pick,
    Pick.GO_ON: actions.go_on_with,
}


class DreamButton(RemadeButton, template=controls.BUTTON):
    """Does something to a dream, or to all dreams of a card."""

    def __init__(self, button: controls.Button, match: re.Match[str]) -> None:
        super().__init__(button, match)
        action = Action(match["action"])
        # Some are of cards alone, whatever an id says that somebody made up.
        of_all = action in _OF_ALL and (match["whole"] == "card" or action not in _OF_ONE)
        self._do = _OF_ALL[action] if of_all else _OF_ONE[action]
        self._about = match["id"]

    async def callback(self, interaction: Interaction) -> None:
        """Do it. Who may not is told so."""
        with if_in_time(f"A press of {self.custom_id}"):
            await self._do(interaction, self._about)


class DreamMenu(RemadeMenu, template=controls.PICK):
    """Does something with the dreams that are chosen from it."""

    def __init__(self, select: controls.Select, match: re.Match[str]) -> None:
        super().__init__(select, match)
        self._do = _OF_PICKED[Pick(match["pick"])]

    async def callback(self, interaction: Interaction) -> None:
        """Do it. Who may not is told so."""
        dream_ids = [value for value in self.item.values if is_id(value)]
        if not dream_ids:
            return
        with if_in_time(f"A choice from {self.custom_id}"):
            await self._do(interaction, dream_ids)
