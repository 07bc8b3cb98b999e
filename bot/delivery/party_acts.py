"""What is done at parties from Discord: opening one, joining, moving on, roles, ending.

Who may do what is decided by `bot.parties`; here it is said who they are, and what came of it.
"""

from __future__ import annotations

from typing import Protocol, cast

import aiosqlite
import discord
import msgspec

from bot.delivery import words
from bot.delivery.asking import asker_of
from bot.delivery.interactions import (
    Interaction,
    channel_of,
    front_of,
    person_of,
    tell,
    theme_of,
)
from bot.delivery.party_cards import PartyCards
from bot.delivery.party_controls import STAGE_NAMES, next_stage, stage_before
from bot.delivery.party_face import ROLE_NAMES
from bot.delivery.theme_thread_acts import check_may_make
from bot.delivery.theme_threads import ThemeThreads
from bot.errors import ForbiddenError, InvalidRequestError, NotFoundError
from bot.ids import now_ms
from bot.model import Visibility
from bot.parties.acting import NOT_THERE
from bot.parties.model import Party, Role, Stage
from bot.parties.service import AlsoWithParty
from bot.sentences import Sentence, say
from bot.store import party_cards, theme_threads
from bot.text import shorten


class _HasPartyCards(Protocol):
    @property
    def party_cards(self) -> PartyCards: ...


class _HasThreads(Protocol):
    @property
    def theme_threads(self) -> ThemeThreads: ...


PASSED = "This stage is over. Look at the party's newest card."


async def party_here(interaction: Interaction) -> Party:
    """Return the party that is held in this channel.

    Raises:
        NotFoundError: there is none; ForbiddenError: this is no channel of a server.
    """
    _, channel_id = channel_of(interaction)
    party = await front_of(interaction).parties.open_in(channel_id)
    if party is None:
        raise NotFoundError("There is no party in this channel. Open one: /party start")
    return party


async def party_of_card(
    interaction: Interaction, party_id: str, card_id: int, *, there: bool = True
) -> Party:
    """Return the party of a card that is pressed, if the card's stage goes on.

    Raises:
        InvalidRequestError: the stage, or the party, is over.
        ForbiddenError: who presses is not there, where they have to be.
    """
    front = front_of(interaction)
    party = await front.parties.get(party_id)
    card = await party_cards.by_id(front.store, card_id)
    if not party.open:
        raise InvalidRequestError("party", "This party is over.")
    if card is None or card.party_id != party.id or not card.newest:
        raise InvalidRequestError("stage", PASSED)
    if there:
        member = await front.parties.member(party, person_of(interaction).id)
        if member is None or not member.present:
            raise ForbiddenError(NOT_THERE)
    return party


async def start(
    interaction: Interaction,
    topic: str,
    *,
    minutes: int,
    guests: int | None,
    visibility: Visibility,
    thread: bool,
) -> None:
    """Open a party here, or in a thread of its own.

    Raises:
        ForbiddenError: the asker does not manage the channel, or the bot may not post there, or
            the thread takes its time: it comes, and with it the party, when Discord makes it.
        As `Parties.start` does.
    """
    front, (guild_id, channel_id) = front_of(interaction), channel_of(interaction)
    asker = asker_of(interaction)
    if not (interaction.permissions.manage_channels or front.gate.is_host(asker)):
        raise ForbiddenError(
            "Only who may manage this channel, or is a host here, can open a party."
        )
    _check_may_post(interaction, thread=thread)
    theme = await theme_of(interaction)
    if thread:
        asker = msgspec.structs.replace(asker, channel_id=None, parent_id=channel_id)

    party = await front.parties.start(
        topic,
        asker,
        theme=theme,
        guild_id=guild_id,
        channel_id=asker.channel_id,
        visibility=visibility,
        stage_minutes=minutes,
        max_guests=guests,
        also=in_a_thread(guild_id, channel_id) if thread else None,
    )
    place = channel_id
    if thread:
        threads = cast(_HasThreads, interaction.client).theme_threads
        place = await threads.come(party.theme_id, channel_id)
    where = f"<#{place}>"
    await tell(interaction, say("The party is open in {channel}; you are its host.", channel=where))


def in_a_thread(guild_id: int, channel_id: int) -> AlsoWithParty:
    """Return what orders a party's thread in a channel, in the transaction that opens the party."""

    async def order(connection: aiosqlite.Connection, party: Party) -> None:
        await theme_threads.want(
            connection,
            party.theme_id,
            guild_id=guild_id,
            parent_id=channel_id,
            forum=False,
            name=shorten(party.topic, 100),
            now_ms=now_ms(),
            for_party=True,
        )

    return order


async def join(interaction: Interaction, party: Party) -> None:
    """Let who asks in."""
    member = await front_of(interaction).parties.join(party, asker_of(interaction))
    await tell(interaction, say("You are at the party, as {role}.", role=ROLE_NAMES[member.role]))


async def leave(interaction: Interaction) -> None:
    """Let who asks go."""
    party = await party_here(interaction)
    await front_of(interaction).parties.leave(party, asker_of(interaction))
    await tell(interaction, say("You have left the party. You can come back."))


async def move(interaction: Interaction, party: Party, stage: Stage) -> None:
    """Move a party to a stage; at the last one its bundle is made, if there is anything in it."""
    front, asker = front_of(interaction), asker_of(interaction)
    await front.parties.move(party, asker, stage)
    said = say("The party is at: {stage}.", stage=STAGE_NAMES[stage])
    if stage is Stage.PUBLISHED:
        try:
            said = await _published(interaction, party)
        except InvalidRequestError as error:  # there is nothing to publish: the stage is well
            said = say("{done} {why}", done=said, why=error.sentence)
    await tell(interaction, said)


async def publish(interaction: Interaction, party: Party) -> None:
    """Have the party's record go out: a bundle, on its card. It goes to its last stage with that.

    The bundle is made anew where that was done before. Where it cannot be, the party stays
    where it is.

    Raises:
        As `Publishing.make` and `Parties.move` do.
    """
    front, asker = front_of(interaction), asker_of(interaction)
    await front.publishing.check(party.id, asker)
    if party.stage is not Stage.PUBLISHED:
        await front.parties.move(party, asker, Stage.PUBLISHED)
    await tell(interaction, await _published(interaction, party))


async def _published(interaction: Interaction, party: Party) -> Sentence:
    """Have a party's bundle made; return what is said of that.

    Raises:
        As `Publishing.make` does.
    """
    await front_of(interaction).publishing.make(party.id, asker_of(interaction))
    cast(_HasPartyCards, interaction.client).party_cards.look_again(party.id)
    return say("The bundle is being made. It comes to the party's card in a while.")


async def go_on(interaction: Interaction, party: Party, *, back: bool = False) -> None:
    """Move a party to the next stage, or to the one before."""
    stage = stage_before(party.stage) if back else next_stage(party.stage)
    if stage is None:
        raise InvalidRequestError("stage", "There is no further stage.")
    await move(interaction, party, stage)


async def set_timer(interaction: Interaction, minutes: int) -> None:
    """Let the stages last so long."""
    party = await party_here(interaction)
    await front_of(interaction).parties.set_timer(party, asker_of(interaction), minutes)
    if minutes:
        text = say("Stages have {minutes} minutes, this one from now on.", minutes=minutes)
        await tell(interaction, text)
    else:
        await tell(interaction, say("There is no timer any more."))


async def give_role(interaction: Interaction, party: Party, person_id: str, role: Role) -> None:
    """Give somebody who is there a role."""
    parties, asker = front_of(interaction).parties, asker_of(interaction)
    await parties.set_role(party, asker, person_id, role)
    member = await parties.member(party, person_id)
    assert member is not None
    name = words.plain(member.person.name, 40)
    await tell(interaction, say("{name} is now: {role}.", name=name, role=ROLE_NAMES[role]))


async def send_away(interaction: Interaction, party: Party, person_id: str) -> None:
    """Send somebody away for good."""
    await front_of(interaction).parties.remove(party, asker_of(interaction), person_id)
    await tell(interaction, say("They are gone, and cannot come back."))


async def end(interaction: Interaction, party: Party) -> None:
    """End a party."""
    await front_of(interaction).parties.end(party, asker_of(interaction))
    await tell(interaction, say("The party is over. What was drawn stays."), view=None)


async def show(interaction: Interaction) -> None:
    """Show the party's card to who asks, as it is now.

    Raises:
        NotFoundError: there is no party here, or its card is only just being made.
    """
    party = await party_here(interaction)
    front = front_of(interaction)
    card = await party_cards.newest_of(front.store, party.id)
    if card is None:
        raise NotFoundError("The party is just being opened. Try again.")
    face = await cast(_HasPartyCards, interaction.client).party_cards.face_of(party, card)
    files = await front.library.run(face.files)
    await interaction.edit_original_response(view=face.view(), attachments=files)


def stage_of(value: str) -> Stage:
    """Return a stage by its name; Discord does not hold every client to the choices.

    Raises:
        InvalidRequestError: there is none.
    """
    try:
        return Stage(value)
    except ValueError:
        raise InvalidRequestError("stage", "There is no such stage.") from None


def role_of(value: str) -> Role:
    """Return a role by its name.

    Raises:
        InvalidRequestError: there is none.
    """
    try:
        return Role(value)
    except ValueError:
        raise InvalidRequestError("role", "There is no such role.") from None


def _check_may_post(interaction: Interaction, *, thread: bool) -> None:
    has, channel = interaction.app_permissions, interaction.channel
    if thread:
        if not isinstance(channel, discord.TextChannel):
            raise InvalidRequestError(
                "thread", "A thread can be made in a text channel only. Leave that option out."
            )
        check_may_make(interaction, channel, has)
        return
    in_thread = isinstance(channel, discord.Thread)
    sends = has.send_messages_in_threads if in_thread else has.send_messages
    if not (has.view_channel and sends and has.attach_files):
        raise ForbiddenError(
            "A party needs a channel in which I may post messages and files. Allow me View "
            "Channel, Send Messages and Attach Files here, or take another channel."
        )
