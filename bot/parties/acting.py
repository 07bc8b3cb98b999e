"""What every act at a party goes through, in the transaction that writes it.

Whoever acts must be there, the party must be at the stage for it, and what happened becomes an
event of its stream: so the fronts learn of it, and only of what was committed. The payload names
what happened and never holds words. This module does not know what acts there are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any

import aiosqlite

from bot.dreams import Dreams
from bot.errors import ForbiddenError, InvalidRequestError, NotFoundError
from bot.gate import HOUR_MS, Asker, Gate
from bot.ids import now_ms
from bot.model import Dream, EventKind, Theme
from bot.offspring import Offspring
from bot.parties.model import Member, Party, PartyLimits, Role, Stage
from bot.rights import Actor
from bot.sentences import Sentence, say
from bot.store import Store, dream_states, events, parties, party_dreams, people
from bot.store import dreams as dream_rows
from bot.themes import Themes
from bot.values import check_person

LEADERS = frozenset({Role.HOST, Role.FACILITATOR})
HOST = frozenset({Role.HOST})

OVER = "This party is over."
NOT_THERE = "Join the party first."
NOT_OURS = "This dream is not one of the party's."
_WHEN = {
    Stage.GATHER: say("gather"),
    Stage.SKETCH: say("sketch"),
    Stage.ELABORATE: say("elaborate"),
    Stage.CHOOSE: say("choose"),
    Stage.FINALE: say("are in the finale"),
    Stage.PUBLISHED: say("have published"),
}


@dataclass(frozen=True)
class Act:
    """An act under way: the party and the member as the transaction sees them."""

    connection: aiosqlite.Connection
    party: Party
    member: Member | None
    at_ms: int

    async def note(self, what: str, **payload: Any) -> None:
        """Write what happened into the stream. `payload` holds ids and numbers, never words."""
        await note(self.connection, self.party, self.member, what, self.at_ms, **payload)


async def note(
    connection: aiosqlite.Connection,
    party: Party,
    member: Member | None,
    what: str,
    at_ms: int,
    **payload: Any,
) -> None:
    """Write what happened at a party, and by whom if it was somebody, into its stream."""
    await events.append(
        connection,
        EventKind.PARTY,
        party.theme_id,
        at_ms,
        person_id=None if member is None else member.person.id,
        payload={"what": what, **payload},
    )


class Acting:
    """What acts at parties share. `clock` gives milliseconds since 1970."""

    def __init__(
        self,
        store: Store,
        themes: Themes,
        dreams: Dreams,
        offspring: Offspring,
        gate: Gate,
        limits: PartyLimits | None = None,
        *,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._store = store
        self._themes = themes
        self._dreams = dreams
        self._offspring = offspring
        self._gate = gate
        self._limits = limits or PartyLimits()
        self._clock = clock

    @asynccontextmanager
    async def _acting(
        self,
        party: Party,
        actor: Actor,
        *stages: Stage,
        roles: frozenset[Role] = frozenset(Role),
    ) -> AsyncIterator[Act]:
        """Give the transaction of one act, if the actor may do it.

        Raises:
            NotFoundError, InvalidRequestError: there is no such party, or it is over, or not at
                one of these stages.
            ForbiddenError: the actor is not there, or has none of these roles.
        """
        async with self._store.write() as connection:
            yield await self._admit(connection, party, actor, *stages, roles=roles)

    async def _admit(
        self,
        connection: aiosqlite.Connection,
        party: Party,
        actor: Actor,
        *stages: Stage,
        roles: frozenset[Role] = frozenset(Role),
    ) -> Act:
        party = await self._open_now(connection, party)
        member = await parties.member(connection, party.id, actor.person.id)
        _check_role(party, actor, member, roles)
        if stages and party.stage not in stages:
            raise InvalidRequestError("stage", _at_another_time(stages))
        at_ms = self._clock()
        await people.upsert(connection, check_person(actor.person), at_ms)
        await parties.touch(connection, party.id, at_ms)
        if member is None:  # a moderator, who need not be there
            member = Member(
                party_id=party.id, person=actor.person, role=Role.GUEST, joined_ms=0, left_ms=0
            )
        return Act(connection, party, member, at_ms)

    async def _enter(self, act: Act, stage: Stage) -> None:
        """Have the party of an act be at another stage from now on."""
        due_ms = None if stage is Stage.PUBLISHED else due(act.at_ms, act.party.stage_minutes)
        await parties.set_stage(act.connection, act.party.id, stage, due_ms, act.at_ms)
        await act.note("stage", stage=stage.value, before=act.party.stage.value)

    async def check_role(self, party: Party, actor: Actor, roles: frozenset[Role]) -> None:
        """Refuse, before anything is asked of them, whom an act would refuse.

        Raises:
            ForbiddenError: the actor is not there, or has none of these roles.
        """
        member = await parties.member(self._store, party.id, actor.person.id)
        _check_role(party, actor, member, roles)

    async def _open_now(self, connection: aiosqlite.Connection, party: Party) -> Party:
        found = await parties.by_id(connection, party.id)
        if found is None:
            raise NotFoundError("There is no such party.")
        if not found.open:
            raise InvalidRequestError("party", OVER)
        return found

    def asker(self, party: Party, actor: Actor) -> Asker:
        """Return who asks as the party's server and channel judge them."""
        if isinstance(actor, Asker) and actor.guild_id == party.guild_id:
            return actor
        return Asker(
            actor.person,
            guild_id=party.guild_id,
            at_machine=actor.at_machine,
            # Before the thread is there, what holds above it holds.
            channel_id=party.channel_id or party.settings.parent_id,
            parent_id=party.settings.parent_id,
            age_restricted=party.settings.age_restricted,
        )

    async def _own(self, party: Party, dream_id: str) -> Dream:
        """Return one of a party's dreams.

        Raises:
            NotFoundError: it is none of them; a GoneError where it was deleted.
        """
        if await party_dreams.party_of(self._store, dream_id) != party.id:
            raise NotFoundError(NOT_OURS)
        return await self._dreams.existing(dream_id)

    async def _judge(
        self,
        connection: aiosqlite.Connection,
        asker: Asker,
        theme: Theme,
        dreams: Sequence[Dream],
    ) -> None:
        """Hold dreams that have just been inserted to the rules of the party's server."""
        if asker.guild_id is None or asker.channel_id is None:
            return
        for dream in dreams:
            self._gate.check_dream(asker, dream, theme)
        own, channel, hour = await dream_rows.places_taken(
            connection,
            asker.person.id,
            guild_id=asker.guild_id,
            channel_id=asker.channel_id,
            since_ms=now_ms() - HOUR_MS,
        )
        self._gate.check_waiting(asker, own=own, channel=channel, hour=hour)
        checked_as = self._gate.picture_check(asker)
        if checked_as is not None:
            await dream_states.check_as(connection, [dream.id for dream in dreams], checked_as)
        if self._gate.keeps(asker):
            await dream_states.keep_to_place(connection, [dream.id for dream in dreams])


def due(now_ms: int, minutes: int) -> int | None:
    """Return when a stage that begins now is over, None without a timer."""
    return now_ms + minutes * 60_000 if minutes > 0 else None


def leads(party: Party, actor: Actor) -> bool:
    """Say whether somebody may lead a party without being its host."""
    if actor.at_machine:
        return True
    return actor.moderates and actor.guild_id is not None and actor.guild_id == party.guild_id


def _check_role(party: Party, actor: Actor, member: Member | None, roles: frozenset[Role]) -> None:
    there = member is not None and member.present
    if roles >= frozenset(Role):
        if not there:
            raise ForbiddenError(NOT_THERE)
    elif not (there and member is not None and member.role in roles) and not leads(party, actor):
        raise ForbiddenError(_only(roles))


def _at_another_time(stages: Sequence[Stage]) -> Sentence:
    """Return the sentence that says at which stages something can be done."""
    first, *others = (_WHEN[stage] for stage in stages)
    when = reduce(lambda one, other: say("{one} or {other}", one=one, other=other), others, first)
    return say("This can be done while you {when}. Whoever leads the party moves it on.", when=when)


def _only(roles: frozenset[Role]) -> str:
    if roles == {Role.HOST}:
        return "Only the host of the party can do that."
    return "Only the host and the facilitators of the party can do that."
