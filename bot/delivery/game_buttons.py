"""Buttons, menus and forms of games that live for ever: whatever was restarted, they do their work.

A press after the game is over is answered with a sentence.
"""

from __future__ import annotations

import re

from bot.delivery import game_acts, game_controls
from bot.delivery.game_controls import FORM, Do
from bot.delivery.interactions import Interaction, acknowledged, chosen_ids, if_in_time
from bot.delivery.modals import purpose_of, typed_in
from bot.delivery.remade import RemadeButton, RemadeMenu


class GameButton(RemadeButton, template=game_controls.BUTTON):
    """Does something in a game."""

    def __init__(self, button: game_controls.Button, match: re.Match[str]) -> None:
        super().__init__(button, match)
        self._do, self._game_id = Do(match["do"]), match["game"]

    async def callback(self, interaction: Interaction) -> None:
        """Do it. Who may not is told so."""
        with if_in_time(f"A press of {self.custom_id}"):
            if self._do is Do.SAY:
                await game_acts.ask_for_words(interaction, self._game_id)
                return
            async with acknowledged(interaction, in_place=self._do in (Do.SURELY, Do.OFF)):
                match self._do:
                    case Do.ENTER:
                        await game_acts.tell_how(interaction, self._game_id)
                    case Do.OWN:
                        await game_acts.show_own(interaction, self._game_id)
                    case Do.END:
                        await game_acts.ask_whether_to_end(interaction, self._game_id)
                    case Do.TIDY:
                        await game_acts.tidy(interaction, self._game_id)
                    case Do.OFF:
                        await game_acts.call_off_one(interaction, self._game_id)
                    case _:
                        await game_acts.end(interaction, self._game_id)


class ChoiceButton(RemadeButton, template=game_controls.CHOICE):
    """Takes one of a guess's prompts."""

    def __init__(self, button: game_controls.Button, match: re.Match[str]) -> None:
        super().__init__(button, match)
        self._index, self._game_id = int(match["index"]), match["game"]

    async def callback(self, interaction: Interaction) -> None:
        """Take it."""
        with if_in_time(f"A press of {self.custom_id}"):
            async with acknowledged(interaction):
                await game_acts.choose(interaction, self._game_id, self._index)


class WithdrawButton(RemadeButton, template=game_controls.WITHDRAW):
    """Takes an entry away."""

    def __init__(self, button: game_controls.Button, match: re.Match[str]) -> None:
        super().__init__(button, match)
        self._entry_id = match["entry"]

    async def callback(self, interaction: Interaction) -> None:
        """Take it away."""
        with if_in_time(f"A press of {self.custom_id}"):
            async with acknowledged(interaction, in_place=True):
                await game_acts.withdraw(interaction, self._entry_id)


class HeartMenu(RemadeMenu, template=game_controls.HEART):
    """Likes the entry that is chosen from it."""

    async def callback(self, interaction: Interaction) -> None:
        """Like it, or no more."""
        chosen = chosen_ids(interaction)
        if not chosen:
            return
        with if_in_time(f"A choice from {self.custom_id}"):
            async with acknowledged(interaction):
                await game_acts.heart(interaction, chosen[0])


class TidyMenu(RemadeMenu, template=game_controls.TIDY):
    """Takes the entry away that is chosen from it."""

    async def callback(self, interaction: Interaction) -> None:
        """Take it away. Who may not is told so."""
        chosen = chosen_ids(interaction)
        if not chosen:
            return
        with if_in_time(f"A choice from {self.custom_id}"):
            async with acknowledged(interaction, in_place=True):
                await game_acts.withdraw(interaction, chosen[0])


async def submitted(interaction: Interaction) -> None:
    """Enter what was said in a game's form; leave other forms alone.

    Raises:
        TooLateError: it could not be acknowledged.
    """
    found = FORM.fullmatch(purpose_of(interaction))
    if found is None:
        return
    async with acknowledged(interaction):
        await game_acts.say_words(interaction, found["game"], typed_in(interaction, "words"))
