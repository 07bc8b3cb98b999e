"""What the buttons and menus of a card do. Who may do it is decided by the services."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from discord import ui

from bot.delivery import controls, party_choices, words
from bot.delivery.asking import permit
from bot.delivery.controls import Action
from bot.delivery.forms import draw_like, tell_coming
from bot.delivery.interactions import (
    Interaction,
    acknowledged,
    actor_of,
    front_of,
    person_of,
    tell,
    told,
)
from bot.delivery.looking import dreams_of_card, show, visible_dream, visible_dreams
from bot.errors import DreamstreamError, InvalidRequestError
from bot.model import Dream, Relation
from bot.rights import check_may_change
from bot.sentences import say

VARIATIONS = 4
CANCELLED = say("Cancelled.")
DELETED = say("Deleted.")


# --- making more of a dream --------------------------------------------------------------------


async def reroll(interaction: Interaction, dream_id: str) -> None:
    """Ask for a dream again, with another seed."""
    async with acknowledged(interaction):
        dream = await visible_dream(interaction, dream_id)
        also = await permit(interaction, prompt=dream.prompt)
        await front_of(interaction).offspring.reroll(
            dream_id, actor_of(interaction), channel_id=interaction.channel_id, also=also
        )
        await tell_coming(interaction, say("The same with another seed."))


async def variations(interaction: Interaction, dream_id: str) -> None:
    """Ask for pictures that start from a dream's."""
    async with acknowledged(interaction):
        dream = await visible_dream(interaction, dream_id)
        also = await permit(interaction, prompt=dream.prompt, count=VARIATIONS)
        made = await front_of(interaction).offspring.variations(
            dream_id,
            actor_of(interaction),
            count=VARIATIONS,
            channel_id=interaction.channel_id,
            also=also,
        )
        await tell_coming(interaction, say("{count} variations.", count=len(made)), len(made))


async def go_on(interaction: Interaction, dream_id: str) -> None:
    """Carry a dream on from where it ended."""
    await go_on_with(interaction, [dream_id])


async def go_on_with(interaction: Interaction, dream_ids: Sequence[str]) -> None:
    """Carry the dreams on that were chosen, all on one card."""
    async with acknowledged(interaction):
        dreams = await visible_dreams(interaction, dream_ids)
        said = "\n".join(dict.fromkeys(dream.prompt for dream in dreams))
        also = await permit(interaction, prompt=said, count=len(dreams))
        made = await front_of(interaction).offspring.carry_on(
            [dream.id for dream in dreams],
            actor_of(interaction),
            channel_id=interaction.channel_id,
            also=also,
        )
        if len(made) > 1:
            which = say("{count} of them go on from there.", count=len(made))
        else:
            which = say("It goes on from there.")
        await tell_coming(interaction, which, len(made))


async def upscale(interaction: Interaction, dream_id: str) -> None:
    """Make a dream's picture larger."""
    async with acknowledged(interaction):
        dream = await visible_dream(interaction, dream_id)
        also = await permit(interaction, prompt=dream.prompt)
        made = await front_of(interaction).offspring.upscale(
            dream_id, actor_of(interaction), channel_id=interaction.channel_id, also=also
        )
        size = f"{made.recipe.width}×{made.recipe.height}"
        await tell_coming(interaction, say("It is being made larger, {size}.", size=size))


async def animate(interaction: Interaction, dream_id: str) -> None:
    """Draw a dream again, with a film of how it forms."""
    async with acknowledged(interaction):
        dream = await visible_dream(interaction, dream_id)
        also = await permit(interaction, prompt=dream.prompt)
        await front_of(interaction).offspring.animate(
            dream_id, actor_of(interaction), channel_id=interaction.channel_id, also=also
        )
        await tell_coming(interaction, say("It is drawn once more, and filmed."))


async def reroll_all(interaction: Interaction, card_id: str) -> None:
    """Ask for as many dreams as a card shows, with other seeds."""
    async with acknowledged(interaction):
        dreams = await dreams_of_card(interaction, card_id)
        await draw_like(interaction, dreams, dreams[0].prompt, Relation.REROLL)
        what = say("{count} with other seeds.", count=len(dreams))
        await tell_coming(interaction, what, len(dreams))


# --- its course and its end --------------------------------------------------------------------


async def cancel(interaction: Interaction, dream_id: str) -> None:
    """End a dream."""
    async with acknowledged(interaction):
        await front_of(interaction).dreams.cancel(dream_id, actor_of(interaction))
        await tell(interaction, CANCELLED)


async def cancel_all(interaction: Interaction, card_id: str) -> None:
    """End all dreams of a card that are not over."""
    async with acknowledged(interaction):
        dreams, actor = await dreams_of_card(interaction, card_id), actor_of(interaction)
        unfinished = [dream for dream in dreams if not dream.state.final]
        if not unfinished:
            raise InvalidRequestError("dream", "These dreams are over already.")
        cancel = front_of(interaction).dreams.cancel
        done = await _each(unfinished, lambda dream: cancel(dream.id, actor))
        many = say("Cancelled {count} of them.", count=done)
        await tell(interaction, many if done > 1 else CANCELLED)


async def _each(dreams: Sequence[Dream], do: Callable[[Dream], Awaitable[None]]) -> int:
    """Do something to each dream; return for how many it could be done.

    Raises:
        DreamstreamError: for none of them.
    """
    done, last_error = 0, None
    for dream in dreams:
        try:
            await do(dream)
            done += 1
        except DreamstreamError as error:
            last_error = error
    if not done and last_error is not None:
        raise last_error
    return done


async def ask_whether_to_delete(interaction: Interaction, dream_id: str) -> None:
    """Ask once more before a dream is deleted."""
    async with acknowledged(interaction):
        dream = await visible_dream(interaction, dream_id)
        check_may_change(dream, actor_of(interaction))
        question = say(
            "Delete **{prompt}**? Its picture is taken away here, from the wall and from the disk, "
            "for good.",
            prompt=words.plain(dream.prompt, 200),
        )
        view = _surely(interaction, dream_id, of_all=False)
        await tell(interaction, question, view=view)


async def ask_whether_to_delete_all(interaction: Interaction, card_id: str) -> None:
    """Ask once more before all dreams of a card are deleted."""
    async with acknowledged(interaction):
        dreams, actor = await dreams_of_card(interaction, card_id), actor_of(interaction)
        for dream in dreams:
            check_may_change(dream, actor)
        question = say(
            "Delete all {count}? Their pictures are taken away here, from the wall and from the "
            "disk, for good.",
            count=len(dreams),
        )
        view = _surely(interaction, card_id, of_all=True)
        await tell(interaction, question, view=view)


async def delete(interaction: Interaction, dream_id: str) -> None:
    """Delete a dream, by one who was asked whether to."""
    async with acknowledged(interaction, in_place=True):
        await visible_dream(interaction, dream_id)
        await front_of(interaction).moderation.delete(dream_id, actor_of(interaction))
        await tell(interaction, DELETED, view=None)


async def delete_all(interaction: Interaction, card_id: str) -> None:
    """Delete all dreams of a card, by one who was asked whether to."""
    async with acknowledged(interaction, in_place=True):
        dreams, actor = await dreams_of_card(interaction, card_id), actor_of(interaction)
        delete = front_of(interaction).moderation.delete
        done = await _each(dreams, lambda dream: delete(dream.id, actor))
        many = say("Deleted {count}.", count=done)
        await tell(interaction, many if done > 1 else DELETED, view=None)


def _surely(interaction: Interaction, dream_id: str, *, of_all: bool) -> ui.View:
    view = ui.View(timeout=None)
    button = controls.button(Action.SURELY, dream_id, of_all=of_all)
    button.label = told(interaction, say("Yes, delete"))
    view.add_item(button)
    view.stop()  # its id says all
    return view


# --- liking and looking ------------------------------------------------------------------------


async def favourite(interaction: Interaction, dream_id: str) -> None:
    """Like a dream, or like it no more."""
    async with acknowledged(interaction):
        await visible_dream(interaction, dream_id)
        likes, count = await front_of(interaction).moderation.favourite(
            dream_id, person_of(interaction)
        )
        await party_choices.favour(interaction, dream_id, likes=likes)
        if likes:
            liked = {1: say("♥ You like it."), 2: say("♥ You like it. So does another.")}
            many = say("♥ You like it. So do {count} others.", count=count - 1)
            await tell(interaction, liked.get(count, many))
        else:
            await tell(interaction, say("You like it no more."))


async def look(interaction: Interaction, dream_ids: Sequence[str]) -> None:
    """Show one of a card's dreams to who chose it, with all its buttons."""
    async with acknowledged(interaction):
        await show(interaction, dream_ids[0])
