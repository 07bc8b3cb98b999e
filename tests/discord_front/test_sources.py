"""The menus of messages: what is done with the picture on one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import discord
import msgspec
import pytest

from bot.delivery import underway
from bot.errors import SchedulerError
from bot.model import Person, Relation
from bot.rights import Actor
from generation.protocol import EngineInfo, ModelInfo
from tests.bot.drawer import DIFFUSION, FOURIER, WELCOME, png, until
from tests.discord_front.test_moderation import checks, shown
from tests.discord_front.world import World, world

DREAM = "Dream from this picture"
DESCRIBE = "What would CLIP call this?"
UPSCALE = "Upscale"
SCORE = "Score against a text"

UPSCALER = EngineInfo(
    name="upscale",
    title="Upscaler",
    models=(ModelInfo(name="small", title="Small", licence="MIT"),),
    default_width=256,
    default_height=256,
    min_side=4,
    max_side=1024,
    max_pixels=1024 * 1024,
    size_multiple=1,
    default_steps=1,
    max_steps=1000,
    takes_prompt=False,
    takes_init=True,
    needs_init=True,
    scale=4,
    tile=(64, 48),
)


class Eyes:
    """Stands for what looks at pictures; remembers them."""

    def __init__(self) -> None:
        self.pictures: list[bytes] = []
        self.up = True

    async def describe(self, picture: bytes, count: int = 8) -> list[tuple[str, float]]:
        if not self.up:
            raise SchedulerError("Nothing can look at pictures at present.")
        self.pictures.append(picture)
        return [("a red *fox*", 0.31), ("an owl", 0.2)][:count]

    async def score(self, picture: bytes, text: str) -> float:
        self.pictures.append(picture)
        return len(text) / 100


def with_eyes(there: World) -> Eyes:
    eyes = Eyes()
    there.client.front = replace(there.client.front, seeing=eyes)  # type: ignore[arg-type]
    return eyes


def menus_of(answer: Any) -> list[Any]:
    """Return the menus of an answer that only its reader sees."""
    rows = getattr(answer, "message", answer).components
    every = [one for row in rows for one in getattr(row, "children", [row])]
    return [one for one in every if getattr(one, "options", None)]


async def uploaded(there: World, name: str = "fox.png", data: bytes | None = None) -> Any:
    """Have Bob send a picture."""
    data = png(48, 32, "blue") if data is None else data
    return await there.bob.send(there.channel, "look", attachments=[(name, data)])


async def told(there: World, menu: str, message: Any) -> str:
    """Have Ann choose a menu of a message; return what only she is told."""
    result = await there.ann.context_menu(there.channel, menu, message)
    assert result.ephemeral
    found: str = result.response.message.content
    return found


async def finished(there: World, **options: Any) -> tuple[str, discord.Message, bytes]:
    """Return a finished dream of Ann's, its card and its picture."""
    dream_id, _ = await there.ask(**options)
    await there.parts.draw(dream_id)
    card = await there.shows(-1, "seed")
    image = (await there.parts.dreams.wait(dream_id)).image
    assert image is not None
    return dream_id, card, await there.parts.library.read(image.sha256)


async def test_a_picture_that_somebody_sent(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        eyes, message = with_eyes(there), await uploaded(there)
        assert r"0.31 · a red \*fox\*" in await told(there, DESCRIBE, message)
        assert eyes.pictures == [png(48, 32, "blue")]
        form = await there.ann.context_menu(there.channel, SCORE, message)
        assert form.modal is not None
        answer = await there.ann.submit_modal(form, {"words": "@everyone"})
        assert "**0.090**" in answer.response.content
        assert "@everyone" not in answer.response.content
        form = await there.ann.context_menu(there.channel, DREAM, message)
        await there.ann.submit_modal(form, {"words": "an owl"})
        (dream,) = await there.parts.dreams.unfinished(None)
        assert (dream.prompt, dream.parent_id, dream.relation) == ("an owl", None, None)
        job = await there.parts.job(dream.id)
        assert job.init is not None
        assert "Nothing here makes pictures larger" in await told(there, UPSCALE, message)


async def test_a_picture_is_made_larger(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        await there.parts.up(
            msgspec.structs.replace(WELCOME, engines=(FOURIER, DIFFUSION, UPSCALER))
        )
        assert "made larger" in await told(there, UPSCALE, await uploaded(there))
        (dream,) = await there.parts.dreams.unfinished(None)
        assert (dream.recipe.engine, dream.recipe.width, dream.recipe.height) == (
            "upscale",
            192,
            128,
        )
        await there.parts.draw(dream.id)
        await until(lambda: len(there.cards()) == 2)
        dream_id, card, _ = await finished(there, prompt="a fox", engine="diffusion")
        assert "made larger" in await told(there, UPSCALE, card)
        (dream,) = await there.parts.dreams.unfinished(None)
        assert (dream.parent_id, dream.relation) == (dream_id, Relation.UPSCALE)


async def test_on_a_card_the_kept_picture_is_meant(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        eyes = with_eyes(there)
        dream_id, card, kept = await finished(there, prompt="a fox")
        await told(there, DESCRIBE, card)
        assert eyes.pictures == [kept]
        form = await there.ann.context_menu(there.channel, DREAM, card)
        await there.ann.submit_modal(form, {"words": "a wolf"})
        (dream,) = await there.parts.dreams.unfinished(None)
        assert (dream.parent_id, dream.relation) == (dream_id, Relation.VARIATION)
        assert dream.recipe.init_sha256 is not None


async def test_of_a_covered_picture_the_cover_is_not_taken(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        eyes = with_eyes(there)
        checks(there)
        _, card = await shown(there)
        answer = await there.ann.context_menu(there.channel, DESCRIBE, card)
        assert "covered" in answer.response.content and not eyes.pictures
        form = await there.ann.context_menu(there.channel, DREAM, card)
        result = await there.ann.submit_modal(form, {"words": "a red fox in the snow"})
        assert "covered" in result.response.content
        assert not await there.parts.dreams.unfinished(None)


async def test_of_several_pictures_one_is_chosen(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        eyes = with_eyes(there)
        first, _ = await there.ask(prompt="a fox", count=3)
        dreams = await there.parts.dreams.together(first)
        for dream, colour in zip(dreams, ("red", "green", "blue"), strict=True):
            await there.parts.draw(dream.id, colour)
        await until(lambda: not there.client.delivery.unsettled)
        (card,) = there.cards()
        asked = await there.ann.context_menu(there.channel, DESCRIBE, card)
        assert "several pictures" in asked.response.content
        answer = await there.ann.select(asked.response, [dreams[1].id])
        assert "fox" in answer.response.content
        image = (await there.parts.dreams.get(dreams[1].id)).image
        assert image is not None
        assert eyes.pictures == [await there.parts.library.read(image.sha256)]
        asked = await there.ann.context_menu(there.channel, SCORE, card)
        form = await there.ann.select(asked.response, [dreams[2].id])
        answer = await there.ann.submit_modal(form, {"words": "blue"})
        assert "**0.040**" in answer.response.content


async def test_pictures_are_asked_for_by_their_numbers_on_the_card(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        eyes = with_eyes(there)
        first, _ = await there.ask(prompt="a fox", count=3)
        dreams = await there.parts.dreams.together(first)
        await there.ann.slash(there.channel, "cancel", dream=dreams[0].id)
        for dream, colour in zip(dreams[1:], ("green", "blue"), strict=True):
            await there.parts.draw(dream.id, colour)
        await until(lambda: not there.client.delivery.unsettled)
        (card,) = there.cards()
        asked = await there.ann.context_menu(there.channel, DESCRIBE, card)
        ((second, third),) = [menu.options for menu in menus_of(asked.response)]
        assert (second.label, second.value) == ("Picture 2", dreams[1].id)
        assert (third.label, third.value) == ("Picture 3", dreams[2].id)
        await there.ann.select(asked.response, [dreams[2].id])
        image = (await there.parts.dreams.get(dreams[2].id)).image
        assert image is not None
        assert eyes.pictures == [await there.parts.library.read(image.sha256)]


async def test_every_picture_of_a_large_card_can_be_chosen(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        with_eyes(there)
        result = await there.ann.slash(there.channel, "batch", prompt="a fox", count=30)
        assert result.ephemeral
        dreams = await there.parts.dreams.unfinished(None)
        for dream in dreams:
            await there.parts.draw(dream.id)
        await until(lambda: not there.client.delivery.unsettled)
        asked = await there.ann.context_menu(there.channel, DESCRIBE, there.cards()[-1])
        menus = menus_of(asked.response)
        assert [len(menu.options) for menu in menus] == [25, 5]
        assert [one.value for menu in menus for one in menu.options] == [one.id for one in dreams]
        assert len({menu.custom_id for menu in menus}) == 2


async def test_what_cannot_be_is_answered(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        eyes = with_eyes(there)
        for message in (
            await there.bob.send(there.channel, "no picture: https://example.org/fox.png"),
            await uploaded(there, "fox.txt", b"a fox"),
        ):
            for menu in (DREAM, DESCRIBE, UPSCALE, SCORE):
                assert "no picture on this message" in await told(there, menu, message)
        _, card = await there.ask(prompt="still waiting")
        assert "no picture on this message" in await told(there, DESCRIBE, card)
        message = await uploaded(there, "fox.png", b"no picture")
        form = await there.ann.context_menu(there.channel, DREAM, message)
        answer = await there.ann.submit_modal(form, {"words": "an owl"})
        assert "not a picture" in answer.response.content
        eyes.up = False
        assert "at present" in await told(there, DESCRIBE, message)
        form = await there.ann.context_menu(there.channel, SCORE, message)
        there.client.held._held.clear()  # as after a restart
        answer = await there.ann.submit_modal(form, {"words": "an owl"})
        assert "too old" in answer.response.content
        large = there.parts.library.uploads.max_bytes + 1
        message = await uploaded(there, "fox.png", b"\0" * large)
        assert "MiB" in await told(there, DESCRIBE, message)
        assert eyes.pictures == []


class Dreaming(Eyes):
    """Looks for as long as a test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.looking, self.awake = asyncio.Event(), asyncio.Event()

    async def describe(self, picture: bytes, count: int = 8) -> list[tuple[str, float]]:
        self.looking.set()
        await self.awake.wait()
        return await super().describe(picture, count)


async def test_who_waits_for_an_answer_is_told_when_the_bot_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(underway, "PATIENCE_S", 0.05)
    async with world(tmp_path) as there:
        eyes = Dreaming()
        there.client.front = replace(there.client.front, seeing=eyes)  # type: ignore[arg-type]
        message = await uploaded(there)
        asked = asyncio.create_task(there.ann.context_menu(there.channel, DESCRIBE, message))
        await eyes.looking.wait()
        await there.client.underway.stop()
        answer = (await asked).response
        assert "being stopped" in answer.content
        # What is asked after that, and before the connection is closed, is told the same.
        assert "being stopped" in await told(there, DESCRIBE, message)


async def test_an_answer_that_is_nearly_there_is_waited_for(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        eyes = Dreaming()
        there.client.front = replace(there.client.front, seeing=eyes)  # type: ignore[arg-type]
        message = await uploaded(there)
        asked = asyncio.create_task(there.ann.context_menu(there.channel, DESCRIBE, message))
        await eyes.looking.wait()
        stopping = asyncio.create_task(there.client.underway.stop())
        await asyncio.sleep(0)
        eyes.awake.set()
        await stopping
        assert "fox" in (await asked).response.content


async def test_blocked_people_and_words_are_held_back(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        eyes, message = with_eyes(there), await uploaded(there)
        mod = there.parts.moderation
        settings, guild_id = there.parts.settings, there.env.guild.id
        actor = Actor(Person("discord:1", "mod"), guild_id=guild_id, moderates=True)
        await settings.change_guild(guild_id, actor.person, blocked_words=["owl"])
        for menu in (DREAM, SCORE):
            form = await there.ann.context_menu(there.channel, menu, message)
            answer = await there.ann.submit_modal(form, {"words": "an Owl"})
            assert "blocked here" in answer.response.content
        ann = Person(f"discord:{there.ann.id}", "ann")
        await mod.block(guild_id, ann, actor)
        assert "may not ask" in await told(there, DESCRIBE, message)
        assert eyes.pictures == []
        assert await there.parts.dreams.unfinished(None) == []
        assert len(there.cards()) == 1
