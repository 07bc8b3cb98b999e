"""The forms of parties: words, sketches, a picture's next words, points, roles.

What one is about is judged anew when it is sent: it may have been open for long.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import Any

import discord
from discord import ui

from bot.delivery import party_acts, words
from bot.delivery.asking import asker_of
from bot.delivery.forms import tell_coming
from bot.delivery.interactions import (
    Interaction,
    acknowledged,
    answered,
    front_of,
    person_of,
    posting_here,
    tell,
    told,
)
from bot.delivery.modals import Field, given_in, purpose_of, send_form, typed_in
from bot.delivery.party_acts import party_of_card
from bot.delivery.party_face import ROLE_NAMES
from bot.errors import InvalidRequestError, LimitError, NotFoundError
from bot.ids import LENGTH
from bot.model import Dream, DreamState
from bot.parties.acting import HOST
from bot.parties.model import AssociationKind, Node, Party, Stage, VoteKind
from bot.parties.recipes import words_before
from bot.parties.voting import BUDGET
from bot.sentences import say
from bot.text import shorten

MAX_OFFERED = 25
SKETCHES = 4
_AWAY = "away"
_MOST_MENUS = 4
_MAX_TEXT = 4000
_FORM = re.compile(
    rf"party-form:(?P<what>say|sketch|grow|points|roles):(?P<party>[0-9a-z]{{{LENGTH}}})"
    rf":(?P<about>[0-9a-z]{{1,{LENGTH}}})"
)
_KINDS = {
    AssociationKind.IDEA: say("Ideas"),
    AssociationKind.STYLE: say("Styles"),
    AssociationKind.ARTIST: say("Artists"),
}


async def finished_pictures(
    interaction: Interaction, party: Party, *, before: Collection[str] = (), finale: bool = True
) -> list[Node]:
    """Return the newest finished pictures of a party, as many as a menu takes, newest first.

    Those that are named by `before` are there in any case, and first; without `finale` those that
    were drawn for it are not.

    Raises:
        NotFoundError: there are none.
    """
    nodes = await front_of(interaction).parties.nodes(party)
    done = [
        node
        for node in nodes
        if node.dream.state is DreamState.DONE and (finale or node.entry.stage is not Stage.FINALE)
    ]
    if not done:
        raise NotFoundError("The party has no finished pictures yet. Sketch some first.")
    done.reverse()
    return sorted(done, key=lambda node: node.dream.id not in before)[:MAX_OFFERED]


def offered(dream: Dream, number: int, *, default: bool = False) -> discord.SelectOption:
    """Return a picture as menus offer it."""
    return discord.SelectOption(
        label=shorten(f"{number} · {dream.prompt}", 100),
        value=dream.id,
        description=shorten(dream.person.name, 100) or None,
        default=default,
    )


# --- opening them ------------------------------------------------------------------------------


async def ask_for_words(interaction: Interaction, party_id: str, card_id: int) -> None:
    """Show the form in which associations are typed, one a line."""
    async with answered(interaction):
        party = await party_of_card(interaction, party_id, card_id)
        kinds: ui.Select[Any] = ui.Select(
            custom_id="kind",
            options=[
                discord.SelectOption(
                    label=told(interaction, name),
                    value=kind.value,
                    default=kind is AssociationKind.IDEA,
                )
                for kind, name in _KINDS.items()
            ],
        )
        await send_form(
            interaction,
            f"party-form:say:{party.id}:{card_id}",
            party.topic,
            (say("What comes to your mind? One thing a line"), _text("words")),
            (say("These are"), kinds),
        )


async def ask_for_sketch(interaction: Interaction, party_id: str, card_id: int) -> None:
    """Show the form of a sketch: what was said can be chosen, and words typed."""
    async with answered(interaction):
        party = await party_of_card(interaction, party_id, card_id)
        fields: list[Field] = []
        said = await front_of(interaction).parties.associations(party)
        if said:
            most = sorted(said, key=lambda one: -one.count)[:MAX_OFFERED]
            own_id = person_of(interaction).id
            own = [one.id for one in most if one.person.id == own_id][:1]
            menu: ui.Select[Any] = ui.Select(
                custom_id="said",
                required=False,
                min_values=0,
                max_values=len(most),
                options=[
                    discord.SelectOption(
                        label=shorten(one.words, 100),
                        value=str(one.id),
                        description=shorten(one.person.name, 100) or None,
                        default=one.id in own,
                    )
                    for one in most
                ],
            )
            fields.append((say("Of what was said"), menu))
        typed = _text("words", required=not said)
        fields.append((say("Your own words, if you like") if said else say("Words"), typed))
        await send_form(
            interaction, f"party-form:sketch:{party.id}:{card_id}", say("Sketch"), *fields
        )


async def ask_for_growth(interaction: Interaction, party_id: str, dream_id: str) -> None:
    """Show the form in which a picture's words are changed."""
    async with answered(interaction):
        front = front_of(interaction)
        party = await front.parties.get(party_id)
        dream = await front.dreams.existing(dream_id)
        await send_form(
            interaction,
            f"party-form:grow:{party.id}:{dream.id}",
            say("Let it grow"),
            (say("Its words: add some, or change some"), _text("words", words_before(dream))),
        )


async def ask_for_points(interaction: Interaction, party_id: str, card_id: int) -> None:
    """Show the form in which points are given: each goes to a picture."""
    async with answered(interaction):
        party = await party_of_card(interaction, party_id, card_id)
        person_id = person_of(interaction).id
        given = [
            vote.dream_id
            for vote in await front_of(interaction).parties.votes(party)
            if vote.kind is VoteKind.POINTS and vote.person.id == person_id
            for _ in range(vote.value)
        ]
        # A point of a picture that is not offered would be lost with the form.
        nodes = await finished_pictures(interaction, party, before=given, finale=False)
        fields: list[Field] = []
        for number in range(1, BUDGET + 1):
            before = given[number - 1] if number <= len(given) else None
            menu: ui.Select[Any] = ui.Select(
                custom_id=f"point{number}",
                required=False,
                min_values=0,
                options=[
                    offered(node.dream, place, default=node.dream.id == before)
                    for place, node in enumerate(nodes, 1)
                ],
            )
            fields.append((say("Point {number} goes to", number=number), menu))
        await send_form(
            interaction, f"party-form:points:{party.id}:{card_id}", say("Your points"), *fields
        )


async def ask_for_role(interaction: Interaction, party_id: str, card_id: int) -> None:
    """Show the form in which a role is given."""
    async with answered(interaction):
        party = await party_of_card(interaction, party_id, card_id, there=False)
        await front_of(interaction).parties.check_role(party, asker_of(interaction), HOST)
        members = await front_of(interaction).parties.members(party)
        there = [member for member in members if member.present]
        if not there:
            raise NotFoundError("Nobody is at the party.")
        latest = there[::-1]
        menus = min(_MOST_MENUS, math.ceil(len(latest) / MAX_OFFERED))
        people: list[Field] = []
        for place in range(menus):
            shown = latest[place * MAX_OFFERED :][:MAX_OFFERED]
            menu: ui.Select[Any] = ui.Select(
                custom_id=f"person{place or ''}",
                required=menus == 1,
                min_values=1 if menus == 1 else 0,
                options=[
                    discord.SelectOption(
                        label=shorten(member.person.name, 100) or "?",
                        value=shorten(member.person.id, 100),
                        description=told(interaction, ROLE_NAMES[member.role]),
                    )
                    for member in shown
                ],
            )
            people.append((say("Who"), menu))
        roles: ui.Select[Any] = ui.Select(
            custom_id="role",
            options=[
                *(
                    discord.SelectOption(label=told(interaction, name), value=role.value)
                    for role, name in ROLE_NAMES.items()
                ),
                discord.SelectOption(label=told(interaction, say("sent away")), value=_AWAY),
            ],
        )
        await send_form(
            interaction,
            f"party-form:roles:{party.id}:{card_id}",
            say("Who does what"),
            *people,
            (say("Is to be"), roles),
        )


def _text(name: str, default: str = "", *, required: bool = True) -> ui.TextInput[Any]:
    return ui.TextInput(
        custom_id=name,
        style=discord.TextStyle.paragraph,
        default=shorten(default, _MAX_TEXT) or None,
        required=required,
        max_length=_MAX_TEXT,
    )


# --- taking them -------------------------------------------------------------------------------


async def submitted(interaction: Interaction) -> None:
    """Do what a party's form that was sent says; leave other forms alone.

    Raises:
        TooLateError: it could not be acknowledged.
    """
    found = _FORM.fullmatch(purpose_of(interaction))
    if found is None:
        return
    async with acknowledged(interaction):
        party = await front_of(interaction).parties.get(found["party"])
        match found["what"]:
            case "say":
                await _say(interaction, party)
            case "sketch":
                await _sketch(interaction, party)
            case "grow":
                await _grow(interaction, party, found["about"])
            case "points":
                await _points(interaction, party)
            case _:
                await _role(interaction, party)


async def _say(interaction: Interaction, party: Party) -> None:
    parties, asker = front_of(interaction).parties, asker_of(interaction)
    try:
        kind = AssociationKind(typed_in(interaction, "kind"))
    except ValueError:
        kind = AssociationKind.IDEA
    typed = typed_in(interaction, "words").splitlines()
    lines = [line for line in typed if line.strip()]
    if not lines:
        raise InvalidRequestError("words", "Say what comes to your mind, in a few words.")
    count = 0
    last_error: InvalidRequestError | LimitError | None = None
    for line in lines:
        try:
            await parties.associate(party, asker, line, kind)
            count += 1
        except LimitError as error:
            last_error = error
            break
        except InvalidRequestError as error:  # another line may still be well
            last_error = error
    if last_error is not None and not count:
        raise last_error
    kept = say("{count} things were said.", count=count) if count > 1 else say("It was said.")
    if last_error is None:
        await tell(interaction, kept)
    else:
        why = words.sentence(last_error, interaction.locale)
        await tell(interaction, say("{kept} Not the rest: {why}", kept=kept, why=why))


async def _sketch(interaction: Interaction, party: Party) -> None:
    chosen = given_in(interaction).get("said", ())
    made = await front_of(interaction).parties.draw(
        party,
        asker_of(interaction),
        typed_in(interaction, "words"),
        association_ids=[int(one) for one in chosen if one.isdecimal()],
        count=SKETCHES,
        also=posting_here(interaction),
    )
    await tell_coming(interaction, say("{count} sketches.", count=len(made)), len(made))


async def _grow(interaction: Interaction, party: Party, dream_id: str) -> None:
    front = front_of(interaction)
    before = words_before(await front.dreams.existing(dream_id))
    await front.parties.grow(
        party,
        asker_of(interaction),
        dream_id,
        typed_in(interaction, "words"),
        replacing=before or None,
        also=posting_here(interaction),
    )
    await tell_coming(interaction, say("It grows."))


async def _points(interaction: Interaction, party: Party) -> None:
    given, points = given_in(interaction), dict[str, int]()
    for number in range(1, BUDGET + 1):
        for dream_id in given.get(f"point{number}", ()):
            points[dream_id] = points.get(dream_id, 0) + 1
    await front_of(interaction).parties.give_points(party, asker_of(interaction), points)
    left = BUDGET - sum(points.values())
    await tell(interaction, say("Your points are given. You have {left} left.", left=left))


async def _role(interaction: Interaction, party: Party) -> None:
    given, role = given_in(interaction), typed_in(interaction, "role")
    chosen = [one for place in range(_MOST_MENUS) for one in given.get(f"person{place or ''}", ())]
    if len(chosen) != 1:
        raise InvalidRequestError("person", "Choose one person, in one of the menus.")
    person_id = chosen[0]
    if role == _AWAY:
        await party_acts.send_away(interaction, party, person_id)
        return
    await party_acts.give_role(interaction, party, person_id, party_acts.role_of(role))
