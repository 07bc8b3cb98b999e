"""Parties: opening them, moving them on, ending them. The one door all fronts use.

What people do in them is in the layers below, each its own module: `finale`, `voting`, `drawing`,
`saying`, `membership`, `reading`, `acting`. All state is in the database, so a party goes on after
a restart in whatever stage it was. This module does not know Discord or the wall.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiosqlite
import msgspec

from bot.errors import InvalidRequestError, LimitError
from bot.gate import Asker
from bot.ids import ALPHABET, IdMaker
from bot.model import Theme, Visibility
from bot.parties.acting import HOST, LEADERS, OVER, Act, due, note
from bot.parties.drawing import SLUG_BEGINS, SLUG_LENGTH
from bot.parties.finale import Finale
from bot.parties.keeper import Keeper
from bot.parties.model import FinalePicture, Member, Party, PartySettings, Role, Stage
from bot.parties.reading import CODE_LENGTH
from bot.rights import Actor
from bot.sentences import say
from bot.store import parties, people
from bot.text import clean, shorten, visible
from bot.themes import MAX_TITLE, MAX_TOPIC
from bot.values import check_person

AlsoWithParty = Callable[[aiosqlite.Connection, Party], Awaitable[None]]

STAGE_MINUTES = 15
MAX_MINUTES = 24 * 60
MAX_GUESTS = 1000
MAX_WEIGHT = 4.0
USUAL_WEIGHT = 1.0


class Parties(Finale):
    """The parties there are. `start_keeping` before the fronts open, `stop` after they close."""

    def __init__(self, *services: Any, **options: Any) -> None:
        super().__init__(*services, **options)
        self._begin()
        self._ids = IdMaker()
        self.keeper = Keeper(self._store, self._expire, self._limits.idle_hours, self._clock)
        self._dreams.guard(self._guard)

    @property
    def usual_guests(self) -> int:
        """How many guests a party has room for, if its host says nothing else."""
        return self._limits.max_guests

    async def start_keeping(self) -> None:
        """Take up what an earlier process left: timers, and pictures on their way."""
        self._ids = IdMaker(await parties.last_id(self._store))
        await self._resume()
        self.keeper.start()

    async def stop(self) -> None:
        """Leave the rest to the next start."""
        await self.keeper.stop()
        await self._chains.stop()

    async def start(
        self,
        topic: str,
        host: Actor,
        *,
        theme: Theme,
        guild_id: int | None = None,
        channel_id: int | None = None,
        visibility: Visibility = Visibility.LINK,
        stage_minutes: int = STAGE_MINUTES,
        max_guests: int | None = None,
        everyone_steers: bool = True,
        also: AlsoWithParty | None = None,
    ) -> Party:
        """Open a party with a theme of its own, which draws as `theme` does.

        `also` is called within the transaction that opens it.

        Raises:
            InvalidRequestError: a value is wrong, or there is a party in the channel already.
            ForbiddenError: the host may not ask for anything there.
            LimitError: the host has too many parties open.
        """
        topic = _topic(topic)
        person = check_person(host.person)
        settings = PartySettings(
            max_guests=_guests(max_guests, self._limits.max_guests),
            everyone_steers=everyone_steers,
            weight=min(MAX_WEIGHT, self._limits.weight),
            age_restricted=isinstance(host, Asker) and host.age_restricted,
            parent_id=host.parent_id if isinstance(host, Asker) else None,
        )
        now = self._clock()
        party = Party(
            id=self._ids.next(),
            code=_random(CODE_LENGTH),
            theme_id=0,
            topic=topic,
            stage=Stage.GATHER,
            host=person,
            guild_id=guild_id,
            channel_id=channel_id,
            created_ms=now,
            stage_started_ms=now,
            stage_minutes=_minutes(stage_minutes),
            due_ms=due(now, stage_minutes),
            active_ms=now,
            ended_ms=None,
            settings=settings,
        )
        asker = self.asker(party, host)
        self._gate.check_person(asker)
        self._gate.check_words(asker, [topic])

        async def open_it(connection: aiosqlite.Connection, made: Theme) -> None:
            nonlocal party
            most = self._limits.open_per_person
            if await parties.count_hosted(connection, person.id) >= most:
                raise LimitError(
                    say("You have {most} parties open. End one of them first.", most=most)
                )
            if channel_id is not None:
                await _check_free(connection, channel_id)
            party = msgspec.structs.replace(party, theme_id=made.id)
            await people.upsert(connection, person, now)
            await parties.insert(connection, party)
            member = Member(party_id=party.id, person=person, role=Role.HOST, joined_ms=now)
            await note(connection, party, member, "opened", now)
            if also is not None:
                await also(connection, party)

        drawn_as = (
            "template", "modifiers", "negative", "palette", "preset", "engine", "model", "width",
            "height", "steps", "colour",
        )  # fmt: skip
        await self._themes.create(
            SLUG_BEGINS + _random(SLUG_LENGTH),
            shorten(topic, MAX_TITLE),
            person=person,
            also=open_it,
            topic=topic,
            visibility=visibility,
            weight=settings.weight,
            **{name: getattr(theme, name) for name in drawn_as},
        )
        self.keeper.wake()
        return party

    async def move(self, party: Party, actor: Actor, stage: Stage) -> Party:
        """Move a party on to another stage, or back; return it as it is then.

        Raises:
            ForbiddenError: the actor does not lead it.
            InvalidRequestError: it is over, or at this stage already.
        """
        async with self._acting(party, actor, roles=LEADERS) as act:
            if act.party.stage is stage:
                raise InvalidRequestError("stage", "The party is at this stage already.")
            await self._enter(act, stage)
            moved = await self._open_now(act.connection, party)
        self.keeper.wake()
        return moved

    async def open_finale(
        self, party: Party, actor: Actor, dream_ids: Sequence[str]
    ) -> list[FinalePicture]:
        """Draw the chosen dreams anew as `finale` does, at whatever stage the party is.

        The party moves on to its finale where they are accepted, and else stays where it is.

        Raises:
            As `finale` does.
        """
        pictures = await self._finale(party, actor, dream_ids, moves=True)
        self.keeper.wake()
        return pictures

    async def set_timer(self, party: Party, actor: Actor, minutes: int) -> Party:
        """Let stages last so many minutes, this one from now on; 0 for no timer.

        Raises:
            As `move` does.
        """
        minutes = _minutes(minutes)
        async with self._acting(party, actor, roles=LEADERS) as act:
            # The last stage has no end; what is set then is for a stage that is gone back to.
            over = act.party.stage is Stage.PUBLISHED
            ends = None if over else due(act.at_ms, minutes)
            await parties.set_timer(act.connection, party.id, minutes, ends)
            await act.note("timer", minutes=minutes)
            changed = await self._open_now(act.connection, party)
        self.keeper.wake()
        return changed

    async def change(
        self,
        party: Party,
        actor: Actor,
        *,
        everyone_steers: bool | None = None,
        max_guests: int | None = None,
        code_shown: bool | None = None,
    ) -> Party:
        """Change what the host chose; None leaves it. Who is there already stays.

        Raises:
            ForbiddenError: the actor is neither host nor moderator.
            InvalidRequestError: a value is wrong, or the party is over.
        """
        async with self._acting(party, actor, roles=HOST) as act:
            before = act.party.settings
            settings = msgspec.structs.replace(
                before,
                everyone_steers=(
                    before.everyone_steers if everyone_steers is None else everyone_steers
                ),
                max_guests=_guests(max_guests, before.max_guests),
                code_shown=before.code_shown if code_shown is None else code_shown,
            )
            await parties.set_settings(act.connection, party.id, settings)
            await act.note("settings")
            return await self._open_now(act.connection, party)

    async def tell_bundled(self, party_id: str) -> None:
        """Write into a party's stream that its bundle is made, or that it could not be.

        Raises:
            NotFoundError: there is no such party.
        """
        party = await self.get(party_id)
        async with self._store.write() as connection:
            await note(connection, party, None, "bundled", self._clock())

    async def hold(
        self,
        party: Party,
        channel_id: int,
        *,
        also: Callable[[aiosqlite.Connection], Awaitable[None]],
    ) -> None:
        """Have a party that was opened without a channel be held in one; its time begins with that.

        `also` is called within the transaction.

        Raises:
            InvalidRequestError: it is over or held elsewhere, or there is a party in the channel.
        """
        async with self._store.write() as connection:
            now = await self._open_now(connection, party)
            if now.channel_id is not None and now.channel_id != channel_id:
                raise InvalidRequestError("party", "This party is held in another channel.")
            if now.channel_id is None:
                await _check_free(connection, channel_id)
            at_ms = self._clock()
            due_ms = None if now.stage is Stage.PUBLISHED else due(at_ms, now.stage_minutes)
            await parties.hold(connection, party.id, channel_id, due_ms)
            await parties.touch(connection, party.id, at_ms)
            await also(connection)
            await note(connection, now, None, "held", at_ms)
        self.keeper.wake()

    async def give_up(self, party: Party) -> None:
        """End a party that cannot be held where its host wanted it.

        Raises:
            InvalidRequestError: it is over already.
        """

        async def close(connection: aiosqlite.Connection, _: Theme) -> None:
            await _close(Act(connection, party, None, self._clock()))

        await self._unweigh(party, close)

    async def end(self, party: Party, actor: Actor) -> Party:
        """End a party: its share of the machine is the usual one again. Its record stays.

        Raises:
            ForbiddenError: the actor is neither host nor moderator.
            InvalidRequestError: it is over already.
        """

        async def close(connection: aiosqlite.Connection, _: Theme) -> None:
            act = await self._admit(connection, party, actor, roles=HOST)
            await _close(act)

        await self._unweigh(party, close)
        return await self.get(party.id)

    async def _expire(self, party: Party) -> None:
        """End a party that everybody has left alone, unless somebody has just come back to it."""

        async def close(connection: aiosqlite.Connection, _: Theme) -> None:
            now = await self._open_now(connection, party)
            if now.active_ms != party.active_ms:
                raise InvalidRequestError("party", "This party goes on.")
            await _close(Act(connection, now, None, self._clock()))

        await self._unweigh(party, close)

    async def _unweigh(
        self, party: Party, close: Callable[[aiosqlite.Connection, Theme], Awaitable[None]]
    ) -> None:
        theme = await self.theme_of(party)
        await self._themes.change(theme.slug, weight=USUAL_WEIGHT, also=close)
        self.keeper.wake()


async def _check_free(connection: aiosqlite.Connection, channel_id: int) -> None:
    if await parties.open_in(connection, channel_id):
        raise InvalidRequestError("channel", "There is a party in this channel already.")


async def _close(act: Act) -> None:
    if not await parties.set_ended(act.connection, act.party.id, act.at_ms):
        raise InvalidRequestError("party", OVER)
    await act.note("ended")


def _topic(typed: str) -> str:
    topic = clean(typed[: 50 * MAX_TOPIC])
    if not visible(topic):
        raise InvalidRequestError(
            "topic", "Give the party a topic: a word or two, such as “loneliness”."
        )
    if len(topic) > MAX_TOPIC:
        raise InvalidRequestError(
            "topic", say("The topic has at most {most} characters.", most=MAX_TOPIC)
        )
    return topic


def _guests(given: int | None, usual: int) -> int:
    if given is None:
        return usual
    if isinstance(given, bool) or not 1 <= given <= MAX_GUESTS:
        raise InvalidRequestError(
            "guests", say("There can be 1 to {most} guests.", most=MAX_GUESTS)
        )
    return given


def _minutes(given: int) -> int:
    if isinstance(given, bool) or not 0 <= given <= MAX_MINUTES:
        raise InvalidRequestError(
            "minutes",
            say("A stage lasts 1 to {most} minutes; 0 is for no timer.", most=MAX_MINUTES),
        )
    return given


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
