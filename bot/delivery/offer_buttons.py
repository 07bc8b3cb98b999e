"""A press on a prompt that was offered (`bot.delivery.offers`) asks for it."""

from __future__ import annotations

import re
from typing import Any, Protocol, Self, cast

import msgspec
from discord import ui

from bot.delivery.asking import permit
from bot.delivery.forms import COMING, MANY_COMING
from bot.delivery.interactions import (
    Interaction,
    acknowledged,
    actor_of,
    front_of,
    if_in_time,
    person_of,
    tell,
)
from bot.delivery.offers import Offers
from bot.model import Relation
from bot.sentences import say

_OVER = say("These offers are over. Ask again in your own words.")


class _HasOffers(Protocol):
    @property
    def offers(self) -> Offers: ...


class OfferButton(
    ui.DynamicItem[ui.Button[Any]], template=r"offer:(?P<token>[\w-]{16}):(?P<nth>[0-4])"
):
    """Asks for a prompt that was offered."""

    def __init__(self, button: ui.Button[Any], token: str, nth: int) -> None:
        super().__init__(button)
        self._token, self._nth = token, nth

    @classmethod
    async def from_custom_id(
        cls, interaction: Interaction, item: ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """Make the button that was pressed."""
        assert isinstance(item, ui.Button)
        return cls(item, match["token"], int(match["nth"]))

    async def callback(self, interaction: Interaction) -> None:
        """Ask for it, as if it had been typed just now."""
        with if_in_time(f"A press of {self.custom_id}"):
            async with acknowledged(interaction, in_place=True):
                await _take(interaction, self._token, self._nth)


async def _take(interaction: Interaction, token: str, nth: int) -> None:
    offers = cast(_HasOffers, interaction.client).offers
    # Taken before anything is waited for: a second press must not ask twice.
    offer = offers.take(token, person_of(interaction).id)
    if offer is None or nth >= len(offer.prompts):
        await tell(interaction, _OVER, view=None)
        return
    request = msgspec.structs.replace(
        offer.request, prompt=offer.prompts[nth], moderates=actor_of(interaction).moderates
    )
    try:
        also = await permit(
            interaction,
            prompt="\n".join(filter(None, (request.prompt, request.negative, *request.study))),
            count=len(request.study) or request.count,
            exploring=request.relation is Relation.EXPLORE,
            background=request.background,
        )
        dreams = await front_of(interaction).dreams.ask(request, also)
    except BaseException:
        offers.put_back(token, offer)
        raise
    await tell(interaction, COMING if len(dreams) == 1 else MANY_COMING, view=None)
