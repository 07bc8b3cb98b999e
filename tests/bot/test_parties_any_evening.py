"""Whatever several people do at a party, in whatever order, and whenever the process dies."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bot.errors import RequestError
from bot.model import EventKind, Person, Relation, Theme
from bot.parties.model import AssociationKind, Party, PartyLimits, Role, Stage, VoteKind
from bot.parties.voting import BUDGET
from bot.rights import Actor
from tests.bot.drawer import DIFFUSION, FOURIER
from tests.bot.test_offspring import UPSCALER
from tests.bot.test_parties import Clock, Room, room

HOUR_MS = 3600 * 1000
PEOPLE = [Actor(Person(f"guest:{name}", name.title())) for name in ("ann", "bob", "cee", "dee")]
WORDS = ("quagmire", "zeppelin", "xylophone", "kumquat")
LIMITS = PartyLimits(max_guests=2, weight=3.0, idle_hours=12.0, words_per_minute=4)
Acts = list[tuple[str, Actor, int]]
DRAWING = ("draw", "draw", "paint", "paint", "steer", "associate")
FITTING = {
    Stage.GATHER: ("associate", "associate", "hide"),
    Stage.SKETCH: DRAWING,
    Stage.ELABORATE: (*DRAWING, "grow", "grow", "combine", "delete"),
    Stage.CHOOSE: ("favour", "pair", "pair", "points", "points"),
    Stage.FINALE: ("finale", "finale", "paint", "paint", "steer"),
}
ALWAYS = (
    "join", "join", "sneak", "leave", "leave", "leave", "remove", "hand_over", "role", "credit",
    "move", "timer", "settings", "wait", "restart", "restart", "end",
    *FITTING[Stage.CHOOSE], *DRAWING,
)  # fmt: skip


def acts_at(stage: Stage) -> st.SearchStrategy[Acts]:
    """Return acts of which most fit a stage, and some come at any time."""
    kind = st.sampled_from((*FITTING[stage] * 5, *ALWAYS))
    return st.lists(
        st.tuples(kind, st.sampled_from(PEOPLE), st.integers(0, 999)), min_size=3, max_size=9
    )


EVENINGS = st.fixed_dictionaries({stage: acts_at(stage) for stage in FITTING})


class Evening:
    """One party, and what is always true of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.party: Party
        self.colours = 0

    async def play(self, evening: dict[Stage, Acts]) -> None:
        self.stack = AsyncExitStack()
        try:
            await self.restart()
            theme = await self.r.s.themes.get("open")
            self.party = await self.r.parties.start("loneliness", PEOPLE[0], theme=theme)
            for guest in PEOPLE[1 : 1 + LIMITS.max_guests]:
                await self.r.parties.join(self.party, guest, code=self.party.code)
            for stage, acts in evening.items():
                host = (await self.r.parties.get(self.party.id)).host
                with suppress(RequestError):  # they have left, or it is over
                    await self.r.parties.move(self.party, Actor(host), stage)
                for kind, actor, number in acts:
                    await self.act(kind, actor, number)
                    await self.check()
                if stage in (Stage.SKETCH, Stage.ELABORATE):
                    await self.paint(0)
        finally:
            await self.stack.aclose()

    async def restart(self) -> None:
        await self.stack.aclose()
        engines = (FOURIER, DIFFUSION, UPSCALER)
        self.r: Room = await self.stack.enter_async_context(
            room(self.folder, self.clock, LIMITS, engines)
        )

    async def act(self, kind: str, actor: Actor, number: int) -> None:
        if kind == "restart":
            await self.restart()
            return
        if kind == "wait":
            self.clock.ms += number * HOUR_MS // 60
            await self.r.parties.keeper.look()
            return
        if kind == "paint":
            await self.paint(number)
            return
        before = await self.events()
        try:
            await self.work(kind, actor, number)()
        except RequestError:
            # What was refused has left nothing; the finale's own chain may go on meanwhile.
            fresh = (await self.events())[len(before) :]
            assert all([await self.is_of_the_finale(event) for event in fresh]), kind

    def work(self, kind: str, actor: Actor, number: int) -> Callable[[], Awaitable[Any]]:
        parties, party = self.r.parties, self.party
        other = PEOPLE[number % len(PEOPLE)].person

        async def dream_id(offset: int = 0) -> str:
            found = await parties.nodes(party)
            return found[(number + offset) % len(found)].dream.id if found else "0" * 16

        async def finished_ids() -> list[str]:
            return [one.dream_id for one in await parties.standings(party)]

        async def points() -> None:
            some = (await finished_ids())[:3] or ["0" * 16]
            await parties.give_points(
                party, actor, {one: (number >> 2 * at) % 4 for at, one in enumerate(some)}
            )

        async def pair() -> None:
            found = await parties.pair(party, actor)
            if found is not None:
                await parties.prefer(party, actor, *found, equal=number % 5 == 0)

        async def hide() -> None:
            said = await parties.associations(party)
            await parties.hide(party, actor, said[number % len(said)].id if said else 0)

        async def draw() -> None:
            said = await parties.associations(party)
            chosen = [one.id for one in said if one.id % 2 == number % 2]
            words = WORDS[number % len(WORDS)]
            await parties.draw(party, actor, words, association_ids=chosen, count=1 + number % 2)

        async def grow() -> None:
            await parties.grow(party, actor, await dream_id(), WORDS[number % len(WORDS)])

        async def combine() -> None:
            await parties.combine(party, actor, await dream_id(), await dream_id(1))

        async def steer() -> None:
            await parties.steer(party, actor, await dream_id(), "a zeppelin", 2)

        async def favour() -> None:
            await parties.favour(party, actor, await dream_id())

        async def delete() -> None:
            await self.r.s.dreams.delete(await dream_id(), actor)

        async def finale() -> None:
            await parties.finale(party, actor, (await finished_ids())[: 1 + number % 2])

        async def associate() -> None:
            kinds = list(AssociationKind)
            words = WORDS[number % len(WORDS)]
            await parties.associate(party, actor, words, kinds[number % len(kinds)])

        return {
            "join": lambda: parties.join(party, actor, code=party.code),
            "sneak": lambda: parties.join(party, actor, code=f"{number:08}"),
            "leave": lambda: parties.leave(party, actor),
            "remove": lambda: parties.remove(party, actor, other.id),
            "hand_over": lambda: parties.hand_over(party, actor, other.id),
            "role": lambda: parties.set_role(
                party, actor, other.id, list(Role)[number % len(Role)]
            ),
            "credit": lambda: parties.credit(party, actor.person, number % 2 == 0),
            "move": lambda: parties.move(party, actor, list(Stage)[number % len(Stage)]),
            "associate": associate,
            "hide": hide,
            "draw": draw,
            "grow": grow,
            "combine": combine,
            "steer": steer,
            "delete": delete,
            "favour": favour,
            "pair": pair,
            "points": points,
            "finale": finale,
            "timer": lambda: parties.set_timer(party, actor, number % 40),
            "settings": lambda: parties.change(party, actor, everyone_steers=number % 2 == 0),
            "end": lambda: parties.end(party, actor),
        }[kind]

    async def is_of_the_finale(self, event: Any) -> bool:
        if event.kind is EventKind.ASKED:
            dream = await self.r.s.dreams.get(event.dream_id)
            return dream.relation in (Relation.ENLARGE, Relation.UPSCALE)
        return bool(event.payload.get("what") == "enlarged")

    async def paint(self, number: int) -> None:
        waiting = await self.r.s.dreams.unfinished(self.party.theme_id)
        if waiting:
            self.colours += 1
            dream = waiting[number % len(waiting)]
            await self.r.s.draw(dream.id, f"#{0x101010 + 0x10203 * self.colours:06x}")
            await self.r.s.dreams.wait(dream.id)

    async def events(self) -> list[Any]:
        return await self.r.s.feed.replay(theme_id=self.party.theme_id, after=0, limit=10_000)

    async def check(self) -> None:
        parties = self.r.parties
        party = await parties.get(self.party.id)
        theme: Theme = await parties.theme_of(party)
        assert theme.weight == (3.0 if party.open else 1.0)
        members = await parties.members(party)
        hosts = [one for one in members if one.role is Role.HOST]
        assert [one.person for one in hosts] == [party.host]
        there = [one for one in members if one.present]
        if party.open and there:
            assert hosts[0].present
        assert sum(one.role is not Role.HOST for one in there) <= LIMITS.max_guests
        assert not any(one.present and one.removed for one in members)
        earlier = await self.events()
        record = await parties.record(party, inside=True)
        later = await self.events()
        assert record.stages[0].stage is Stage.GATHER
        assert record.stages[-1].stage is party.stage
        given = Counter[str]()
        for vote in await parties.votes(party):
            if vote.kind is VoteKind.POINTS:
                given[vote.person.id] += vote.value
        assert all(value <= BUDGET for value in given.values())
        keys = {(one.kind, one.words) for one in record.associations}
        assert len(keys) == len(record.associations)
        # A finale goes on meanwhile: what was asked for between the readings may be in the record.
        nodes = {node.dream.id for node in record.nodes}
        assert _ids(earlier, EventKind.ASKED) - _ids(later, EventKind.DELETED) <= nodes
        assert nodes <= _ids(later, EventKind.ASKED) - _ids(earlier, EventKind.DELETED)
        members_ids = {one.person.id for one in members}
        assert {node.entry.person.id for node in record.nodes} <= members_ids
        said = str([event.payload for event in await self.events()])
        assert not any(word in said for word in (*WORDS, "loneliness", "Ann", "Bob"))
        times = Counter(
            event.payload["stage"]
            for event in await self.events()
            if event.payload.get("what") == "time"
        )
        moves = Counter(one.stage.value for one in record.stages)
        timers = sum(event.payload.get("what") == "timer" for event in await self.events())
        assert all(count <= moves[stage] + timers for stage, count in times.items())


def _ids(events: list[Any], kind: EventKind) -> set[str]:
    return {event.dream_id for event in events if event.kind is kind}


@settings(max_examples=8)
@given(EVENINGS)
def test_any_evening_keeps_its_order(evening: dict[Stage, Acts]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(Evening(Path(folder)).play(evening))
