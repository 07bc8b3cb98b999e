"""What the buttons and forms of a card do. Who may do it is decided by ``bot.dreams``.

Forms are not remembered: what a form is for stands in its `custom_id`, so that one which was
opened before a restart can be sent after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import discord
from discord import ui

from bot.delivery.interactions import (
    Interaction,
    acknowledged,
    actor_of,
    answered,
    front_of,
    person_of,
    posting_here,
    tell,
    theme_of,
)
from bot.errors import NotFoundError
from bot.ids import LENGTH
from bot.model import Dream, DreamRequest, Relation, Visibility
from bot.text import shorten

COMING = "It appears in this channel as it forms."
_FIELD = "prompt"
_FORM = re.compile(rf"form:(?P<action>steer|remix):(?P<id>[0-9a-z]{{{LENGTH}}})")
_MAX_TEXT = 4000


async def visible_dream(interaction: Interaction, dream_id: str) -> Dream:
    """Return a dream that may be seen in this channel.

    Raises:
        NotFoundError: there is none, or it belongs to a private theme of elsewhere.
    """
    front = front_of(interaction)
    dream = await front.dreams.get(dream_id)
    theme = await front.themes.by_id(dream.theme_id)
    if theme.visibility is Visibility.PRIVATE and theme.id != (await theme_of(interaction)).id:
        raise NotFoundError("There is no such dream.")
    return dream


async def reroll(interaction: Interaction, dream_id: str) -> None:
    """Ask for a dream again, with another seed."""
    async with acknowledged(interaction):
        also = posting_here(interaction)
        await visible_dream(interaction, dream_id)
        await front_of(interaction).dreams.redo(
            dream_id, person_of(interaction), same_seed=False, also=also
        )
        await tell(interaction, f"The same with another seed. {COMING}")


async def cancel(interaction: Interaction, dream_id: str) -> None:
    """End a dream of one's own."""
    async with acknowledged(interaction):
        await front_of(interaction).dreams.cancel(dream_id, actor_of(interaction))
        await tell(interaction, "Cancelled.")


async def ask_for_steer(interaction: Interaction, dream_id: str) -> None:
    """Show the form in which the new words are typed."""
    async with answered(interaction):
        dream = await visible_dream(interaction, dream_id)
        prompt = dream.recipe.steers[-1].prompt if dream.recipe.steers else dream.prompt
        await _show(interaction, "steer", dream_id, "Steer this dream", "It glides to", prompt)


async def ask_for_remix(interaction: Interaction, dream_id: str) -> None:
    """Show the form in which the words are changed."""
    async with answered(interaction):
        dream = await visible_dream(interaction, dream_id)
        await _show(interaction, "remix", dream_id, "Remix this dream", "Words", dream.prompt)


async def submitted(interaction: Interaction) -> None:
    """Do what a form that was sent says; leave other forms alone.

    Raises:
        TooLateError: it could not be acknowledged.
    """
    data: Mapping[str, Any] = interaction.data or {}
    found = _FORM.fullmatch(str(data.get("custom_id", "")))
    if found is None:
        return
    prompt = dict(_values(data.get("components", []))).get(_FIELD, "")
    if found["action"] == "steer":
        await _steer(interaction, found["id"], prompt)
    else:
        await _remix(interaction, found["id"], prompt)


async def _steer(interaction: Interaction, dream_id: str, prompt: str) -> None:
    async with acknowledged(interaction):
        await front_of(interaction).dreams.steer(dream_id, actor_of(interaction), prompt)
        await tell(interaction, "It glides there from its next step on.")


async def _remix(interaction: Interaction, dream_id: str, prompt: str) -> None:
    async with acknowledged(interaction):
        also = posting_here(interaction)
        front = front_of(interaction)
        dream = await visible_dream(interaction, dream_id)
        recipe = dream.recipe
        init = None
        if recipe.init_sha256 is not None:
            init = await front.library.read(recipe.init_sha256)
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
            strength=recipe.strength,
            init=init,
            settings=recipe.settings,
            parent_id=dream.id,
            relation=Relation.REMIX,
            guild_id=interaction.guild_id,
            channel_id=interaction.channel_id,
        )
        await front.dreams.ask(request, also)
        await tell(interaction, f"Remixed. {COMING}")


async def _show(
    interaction: Interaction, action: str, dream_id: str, title: str, label: str, prompt: str
) -> None:
    form = ui.Modal(title=title, custom_id=f"form:{action}:{dream_id}")
    field: ui.TextInput[Any] = ui.TextInput(
        custom_id=_FIELD,
        style=discord.TextStyle.paragraph,
        default=shorten(prompt, _MAX_TEXT),
        max_length=_MAX_TEXT,
    )
    form.add_item(ui.Label(text=label, component=field))
    form.stop()  # or the library would keep it, and lose it at the next start
    await interaction.response.send_modal(form)


def _values(components: Any) -> Iterator[tuple[str, str]]:
    """Yield what was typed, by the fields' ids, however deep they are."""
    for component in components:
        if "custom_id" in component and "value" in component:
            yield str(component["custom_id"]), str(component["value"])
        inner = component.get("component")
        yield from _values([inner] if inner else component.get("components", []))
