"""Parties: who is let in, what they may do when, what is kept of it, and that it survives."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from bot.errors import (
    ForbiddenError,
    InvalidRequestError,
    LimitError,
    NotFoundError,
)
from bot.gate import Asker
from bot.ids import now_ms
from bot.model import Dream, EventKind, JourneyRequest, Person, Relation, Visibility
from bot.parties import keeper
from bot.parties.model import AssociationKind, Party, PartyLimits, Role, Stage
from bot.parties.reading import SOMEBODY, WRONG_CODE
from bot.rights import Actor
from bot.store import Store, people
from generation.protocol import PROTOCOL_VERSION, Steer, Welcome
from tests.bot.drawer import ANN, BOB, DIFFUSION, FOURIER, Services, request, services, until
from tests.bot.test_offspring import UPSCALER

CEE = Person("guest:cee", "Cee")
DEE = Person("guest:dee", "Dee")
HOST, GUEST, THIRD, FOURTH = Actor(ANN), Actor(BOB), Actor(CEE), Actor(DEE)
MINUTE_MS = 60_000


class Clock:
    """The time, as tests set it."""

    def __init__(self) -> None:
        self.ms = now_ms()

    def __call__(self) -> int:
        self.ms += 1  # two things never happen at once
        return self.ms


class Room:
    """Parties over the services of a test."""

    def __init__(self, s: Services, clock: Clock) -> None:
        self.s = s
        self.clock = clock
        self.parties = s.parties
        self.parties._retry_s = 0.02

    async def opened(self, topic: str = "loneliness", **options: Any) -> Party:
        theme = await self.s.themes.get("open")
        return await self.parties.start(topic, HOST, theme=theme, **options)

    async def joined(self, *actors: Actor, stage: Stage = Stage.GATHER, **options: Any) -> Party:
        party = await self.opened(**options)
        for actor in actors:
            await self.parties.join(party, actor, code=party.code)
        if stage is not party.stage:
            party = await self.parties.move(party, HOST, stage)
        return party

    async def drawn(self, party: Party, actor: Actor = HOST, words: str = "a fox") -> Dream:
        (dream,) = await self.parties.draw(party, actor, words, count=1)
        await self.s.draw(dream.id, colour=COLOURS.pop(0))
        COLOURS.append("grey")
        return await self.s.dreams.wait(dream.id)

    async def happened(self, party: Party) -> list[str]:
        found = await self.s.feed.replay(theme_id=party.theme_id, after=0, limit=1000)
        return [event.payload["what"] for event in found if event.kind is EventKind.PARTY]


COLOURS = [f"#{value:06x}" for value in range(0x100000, 0x110000, 0x101)]


@asynccontextmanager
async def room(
    folder: Path,
    clock: Clock | None = None,
    limits: PartyLimits | None = None,
    engines: tuple[Any, ...] = (FOURIER, DIFFUSION),
) -> AsyncIterator[Room]:
    clock = clock or Clock()
    async with services(folder, up=False, party_limits=limits, clock=clock) as s:
        made = Room(s, clock)
        await made.parties.start_keeping()
        await s.up(Welcome(version=PROTOCOL_VERSION, pid=1, device="a test", engines=engines))
        yield made


# --- opening and ending ------------------------------------------------------------------------


async def test_a_party_has_a_theme_of_its_own_whose_weight_ends_with_it(tmp_path: Path) -> None:
    async with room(tmp_path, limits=PartyLimits(weight=3.0)) as r:
        await r.s.themes.create("oils", "Oils", template="{prompt}, oil on canvas", engine="clip")
        oils = await r.s.themes.get("oils")
        party = await r.parties.start(" the sea ", HOST, theme=oils, channel_id=5, guild_id=7)
        theme = await r.parties.theme_of(party)
        assert (theme.title, theme.template) == ("the sea", "{prompt}, oil on canvas")
        assert theme.visibility is Visibility.LINK and theme.slug.startswith("party-")
        assert party.code not in theme.slug
        await until(lambda: r.s.drawer.shares.get(theme.slug) == 3.0)
        assert await r.parties.open_in(5) == party == await r.parties.get(party.id)
        assert await r.parties.of_theme(theme.id) == party
        assert await r.parties.open() == [party]
        with pytest.raises(ForbiddenError, match="Only the host"):
            await r.parties.end(party, GUEST)
        ended = await r.parties.end(party, HOST)
        assert not ended.open
        await until(lambda: r.s.drawer.shares[theme.slug] == 1.0)
        assert await r.parties.open_in(5) is None and await r.parties.open() == []
        with pytest.raises(InvalidRequestError, match="over"):
            await r.parties.end(party, HOST)
        with pytest.raises(InvalidRequestError, match="over"):
            await r.parties.join(party, GUEST, code=party.code)
        assert await r.happened(party) == ["opened", "ended"]


async def test_a_channel_has_one_party_at_a_time_and_a_host_a_few(tmp_path: Path) -> None:
    async with room(tmp_path, limits=PartyLimits(open_per_person=2)) as r:
        first = await r.opened(channel_id=5)
        themes = await r.s.themes.list()
        with pytest.raises(InvalidRequestError, match="in this channel already"):
            await r.opened(channel_id=5)
        assert await r.s.themes.list() == themes  # nothing is left of it
        await r.opened(channel_id=6)
        with pytest.raises(LimitError, match="2 parties open"):
            await r.opened()
        await r.parties.end(first, HOST)
        await r.opened(channel_id=5)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"topic": "  "}, "Give the party a topic"),
        ({"topic": "x" * 301}, "at most 300"),
        ({"stage_minutes": -1}, "1 to 1440 minutes"),
        ({"max_guests": 0}, "1 to 1000 guests"),
    ],
)
async def test_mistakes_are_told(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    async with room(tmp_path) as r:
        with pytest.raises(InvalidRequestError, match=says):
            await r.opened(**options)


# --- who is let in -----------------------------------------------------------------------------


async def test_only_the_code_lets_strangers_in(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        party = await r.opened(guild_id=7, channel_id=5)
        for wrong in (None, "", "00000000", party.code[:-1], party.code + "0", "é" * 8, "x" * 9999):
            with pytest.raises(ForbiddenError) as refused:
                await r.parties.join(party, GUEST, code=wrong)
            assert str(refused.value) == WRONG_CODE
            if wrong is not None:
                with pytest.raises(ForbiddenError, match="No party takes this code"):
                    await r.parties.by_code(wrong)
        typed = f" {party.code[:4].upper()}-{party.code[4:]} "
        assert await r.parties.by_code(typed) == party
        member = await r.parties.join(party, GUEST, code=typed)
        assert member.role is Role.GUEST and member.present
        assert await r.parties.join(party, GUEST, code=typed) == member
        # Who is in the party's own server needs none, and who was there before.
        await r.parties.join(party, Actor(CEE, guild_id=7))
        with pytest.raises(ForbiddenError):
            await r.parties.join(party, Actor(DEE, guild_id=8))
        await r.parties.leave(party, GUEST)
        await r.parties.join(party, GUEST)
        assert (await r.happened(party)).count("joined") == 3


async def test_an_ended_party_tells_strangers_nothing(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        party = await r.opened()
        await r.parties.end(party, HOST)
        with pytest.raises(ForbiddenError) as refused:
            await r.parties.join(party, GUEST, code="00000000")
        assert str(refused.value) == WRONG_CODE


async def test_a_full_party_takes_nobody_and_who_is_removed_stays_out(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        party = await r.opened(max_guests=2)
        for guest in (GUEST, THIRD):
            await r.parties.join(party, guest, code=party.code)
        with pytest.raises(LimitError, match="full: 2 guests"):
            await r.parties.join(party, FOURTH, code=party.code)
        with pytest.raises(ForbiddenError, match="Only the host"):
            await r.parties.remove(party, THIRD, BOB.id)
        await r.parties.remove(party, HOST, BOB.id)
        await r.parties.join(party, FOURTH, code=party.code)
        with pytest.raises(ForbiddenError, match="asked to leave"):
            await r.parties.join(party, GUEST, code=party.code)
        with pytest.raises(ForbiddenError, match="Join the party first"):
            await r.parties.associate(party, GUEST, "rain")


async def test_the_host_hands_over_when_they_leave(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        party = await r.joined(GUEST, THIRD, FOURTH)
        await r.parties.set_role(party, HOST, CEE.id, Role.ART_EXPERT)
        await r.parties.set_role(party, HOST, DEE.id, Role.PROMPT_MASTER)
        with pytest.raises(InvalidRequestError, match="needs a host"):
            await r.parties.set_role(party, HOST, ANN.id, Role.GUEST)
        for leaver, heir in ((HOST, DEE), (FOURTH, CEE), (THIRD, BOB)):
            await r.parties.leave(party, leaver)
            assert (await r.parties.get(party.id)).host == heir
        await r.parties.leave(party, GUEST)
        assert (await r.parties.get(party.id)).host == BOB  # the last to go
        back = await r.parties.join(party, THIRD)
        assert back.role is Role.HOST and (await r.parties.get(party.id)).host == CEE
        await r.parties.join(party, HOST)
        await r.parties.hand_over(party, THIRD, ANN.id)
        assert (await r.parties.get(party.id)).host == ANN
        assert (await r.happened(party)).count("host") == 5


# --- words -------------------------------------------------------------------------------------


async def test_the_same_words_are_kept_once_and_counted(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        party = await r.joined(GUEST)
        rain = await r.parties.associate(party, HOST, "  Rain on\nglass ")
        assert (rain.words, rain.count) == ("Rain on glass", 1)
        again = await r.parties.associate(party, GUEST, "rain on GLASS!")
        assert (again.id, again.words, again.count) == (rain.id, "Rain on glass", 2)
        assert (await r.parties.associate(party, GUEST, "rain on glass")).count == 2
        style = await r.parties.associate(party, GUEST, "rain on glass", AssociationKind.STYLE)
        assert style.id != rain.id
        for empty in ("", " \u200b ", "x" * 121):
            with pytest.raises(InvalidRequestError):
                await r.parties.associate(party, HOST, empty)
        with pytest.raises(ForbiddenError, match="Only who said this"):
            await r.parties.hide(party, GUEST, rain.id)
        await r.parties.hide(party, HOST, style.id)
        assert [one.id for one in await r.parties.associations(party)] == [rain.id]
        with pytest.raises(NotFoundError):
            await r.parties.hide(party, HOST, style.id)
        assert (await r.happened(party))[-4:] == ["said", "said", "said", "hidden"]
    rows = await _all_rows(tmp_path, "SELECT words || folded FROM party_association")
    assert rows == [("Rain on glassrain on glass",), ("",)]


async def test_who_floods_is_told_to_let_others_speak(tmp_path: Path) -> None:
    clock = Clock()
    async with room(tmp_path, clock, PartyLimits(words_per_minute=5)) as r:
        party = await r.joined(GUEST)
        for number in range(5):
            await r.parties.associate(party, GUEST, f"thing {number}")
        with pytest.raises(LimitError, match="5 things within a minute"):
            await r.parties.associate(party, GUEST, "one more")
        await r.parties.associate(party, HOST, "another's")
        clock.ms += MINUTE_MS
        await r.parties.associate(party, GUEST, "one more")
        clock.ms += 24 * 60 * MINUTE_MS  # it is wrong for a while
        for number in range(5):
            await r.parties.associate(party, GUEST, f"later {number}")
        clock.ms -= 23 * 60 * MINUTE_MS
        await r.parties.associate(party, GUEST, "now")


async def test_blocked_words_are_refused_by_whichever_door_they_come(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        await r.s.settings.change_guild(7, ANN, blocked_words=("dragon",))
        party = await r.opened(guild_id=7, channel_id=5)
        await r.parties.join(party, GUEST, code=party.code)
        with pytest.raises(InvalidRequestError, match="blocked"):
            await r.parties.associate(party, GUEST, "a dr4gon")
        with pytest.raises(InvalidRequestError, match="blocked"):
            await r.opened("dragons and a dragon", guild_id=7, channel_id=6)
        party = await r.parties.move(party, HOST, Stage.SKETCH)
        with pytest.raises(InvalidRequestError, match="blocked"):
            await r.parties.draw(party, GUEST, "a dragon")
        theme = await r.parties.theme_of(party)
        with pytest.raises(InvalidRequestError, match="blocked"):
            await r.s.dreams.ask(request("a dragon", theme=theme.slug, person=BOB))
        assert await r.parties.nodes(party) == []


# --- drawing -----------------------------------------------------------------------------------


async def test_sketches_are_small_quick_and_know_their_words(tmp_path: Path) -> None:
    adding = replace(FOURIER, continues=True)
    async with room(tmp_path, engines=(adding, DIFFUSION)) as r:
        party = await r.joined(GUEST)
        idea = await r.parties.associate(party, GUEST, "two old people")
        artist = await r.parties.associate(party, HOST, "Edward Hopper", AssociationKind.ARTIST)
        with pytest.raises(InvalidRequestError, match="while you sketch or elaborate"):
            await r.parties.draw(party, GUEST, "a fox")
        party = await r.parties.move(party, HOST, Stage.SKETCH)
        made = await r.parties.draw(party, GUEST, association_ids=[idea.id, artist.id], count=3)
        for dream in made:
            assert dream.prompt == "two old people, by Edward Hopper"
            assert (dream.recipe.width, dream.recipe.until_step) == (64, 30)
        (one,) = await r.parties.draw(
            party, HOST, "a window:2 | fog", association_ids=[idea.id], count=1
        )
        assert one.prompt == "a window, two old people:2 | fog"
        nodes = await r.parties.nodes(party)
        assert [node.entry.association_ids for node in nodes] == [(idea.id, artist.id)] * 3 + [
            (idea.id,)
        ]
        assert {node.entry.person for node in nodes} == {ANN, BOB}
        with pytest.raises(NotFoundError, match="no such words"):
            await r.parties.draw(party, GUEST, association_ids=[999])
        with pytest.raises(ForbiddenError, match="Join"):
            await r.parties.draw(party, THIRD, "a fox")


async def test_an_engine_that_plans_its_steps_sketches_with_half_of_them(tmp_path: Path) -> None:
    async with room(tmp_path, engines=(DIFFUSION,)) as r:
        party = await r.joined(stage=Stage.SKETCH)
        (dream,) = await r.parties.draw(party, HOST, "a fox", count=1)
        assert (dream.recipe.steps, dream.recipe.until_step, dream.recipe.width) == (10, None, 64)


async def test_a_prompt_grows_by_the_words_alone(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        party = await r.joined(GUEST, stage=Stage.SKETCH)
        dream = await r.drawn(party, words="a {red|blue|grey} door:2 | fog")
        with pytest.raises(InvalidRequestError, match="while you elaborate"):
            await r.parties.grow(party, GUEST, dream.id, "at dawn")
        party = await r.parties.move(party, HOST, Stage.ELABORATE)
        child = await r.parties.grow(party, GUEST, dream.id, "at dawn")
        assert child.prompt == "a {red|blue|grey} door, at dawn:2 | fog"
        assert child.recipe.prompt == dream.recipe.prompt.replace(" door:", " door, at dawn:")
        assert replace(child.recipe, prompt="") == replace(dream.recipe, prompt="", until_step=None)
        assert (child.parent_id, child.relation) == (dream.id, Relation.GROW)
        other = await r.parties.grow(party, HOST, child.id, "dusk", replacing="dawn")
        assert other.prompt == "a {red|blue|grey} door, at dusk:2 | fog"
        for words, replacing in (("", None), ("x", "moon")):
            with pytest.raises(InvalidRequestError):
                await r.parties.grow(party, HOST, child.id, words, replacing=replacing)
        (root,) = await r.parties.tree(party)
        assert root.dream.id == dream.id
        assert [node.dream.id for node in root.children] == [child.id]
        assert [node.dream.id for node in root.children[0].children] == [other.id]


async def test_two_are_put_together_by_words_or_by_pictures(tmp_path: Path) -> None:
    async with room(tmp_path, engines=(DIFFUSION,)) as r:
        party = await r.joined(stage=Stage.ELABORATE)
        first, second = await r.drawn(party, words="a fox"), await r.drawn(party, words="a boat")
        both = await r.parties.combine(party, HOST, first.id, second.id)
        assert both.prompt == "a fox and a boat" and both.relation is Relation.COMBINE
        assert both.recipe.seed == first.recipe.seed
        node = (await r.parties.nodes(party))[-1]
        assert (node.parent_id, node.entry.other_id) == (first.id, second.id)
        blending = replace(
            FOURIER,
            max_pictures=1,
            options=(*FOURIER.options, replace(FOURIER.options[0], name="blend")),
        )
        await r.s.up(Welcome(version=PROTOCOL_VERSION, pid=1, device="a test", engines=(blending,)))
        blend = await r.parties.combine(party, HOST, first.id, second.id, words="a fox in a boat")
        assert blend.relation is Relation.BLEND and blend.prompt == "a fox in a boat"
        assert first.image is not None and blend.recipe.init_sha256 == first.image.sha256
        with pytest.raises(InvalidRequestError, match="two different"):
            await r.parties.combine(party, HOST, first.id, first.id)


async def test_what_was_steered_is_put_together_as_what_it_became(tmp_path: Path) -> None:
    blending = replace(
        FOURIER,
        max_pictures=1,
        options=(*FOURIER.options, replace(FOURIER.options[0], name="blend")),
    )
    async with room(tmp_path, engines=(DIFFUSION,)) as r:
        await r.s.themes.change("open", template="{prompt}, oil")
        party = await r.joined(stage=Stage.ELABORATE)
        first = await r.drawn(party, words="a fox")
        (second,) = await r.parties.draw(party, HOST, "a boat", count=1)
        job = await r.s.job(second.id)
        steers = (Steer(5, "a green car, oil"),)
        r.s.drawer.jobs[second.id] = replace(job, recipe=replace(job.recipe, steers=steers))
        await r.s.draw(second.id, "blue")
        await r.s.dreams.wait(second.id)
        words = "a fox, oil and a green car, oil"
        both = await r.parties.combine(party, HOST, first.id, second.id)
        assert (both.relation, both.recipe.prompt) == (Relation.COMBINE, words)
        own = await r.parties.combine(party, HOST, second.id, first.id, words="a van")
        assert (own.prompt, own.recipe.prompt) == ("a van", "a van, oil")
        await r.s.up(Welcome(version=PROTOCOL_VERSION, pid=1, device="a test", engines=(blending,)))
        blend = await r.parties.combine(party, HOST, first.id, second.id)
        assert (blend.relation, blend.prompt, blend.recipe.prompt) == (
            Relation.BLEND, words, words,
        )  # fmt: skip


async def test_two_long_ones_are_put_together_by_the_words_of_one(tmp_path: Path) -> None:
    async with room(tmp_path, engines=(DIFFUSION,)) as r:
        party = await r.joined(stage=Stage.ELABORATE)
        long = ("a fox " * r.s.dreams.prompt_length)[: r.s.dreams.prompt_length // 2].strip()
        first, second = (
            await r.drawn(party, words=long),
            await r.drawn(party, words=f"{long} hunts"),
        )
        both = await r.parties.combine(party, HOST, first.id, second.id)
        assert both.prompt == second.prompt


async def test_a_journey_grows_along_its_words_and_its_last_picture_is_enlarged(
    tmp_path: Path,
) -> None:
    async with room(tmp_path) as r:
        party = await r.joined(stage=Stage.ELABORATE)
        slug = (await r.parties.theme_of(party)).slug
        way = JourneyRequest(frames=3, frame_steps=2)
        asked = request("a wood -> a city", theme=slug, engine="clip", journey=way, person=ANN)
        (trip,) = await r.s.dreams.ask(asked)
        await r.s.draw(trip.id)
        trip = await r.s.dreams.wait(trip.id)
        grown = await r.parties.grow(party, HOST, trip.id, "in fog")
        assert grown.recipe.journey is not None and grown.recipe.seed == trip.recipe.seed
        assert [stop.prompt for stop in grown.recipe.journey.stops] == ["a wood", "a city, in fog"]
        assert grown.recipe.prompt == "a wood -> a city, in fog" == grown.prompt
        party = await r.parties.move(party, HOST, Stage.CHOOSE)
        party = await r.parties.move(party, HOST, Stage.FINALE)
        (picture,) = await r.parties.finale(party, HOST, [trip.id])
        assert picture.redrawn_id is not None and trip.image is not None
        larger = (await r.s.dreams.get(picture.redrawn_id)).recipe
        assert larger.journey is None and larger.init_sha256 == trip.image.sha256
        assert (larger.prompt, larger.width > trip.image.width) == ("a city", True)


async def test_members_steer_each_others_dreams_if_the_host_lets_them(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        party = await r.joined(GUEST, THIRD, stage=Stage.SKETCH)
        (dream,) = await r.parties.draw(party, GUEST, "a fox", count=1)
        await r.s.begin(dream.id)
        await r.parties.steer(party, THIRD, dream.id, "a red fox")
        assert [prompt for _, prompt, _ in r.s.drawer.steers] == ["a red fox"]
        await r.parties.change(party, HOST, everyone_steers=False)
        with pytest.raises(ForbiddenError, match="Only Bob"):
            await r.parties.steer(party, THIRD, dream.id, "a wolf")
        await r.parties.steer(party, GUEST, dream.id, "a blue fox")
        await r.parties.steer(party, HOST, dream.id, "a green fox")
        with pytest.raises(ForbiddenError, match="Join"):
            await r.parties.steer(party, FOURTH, dream.id, "a wolf")
        assert len(r.s.drawer.steers) == 3


async def test_every_dream_of_the_theme_is_the_partys_and_strangers_get_none(
    tmp_path: Path,
) -> None:
    async with room(tmp_path) as r:
        party = await r.joined(GUEST, stage=Stage.SKETCH)
        theme = await r.parties.theme_of(party)
        dream = await r.drawn(party, GUEST)
        again = await r.s.offspring.reroll(dream.id, GUEST)  # by any card's button
        (asked,) = await r.s.dreams.ask(request("a boat", theme=theme.slug, person=BOB))
        found = [node.dream.id for node in await r.parties.nodes(party)]
        assert found == [dream.id, again.id, asked.id]
        with pytest.raises(ForbiddenError, match="Join the party first"):
            await r.s.dreams.ask(request("a boat", theme=theme.slug, person=CEE))
        with pytest.raises(ForbiddenError, match="Join the party first"):
            await r.s.offspring.reroll(dream.id, THIRD)
        party = await r.parties.move(party, HOST, Stage.CHOOSE)
        with pytest.raises(InvalidRequestError, match="while you"):
            await r.s.offspring.reroll(dream.id, GUEST)
        await r.parties.end(party, HOST)
        with pytest.raises(InvalidRequestError, match="over"):
            await r.s.offspring.reroll(dream.id, GUEST)
        (elsewhere,) = await r.s.dreams.ask(request("a boat", person=CEE))
        assert elsewhere.theme_id != party.theme_id
        assert len(await r.parties.nodes(party)) == 3


# --- choosing ----------------------------------------------------------------------------------


async def test_votes_count_once_can_be_changed_and_are_of_members(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        party = await r.joined(GUEST, THIRD, stage=Stage.SKETCH)
        a, b, c = [(await r.drawn(party)).id for _ in range(3)]
        with pytest.raises(InvalidRequestError, match="while you choose"):
            await r.parties.favour(party, GUEST, a)
        party = await r.parties.move(party, HOST, Stage.CHOOSE)
        assert await r.parties.favour(party, GUEST, a)
        assert await r.parties.favour(party, GUEST, b)
        assert not await r.parties.favour(party, GUEST, b)
        await r.parties.give_points(party, GUEST, {a: 1, b: 4})
        await r.parties.give_points(party, GUEST, {a: 2, c: 1})
        for points in ({a: 6}, {a: 3, b: 3}, {a: -1}):
            with pytest.raises(InvalidRequestError):
                await r.parties.give_points(party, GUEST, points)
        await r.parties.prefer(party, THIRD, c, a)
        await r.parties.prefer(party, THIRD, a, c)  # on second thought
        for outsider in (FOURTH,):
            with pytest.raises(ForbiddenError, match="Join"):
                await r.parties.favour(party, outsider, a)
        with pytest.raises(NotFoundError):
            await r.parties.favour(party, GUEST, "0" * 16)
        first, second, third = await r.parties.standings(party)
        assert (first.dream_id, first.favourites, first.points) == (a, 1, 2)
        assert (first.wins, first.losses) == (1, 0) and first.chance is not None
        assert first.chance > 0.5
        assert [(one.dream_id, one.place) for one in (second, third)] == [(c, 2), (b, 3)]
        await r.s.dreams.delete(a, HOST)
        assert [one.dream_id for one in await r.parties.standings(party)] == [c, b]
        assert {vote.dream_id for vote in await r.parties.votes(party)} == {c}


async def test_pairs_come_once_each_and_are_of_the_last_ones(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        party = await r.joined(GUEST, stage=Stage.ELABORATE)
        root = await r.drawn(party)
        grown = await r.parties.grow(party, HOST, root.id, "at dawn")
        await r.s.draw(grown.id, "blue")
        await r.s.dreams.wait(grown.id)
        others = [(await r.drawn(party)).id for _ in range(2)]
        party = await r.parties.move(party, HOST, Stage.CHOOSE)
        seen = set()
        while (pair := await r.parties.pair(party, GUEST)) is not None:
            assert frozenset(pair) not in seen
            seen.add(frozenset(pair))
            await r.parties.prefer(party, GUEST, *pair, equal=len(seen) == 1)
        assert seen == {
            frozenset(pair)
            for pair in ((grown.id, others[0]), (grown.id, others[1]), tuple(others))
        }
        assert await r.parties.pair(party, HOST) is not None
        # Where one may not be shown, the others are still compared.
        assert set(await r.parties.pair(party, HOST, among=others) or ()) == set(others)
        assert await r.parties.pair(party, HOST, among=others[:1]) is None


# --- the finale --------------------------------------------------------------------------------


async def test_the_chosen_are_drawn_larger_and_then_upscaled_whatever_dies(
    tmp_path: Path,
) -> None:
    engines = (FOURIER, UPSCALER)
    async with room(tmp_path, engines=engines) as r:
        party = await r.joined(GUEST, stage=Stage.SKETCH)
        chosen = await r.drawn(party)
        party = await r.parties.move(party, HOST, Stage.FINALE)
        with pytest.raises(ForbiddenError, match="facilitators"):
            await r.parties.finale(party, GUEST, [chosen.id])
        (picture,) = await r.parties.finale(party, HOST, [chosen.id])
        assert picture.redrawn_id is not None and not picture.done
        redrawn = await r.s.dreams.get(picture.redrawn_id)
        assert chosen.image is not None and redrawn.recipe.init_sha256 == chosen.image.sha256
        assert (redrawn.recipe.width, redrawn.recipe.seed) == (256, chosen.recipe.seed)
        assert redrawn.relation is Relation.ENLARGE
    async with room(tmp_path, engines=engines) as r:  # nothing was drawn meanwhile
        await r.s.draw(redrawn.id, "navy")
        await until_async(lambda: _done(r, party))
        (picture,) = await r.parties.finale_of(party)
        assert picture.upscaled_id is not None
        upscaled = await r.s.dreams.get(picture.upscaled_id)
        assert (upscaled.recipe.width, upscaled.parent_id) == (1024, redrawn.id)
    async with room(tmp_path, engines=engines) as r:
        await r.s.draw(upscaled.id, "navy")
        await r.s.dreams.wait(upscaled.id)
        record = await r.parties.record(party)
        assert [node.dream.id for node in record.nodes] == [chosen.id, redrawn.id, upscaled.id]
        assert [node.entry.stage.value for node in record.nodes] == ["sketch", "finale", "finale"]
        (picture,) = record.finale
        assert picture.best_id == upscaled.id


async def test_without_an_upscaler_or_a_new_picture_the_finale_ends_with_what_there_is(
    tmp_path: Path,
) -> None:
    async with room(tmp_path) as r:
        party = await r.joined(stage=Stage.SKETCH)
        chosen = await r.drawn(party)
        party = await r.parties.move(party, HOST, Stage.FINALE)
        (picture,) = await r.parties.finale(party, HOST, [chosen.id])
        assert picture.redrawn_id is not None
        await r.s.job(picture.redrawn_id)
        await r.s.dreams.cancel(picture.redrawn_id, HOST)
        await until_async(lambda: _done(r, party))
        (picture,) = await r.parties.finale_of(party)
        assert picture.upscaled_id is None
        with pytest.raises(InvalidRequestError, match="1 to 12"):
            await r.parties.finale(party, HOST, [])


async def test_a_finale_goes_on_where_its_stream_rested_meanwhile(tmp_path: Path) -> None:
    async with room(tmp_path, engines=(FOURIER, UPSCALER)) as r:
        r.parties._retry_s = 0.05
        party = await r.joined(stage=Stage.SKETCH)
        chosen = await r.drawn(party)
        party = await r.parties.move(party, HOST, Stage.FINALE)
        (picture,) = await r.parties.finale(party, HOST, [chosen.id])
        assert picture.redrawn_id is not None
        slug = (await r.parties.theme_of(party)).slug
        await r.s.themes.change(slug, paused=True)
        await r.s.draw(picture.redrawn_id, "navy")
        await r.s.dreams.wait(picture.redrawn_id)
        await asyncio.sleep(0.2)  # it tries, and is refused
        assert not await _done(r, party)
        await r.s.themes.change(slug, paused=False)
        await until_async(lambda: _done(r, party))
        (picture,) = await r.parties.finale_of(party)
        assert picture.upscaled_id is not None


async def _done(r: Room, party: Party) -> bool:
    return all(one.done for one in await r.parties.finale_of(party))


# --- time --------------------------------------------------------------------------------------


async def test_the_timer_tells_once_for_each_stage_and_survives(tmp_path: Path) -> None:
    clock = Clock()
    async with room(tmp_path, clock) as r:
        party = await r.joined(stage_minutes=10)
        await r.parties.keeper.look()
        assert "time" not in await r.happened(party)
        clock.ms += 11 * MINUTE_MS
    async with room(tmp_path, clock) as r:  # due while it was down: told at the start
        await until_async(lambda: _told(r, party, 1))
        await r.parties.keeper.look()
        await r.parties.keeper.look()
        assert (await r.happened(party)).count("time") == 1
        party = await r.parties.move(party, HOST, Stage.SKETCH)
        clock.ms += 9 * MINUTE_MS
        party = await r.parties.set_timer(party, HOST, 5)
        clock.ms += 4 * MINUTE_MS
        next_ms = await r.parties.keeper.look()
        assert next_ms == party.due_ms
        clock.ms += 2 * MINUTE_MS
        await r.parties.keeper.look()
        assert (await r.happened(party)).count("time") == 2


async def test_the_last_stage_has_no_timer(tmp_path: Path) -> None:
    async with room(tmp_path, Clock()) as r:
        party = await r.joined(GUEST)
        party = await r.parties.move(party, HOST, Stage.PUBLISHED)
        party = await r.parties.set_timer(party, HOST, 5)
        assert party.due_ms is None
        party = await r.parties.move(party, HOST, Stage.CHOOSE)
        assert party.due_ms is not None


async def _told(r: Room, party: Party, times: int) -> bool:
    return (await r.happened(party)).count("time") == times


async def test_a_party_that_is_left_alone_ends_itself(tmp_path: Path) -> None:
    clock = Clock()
    async with room(tmp_path, clock, PartyLimits(idle_hours=2)) as r:
        party = await r.joined(GUEST, stage_minutes=0)
        theme = await r.parties.theme_of(party)
        clock.ms += 119 * MINUTE_MS
        await r.parties.associate(party, GUEST, "still here")
        clock.ms += 119 * MINUTE_MS
        await r.parties.keeper.look()
        assert (await r.parties.get(party.id)).open
        clock.ms += 2 * MINUTE_MS
        assert await r.parties.keeper.look() is None
        assert not (await r.parties.get(party.id)).open
        assert (await r.s.themes.get(theme.slug)).weight == 1.0


# --- the record --------------------------------------------------------------------------------


async def test_the_record_tells_what_came_of_which_words(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        party = await r.joined(GUEST)
        rain = await r.parties.associate(party, GUEST, "rain")
        party = await r.parties.move(party, HOST, Stage.SKETCH)
        (dream,) = await r.parties.draw(party, HOST, association_ids=[rain.id], count=1)
        await r.s.draw(dream.id)
        await r.s.dreams.wait(dream.id)
        party = await r.parties.move(party, HOST, Stage.ELABORATE)
        grown = await r.parties.grow(party, GUEST, dream.id, "on glass")
        await r.s.draw(grown.id, "blue")
        await r.s.dreams.wait(grown.id)
        await r.parties.move(party, HOST, Stage.CHOOSE)
        await r.parties.favour(party, GUEST, grown.id)
        record = await r.parties.record(party)
    assert [one.stage.value for one in record.stages] == ["gather", "sketch", "elaborate", "choose"]
    assert record.party.code == "" and record.party.stage is Stage.CHOOSE
    assert [one.words for one in record.associations] == ["rain"]
    first, second = record.nodes
    assert first.entry.association_ids == (rain.id,) and second.parent_id == first.dream.id
    assert [one.person.name for one in record.members] == ["Ann", "Bob"]
    assert record.standings[0].dream_id == grown.id


async def test_what_people_keep_to_themselves_does_not_leave_the_party(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        party = await r.joined(GUEST, THIRD)
        async with r.s.store.write() as connection:
            await people.set_publishes(connection, BOB.id, publishes=False)
        await r.parties.credit(party, CEE, False)
        mine = await r.parties.associate(party, GUEST, "a secret")
        theirs = await r.parties.associate(party, THIRD, "a lamp")
        party = await r.parties.move(party, HOST, Stage.SKETCH)
        secret = await r.drawn(party, GUEST, "my secret")
        party = await r.parties.move(party, HOST, Stage.ELABORATE)
        of_it = await r.parties.grow(party, HOST, secret.id, "at night")
        open_one = await r.drawn(party, THIRD, "a lamp")
        await r.s.draw(of_it.id, "blue")
        await r.s.dreams.wait(of_it.id)
        both = await r.parties.combine(party, HOST, open_one.id, secret.id)
        assert not of_it.published and not both.published
        record = await r.parties.record(party)
        assert [node.dream.id for node in record.nodes] == [open_one.id]
        assert [one.id for one in record.associations] == [theirs.id]
        text = str(record)
        assert "secret" not in text and "Bob" not in text and "Cee" not in text
        assert BOB.id not in text and CEE.id not in text
        assert [one.person for one in record.members] == [ANN, SOMEBODY, SOMEBODY]
        within = await r.parties.record(party, inside=True)
        assert len(within.nodes) == 4 and mine.id in {one.id for one in within.associations}


async def test_who_is_not_named_votes_like_everybody_in_what_leaves(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        party = await r.joined(GUEST, THIRD, FOURTH, stage=Stage.SKETCH)
        a, b = [(await r.drawn(party)).id for _ in range(2)]
        party = await r.parties.move(party, HOST, Stage.CHOOSE)
        for who in (GUEST, THIRD, FOURTH):
            await r.parties.prefer(party, who, a, b)
            await r.parties.credit(party, who.person, False)
        await r.parties.favour(party, HOST, b)
        standings = await r.parties.standings(party)
        record = await r.parties.record(party)
        within = await r.parties.record(party, inside=True)
    assert [one.dream_id for one in standings] == [a, b]
    assert record.standings == within.standings == standings
    assert {one.person for one in record.votes} == {ANN, SOMEBODY}


async def test_a_deleted_dream_leaves_every_reading(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        party = await r.joined(stage=Stage.ELABORATE)
        root = await r.drawn(party)
        middle = await r.parties.grow(party, HOST, root.id, "at dawn")
        leaf = await r.parties.grow(party, HOST, middle.id, "in fog")
        await r.s.dreams.delete(middle.id, HOST)
        (tree,) = await r.parties.tree(party)
        assert [node.dream.id for node in tree.children] == [leaf.id]
        with pytest.raises(NotFoundError, match="deleted"):
            await r.parties.grow(party, HOST, middle.id, "again")


async def test_dreams_of_an_age_restricted_channel_do_not_leave_it(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        theme = await r.s.themes.get("open")
        host = Asker(ANN, guild_id=7, channel_id=5, age_restricted=True)
        party = await r.parties.start("night", host, theme=theme, guild_id=7, channel_id=5)
        party = await r.parties.move(party, host, Stage.SKETCH)
        await r.parties.join(party, GUEST, code=party.code)
        (dream,) = await r.parties.draw(party, GUEST, "a fox", count=1)
        assert not (await r.s.dreams.get(dream.id)).published
        assert (await r.parties.record(party)).nodes == ()


async def test_events_name_what_happened_and_no_words(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        party = await r.joined(GUEST)
        await r.parties.associate(party, GUEST, "xylophone")
        await r.parties.move(party, HOST, Stage.SKETCH)
        await r.parties.draw(party, GUEST, "xylophone")
        found = await r.s.feed.replay(theme_id=party.theme_id, after=0, limit=100)
        payloads = json.dumps([event.payload for event in found])
        assert "xylo" not in payloads and "lonel" not in payloads and "Bob" not in payloads


async def test_nobody_acts_where_they_may_not(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        party = await r.joined(GUEST, guild_id=7)
        moderator = Actor(DEE, guild_id=7, moderates=True)
        elsewhere = Actor(DEE, guild_id=8, moderates=True)
        for actor in (GUEST, elsewhere):
            for act in (
                r.parties.move(party, actor, Stage.SKETCH),
                r.parties.set_timer(party, actor, 5),
                r.parties.change(party, actor, max_guests=3),
                r.parties.hand_over(party, actor, BOB.id),
                r.parties.end(party, actor),
            ):
                with pytest.raises(ForbiddenError):
                    await act
        await r.parties.set_role(party, HOST, BOB.id, Role.FACILITATOR)
        await r.parties.move(party, GUEST, Stage.SKETCH)
        await r.parties.move(party, moderator, Stage.ELABORATE)
        await r.parties.end(party, moderator)


async def until_async(condition: Any, limit_s: float = 20.0) -> None:
    async with asyncio.timeout(limit_s):
        while not await condition():  # noqa: ASYNC110 (whatever it is, it need not know of us)
            await asyncio.sleep(0.01)


async def _all_rows(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(folder / "dreamstream.db") as connection:
        return connection.execute(sql).fetchall()


async def test_a_mistake_of_ours_is_not_the_end_of_all_timers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    looks: list[None] = []

    class Mistaken(keeper.Keeper):
        async def look(self) -> int | None:
            looks.append(None)
            if len(looks) == 1:
                raise ValueError("a mistake of ours")
            return None

    async def end(party: Party) -> None:
        raise AssertionError(party)

    made = Mistaken(cast(Store, None), end, 1.0, lambda: 0)
    made.start()
    await until(lambda: len(looks) == 2)
    assert "cannot be looked after" in caplog.text
    await made.stop()
