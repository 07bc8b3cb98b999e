"""Buttons and menus of parties that live for ever: whatever was restarted, they do what they say.

A press after the stage has passed is answered with a sentence.
"""

from __future__ import annotations

import re
from typing import Any

from discord import ui

from bot.delivery import party_acts, party_choices, party_controls, party_forms
from bot.delivery.interactions import Interaction, acknowledged, chosen_ids, front_of, if_in_time
from bot.delivery.party_acts import party_of_card
from bot.delivery.party_controls import Do, Pick, Preferred
from bot.delivery.remade import RemadeButton, RemadeMenu

_FORMS = {
    Do.SAY: party_forms.ask_for_words,
    Do.SKETCH: party_forms.ask_for_sketch,
    Do.POINTS: party_forms.ask_for_points,
    Do.ROLES: party_forms.ask_for_role,
}
_MENUS = {Do.GROW: Pick.GROW, Do.COMBINE: Pick.COMBINE, Do.CHOOSE: Pick.FINALE}
_LEADING = (Do.NEXT, Do.BACK, Do.CHOOSE, Do.END, Do.SURELY, Do.JOIN, Do.STANDING)


class PartyButton(RemadeButton, template=party_controls.BUTTON):
    """Does something at a party."""

    def __init__(self, button: party_controls.Button, match: re.Match[str]) -> None:
        super().__init__(button, match)
        self._do = Do(match["do"])
        self._party_id, self._card_id = match["party"], int(match["card"])

    async def callback(self, interaction: Interaction) -> None:
        """Do it. Who may not is told so."""
        with if_in_time(f"A press of {self.custom_id}"):
            if self._do in _FORMS:
                await _FORMS[self._do](interaction, self._party_id, self._card_id)
                return
            async with acknowledged(interaction, in_place=self._do is Do.SURELY):
                await self._act(interaction)

    async def _act(self, interaction: Interaction) -> None:
        # Whether a moderator, who need not be there, may do it is for the party to say.
        party = await party_of_card(
            interaction, self._party_id, self._card_id, there=self._do not in _LEADING
        )
        match self._do:
            case Do.JOIN:
                await party_acts.join(interaction, party)
            case Do.COMPARE:
                await party_choices.show_pair(interaction, party)
            case Do.STANDING:
                await party_choices.show_standing(interaction, party)
            case Do.NEXT | Do.BACK:
                await party_acts.go_on(interaction, party, back=self._do is Do.BACK)
            case Do.END:
                await party_choices.ask_whether_to_end(interaction, party, self._card_id)
            case Do.SURELY:
                await party_acts.end(interaction, party)
            case _:
                pick = _MENUS[self._do]
                await party_choices.show_menu(interaction, party, self._card_id, pick)


class PartyMenu(RemadeMenu, template=party_controls.PICK):
    """Does something with the party's pictures that are chosen from it."""

    def __init__(self, select: ui.Select[Any], match: re.Match[str]) -> None:
        super().__init__(select, match)
        self._pick = Pick(match["pick"])
        self._party_id, self._card_id = match["party"], int(match["card"])

    async def callback(self, interaction: Interaction) -> None:
        """Do it. Who may not is told so."""
        chosen = chosen_ids(interaction)
        if not chosen:
            return
        with if_in_time(f"A choice from {self.custom_id}"):
            if self._pick is Pick.GROW:
                await party_forms.ask_for_growth(interaction, self._party_id, chosen[0])
                return
            async with acknowledged(interaction):
                there = self._pick is not Pick.FINALE
                party = await party_of_card(interaction, self._party_id, self._card_id, there=there)
                if self._pick is Pick.COMBINE:
                    await party_choices.combine(interaction, party, chosen)
                else:
                    await party_choices.choose(interaction, party, chosen)


class PairButton(RemadeButton, template=party_controls.PAIR):
    """Says which of two pictures is the better one, and leads to the next two."""

    def __init__(self, button: party_controls.Button, match: re.Match[str]) -> None:
        super().__init__(button, match)
        self._which = Preferred(match["which"])
        self._party_id, self._pair = match["party"], (match["first"], match["second"])

    async def callback(self, interaction: Interaction) -> None:
        """Note it. What cannot be noted any more is told beside the pictures."""
        with if_in_time(f"A press of {self.custom_id}"):
            async with acknowledged(interaction, in_place=True):
                party = await front_of(interaction).parties.get(self._party_id)
                await party_choices.prefer(interaction, party, self._which, *self._pair)
