"""Portraits in Discord: what is told before anything is kept, who agrees, and taking it back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import discord
import pytest

from bot.delivery import portraits
from bot.delivery.controls import dream_of
from bot.model import Person
from bot.store.portraits import Reach
from tests.bot.drawer import until
from tests.bot.test_deletion import holds
from tests.discord_front.world import World, buttons_of, gallery_of, text_of, world

WORDS = "a marmalade-haired cellist who collects thimbles"


@pytest.fixture(autouse=True)
def _nobody_has_invited() -> Iterator[None]:
    portraits._INVITED._cache.clear()
    yield


def said(result: Any) -> str:
    return str(result.response.content)


def of(who: Any) -> Person:
    return Person(f"discord:{who.id}", who.name)


async def drafted(there: World, who: Any, reach: Reach, **typed: Any) -> Any:
    """Have somebody fill in the form; return what they are shown."""
    form = await who.slash(there.channel, "portrait draw")
    result = await who.submit_modal(form, {"words": WORDS, "reach": [reach.value]} | typed)
    assert result.ephemeral
    return result


async def agreed(there: World, who: Any, reach: Reach) -> Any:
    shown = await drafted(there, who, reach)
    return await who.click(shown.response.message, label="I agree: draw it")


async def test_it_is_kept_and_shown_only_when_agreed_to(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        shown = await drafted(there, there.ann, Reach.STREAM)
        for piece in (
            "Nothing is kept yet",
            f"Your words: “{WORDS}”",
            f"Drawn from: “portrait of a person, {WORDS}”",
            "in the stream of",
            "on the wall",
            "when you agreed",
            "no likeness of you",
            "Only you can agree",
        ):
            assert piece in said(shown)
        assert there.posts() == 0 and not holds(tmp_path, "thimbles")
        result = await there.ann.click(shown.response.message, label="I agree: draw it")
        assert "You agreed." in said(result)
        card = await there.shows(-1, "thimbles")
        dream_id = dream_of(list(card.components))
        assert dream_id is not None
        await there.parts.draw(dream_id)
        await until(lambda: gallery_of(there.cards()[-1]) is not None)
        [kept] = await there.parts.portraits.mine(of(there.ann))
        assert (kept.dream.id, kept.portrait.words) == (dream_id, WORDS)
        assert kept.dream.published
        # Others may look at it, like it, and draw nothing of it.
        result = await there.bob.click(card, label="Variations")
        assert "Only the person whose words" in said(result)
        assert await there.parts.dreams.unfinished(None) == []


async def test_who_changes_it_or_says_no_leaves_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        shown = await drafted(there, there.ann, Reach.CHANNEL)
        assert "in this channel alone" in said(shown)
        form = await there.ann.click(shown.response.message, label="Change it")
        changed = await there.ann.submit_modal(form, {"words": "a diver", "reach": ["self"]})
        assert "Your words: “a diver”" in said(changed) and "to you alone" in said(changed)
        # The first one is not there any more.
        result = await there.ann.click(shown.response.message, label="I agree: draw it")
        assert "nothing was kept of it" in said(result)
        result = await there.ann.click(changed.response.message, label="No, keep nothing")
        assert said(result) == "Nothing was kept."
        assert await there.parts.portraits.mine(of(there.ann)) == []
        assert not holds(tmp_path, "thimbles") and not holds(tmp_path, "a diver")
        result = await there.ann.slash(there.channel, "portrait mine")
        assert "You have no portraits" in said(result)


async def test_one_for_its_person_alone_is_in_no_channel(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        result = await agreed(there, there.ann, Reach.SELF)
        assert "You agreed." in said(result)
        [kept] = await there.parts.portraits.mine(of(there.ann))
        await there.parts.draw(kept.dream.id)
        dream = await there.parts.dreams.wait(kept.dream.id)
        assert (dream.published, dream.channel_id) == (False, None)
        result = await there.bob.slash(there.channel, "show", dream=dream.id)
        assert "There is no such dream" in said(result)
        result = await there.ann.slash(there.channel, "show", dream=dream.id)
        assert WORDS in text_of(result.response.message)
        assert there.posts() == 0


async def test_taking_it_back_takes_it_away_everywhere(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        for _ in range(portraits.PAGE + 1):
            await agreed(there, there.ann, Reach.CHANNEL)
        for dream in await there.parts.dreams.unfinished(None):
            await there.parts.draw(dream.id)
            await there.parts.dreams.wait(dream.id)
        result = await there.ann.slash(there.channel, "portrait mine")
        page = result.response.message
        assert text_of(page).count(WORDS) == portraits.PAGE and "in one channel" in text_of(page)
        assert buttons_of(page)[-1] == "More"
        result = await there.ann.click(page, label="More")
        page = result.response.message
        assert text_of(page).count(WORDS) == 1 and buttons_of(page) == ["Take it back", "Back"]
        first = (await there.parts.portraits.mine(of(there.ann)))[-1]
        result = await there.ann.click(page, label="Take it back")
        assert "deleted for good" in said(result)
        assert (await there.parts.portraits.own(first.dream.id, of(there.ann))) is not None
        result = await there.ann.click(result.response.message, label="Yes, take it back")
        assert said(result) == "Taken back: your words and the picture are deleted."
        assert len(await there.parts.portraits.mine(of(there.ann))) == portraits.PAGE
        assert (await there.parts.dreams.get(first.dream.id)).deleted_ms is not None


async def test_who_is_invited_decides_and_nobody_for_them(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        result = await there.ann.slash(there.channel, "portrait invite", person=there.bob)
        assert not result.ephemeral
        message = result.response.message
        assert "ann asks bob" in message.content and "<@" not in message.content
        result = await there.ann.click(message, label="Have my portrait drawn")
        assert "asks somebody else" in said(result)
        form = await there.bob.click(message, label="Have my portrait drawn")
        shown = await there.bob.submit_modal(form, {"words": WORDS, "reach": ["channel"]})
        await there.bob.click(shown.response.message, label="I agree: draw it")
        [kept] = await there.parts.portraits.mine(of(there.bob))
        assert kept.portrait.person_id == of(there.bob).id
        assert await there.parts.portraits.mine(of(there.ann)) == []
        result = await there.ann.slash(there.channel, "portrait invite", person=there.ann)
        assert "/portrait draw" in said(result)
        for _ in range(3):
            result = await there.ann.slash(there.channel, "portrait invite", person=there.bob)
        assert "several people just now" in said(result)


async def test_blocked_words_and_people_are_refused_in_their_language(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        guild, moderator = there.env.guild.id, Person("discord:1", "Mo")
        await there.parts.settings.change_guild(guild, moderator, blocked_words=("thimble*",))
        shown = await drafted(there, there.ann, Reach.STREAM)
        assert "blocked here" in said(shown) and "thimble" not in said(shown)
        await there.parts.moderation.set_publishes(of(there.ann), False)
        shown = await drafted(there, there.ann, Reach.STREAM, words="a diver")
        assert "/privacy" in said(shown)
        await there.parts.settings.change_guild(guild, moderator, dreaming=False)
        result = await there.ann.slash(there.channel, "portrait draw")
        assert "No dreams are asked for in this channel" in said(result)


async def test_after_a_restart_a_draft_is_gone_and_a_portrait_is_not(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        shown = await drafted(there, there.ann, Reach.CHANNEL)
        there.parts.portraits._drafts.clear()  # as after a restart
        result = await there.ann.click(shown.response.message, label="I agree: draw it")
        assert "nothing was kept of it" in said(result)
        assert isinstance(result.response.message, discord.Message)
        await agreed(there, there.ann, Reach.CHANNEL)
    async with world(tmp_path / ".." / tmp_path.name) as there:
        [row] = await there.parts.store.read("SELECT words FROM portrait")
        assert row["words"] == WORDS
