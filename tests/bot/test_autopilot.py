"""The autopilot on the real services; only the painter and the clock are played."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bot.autopilot import PILOT, REPEATS, Autopilot
from bot.errors import ForbiddenError
from bot.ids import now_ms
from bot.model import Dream, Person, Relation, Theme, Visibility
from tests.bot.drawer import Services, request, services

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS


@dataclass
class Quiet:
    """An hour after whatever was last asked for; `minutes` is later."""

    parts: Services
    pilot: Autopilot
    watchers: int = 1
    minutes: float = 60

    async def look(self) -> Dream | None:
        return await self.pilot.look()

    async def flown(self) -> Dream:
        """Have the autopilot dream, and the dream be drawn."""
        dream = await self.look()
        assert dream is not None
        await self.parts.draw(dream.id)
        return await self.parts.dreams.wait(dream.id)


@asynccontextmanager
async def quiet(folder: Path, *, dice: int = 1, **theme: Any) -> AsyncIterator[Quiet]:
    async with services(folder) as parts:
        await parts.themes.change("open", **{"autopilot": 50, **theme})
        pilot = Autopilot(
            parts.store,
            parts.themes,
            parts.dreams,
            watchers=lambda: scene.watchers,
            clock=lambda: now_ms() + int(scene.minutes * MINUTE_MS),
            dice=random.Random(dice),
        )
        scene = Quiet(parts, pilot)
        yield scene


async def draw(parts: Services, prompt: str, theme: str = "open") -> str:
    [dream] = await parts.dreams.ask(request(prompt, theme=theme))
    await parts.draw(dream.id)
    await parts.dreams.wait(dream.id)
    return dream.id


async def test_a_quiet_stream_is_kept_flowing_behind_everybody(tmp_path: Path) -> None:
    async with quiet(tmp_path) as scene:
        dream = await scene.flown()
        assert dream.person == PILOT
        assert dream.background
        assert dream.prompt.startswith("Open canvas, ")


async def test_it_waits_until_it_is_quiet_and_nobody_waits(tmp_path: Path) -> None:
    async with quiet(tmp_path, autopilot_quiet=10) as scene:
        [asked] = await scene.parts.dreams.ask(request("a red fox"))
        assert await scene.look() is None  # somebody waits
        await scene.parts.draw(asked.id)
        await scene.parts.dreams.wait(asked.id)
        scene.minutes = 9.5
        assert await scene.look() is None
        scene.minutes = 10.5
        assert await scene.look() is not None
        assert await scene.look() is None  # one at a time


@pytest.mark.parametrize(
    ("change", "watchers", "flies"),
    [
        ({}, 1, True),
        ({}, 0, False),
        ({"autopilot_alone": True}, 0, True),
        ({"autopilot": 0}, 1, False),
        ({"paused": True}, 1, False),
        ({"visibility": Visibility.PRIVATE}, 1, False),
        ({"visibility": Visibility.LINK}, 1, True),
    ],
)
async def test_where_it_flies(
    tmp_path: Path, change: dict[str, Any], watchers: int, flies: bool
) -> None:
    async with quiet(tmp_path, **change) as scene:
        scene.watchers = watchers
        assert (await scene.look() is not None) is flies


async def test_it_spends_no_more_than_its_budget_also_after_a_restart(tmp_path: Path) -> None:
    midnight = DAY_MS / MINUTE_MS
    async with quiet(tmp_path, autopilot=2, autopilot_quiet=0) as scene:
        scene.minutes = 0
        await scene.flown()
        await scene.flown()
        assert await scene.look() is None
    async with quiet(tmp_path, autopilot=2, autopilot_quiet=0) as scene:
        scene.minutes = 0
        assert await scene.look() is None
        scene.minutes = midnight  # the next day
        assert await scene.look() is not None


@pytest.mark.parametrize("ahead_hours", [5, 365 * 24])
async def test_a_clock_that_was_ahead_neither_silences_it_nor_spends_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_hours: int
) -> None:
    real = time.time_ns
    async with quiet(tmp_path, autopilot=3, autopilot_quiet=10) as scene:
        with monkeypatch.context() as wrong:
            wrong.setattr(time, "time_ns", lambda: real() + ahead_hours * 3600 * 10**9)
            for _ in range(3):
                await scene.flown()
            await draw(scene.parts, "a red fox")
            await scene.parts.themes.create("sea", "The sea", person=PILOT, autopilot=1)
        scene.minutes = 0
        sea = await scene.flown()
        assert sea.theme_id == (await scene.parts.themes.get("sea")).id
        await draw(scene.parts, "a blue fox")
        scene.minutes = 9.5
        assert await scene.look() is None
        scene.minutes = 10.5
        assert await scene.look() is not None


async def test_seconds_of_drawing_are_a_budget_too(tmp_path: Path) -> None:
    async with quiet(tmp_path, autopilot_seconds=0) as scene:
        assert await scene.look() is None
        await scene.parts.themes.change("open", autopilot_seconds=1)
        scene.minutes = 0
        await scene.parts.themes.change("open", autopilot_quiet=0)
        dream = await scene.flown()
        async with scene.parts.store.write() as connection:
            await connection.execute("UPDATE dream SET gpu_s = 1.5 WHERE id = ?", (dream.id,))
        assert await scene.look() is None


async def test_it_goes_on_from_what_people_like(tmp_path: Path) -> None:
    async with quiet(tmp_path) as scene:
        fox = await draw(scene.parts, "a fox at dawn")
        gone = await draw(scene.parts, "a wolf")
        await scene.parts.moderation.like([fox, gone], Person("guest:ada", "Ada"))
        async with scene.parts.store.write() as connection:
            await connection.execute("UPDATE dream SET published = 0 WHERE id = ?", (gone,))
        flown = [await scene.flown() for _ in range(24)]
        foxes = [dream for dream in flown if dream.parent_id == fox]
        assert len(foxes) >= 6
        assert {dream.relation for dream in foxes} == {Relation.REMIX}
        # Some with a word of its own list exchanged, some with one more.
        assert any("at dawn" not in dream.prompt and "fox" in dream.prompt for dream in foxes)
        assert any(dream.prompt.startswith("a fox at dawn, ") for dream in foxes)
        assert not any("wolf" in dream.prompt for dream in flown)


async def test_a_stream_that_refuses_it_does_not_silence_the_others(tmp_path: Path) -> None:
    async def refuse(_: object, theme: Theme, __: object) -> None:
        if theme.slug == "open":
            raise ForbiddenError("Not here.")

    async with quiet(tmp_path) as scene:
        await scene.parts.themes.create("sea", "The sea", person=PILOT, autopilot=50)
        scene.parts.dreams.guard(refuse)
        dream = await scene.look()
        assert dream is not None
        assert dream.theme_id == (await scene.parts.themes.get("sea")).id


async def test_it_repeats_nothing_soon(tmp_path: Path) -> None:
    async with quiet(tmp_path, autopilot=2000) as scene:
        prompts = [(await scene.flown()).prompt for _ in range(REPEATS // 2)]
        assert len({prompt.casefold() for prompt in prompts}) == len(prompts)


async def test_its_choices_can_be_had_again(tmp_path: Path) -> None:
    told = []
    for name, dice in (("a", 7), ("b", 7), ("c", 8)):
        (tmp_path / name).mkdir()
        async with quiet(tmp_path / name, dice=dice) as scene:
            told.append([((d := await scene.flown()).prompt, d.recipe.seed) for _ in range(5)])
    assert told[0] == told[1] != told[2]


async def test_prompts_with_a_grammar_are_left_alone(tmp_path: Path) -> None:
    async with quiet(tmp_path) as scene:
        await draw(scene.parts, "a {red|blue} fox")
        await draw(scene.parts, "an owl:0.5 | snow:0.5")
        for _ in range(6):
            assert (await scene.flown()).prompt.startswith("Open canvas, ")


async def test_it_explores_the_themes_own_palette_first(tmp_path: Path) -> None:
    words = {"ivy", "a drawbridge", "ravens"}
    async with quiet(tmp_path, palette=", ".join(words), asked_by="hosts") as scene:
        first = [(await scene.flown()).prompt for _ in words]
        assert words == {word for word in words if any(f", {word}" in one for one in first)}
        later = [(await scene.flown()).prompt for _ in range(6)]
        assert any(words.isdisjoint(one.split(", ")) for one in later)
