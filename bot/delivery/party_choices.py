"""What parties show to one person: pairs to vote on, menus of pictures, how they stand."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import discord
import msgspec
from discord import ui

from bot.delivery import galleries, words
from bot.delivery.asking import asker_of
from bot.delivery.forms import tell_coming
from bot.delivery.galleries import Picture, thumbnails
from bot.delivery.interactions import Interaction, front_of, posting_here, tell, told
from bot.delivery.party_controls import Do, Pick, Preferred, button, pair_button
from bot.delivery.party_forms import finished_pictures, offered
from bot.errors import ForbiddenError, InvalidRequestError, NotFoundError
from bot.front import Front
from bot.gate import Asker
from bot.model import Dream, Theme
from bot.parties.acting import HOST, LEADERS
from bot.parties.finale import MOST
from bot.parties.model import Party, Stage, Standing
from bot.sentences import Sentence, say
from bot.store import dreams as rows

BEST = 3
"""How many are chosen for the finale already."""


async def show_pair(interaction: Interaction, party: Party, said: str = "") -> None:
    """Show two pictures to compare in place of the answer, or that there are no more."""
    front = front_of(interaction)
    pair = await front.parties.pair(party, asker_of(interaction))
    if pair is None:
        text = say("You have compared all there is. See how they stand, or give your points.")
        await _answer(interaction, await front.parties.theme_of(party), [text])
        return
    dreams = await _dreams(interaction, pair)
    pictures = await thumbnails(front, dreams)
    left, right = (words.plain(dream.prompt, 100) for dream in dreams)
    lines = [
        said,
        told(interaction, say("Which is the better one?")),
        f"1 · **{left}**",
        f"2 · **{right}**",
    ]
    buttons = [
        pair_button(Preferred.FIRST, party.id, pair, told(interaction, say("The first"))),
        pair_button(Preferred.SECOND, party.id, pair, told(interaction, say("The second"))),
        pair_button(Preferred.NEITHER, party.id, pair, told(interaction, say("Neither"))),
    ]
    theme = await front.parties.theme_of(party)
    await _answer(interaction, theme, [one for one in lines if one], pictures, buttons)


async def prefer(
    interaction: Interaction, party: Party, which: Preferred, first: str, second: str
) -> None:
    """Note which of two is the better one, and show the next two."""
    winner, loser = (second, first) if which is Preferred.SECOND else (first, second)
    await front_of(interaction).parties.prefer(
        party, asker_of(interaction), winner, loser, equal=which is Preferred.NEITHER
    )
    await show_pair(interaction, party, told(interaction, say("Noted.")))


async def favour(interaction: Interaction, dream_id: str, *, likes: bool) -> None:
    """Let a ♥ under a party's picture be a vote as well, where this is the time for votes."""
    await vote(front_of(interaction), asker_of(interaction), dream_id, likes=likes)


async def vote(front: Front, asker: Asker, dream_id: str, *, likes: bool) -> None:
    """Do so for somebody who may have shown it otherwise than by a button."""
    dream = await front.dreams.existing(dream_id)
    party = await front.parties.of_theme(dream.theme_id)
    if party is None or not party.open or party.stage is not Stage.CHOOSE:
        return
    if not asker.person.name:  # as of who takes a reaction away
        member = await front.parties.member(party, asker.person.id)
        if member is None:
            return
        asker = msgspec.structs.replace(asker, person=member.person)
    with suppress(ForbiddenError, NotFoundError, InvalidRequestError):
        if await front.parties.favour(party, asker, dream_id) is not likes:
            await front.parties.favour(party, asker, dream_id)


async def show_menu(interaction: Interaction, party: Party, card_id: int, pick: Pick) -> None:
    """Show the party's pictures with a menu, to do something with those that are chosen.

    Raises:
        ForbiddenError: only who leads may choose.
        InvalidRequestError, NotFoundError: there are too few.
    """
    front = front_of(interaction)
    if pick is Pick.FINALE:
        await front.parties.check_role(party, asker_of(interaction), LEADERS)
    theme = await front.parties.theme_of(party)
    chosen: set[str] = set()
    if pick is Pick.FINALE:
        standings = (await front.parties.standings(party))[:25]
        dreams = await _dreams(interaction, [one.dream_id for one in standings])
        chosen = {one.dream_id for one in standings[:BEST]}
    else:
        dreams = [node.dream for node in await finished_pictures(interaction, party)]
    least = {Pick.GROW: 1, Pick.COMBINE: 2, Pick.FINALE: 1}[pick]
    most = {Pick.GROW: 1, Pick.COMBINE: 2, Pick.FINALE: MOST}[pick]
    if len(dreams) < least:
        raise InvalidRequestError("dream", "The party has too few finished pictures for that yet.")
    menu: ui.Select[Any] = ui.Select(
        custom_id=f"party-pick:{pick}:{party.id}:{card_id}",
        min_values=least,
        max_values=min(most, len(dreams)),
        options=[
            offered(dream, number, default=dream.id in chosen)
            for number, dream in enumerate(dreams, 1)
        ],
    )
    pictures = await thumbnails(front, dreams[: galleries.PAGE])
    text = told(interaction, _QUESTIONS[pick])
    await _answer(interaction, theme, [text], pictures, [menu])


async def combine(interaction: Interaction, party: Party, dream_ids: Sequence[str]) -> None:
    """Put two pictures together."""
    if len(dream_ids) != 2:
        raise InvalidRequestError("dream", "Choose two different pictures.")
    first, second = dream_ids
    await front_of(interaction).parties.combine(
        party, asker_of(interaction), first, second, also=posting_here(interaction)
    )
    await tell_coming(interaction, say("They are put together."))


async def choose(interaction: Interaction, party: Party, dream_ids: Sequence[str]) -> None:
    """Have pictures drawn anew, large; the party's card shows them."""
    made = await front_of(interaction).parties.finale(party, asker_of(interaction), dream_ids)
    text = say("It is drawn anew, large. The party's card shows it.")
    if len(made) != 1:
        text = say("{count} are drawn anew, large. The party's card shows them.", count=len(made))
    await tell(interaction, text)


async def show_standing(interaction: Interaction, party: Party) -> None:
    """Show how the pictures stand, the best first."""
    front = front_of(interaction)
    standings = (await front.parties.standings(party))[: galleries.PAGE]
    dreams = await _dreams(interaction, [one.dream_id for one in standings])
    pictures = await thumbnails(front, dreams)
    by_id = {dream.id: dream for dream in dreams}
    lines = [
        _line(interaction, one, by_id[one.dream_id]) for one in standings if one.dream_id in by_id
    ] or [told(interaction, say("There is nothing to vote on yet."))]
    await _answer(interaction, await front.parties.theme_of(party), lines, pictures)


async def ask_whether_to_end(interaction: Interaction, party: Party, card_id: int) -> None:
    """Ask once more before a party is ended.

    Raises:
        ForbiddenError: it is not theirs to end.
    """
    await front_of(interaction).parties.check_role(party, asker_of(interaction), HOST)
    view = ui.View(timeout=None)
    label = told(interaction, say("Yes, end it"))
    view.add_item(button(Do.SURELY, party.id, card_id, label))
    view.stop()  # its id says all
    question = say("End the party? What was drawn and said stays; nothing more can be added.")
    await tell(interaction, question, view=view)


def _line(interaction: Interaction, one: Standing, dream: Dream) -> str:
    parts: list[str] = []
    if one.favourites:
        parts.append(f"♥ {one.favourites}")
    if one.points == 1:
        parts.append(told(interaction, say("1 point")))
    elif one.points:
        parts.append(told(interaction, say("{count} points", count=one.points)))
    if one.wins or one.losses:
        pairs = say("{won} of {all} pairs won", won=one.wins, all=one.wins + one.losses)
        parts.append(told(interaction, pairs))
    name = words.plain(dream.person.name, 30)
    about = " · ".join([name, f"{one.score:.2f}", *parts])
    return f"{one.place}\\. **{words.plain(dream.prompt, 80)}** · {about}"


async def _dreams(interaction: Interaction, dream_ids: Sequence[str]) -> list[Dream]:
    found = await rows.by_ids(front_of(interaction).store, list(dream_ids))
    by_id = {dream.id: dream for dream in found}
    return [by_id[dream_id] for dream_id in dream_ids if dream_id in by_id]


async def _answer(
    interaction: Interaction,
    theme: Theme,
    lines: Sequence[str],
    pictures: Sequence[Picture] = (),
    controls: Sequence[ui.Item[Any]] = (),
) -> None:
    view = ui.LayoutView(timeout=None)
    box: ui.Container[ui.LayoutView] = ui.Container(
        accent_colour=discord.Colour.from_str(theme.colour)
    )
    view.add_item(box)
    if pictures:
        box.add_item(galleries.gallery(pictures))
    text = "\n".join(told(interaction, line) for line in lines)
    box.add_item(ui.TextDisplay(text))
    if controls:
        box.add_item(ui.ActionRow(*controls))
    view.stop()  # its controls' ids say all
    await interaction.edit_original_response(view=view, attachments=galleries.files(pictures))


_QUESTIONS: dict[Pick, Sentence] = {
    Pick.GROW: say("Which picture is to grow? The newest are shown, in the menu's order."),
    Pick.COMBINE: say("Choose two to be put together. The newest are shown, in the menu's order."),
    Pick.FINALE: say("Choose for the finale. The best by votes come first."),
}
