"""*Rank*: the finished pictures of a card in order of how near they are to their words."""

from __future__ import annotations

import io
import re
from typing import Any

import discord
from discord import ui

from bot.delivery import controls, picking, words
from bot.delivery.asking import asker_of, check_words
from bot.delivery.controls import Action
from bot.delivery.faces import THUMBNAIL_PX
from bot.delivery.interactions import (
    Interaction,
    acknowledged,
    answered,
    front_of,
    tell,
    told,
)
from bot.delivery.looking import dreams_of_card
from bot.delivery.modals import purpose_of, send_form, typed_in
from bot.ids import LENGTH
from bot.ranking import rank
from bot.seeing import MAX_TEXT
from bot.sentences import say

BEST = 5
"""How many of them are picked at once, to go on with."""
_SHOWN = 25
_FIELD = "words"
_FORM = re.compile(rf"rank:(?P<id>[0-9a-z]{{{LENGTH}}})")


async def rank_card(interaction: Interaction, card_id: str) -> None:
    """Tell the order of a card's pictures by what they were asked for."""
    async with acknowledged(interaction):
        front_of(interaction).gate.check_person(asker_of(interaction))
        await tell_order(interaction, card_id)


async def ask_for_words(interaction: Interaction, card_id: str) -> None:
    """Show the form in which the words are typed by which a card's pictures are ranked."""
    async with answered(interaction):
        await dreams_of_card(interaction, card_id)
        field: ui.TextInput[Any] = ui.TextInput(
            custom_id=_FIELD, style=discord.TextStyle.paragraph, max_length=MAX_TEXT
        )
        shown = say("What they should show")
        await send_form(interaction, f"rank:{card_id}", say("Rank by other words"), (shown, field))


async def submitted(interaction: Interaction) -> None:
    """Tell the order by the words that were sent; leave other forms alone.

    Raises:
        TooLateError: it could not be acknowledged.
    """
    found = _FORM.fullmatch(purpose_of(interaction))
    if found is None:
        return
    text = typed_in(interaction, _FIELD)
    async with acknowledged(interaction):
        await check_words(interaction, text)
        await tell_order(interaction, found["id"], text)


async def tell_order(interaction: Interaction, card_id: str, text: str = "") -> None:
    """Tell an order: scores, the best one's picture, and the best few to go on with.

    Raises:
        InvalidRequestError: there is nothing to rank.
        SchedulerError, LimitError: nothing can look at present.
    """
    front = front_of(interaction)
    dreams = await dreams_of_card(interaction, card_id)
    ranked = await rank(dreams, front.seeing, front.library, text)
    numbers = {dream.id: number for number, dream in enumerate(dreams, 1)}
    by = words.plain(text or dreams[0].prompt, 200)
    lines = [
        told(
            interaction,
            say("Nearest to **{words}** first, by the cosine that CLIP sees:", words=by),
        )
    ]
    for place, one in enumerate(ranked[:_SHOWN], 1):
        which = say("Picture {number}", number=numbers[one.dream.id])
        lines.append(f"{place}. {told(interaction, which)} · {one.score:.3f}")
    if len(ranked) > _SHOWN:
        more = say("… and {count} more.", count=len(ranked) - _SHOWN)
        lines.append(f"-# {told(interaction, more)}")
    best = [(numbers[one.dream.id], one.dream) for one in ranked[:BEST]]
    view = picking.view_of(interaction, sorted(best, key=lambda one: one[0]))
    view.add_item(controls.button(Action.RANK_BY, card_id, of_all=True))
    picture = await picking.small(interaction, ranked[0].dream, THUMBNAIL_PX)
    files = []
    if picture is not None:
        alt_text = words.alt_text(ranked[0].dream)
        files = [discord.File(io.BytesIO(picture), "best.webp", description=alt_text)]
    await tell(interaction, "\n".join(lines), view=view, attachments=files)
