"""Coming, going and roles. A party that is open and has anybody in it has exactly one host."""

from __future__ import annotations

import msgspec

from bot.errors import ForbiddenError, InvalidRequestError, LimitError, NotFoundError
from bot.model import Person, Visibility
from bot.parties.acting import HOST, Act, leads
from bot.parties.model import Member, Party, Role
from bot.parties.reading import WRONG_CODE, Reading, is_code_of
from bot.rights import Actor
from bot.sentences import say
from bot.store import parties, people
from bot.values import check_person

_HEIRS = (Role.PROMPT_MASTER, Role.FACILITATOR, Role.ART_EXPERT, Role.GUEST)


class Membership(Reading):
    """Who is at a party, and as what."""

    async def join(self, party: Party, actor: Actor, *, code: str | None = None) -> Member:
        """Let somebody in; who was there before is what they were, if that is still free.

        The code lets anybody in. Without one do people of the party's own server, those who have
        been there, and anybody where the party is public. Who comes to a party that all have left
        becomes its host.

        Raises:
            ForbiddenError: the code is wrong, or they have none and need one, or may not come.
            InvalidRequestError: the party is over.
            LimitError: it is full.
        """
        asker = self.asker(party, actor)
        person = check_person(actor.person)
        theme = await self.theme_of(party)
        async with self._store.write() as connection:
            now = await parties.by_id(connection, party.id)
            before = await parties.member(connection, party.id, person.id)
            # Before all else: who has no right to come learns nothing of the party.
            if now is None or not (
                is_code_of(now, code)
                if code is not None
                else before is not None
                or leads(now, actor)
                or (actor.guild_id is not None and actor.guild_id == now.guild_id)
                or theme.visibility is Visibility.PUBLIC
            ):
                raise ForbiddenError(WRONG_CODE)
            party = await self._open_now(connection, now)
            if before is not None and before.present:
                return before
            if before is not None and before.removed:
                raise ForbiddenError("You were asked to leave this party.")
            self._gate.check_person(asker)
            there = [one for one in await parties.members(connection, party.id) if one.present]
            most = party.settings.max_guests
            if sum(one.role is not Role.HOST for one in there) >= most and there:
                raise LimitError(
                    say("This party is full: {most} guests are there.", most=most), 60.0
                )
            at_ms = self._clock()
            await people.upsert(connection, person, at_ms)
            member = Member(
                party_id=party.id,
                person=person,
                role=Role.GUEST if before is None else before.role,
                joined_ms=at_ms,
                credited=before is None or before.credited,
            )
            await parties.put_member(connection, member)
            act = Act(connection, party, member, at_ms)
            await act.note("joined")
            if not there:
                member = await _make_host(act, member)
            await parties.touch(connection, party.id, at_ms)
        return member

    async def leave(self, party: Party, actor: Actor) -> None:
        """Let somebody go. A host hands over to who has been there longest.

        Of those there, a prompt master comes first, then a facilitator, then an art expert.

        Raises:
            ForbiddenError: they are not there.
            InvalidRequestError: the party is over.
        """
        async with self._acting(party, actor) as act:
            assert act.member is not None
            await self._go(act, act.member)

    async def remove(self, party: Party, actor: Actor, person_id: str) -> None:
        """Send somebody away for good.

        Raises:
            ForbiddenError: the actor is neither host nor moderator.
            NotFoundError: they are not there.
            InvalidRequestError: they are the host.
        """
        async with self._acting(party, actor, roles=HOST) as act:
            member = await self._present(act, person_id)
            if member.role is Role.HOST:
                raise InvalidRequestError("person", "Hand the party over first.")
            await self._go(act, msgspec.structs.replace(member, removed=True))

    async def hand_over(self, party: Party, actor: Actor, person_id: str) -> None:
        """Make somebody who is there the host; who was it becomes a guest.

        Raises:
            ForbiddenError: the actor is neither host nor moderator.
            NotFoundError: they are not there.
        """
        async with self._acting(party, actor, roles=HOST) as act:
            await _make_host(act, await self._present(act, person_id))

    async def set_role(self, party: Party, actor: Actor, person_id: str, role: Role) -> None:
        """Give somebody who is there a role; that of the host is handed over.

        Raises:
            ForbiddenError: the actor is neither host nor moderator.
            NotFoundError: they are not there.
            InvalidRequestError: they are the host, who stays that until they hand over.
        """
        if role is Role.HOST:
            await self.hand_over(party, actor, person_id)
            return
        async with self._acting(party, actor, roles=HOST) as act:
            member = await self._present(act, person_id)
            if member.role is Role.HOST:
                raise InvalidRequestError("role", "Hand the party over first: it needs a host.")
            await parties.put_member(act.connection, msgspec.structs.replace(member, role=role))
            await act.note("role", role=role.value)

    async def credit(self, party: Party, person: Person, credited: bool) -> None:
        """Say whether somebody is named in what is published; also when the party is over.

        Raises:
            NotFoundError: they have never been there.
        """
        async with self._store.write() as connection:
            member = await parties.member(connection, party.id, person.id)
            if member is None:
                raise NotFoundError("You have not been at this party.")
            member = msgspec.structs.replace(member, credited=credited)
            await parties.put_member(connection, member)
            await Act(connection, party, member, self._clock()).note("credit")

    async def _present(self, act: Act, person_id: str) -> Member:
        member = await parties.member(act.connection, act.party.id, person_id)
        if member is None or not member.present:
            raise NotFoundError("They are not at this party.")
        return member

    async def _go(self, act: Act, member: Member) -> None:
        gone = msgspec.structs.replace(member, left_ms=act.at_ms)
        await parties.put_member(act.connection, gone)
        await act.note("removed" if gone.removed else "left")
        if member.role is not Role.HOST:
            return
        members = await parties.members(act.connection, act.party.id)
        for role in _HEIRS:
            for heir in members:
                if heir.present and heir.role is role:
                    await _make_host(act, heir)
                    return


async def _make_host(act: Act, heir: Member) -> Member:
    """Make somebody the host in place of who was it, who becomes a guest."""
    for member in await parties.members(act.connection, act.party.id):
        if member.role is Role.HOST:
            if member.person.id == heir.person.id:
                return member
            await parties.put_member(
                act.connection, msgspec.structs.replace(member, role=Role.GUEST)
            )
    host = msgspec.structs.replace(heir, role=Role.HOST)
    await parties.put_member(act.connection, host)
    await Act(act.connection, act.party, host, act.at_ms).note("host")
    return host
