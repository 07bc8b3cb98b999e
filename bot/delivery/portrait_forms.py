"""The form of portraits, and what would be kept of it: shown word for word before it is.

The form's id says nothing of anybody; what is typed is held as a draft, which only the person
whose words they are can open.
"""

from __future__ import annotations

from typing import Any

import discord
from discord import ui

from bot.delivery import words
from bot.delivery.asking import asker_of
from bot.delivery.interactions import (
    Interaction,
    acknowledged,
    answered,
    front_of,
    tell,
    theme_of,
    told,
)
from bot.delivery.modals import purpose_of, send_form, typed_in
from bot.delivery.portrait_controls import Do, button
from bot.portraits import KEPT, MAX_WORDS, NO_LIKENESS, Draft, where_shown
from bot.sentences import say
from bot.store.portraits import Reach

_FORM = "portrait-form"
_REACHES = {
    Reach.SELF: say("Only I"),
    Reach.CHANNEL: say("This channel"),
    Reach.STREAM: say("The stream, also on the wall"),
}


async def ask_for_words(interaction: Interaction, draft: Draft | None = None) -> None:
    """Show the form in which somebody says something about themselves; it keeps nothing."""
    async with answered(interaction):
        front_of(interaction).gate.check_person(asker_of(interaction))
        chosen = Reach.SELF if draft is None else draft.reach
        text: ui.TextInput[Any] = ui.TextInput(
            custom_id="words",
            style=discord.TextStyle.paragraph,
            default=None if draft is None else draft.words,
            max_length=MAX_WORDS,
        )
        reaches: ui.Select[Any] = ui.Select(
            custom_id="reach",
            options=[
                discord.SelectOption(
                    label=told(interaction, name), value=reach.value, default=reach is chosen
                )
                for reach, name in _REACHES.items()
            ],
        )
        await send_form(
            interaction,
            _FORM,
            say("A portrait of yourself"),
            (say("What are you like? A few words"), text),
            (say("Who is to see it"), reaches),
        )


async def submitted(interaction: Interaction) -> None:
    """Show what would be kept of a form that was sent; leave other forms alone.

    Raises:
        TooLateError: it could not be acknowledged.
    """
    if purpose_of(interaction) != _FORM:
        return
    async with acknowledged(interaction):
        draft = await front_of(interaction).portraits.draft(
            asker_of(interaction),
            typed_in(interaction, "words"),
            _reach(typed_in(interaction, "reach")),
            await theme_of(interaction),
        )
        await tell(interaction, _terms(interaction, draft), view=_deciding(interaction, draft))


def _terms(interaction: Interaction, draft: Draft) -> str:
    """Return all that would be kept and shown, word for word."""
    title = words.plain(draft.theme.title, 80)
    lines = [
        say("**Your portrait. Nothing is kept yet.**"),
        say("Your words: “{words}”", words=words.plain(draft.words, 2 * MAX_WORDS)),
        say("Drawn from: “{prompt}”", prompt=words.plain(draft.drawn, 600)),
        where_shown(draft.reach, draft.theme, title),
        KEPT,
        NO_LIKENESS,
        say("Only you can agree to it."),
    ]
    return "\n".join(told(interaction, line) for line in lines)


def _deciding(interaction: Interaction, draft: Draft) -> ui.View:
    view = ui.View(timeout=None)
    for do, label, style in (
        (Do.AGREE, say("I agree: draw it"), discord.ButtonStyle.success),
        (Do.CHANGE, say("Change it"), discord.ButtonStyle.secondary),
        (Do.DISCARD, say("No, keep nothing"), discord.ButtonStyle.secondary),
    ):
        view.add_item(button(interaction, do, draft.token, label, style))
    view.stop()
    return view


def _reach(chosen: str) -> Reach:
    """Return what a form says; the smallest where it says nothing that is known."""
    return Reach(chosen) if chosen in set(Reach) else Reach.SELF
