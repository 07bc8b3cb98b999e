"""A portrait is kept only when its person agrees, is theirs alone, and is gone when revoked."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from bot.errors import (
    ForbiddenError,
    GoneError,
    InvalidRequestError,
    LimitError,
    NotFoundError,
)
from bot.gate import Asker
from bot.ids import now_ms
from bot.limits import Limits
from bot.model import AskedBy, Person, Relation, Visibility
from bot.parties.drawing import SLUG_BEGINS
from bot.portraits import (
    DRAFTED_S,
    MAX_DRAFTS,
    MAX_WORDS,
    AgreedError,
    Draft,
    Kept,
    Portraits,
    where_shown,
)
from bot.rights import Actor
from bot.store import dreams as rows
from bot.store import portraits as rows_of_portraits
from bot.store import retention
from bot.store.migrate import shipped, statements
from bot.store.portraits import Reach
from generation.protocol import OptionInfo
from tests.bot.drawer import ANN, BOB, FOURIER, WELCOME, Services, png, request, services
from tests.bot.test_deletion import files, holds, sha_of

GUILD, CHANNEL = 7, 70
BLEND = OptionInfo(name="blend", help="How much.", default=0.0, minimum=0, maximum=1)
BLENDER = replace(FOURIER, max_pictures=1, options=(BLEND,))
WORDS = "a marmalade-haired cellist who collects thimbles"
HERE = Asker(ANN, guild_id=GUILD, channel_id=CHANNEL)
OF_ANOTHER = Asker(BOB, guild_id=GUILD, channel_id=CHANNEL)


async def draft(
    s: Services, reach: Reach = Reach.STREAM, words: str = WORDS, asker: Asker = HERE
) -> Draft:
    return await s.portraits.draft(asker, words, reach, await s.themes.get("open"))


async def portray(s: Services, reach: Reach = Reach.STREAM, **more: Any) -> Kept:
    """Have Ann agree to a portrait, and draw it."""
    made = await draft(s, reach, **more)
    kept = await s.portraits.consent(made.token, made.person)
    await s.draw(kept.dream.id)
    await s.dreams.wait(kept.dream.id)
    return await s.portraits.own(kept.dream.id, made.person)


def images(folder: Path) -> set[str]:
    """Return the pictures that the library holds; small ones may be made at any time."""
    return {name for name in files(folder) if name.startswith("images/")}


async def test_nothing_is_kept_before_the_person_agrees(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        made = await draft(s)
        assert made.drawn == f"portrait of a person, {WORDS}"
        assert await s.portraits.mine(ANN) == []
        assert await s.dreams.unfinished(None) == []
        assert not holds(tmp_path, "thimbles")
        kept = await s.portraits.consent(made.token, ANN)
        assert holds(tmp_path, "thimbles")
        assert kept.dream.prompt == f"portrait of a person, {WORDS}"
        assert (kept.portrait.words, kept.portrait.reach) == (WORDS, Reach.STREAM)
        assert 0 <= kept.portrait.consented_ms - kept.dream.created_ms < 5000
        assert await s.portraits.mine(ANN) == [kept]
        assert await s.portraits.mine(BOB) == []


async def test_nobody_agrees_for_somebody_else(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        made = await draft(s)
        with pytest.raises(NotFoundError, match="too old"):
            await s.portraits.consent(made.token, BOB)
        with pytest.raises(NotFoundError, match="too old"):
            s.portraits.discard(made.token, BOB)
        assert await s.dreams.unfinished(None) == []
        kept = await s.portraits.consent(made.token, ANN)
        with pytest.raises(NotFoundError, match="no such portrait of yours"):
            await s.portraits.revoke(kept.dream.id, BOB)
        with pytest.raises(NotFoundError, match="no such portrait of yours"):
            await s.portraits.own(kept.dream.id, BOB)
        assert (await s.portraits.own(kept.dream.id, ANN)).portrait == kept.portrait


async def test_who_presses_twice_agrees_once(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        made = await draft(s)
        results = await asyncio.gather(
            *(s.portraits.consent(made.token, ANN) for _ in range(3)), return_exceptions=True
        )
        assert sorted(type(one).__name__ for one in results) == 2 * ["AgreedError"] + ["Kept"]
        assert len(await s.dreams.unfinished(None)) == len(await s.portraits.mine(ANN)) == 1
        # Also later: it is not said that nothing was kept.
        for again in (s.portraits.consent(made.token, ANN), s.portraits.consent(made.token, BOB)):
            with pytest.raises(NotFoundError) as refused:
                await again
            told = str(refused.value)
            assert ("agreed to this already" in told) is not ("nothing was kept" in told)
        with pytest.raises(AgreedError):
            s.portraits.drafted(made.token, ANN)
        with pytest.raises(NotFoundError, match="nothing was kept of it"):
            s.portraits.drafted(made.token, BOB)


async def test_what_is_refused_can_be_agreed_to_later(tmp_path: Path) -> None:
    async with services(tmp_path, limits=Limits(per_person=1)) as s:
        [fox] = await s.dreams.ask(request("a fox"))
        made = await draft(s)
        with pytest.raises(LimitError):
            await s.portraits.consent(made.token, ANN)
        assert await s.portraits.mine(ANN) == []
        await s.dreams.cancel(fox.id, Actor(ANN))
        await s.portraits.consent(made.token, ANN)
        assert len(await s.portraits.mine(ANN)) == 1


async def test_it_is_seen_where_its_person_said(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        found = {}
        for reach in Reach:
            dream = (await portray(s, reach)).dream
            found[reach] = (dream.published, dream.channel_id, dream.guild_id)
        assert found == {
            Reach.SELF: (False, None, GUILD),
            Reach.CHANNEL: (False, CHANNEL, GUILD),
            Reach.STREAM: (True, CHANNEL, GUILD),
        }
        assert len(await s.dreams.recent(None)) == 1, "only one is in a stream"


async def test_revoking_leaves_no_word_and_no_picture(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        kept = await portray(s, Reach.CHANNEL)
        [again] = await s.dreams.ask(
            request(f"a statue, {WORDS}", parent_id=kept.dream.id, channel_id=CHANNEL)
        )
        await s.draw(again.id, "blue")
        await s.dreams.wait(again.id)
        await s.dreams.redo(again.id, ANN, same_seed=True)  # is not over when all is revoked
        assert len(images(tmp_path)) == 2 and holds(tmp_path, "thimbles")
        await s.portraits.revoke(kept.dream.id, ANN)
        assert files(tmp_path) == set()
        assert not holds(tmp_path, "thimbles")
        assert await s.portraits.mine(ANN) == [] and await s.dreams.unfinished(None) == []
        assert (await s.dreams.get(kept.dream.id)).deleted_ms is not None
        for attempt in (s.portraits.revoke, s.portraits.own):
            with pytest.raises(GoneError, match="taken this portrait back"):
                await attempt(kept.dream.id, ANN)
        row = await s.store.read_one("SELECT * FROM portrait")
        assert row is not None
        assert (row["words"], row["consented_ms"]) == ("", kept.portrait.consented_ms)
        assert row["revoked_ms"] >= row["consented_ms"]
        with pytest.raises(sqlite3.IntegrityError, match="stays so"):
            async with s.store.write() as connection:
                await connection.execute("UPDATE portrait SET words = 'x', revoked_ms = NULL")


async def test_revoking_takes_along_what_it_was_blended_into(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        await s.up(replace(WELCOME, engines=(BLENDER,)))
        kept = await portray(s)
        [fox] = await s.dreams.ask(request("a fox"))
        await s.draw(fox.id, "yellow")
        await s.dreams.wait(fox.id)
        blend = await s.offspring.blend(fox.id, kept.dream.id, Actor(ANN))
        assert "thimbles" in blend.recipe.prompt and blend.parent_id == fox.id
        await s.portraits.revoke(kept.dream.id, ANN)
        assert (await s.dreams.get(blend.id)).deleted_ms is not None
        assert (await s.dreams.get(fox.id)).deleted_ms is None
        assert not holds(tmp_path, "thimbles")


async def test_a_line_holds_where_what_lies_between_is_deleted(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        kept = await portray(s)
        [between] = await s.dreams.ask(request("a statue", parent_id=kept.dream.id))
        await s.draw(between.id, "blue")
        await s.dreams.wait(between.id)
        init = await s.library.read(sha_of(await s.dreams.get(between.id)))
        [last] = await s.dreams.ask(request("a bust of it", init=init, strength=0.5))
        assert last.parent_id is None
        await s.draw(last.id, "green")
        await s.dreams.wait(last.id)
        await s.dreams.delete(between.id, Actor(ANN))
        with pytest.raises(ForbiddenError, match="This is a portrait"):
            await s.dreams.ask(request("mine", parent_id=last.id, person=BOB))
        await s.portraits.revoke(kept.dream.id, ANN)
        assert (await s.dreams.get(last.id)).deleted_ms is not None


async def test_lines_of_older_databases_are_recorded(tmp_path: Path) -> None:
    ladder = shipped()
    [added] = [one for one in ladder if "CREATE TABLE portrait_line" in one.sql]
    async with services(tmp_path) as s:
        kept = await portray(s)
        [child] = await s.dreams.ask(request("a statue", parent_id=kept.dream.id))
        await s.draw(child.id, "blue")
        await s.dreams.wait(child.id)
        init = await s.library.read(sha_of(await s.dreams.get(child.id)))
        [last] = await s.dreams.ask(request("a bust of it", init=init, strength=0.5))
        [_] = await s.dreams.ask(request("a fox"))
    with closing(sqlite3.connect(tmp_path / "dreamstream.db")) as connection:
        select = "SELECT dream_id, portrait_id FROM portrait_line ORDER BY dream_id"
        recorded = connection.execute(select).fetchall()
        assert recorded == [(child.id, kept.dream.id), (last.id, kept.dream.id)]
        connection.execute("DROP TABLE portrait_line")
        for statement in statements(added.sql):
            connection.execute(statement)
        assert connection.execute(select).fetchall() == recorded


async def test_what_comes_of_a_portrait_is_found_without_looking_at_all_dreams(
    tmp_path: Path,
) -> None:
    async with services(tmp_path) as s:
        for sql in (
            rows_of_portraits.BEHIND,
            rows_of_portraits.DRAWN_OF,
            rows_of_portraits.LINE,
        ):
            plan = await s.store.read(f"EXPLAIN QUERY PLAN {sql}", {"dream_id": "d"})
            details = [row["detail"] for row in plan]
            scanned = {one.split()[1] for one in details if one.startswith("SCAN")}
            assert scanned <= {"origin"}, details
            assert [one for one in details if one.startswith("SEARCH")]


async def test_whoever_deletes_its_dream_deletes_its_words(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        kept = await portray(s)
        moderator = Actor(BOB, guild_id=GUILD, moderates=True)
        await s.moderation.delete(kept.dream.id, moderator)
        assert not holds(tmp_path, "thimbles") and await s.portraits.mine(ANN) == []
        with pytest.raises(GoneError):
            await s.portraits.own(kept.dream.id, ANN)


async def test_nobody_else_draws_anything_of_it(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        await s.up(replace(WELCOME, engines=(BLENDER,)))
        kept = await portray(s)
        [mine] = await s.dreams.ask(request("as a statue", parent_id=kept.dream.id))
        await s.draw(mine.id, "green")
        mine = await s.dreams.wait(mine.id)
        [bobs] = await s.dreams.ask(request("a fox", person=BOB))
        await s.draw(bobs.id, "yellow")
        await s.dreams.wait(bobs.id)
        assert kept.dream.image is not None and mine.image is not None
        picture = await s.library.read(kept.dream.image.sha256)
        statue = await s.library.read(mine.image.sha256)
        before = images(tmp_path)
        for attempt in (
            s.dreams.redo(kept.dream.id, BOB, same_seed=False),
            s.dreams.redo(mine.id, BOB, same_seed=True),
            s.offspring.variations(kept.dream.id, Actor(BOB)),
            s.offspring.blend(bobs.id, kept.dream.id, Actor(BOB)),
            s.dreams.ask(request("a mask", person=BOB, parent_id=mine.id)),
            s.dreams.ask(request("a mask", person=BOB, init=picture)),
            s.dreams.ask(request("a mask", person=BOB, init=statue)),
            # A moderator is somebody else, too.
            s.offspring.variations(kept.dream.id, Actor(BOB, GUILD, True)),
        ):
            with pytest.raises(ForbiddenError, match="Only the person whose words"):
                await attempt
        assert await s.dreams.unfinished(None) == []
        assert images(tmp_path) == before
        again = await s.dreams.redo(mine.id, ANN, same_seed=False)
        assert again.published
        await s.dreams.cancel(again.id, Actor(ANN))
        # Gone, it may be drawn of no more, not even by way of what was drawn of it before.
        await s.dreams.delete(kept.dream.id, Actor(ANN))
        with pytest.raises(ForbiddenError, match="Only the person whose words"):
            await s.dreams.redo(mine.id, ANN, same_seed=False)


async def test_what_is_drawn_of_it_is_seen_by_no_more_people(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        here = await portray(s, Reach.CHANNEL)
        again = await s.dreams.redo(here.dream.id, ANN, same_seed=False)
        assert not again.published
        stored = await rows.by_id(s.store, again.id)
        assert stored is not None and not stored.published
        alone = await portray(s, Reach.SELF)
        with pytest.raises(ForbiddenError, match="Only you see this portrait"):
            await s.dreams.redo(alone.dream.id, ANN, same_seed=False)


async def test_who_publishes_nothing_chooses_a_smaller_reach(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        made = await draft(s)
        await s.moderation.set_publishes(ANN, False)
        for attempt in (draft(s), s.portraits.consent(made.token, ANN)):
            with pytest.raises(InvalidRequestError, match="/privacy"):
                await attempt
        assert (await portray(s, Reach.CHANNEL)).dream.published is False
        await s.moderation.set_publishes(ANN, True)
        quiet = Asker(ANN, guild_id=GUILD, channel_id=CHANNEL, age_restricted=True)
        with pytest.raises(InvalidRequestError, match="stays here"):
            await draft(s, asker=quiet)
        with pytest.raises(InvalidRequestError, match="stays here"):
            await draft(s, asker=Asker(ANN, channel_id=CHANNEL))
        with pytest.raises(InvalidRequestError, match="no channel"):
            await draft(s, Reach.CHANNEL, asker=Asker(ANN))


async def test_words_that_are_blocked_none_or_too_many_are_refused(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        await s.settings.change_guild(GUILD, BOB, blocked_words=("thimble*",))
        for words, sentence in (
            (WORDS, "blocked here"),
            ("\u200b  ", "Say something"),
            ("so " * MAX_WORDS, "Shorten"),
            ("x" * 100 * MAX_WORDS, "Shorten"),
        ):
            with pytest.raises(InvalidRequestError, match=sentence):
                await draft(s, words=words)
        await s.moderation.block(GUILD, ANN, Actor(BOB, GUILD, True))
        with pytest.raises(ForbiddenError, match="may not ask"):
            await draft(s, words="a person")


async def test_it_is_drawn_only_as_it_was_shown(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        theme = await s.themes.get("open")
        made = await draft(s)
        await s.themes.change(theme.slug, template="a caricature of {prompt}")
        with pytest.raises(InvalidRequestError, match="just changed"):
            await s.portraits.consent(made.token, ANN)
        made = await draft(s)
        assert made.drawn == f"a caricature of portrait of a person, {WORDS}"
        await s.themes.change(theme.slug, visibility=Visibility.PRIVATE)
        with pytest.raises(InvalidRequestError, match="just changed"):
            await s.portraits.consent(made.token, ANN)
        private = await s.themes.get("open")
        assert "not on the wall" in where_shown(Reach.STREAM, private, "it")
        party = await s.themes.create(f"{SLUG_BEGINS}abc", "A party")
        with pytest.raises(ForbiddenError, match="at a party"):
            await s.portraits.draft(HERE, WORDS, Reach.STREAM, party)


async def test_who_moderates_asks_where_only_hosts_do(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        await s.themes.change("open", asked_by=AskedBy.HOSTS, made_in=GUILD)
        made = await draft(s)
        with pytest.raises(ForbiddenError, match="moderate the server it was made in"):
            await s.portraits.consent(made.token, ANN)
        await portray(s, asker=replace(HERE, moderates=True))


async def test_drafts_are_forgotten(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        now_s = 0.0
        held = Portraits(s.store, s.themes, s.dreams, s.gate, s.moderation, clock=lambda: now_s)
        theme = await s.themes.get("open")
        first = await held.draft(HERE, WORDS, Reach.STREAM, theme)
        other = await held.draft(OF_ANOTHER, WORDS, Reach.STREAM, theme)
        second = await held.draft(HERE, "another", Reach.STREAM, theme)
        with pytest.raises(NotFoundError):
            held.drafted(first.token, ANN)  # a later one is in its place
        assert held.drafted(second.token, ANN) is second
        assert held.drafted(other.token, BOB) is other
        held.discard(second.token, ANN)
        with pytest.raises(NotFoundError):
            held.drafted(second.token, ANN)
        now_s = DRAFTED_S
        with pytest.raises(NotFoundError):
            held.drafted(other.token, BOB)
        for number in range(MAX_DRAFTS + 1):
            asker = Asker(Person(f"guest:{number}", "G"), guild_id=GUILD, channel_id=CHANNEL)
            made = await held.draft(asker, WORDS, Reach.CHANNEL, theme)
        assert len(held._drafts) == MAX_DRAFTS
        assert held.drafted(made.token, made.person) is made


async def test_a_failed_one_can_be_taken_back_too(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        made = await draft(s)
        kept = await s.portraits.consent(made.token, ANN)
        await s.dreams.cancel(kept.dream.id, Actor(ANN))
        [listed] = await s.portraits.mine(ANN)
        assert listed.dream.state.final and listed.dream.image is None
        await s.portraits.revoke(kept.dream.id, ANN)
        assert not holds(tmp_path, "thimbles")


async def test_nobody_else_puts_words_into_it(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        made = await draft(s)
        kept = await s.portraits.consent(made.token, ANN)
        await s.begin(kept.dream.id)
        moderator = Actor(BOB, guild_id=GUILD, moderates=True)
        with pytest.raises(ForbiddenError, match="Only the person whose words"):
            await s.dreams.steer(kept.dream.id, moderator, "a clown")
        await s.dreams.steer(kept.dream.id, Actor(ANN), "a diver")
        [fox] = await s.dreams.ask(request("a fox", guild_id=GUILD))
        await s.begin(fox.id)
        await s.dreams.steer(fox.id, moderator, "a vixen")
        assert [prompt for _, prompt, _ in s.drawer.steers] == ["a diver", "a vixen"]


async def test_age_takes_no_portrait_away(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        await portray(s)
        [fox] = await s.dreams.ask(request("a fox"))
        await s.draw(fox.id, "yellow")
        await s.dreams.wait(fox.id)
        bounds = retention.Bounds(now_ms() + 1000)
        found = [one.dream_id async for one in retention.candidates(s.store, bounds)]
        assert found == [fox.id]


async def test_other_dreams_are_drawn_of_as_ever(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        await portray(s)
        [fox] = await s.dreams.ask(request("a fox", init=png(colour="blue")))
        await s.draw(fox.id, "yellow")
        await s.dreams.wait(fox.id)
        [child] = await s.dreams.ask(
            request("a vixen", person=BOB, parent_id=fox.id, relation=Relation.REMIX)
        )
        assert child.published
