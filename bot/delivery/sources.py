"""What is done with the picture on a message: dreaming from it, looking at it, making it larger.

On cards of ours the dream's kept picture is meant, else what somebody uploaded with the message.
Of a card with several, a menu asks which. Forms and menus say in their ids what they are about.
Of an upload they cannot: its address is too long for that, and must come from Discord, not from
the form. So it is held in memory for an hour, by a name that the form carries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol, Self, cast

import discord
from discord import ui

from bot.delivery import words
from bot.delivery.asking import asker_of, check_words, checked_here, permit
from bot.delivery.finding import dreams_of_message
from bot.delivery.forms import tell_coming
from bot.delivery.held import Held
from bot.delivery.incoming import fetch, picture_on
from bot.delivery.interactions import (
    Interaction,
    acknowledged,
    actor_of,
    answered,
    front_of,
    if_in_time,
    person_of,
    tell,
    theme_of,
    told,
)
from bot.delivery.looking import visible_dream
from bot.delivery.modals import purpose_of, send_form, typed_in
from bot.errors import InvalidRequestError, NotFoundError
from bot.ids import LENGTH
from bot.model import Dream, DreamRequest, Relation
from bot.parents import picture_of
from bot.sentences import say
from bot.text import shorten

MAX_MENU = 25
_WORDS = 8
_FIELD = "words"

_NO_PICTURE = (
    "There is no picture on this message that I could take. Choose one with a PNG, JPEG or WebP "
    "file uploaded to it, or a dream of mine that is done."
)


class Use(StrEnum):
    """What is done with a picture."""

    DREAM = "dream"
    DESCRIBE = "describe"
    UPSCALE = "upscale"
    SCORE = "score"


_TITLES = {Use.DREAM: say("Dream from this picture"), Use.SCORE: say("Score against a text")}
_FIELDS = {Use.DREAM: say("What to make of it"), Use.SCORE: say("What it should show")}
_USES = "|".join(Use)
_FORM = re.compile(
    rf"source:(?P<use>{_USES}):(?:(?P<dream>[0-9a-z]{{{LENGTH}}})|held-(?P<held>[0-9a-f]{{16}}))"
)

Source = Dream | discord.Attachment


class _HasHeld(Protocol):
    @property
    def held(self) -> Held: ...


class SourceMenu(ui.DynamicItem[ui.Select[Any]], template=rf"which:(?P<use>{_USES})(?::\d+)?"):
    """Asks which of a card's pictures is meant, each by its number on the card."""

    def __init__(self, use: Use, numbered: Sequence[tuple[int, Dream]] = ()) -> None:
        self.use = use
        options = [
            discord.SelectOption(
                label=f"Picture {number}",
                value=dream.id,
                description=shorten(f"seed {dream.recipe.seed} · {dream.prompt}", 100),
            )
            for number, dream in numbered
        ]
        name, which = f"which:{use}", "Which picture?"
        if numbered:  # a message may have several such menus, whose ids are not to be the same
            first, last = numbered[0][0], numbered[-1][0]
            name, which = f"{name}:{first}", f"Which picture? {first} to {last}"
        super().__init__(ui.Select(custom_id=name, placeholder=which, options=options))

    @classmethod
    async def from_custom_id(
        cls, interaction: Interaction, item: ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """Make the menu that was used."""
        return cls(Use(match["use"]))

    async def callback(self, interaction: Interaction) -> None:
        """Go on with the picture that was chosen."""
        data: Mapping[str, Any] = interaction.data or {}
        chosen = data.get("values") or [""]
        with if_in_time("A choice"):
            await _use_dream(interaction, self.use, str(chosen[0]))


async def use(interaction: Interaction, use: Use, message: discord.Message) -> None:
    """Do something with the picture on a message.

    Raises:
        TooLateError: it could not be acknowledged.
    """
    if use in _TITLES:
        async with answered(interaction):
            source = await _source(interaction, message)
            if isinstance(source, list):
                await _ask_which(interaction, use, source)
            else:
                await _show_form(interaction, use, source)
        return
    async with acknowledged(interaction):
        source = await _source(interaction, message)
        if isinstance(source, list):
            await _ask_which(interaction, use, source)
        else:
            await _do(interaction, use, source)


async def submitted(interaction: Interaction) -> None:
    """Do what a form that was sent says; leave other forms alone.

    Raises:
        TooLateError: it could not be acknowledged.
    """
    found = _FORM.fullmatch(purpose_of(interaction))
    if found is None:
        return
    text = typed_in(interaction, _FIELD)
    async with acknowledged(interaction):
        source: Source
        if found["dream"]:
            source = await visible_dream(interaction, found["dream"])
        else:
            held = cast(_HasHeld, interaction.client).held
            source = held.get(found["held"], person_of(interaction).id)
        await _do(interaction, Use(found["use"]), source, text)


async def _use_dream(interaction: Interaction, use: Use, dream_id: str) -> None:
    if use in _TITLES:
        async with answered(interaction):
            await _show_form(interaction, use, await visible_dream(interaction, dream_id))
    else:
        async with acknowledged(interaction):
            await _do(interaction, use, await visible_dream(interaction, dream_id))


async def _source(
    interaction: Interaction, message: discord.Message
) -> Source | list[tuple[int, Dream]]:
    """Return the picture that is meant, or those of which one is, with their numbers on the card.

    Raises:
        NotFoundError: there is none.
    """
    dreams = await dreams_of_message(interaction, message)
    numbered = [(number, one) for number, one in enumerate(dreams, 1) if one.image is not None]
    if len(numbered) > 1:
        return numbered
    source = numbered[0][1] if numbered else picture_on(message)
    if source is None:
        raise NotFoundError(_NO_PICTURE)
    return source


async def _ask_which(
    interaction: Interaction, use: Use, numbered: Sequence[tuple[int, Dream]]
) -> None:
    view = ui.View(timeout=None)
    for begin in range(0, len(numbered), MAX_MENU):  # four of them, for as many as a card shows
        view.add_item(SourceMenu(use, numbered[begin : begin + MAX_MENU]))
    view.stop()  # what it is for stands in its menu's id
    text = told(interaction, say("There are several pictures on this message."))
    if interaction.response.is_done():
        await interaction.edit_original_response(content=text, view=view)
    else:
        await interaction.response.send_message(text, view=view, ephemeral=True)


async def _show_form(interaction: Interaction, use: Use, source: Source) -> None:
    if isinstance(source, Dream):
        about, default = source.id, source.prompt if use is Use.DREAM else ""
    else:
        held = cast(_HasHeld, interaction.client).held
        about, default = f"held-{held.put(source, person_of(interaction).id)}", ""
    field: ui.TextInput[Any] = ui.TextInput(
        custom_id=_FIELD,
        style=discord.TextStyle.paragraph,
        default=shorten(default, 4000) or None,
        max_length=4000 if use is Use.DREAM else 1000,
    )
    await send_form(interaction, f"source:{use}:{about}", _TITLES[use], (_FIELDS[use], field))


async def _do(interaction: Interaction, use: Use, source: Source, text: str = "") -> None:
    match use:
        case Use.DREAM:
            await _dream(interaction, source, text)
        case Use.UPSCALE:
            await _upscale(interaction, source)
        case Use.DESCRIBE:
            front_of(interaction).gate.check_person(asker_of(interaction))
            picture = await _bytes(interaction, source)
            found = await front_of(interaction).seeing.describe(picture, _WORDS)
            lines = [f"{cosine:.2f} · {words.plain(word, 60)}" for word, cosine in found]
            title = told(interaction, say("CLIP would call this:"))
            await tell(interaction, "\n".join([title, *lines]))
        case Use.SCORE:
            await check_words(interaction, text)
            picture = await _bytes(interaction, source)
            score = await front_of(interaction).seeing.score(picture, text)
            await tell(
                interaction,
                say(
                    "**{score:.3f}** · {text}\n-# The cosine between picture and text as CLIP sees "
                    "them: 1 is the same, 0 is unrelated. Compare it with the scores of other "
                    "texts or pictures; alone it says little.",
                    score=score,
                    text=words.plain(text, 300),
                ),
            )


async def _dream(interaction: Interaction, source: Source, prompt: str) -> None:
    also = await permit(interaction, prompt=prompt)
    front = front_of(interaction)
    parent = source if isinstance(source, Dream) else None
    request = DreamRequest(
        theme=(await theme_of(interaction)).slug,
        person=person_of(interaction),
        prompt=prompt,
        init=await _bytes(interaction, source),
        parent_id=None if parent is None else parent.id,
        relation=None if parent is None else Relation.VARIATION,
        guild_id=interaction.guild_id,
        channel_id=interaction.channel_id,
        moderates=actor_of(interaction).moderates,
        checked_as=checked_here(interaction),
    )
    await front.dreams.ask(request, also)
    await tell_coming(interaction, say("It starts from that picture."))


async def _upscale(interaction: Interaction, source: Source) -> None:
    also = await permit(interaction, prompt=source.prompt if isinstance(source, Dream) else "")
    front = front_of(interaction)
    if isinstance(source, Dream):
        await front.offspring.upscale(
            source.id, actor_of(interaction), channel_id=interaction.channel_id, also=also
        )
    else:
        scalers = [
            engine.name
            for engine in front.drawer.engines
            if engine.scale is not None and any(model.available for model in engine.models)
        ]
        if not scalers:
            raise InvalidRequestError("engine", "Nothing here makes pictures larger.")
        request = DreamRequest(
            theme=(await theme_of(interaction)).slug,
            person=person_of(interaction),
            prompt="",
            engine=scalers[0],
            init=await _bytes(interaction, source),
            relation=Relation.UPSCALE,
            guild_id=interaction.guild_id,
            channel_id=interaction.channel_id,
            moderates=actor_of(interaction).moderates,
            checked_as=checked_here(interaction),
        )
        await front.dreams.ask(request, also)
    await tell_coming(interaction, say("It is being made larger."))


async def _bytes(interaction: Interaction, source: Source) -> bytes:
    """Return the encoded picture.

    Raises:
        NotFoundError, InvalidRequestError: it cannot be had, or only its cover may be seen.
    """
    library = front_of(interaction).library
    if not isinstance(source, Dream):
        return await fetch(source, library.uploads, "picture")
    if source.image is None:
        raise NotFoundError("This dream has no picture yet.")
    return await library.read(picture_of(source).sha256)
