"""Holding a theme's subject: what passes, what is offered or blended, and what is let be."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from bot.autopilot import PILOT
from bot.games.model import MACHINE
from bot.model import Dream, Holds, JourneyRequest, Person
from bot.nearness import MOST_WEIGHT, WEIGHT_STEP, Background, Yardstick, unit
from bot.prompts import choose, wanted
from bot.rights import Actor
from bot.services import UNATTENDED
from bot.subject import (
    FarFromSubjectError,
    Subjects,
    list_prompts,
    parts_of,
    readable,
    threshold,
)
from generation.protocol import MAX_EMBEDDED_TEXTS, Embedded
from tests.bot.drawer import ANN, FOURIER, Services, png, request, services

SUBJECT = "misty castles"
_LITTLE = {"a", "an", "the", "in", "of", "on", "with", "and", "at", "to"}

Vector = npt.NDArray[np.float32]


def meaning(text: str) -> Vector:
    """Return a unit vector [64] that texts share as far as they share words."""
    words = [word.removesuffix("s") for word in re.findall(r"\w+", text.lower())]
    mixed = np.full(64, 0.15)  # what all texts have in common
    for word in words:
        if word not in _LITTLE:
            mixed = mixed + np.random.default_rng(zlib.crc32(word.encode())).normal(size=64) / 8
    return np.asarray(mixed / np.linalg.norm(mixed), np.float32)


class Reader:
    """Eyes that read texts; `gate` holds their answers back."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def embed(
        self, perceptor: str, pictures: Sequence[bytes] = (), texts: Sequence[str] = ()
    ) -> Embedded:
        assert len(texts) <= MAX_EMBEDDED_TEXTS
        self.asked.append(tuple(texts))
        await self.gate.wait()
        return Embedded(id="", texts=tuple(meaning(one).astype("<f2").tobytes() for one in texts))


@asynccontextmanager
async def holding(
    folder: Path, holds: Holds, *, limit_s: float = 5.0, **theme: Any
) -> AsyncIterator[tuple[Services, Reader]]:
    async with services(folder) as parts:
        reader = Reader()
        parts.drawer.perceptors = ("reader",)
        parts.drawer.embed = reader.embed  # type: ignore[method-assign]
        subjects = Subjects(parts.seeing, unattended=UNATTENDED, limit_s=limit_s)
        parts.dreams.hold_subjects(subjects.hold)
        await parts.themes.create("castles", "Castles", subject=SUBJECT, holds=holds, **theme)
        try:
            yield parts, reader
        finally:
            await subjects.close()


async def ask(parts: Services, prompt: str, **more: Any) -> Dream:
    (dream,) = await parts.dreams.ask(request(prompt, theme="castles", **more))
    return dream


def far_by_hand(texts: Sequence[str]) -> Yardstick:
    return Yardstick(meaning(SUBJECT), Background([meaning(one) for one in texts]))


async def test_what_is_far_is_answered_with_what_would_fit(tmp_path: Path) -> None:
    async with holding(tmp_path, Holds.SUGGEST, palette="a drawbridge, battlements") as (parts, _):
        near = await ask(parts, "a castle above misty hills")
        assert near.recipe.prompt == near.prompt
        with pytest.raises(FarFromSubjectError) as told:
            await ask(parts, "a red racing car")
        suggestions = told.value.suggestions
        assert str(told.value).startswith("This stream is about misty castles. Try: “")
        assert all(f"“{one}”" in str(told.value) for one in suggestions)
        assert len(set(suggestions)) == 3
        assert all(SUBJECT in one and "a red racing car" in one for one in suggestions)
        assert [dream.id for dream in await parts.dreams.unfinished(None)] == [near.id]
        for one in suggestions:
            assert (await ask(parts, one)).prompt == one, "what is offered fits"


async def test_what_is_left_to_chance_has_fallen_in_what_is_offered(tmp_path: Path) -> None:
    async with holding(tmp_path, Holds.SUGGEST) as (parts, _):
        with pytest.raises(FarFromSubjectError) as told:
            await ask(parts, "a {red|red} racing car:2 | a wide {road|road}")
        assert told.value.suggestions[0] == f"a red racing car, {SUBJECT}"


async def test_what_is_far_is_blended_with_the_least_weight_that_is_enough(tmp_path: Path) -> None:
    async with holding(tmp_path, Holds.BLEND, strictness=1.0, modifiers="oil:0.5") as (parts, _):
        near = await ask(parts, "a misty castle")
        assert near.recipe.prompt == "a misty castle | oil:0.5" and not near.reason
        dream = await ask(parts, "a red racing car:2 | a wide road")
        assert dream.prompt == "a red racing car:2 | a wide road", "what was typed stays"
        *typed, oil, (words, weight) = wanted(dream.recipe.prompt)
        assert typed == [("a red racing car", 2.0), ("a wide road", 1.0)] and oil == ("oil", 0.5)
        assert words == SUBJECT and 0 < weight < 3 * MOST_WEIGHT
        live = parts.dreams.live(dream.id)
        assert live is not None and f"“{SUBJECT}:{weight:g}” was added" in live.notice
        yardstick = far_by_hand(list_prompts())
        mixed = (2 * meaning("a red racing car") + meaning("a wide road")) / 3
        bound = threshold(1.0)
        assert yardstick.nearness(unit(mixed + weight / 3 * meaning(SUBJECT))) >= bound - 0.01
        less = weight / 3 - WEIGHT_STEP
        assert less <= 0 or yardstick.nearness(unit(mixed + less * meaning(SUBJECT))) < bound + 0.01


async def test_off_means_off_and_a_part_that_is_repainted_may_be_anything(tmp_path: Path) -> None:
    async with holding(tmp_path, Holds.OFF) as (parts, reader):
        await ask(parts, "a red racing car")
        assert reader.asked == []
        await parts.themes.change("castles", holds=Holds.SUGGEST)
        first = await ask(parts, "a castle")
        # Drawn again as it is: it was let in when it was asked for.
        await parts.dreams.redo(first.id, ANN, same_seed=True)
        engine = msgspec.structs.replace(FOURIER, takes_mask=True)
        parts.drawer.engines = (engine,)
        reader.asked.clear()
        await ask(parts, "a red racing car", init=png(), mask=png(colour="white"))
        assert reader.asked == []
        with pytest.raises(FarFromSubjectError):
            await ask(parts, "a red racing car", init=png())


async def test_who_reads_no_answers_is_blended(tmp_path: Path) -> None:
    async with holding(tmp_path, Holds.SUGGEST) as (parts, _):
        for person in (PILOT, MACHINE):
            dream = await ask(parts, "a red racing car", person=person, background=True)
            assert SUBJECT in dream.recipe.prompt
        with pytest.raises(FarFromSubjectError):
            await ask(parts, "a red racing car", person=Person("discord:1", "Host"), moderates=True)


async def test_every_stop_of_a_journey_is_held(tmp_path: Path) -> None:
    async with holding(tmp_path, Holds.SUGGEST) as (parts, _):
        walk = JourneyRequest()
        await ask(parts, "a castle -> the castle in mist", journey=walk)
        with pytest.raises(FarFromSubjectError) as told:
            await ask(parts, "a castle -> a red racing car -> misty castle", journey=walk)
        first = told.value.suggestions[0].split(" -> ")
        assert first[0] == "a castle" and first[2] == "misty castle"
        assert "a red racing car" in first[1] and SUBJECT in first[1]
        await ask(parts, told.value.suggestions[0], journey=walk)
        await parts.themes.change("castles", holds=Holds.BLEND)
        dream = await ask(parts, "a castle -> a red racing car", journey=walk)
        assert dream.recipe.journey is not None
        assert all(SUBJECT in stop.prompt for stop in dream.recipe.journey.stops)


async def test_every_picture_of_several_is_held(tmp_path: Path) -> None:
    async with holding(tmp_path, Holds.SUGGEST) as (parts, _):
        chance = "{a castle|a red racing car}"
        seeds = {choose(chance, seed, {}): seed for seed in range(20)}
        near = seeds["a castle"]
        while choose(chance, near + 1, {}) == "a castle":
            near += 1
        await ask(parts, chance, seed=near)
        with pytest.raises(FarFromSubjectError) as told:
            await parts.dreams.ask(request(chance, theme="castles", seed=near, count=2))
        assert told.value.suggestions[0] == f"a red racing car, {SUBJECT}"


async def test_the_words_of_a_study_are_held(tmp_path: Path) -> None:
    async with holding(tmp_path, Holds.SUGGEST, strictness=0.7) as (parts, _):
        await ask(parts, "a castle")
        words = ("in mist", "red racing cars, wide roads, loud engines")
        with pytest.raises(FarFromSubjectError) as told:
            await parts.dreams.ask(request("a castle", theme="castles", study=words))
        assert all("racing" not in one for one in told.value.suggestions), "the words are kept"
        offered = request(told.value.suggestions[0], theme="castles", study=words)
        assert len(await parts.dreams.ask(offered)) == 2
        await parts.themes.change("castles", holds=Holds.BLEND)
        some = await parts.dreams.ask(request("a castle", theme="castles", study=words))
        assert all(SUBJECT in one.recipe.prompt for one in some)


async def test_nobody_waits_for_eyes_that_are_busy_shut_or_gone(tmp_path: Path) -> None:
    async with holding(tmp_path, Holds.SUGGEST, limit_s=0.05) as (parts, reader):
        reader.gate.clear()
        async with asyncio.timeout(3):
            await ask(parts, "a red racing car")
        reader.gate.set()
        # What was begun went on meanwhile, so that the next is held in time.
        parts.drawer.perceptors = ()
        await ask(parts, "a blue racing car")
        parts.drawer.perceptors = ("reader",)
        async with asyncio.timeout(5):
            while True:
                try:
                    dream = await ask(parts, "a green racing car")
                    await parts.dreams.cancel(dream.id, Actor(ANN))
                except FarFromSubjectError:
                    break
                await asyncio.sleep(0.02)


async def test_a_subject_is_looked_up_once(tmp_path: Path) -> None:
    async with holding(tmp_path, Holds.SUGGEST) as (parts, reader):
        await ask(parts, "a castle")
        reader.asked.clear()
        await ask(parts, "a misty castle")
        assert reader.asked == [("a misty castle",)], "one ask for one prompt"


@pytest.mark.parametrize(
    "prompt", ["замок в тумане", "霧の城", "🏰", "12345", "a fox:-1 | 霧", "\\|"]
)
async def test_what_cannot_be_judged_is_let_through(tmp_path: Path, prompt: str) -> None:
    async with holding(tmp_path, Holds.SUGGEST) as (parts, _):
        assert (await ask(parts, prompt)).prompt == prompt


async def test_a_subject_that_cannot_be_read_holds_nothing(tmp_path: Path) -> None:
    async with holding(tmp_path, Holds.SUGGEST) as (parts, reader):
        await parts.themes.change("castles", subject="замки в тумане")
        await ask(parts, "a red racing car")
        assert reader.asked == []


async def test_signs_of_the_prompt_language_in_a_subject_are_only_words(tmp_path: Path) -> None:
    async with holding(tmp_path, Holds.BLEND) as (parts, _):
        await parts.themes.change("castles", subject="castles: a | b")
        dream = await ask(parts, "a red racing car")
        assert wanted(dream.recipe.prompt)[-1][0] == "castles: a | b"


def test_the_background_is_of_all_kinds_and_fits_few_asks() -> None:
    prompts = list_prompts()
    assert len(prompts) == len(set(prompts)) == 2 * MAX_EMBEDDED_TEXTS
    assert all(readable(one) and parts_of(one) == [(one, 1.0)] for one in prompts)


def test_nearness_says_the_same_of_models_whose_cosines_differ() -> None:
    texts = [meaning(one) for one in list_prompts()]
    words = (SUBJECT, "a castle in mist", "a red racing car")
    plain = Yardstick(meaning(SUBJECT), Background(texts))

    def cramped(vector: Vector) -> Vector:
        """Return what a model says that has all texts in a narrow cone."""
        return unit(np.asarray(vector + 3 * np.ones(64, np.float32) / 8, np.float32))

    narrow = Yardstick(cramped(meaning(SUBJECT)), Background([cramped(one) for one in texts]))
    for word in words:
        assert float(cramped(meaning(word)) @ cramped(meaning(SUBJECT))) > 0.9
        assert narrow.nearness(cramped(meaning(word))) == pytest.approx(
            plain.nearness(meaning(word)), rel=0.1, abs=0.1
        )
    assert plain.nearness(meaning(words[1])) > threshold(1.0) > plain.nearness(meaning(words[2]))
