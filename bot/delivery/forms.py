"""The forms that buttons open: steering dreams, and drawing them with other words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import discord
import msgspec
from discord import ui

from bot.delivery.asking import checked_here, permit, steer_here
from bot.delivery.interactions import (
    Interaction,
    acknowledged,
    actor_of,
    answered,
    front_of,
    person_of,
    tell,
    theme_of,
)
from bot.delivery.looking import dreams_of_card, visible_dream
from bot.delivery.modals import purpose_of, send_form, typed_in
from bot.errors import DreamstreamError
from bot.ids import LENGTH
from bot.journeys import request_like
from bot.model import Dream, DreamRequest, Relation
from bot.sentences import Sentence, say
from bot.text import shorten

COMING = say("It appears in this channel as it forms.")
MANY_COMING = say("They appear in this channel as they form.")
_FIELD = "prompt"
_FORM = re.compile(rf"form:(?P<action>steer|remix)(?P<all>-all)?:(?P<id>[0-9a-z]{{{LENGTH}}})")
_MAX_TEXT = 4000


async def ask_for_steer(interaction: Interaction, dream_id: str) -> None:
    """Show the form in which the words that a dream is to glide to are typed."""
    async with answered(interaction):
        dream = await visible_dream(interaction, dream_id)
        await _show(interaction, f"steer:{dream_id}", say("Steer this dream"), _present(dream))


async def ask_for_steer_of_all(interaction: Interaction, card_id: str) -> None:
    """Show the same for all dreams of a card."""
    async with answered(interaction):
        dreams = await dreams_of_card(interaction, card_id)
        await _show(interaction, f"steer-all:{card_id}", say("Steer them all"), _present(dreams[0]))


async def ask_for_remix(interaction: Interaction, dream_id: str) -> None:
    """Show the form in which a dream's words are changed."""
    async with answered(interaction):
        dream = await visible_dream(interaction, dream_id)
        await _show(interaction, f"remix:{dream_id}", say("Remix this dream"), dream.prompt)


async def ask_for_remix_of_all(interaction: Interaction, card_id: str) -> None:
    """Show the same for as many dreams as a card shows."""
    async with answered(interaction):
        dreams = await dreams_of_card(interaction, card_id)
        title = say("Remix these {count}", count=len(dreams))
        await _show(interaction, f"remix-all:{card_id}", title, dreams[0].prompt)


async def submitted(interaction: Interaction) -> None:
    """Do what a form that was sent says; leave other forms alone.

    Raises:
        TooLateError: it could not be acknowledged.
    """
    found = _FORM.fullmatch(purpose_of(interaction))
    if found is None:
        return
    prompt = typed_in(interaction, _FIELD)
    async with acknowledged(interaction):
        if found["all"]:
            dreams = await dreams_of_card(interaction, found["id"])
        else:
            dreams = [await visible_dream(interaction, found["id"])]
        if found["action"] == "steer":
            await _steer(interaction, dreams, prompt)
        else:
            await draw_like(interaction, dreams, prompt, Relation.REMIX)
            await tell_coming(interaction, say("Remixed."), len(dreams))


async def draw_like(
    interaction: Interaction,
    dreams: Sequence[Dream],
    prompt: str,
    relation: Relation,
    **changes: Any,
) -> None:
    """Ask for as many dreams as there are, all like the first, but with these words.

    `changes` are fields of `DreamRequest` that are otherwise, such as `steps`.

    Raises:
        As `Dreams.ask` does; ForbiddenError: it may not be asked for here.
    """
    front, first = front_of(interaction), dreams[0]
    recipe, library = first.recipe, front.library
    # Many that nobody waited for are again such; one of them, asked for by itself, is not.
    background = len(dreams) > 1 and all(dream.background for dream in dreams)
    # What is not to be drawn is judged as it is accepted, without what the theme brings along.
    also = await permit(interaction, prompt=prompt, count=len(dreams), background=background)
    own_theme = await front.themes.by_id(first.theme_id)
    negative = recipe.negative.removesuffix(own_theme.negative).rstrip(", ")
    request = DreamRequest(
        theme=(await theme_of(interaction)).slug,
        person=person_of(interaction),
        prompt=prompt,
        engine=recipe.engine,
        model=recipe.model,
        width=recipe.width,
        height=recipe.height,
        steps=recipe.steps,
        guidance=recipe.guidance,
        negative=negative or None,
        strength=recipe.strength,
        init=None if recipe.init_sha256 is None else await library.read(recipe.init_sha256),
        mask=None if recipe.mask_sha256 is None else await library.read(recipe.mask_sha256),
        sketch=None if recipe.sketch_sha256 is None else await library.read(recipe.sketch_sha256),
        pictures=tuple([await library.read(name) for name in recipe.picture_sha256s]),
        settings=recipe.settings,
        kept_settings=True,
        until_step=recipe.until_step,
        film=recipe.film,
        film_format=recipe.film_format,
        journey=None if recipe.journey is None else request_like(recipe.journey),
        background=background,
        count=len(dreams),
        parent_id=first.id,
        relation=relation,
        guild_id=interaction.guild_id,
        channel_id=interaction.channel_id,
        moderates=actor_of(interaction).moderates,
        checked_as=checked_here(interaction),
    )
    await front.dreams.ask(msgspec.structs.replace(request, **changes), also)


async def _steer(interaction: Interaction, dreams: Sequence[Dream], prompt: str) -> None:
    """Steer those that are not over; one that is alone says why it cannot be."""
    steered, last_error = 0, None
    for dream in [one for one in dreams if not one.state.final] or dreams[:1]:
        try:
            await steer_here(interaction, dream, prompt)
            steered += 1
        except DreamstreamError as error:  # the others may still be steered
            last_error = error
    if not steered and last_error is not None:
        raise last_error
    if steered == 1:
        await tell(interaction, say("It glides there from the next step on."))
    else:
        text = say("{count} of them glide there from the next step on.", count=steered)
        await tell(interaction, text)


async def tell_coming(interaction: Interaction, what: Sentence, count: int = 1) -> None:
    """Tell what was asked for, and that as many dreams come here."""
    coming = COMING if count == 1 else MANY_COMING
    await tell(interaction, say("{what} {coming}", what=what, coming=coming))


def _present(dream: Dream) -> str:
    """Return the words that a dream has at present."""
    return dream.recipe.steers[-1].prompt if dream.recipe.steers else dream.prompt


async def _show(interaction: Interaction, purpose: str, title: str, prompt: str) -> None:
    field: ui.TextInput[Any] = ui.TextInput(
        custom_id=_FIELD,
        style=discord.TextStyle.paragraph,
        default=shorten(prompt, _MAX_TEXT),
        max_length=_MAX_TEXT,
    )
    label = say("It glides to") if purpose.startswith("steer") else say("Words")
    await send_form(interaction, f"form:{purpose}", title, (label, field))
