"""Batches: many that nobody waits for, on contact sheets, and what is picked from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import discord
import msgspec
import pytest

from bot.delivery.controls import dream_of
from bot.delivery.faces import THUMBNAIL_PX
from bot.model import Person, Relation
from tests.bot.drawer import DIFFUSION, FOURIER, WELCOME, request, until
from tests.bot.test_ranking import Eyes
from tests.discord_front.test_behaviour_cards import items_of, menus_of
from tests.discord_front.test_sources import UPSCALER
from tests.discord_front.world import World, buttons_of, text_of, world

UPSCALES = msgspec.structs.replace(WELCOME, engines=(FOURIER, DIFFUSION, UPSCALER))


async def batch(there: World, count: int, **options: object) -> tuple[list[str], discord.Message]:
    """Have Ann ask for a batch; return its dreams' ids and their card."""
    await there.parts.up(UPSCALES)
    result = await there.ann.slash(there.channel, "batch", prompt="a fox", count=count, **options)
    assert result.ephemeral and "when nobody else waits" in result.response.content
    await until(lambda: len(there.cards()) == 1)
    first = dream_of(list(there.cards()[0].components))
    assert first is not None
    dreams = await there.parts.dreams.together(first)
    return [dream.id for dream in dreams], there.cards()[0]


async def test_a_hundred_share_a_card_with_sheets_and_are_told_to_wait(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        ids, card = await batch(there, 100, seed=5)
        dreams = await there.parts.dreams.unfinished(None)
        assert len(ids) == 100 and {dream.background for dream in dreams} == {True}
        assert len(items_of(card)) == 4 and "drawn when nobody else waits" in text_of(card)
        assert "in line" not in text_of(card) and not menus_of(card)
        # They take nobody's place: what is waited for is asked for as ever.
        await there.ann.slash(there.channel, "dream", prompt="a hare", count=16)
        await until(lambda: len(there.cards()) == 2)
        again = await there.ann.slash(there.channel, "batch", prompt="a fox", count=2)
        assert "100 dreams waiting in the background" in again.response.content
        for number in (0, 30, 31, 99):
            await there.parts.draw(ids[number])
        await there.shows(0, "4 of 100 done")
        await until(lambda: len(menus_of(there.cards()[0])) == 3)
        assert menus_of(there.cards()[0]) == {
            f"pick:pick:{ids[0]}:0": [ids[0]],
            f"pick:pick:{ids[0]}:1": [ids[30], ids[31]],
            f"pick:pick:{ids[0]}:3": [ids[99]],
        }


async def test_what_is_picked_is_upscaled_on_one_card_and_liked(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        ids, _ = await batch(there, 12)
        for dream_id in ids:
            await there.parts.draw(dream_id)
        await there.shows(0, "12 of 12 done")
        card = there.cards()[0]
        # What is liked already stays so.
        bob = Person(f"discord:{there.bob.id}", "bob")
        await there.parts.moderation.like([ids[4], ids[11]], bob)
        picked = [ids[4], ids[1], ids[11]]
        result = await there.bob.select(card, picked, custom_id=f"pick:pick:{ids[0]}:0")
        answer = result.response.message
        assert result.ephemeral and result.response.content == "You picked 2, 5, 12."
        assert [one.description for one in answer.attachments] == [
            "Pictures 2, 5, 12, small and numbered, from the words: a fox"
        ]
        # Fewer, from the answer's own menu; what is there then is what the buttons are about.
        result = await there.bob.select(answer, [ids[1], ids[11]], custom_id="picked")
        answer = result.response.message
        assert result.response.content == "You picked 2, 12."
        result = await there.bob.click(answer, label="♥ these")
        assert result.response.content == "♥ You like these."
        await there.bob.click(answer, label="♥ these")
        assert await there.parts.moderation.favourites([*ids[:2], ids[4], ids[11]]) == {
            ids[0]: 0,
            ids[1]: 1,
            ids[4]: 1,
            ids[11]: 1,
        }
        result = await there.bob.click(answer, label="Upscale these")
        assert "2 are being made larger" in result.response.content
        await until(lambda: len(there.cards()) == 2)
        made = await there.parts.dreams.unfinished(None)
        assert [one.parent_id for one in made] == [ids[1], ids[11]]
        assert {one.relation for one in made} == {Relation.UPSCALE}
        assert not any(one.background for one in made)
        assert "`2`" in text_of(there.cards()[1])


async def test_one_that_is_picked_is_shown_with_its_buttons(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        ids, _ = await batch(there, 3)
        for dream_id in ids:
            await there.parts.draw(dream_id)
        await there.shows(0, "`3` done")
        card = there.cards()[0]
        result = await there.bob.select(card, [ids[2]], custom_id=f"pick:pick:{ids[0]}:0")
        assert {"Upscale", "Variations"} <= set(buttons_of(result.response.message))
        # As many again are a batch again; one of them by itself is waited for.
        await there.bob.click(card, label="Other seeds")
        await until(lambda: len(there.cards()) == 2)
        again = await there.parts.dreams.unfinished(None)
        assert [one.background for one in again] == [True] * 3
        await there.bob.click(result.response.message, label="Another seed")
        await until(lambda: len(there.cards()) == 3)
        assert not (await there.parts.dreams.unfinished(None))[-1].background


async def test_batches_can_be_off_and_are_off_for_who_may_not_ask(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        manager = Person("discord:1", "somebody")
        guild_id = there.env.guild.id
        await there.parts.settings.change_guild(guild_id, manager, per_person_background=10)
        result = await there.ann.slash(there.channel, "batch", prompt="a fox", count=11)
        assert "10 dreams waiting in the background" in result.response.content
        await there.parts.settings.change_guild(guild_id, manager, batch=False)
        result = await there.ann.slash(there.channel, "batch", prompt="a fox", count=5)
        assert "Batches are off" in result.response.content
        assert not there.cards() and not await there.parts.dreams.unfinished(None)
        # An ask of the same person that is not a batch goes through.
        assert (await there.parts.dreams.ask(request()))[0].background is False


async def test_a_card_is_ranked_by_its_words_and_by_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as there:
        eyes = Eyes()
        there.client.front = replace(there.client.front, seeing=eyes)  # type: ignore[arg-type]
        await there.parts.up(UPSCALES)
        first, _ = await there.ask(prompt="lime", count=3)
        ids = [dream.id for dream in await there.parts.dreams.together(first)]
        for dream_id, colour in zip(ids, ("red", "lime", "blue"), strict=True):
            await there.parts.draw(dream_id, colour)
        await there.shows(0, "`3` done")
        await until(lambda: "Rank" in buttons_of(there.cards()[0]))
        sides = list[int]()
        read = there.parts.library.read_thumbnail

        async def noted(sha256: str, side: int) -> bytes:
            sides.append(side)
            return await read(sha256, side)

        with monkeypatch.context() as patched:
            patched.setattr(there.parts.library, "read_thumbnail", noted)
            result = await there.bob.click(there.cards()[0], label="Rank")
        assert sides == [THUMBNAIL_PX]  # the best stands alone, not among others
        assert result.ephemeral
        said = result.response.content.splitlines()
        assert said[1:] == ["1. Picture 2 · 1.000", "2. Picture 1 · 0.000", "3. Picture 3 · 0.000"]
        answer = result.response.message
        assert [one.description for one in answer.attachments] == [
            "A picture drawn from the words: lime"
        ]
        form = await there.bob.click(answer, label="Rank by other words")
        result = await there.bob.submit_modal(form, {"words": "blue *moon*"})
        assert "1. Picture 3 · 1.000" in result.response.content
        assert r"blue \*moon\*" in result.response.content
        # The best are picked already: they can be liked, or made larger, at once.
        await there.bob.click(result.response.message, label="Upscale these")
        await until(lambda: len(there.cards()) == 2)
        made = await there.parts.dreams.unfinished(None)
        assert [one.parent_id for one in made] == ids
        await there.parts.settings.change_guild(
            there.env.guild.id, Person("discord:1", "somebody"), blocked_words=("moon",)
        )
        form = await there.bob.click(answer, label="Rank by other words")
        result = await there.bob.submit_modal(form, {"words": "a moon"})
        assert "blocked here" in result.response.content
