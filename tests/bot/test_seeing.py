"""Seeing: what goes to the scheduler process and comes back, and what is made of it."""

from __future__ import annotations

import asyncio
import io
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from PIL import Image

from bot import seeing as module
from bot.errors import InvalidRequestError, LimitError, SchedulerError
from bot.library import Library
from bot.seeing import Seeing, list_words
from generation.protocol import MAX_EMBEDDED_PICTURES, MAX_EMBEDDED_TEXTS, Embedded
from tests.bot.drawer import png

COLOURS = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}


def unit(*parts: float) -> bytes:
    length = sum(part * part for part in parts) ** 0.5 or 1.0
    return struct.pack("<3e", *(part / length for part in parts))


class Colours:
    """Eyes that know three colours; `gate` holds their answers back."""

    up = True
    perceptors: tuple[str, ...] = ("colours",)

    def __init__(self) -> None:
        self.asked: list[tuple[int, tuple[str, ...]]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.reason = ""

    async def embed(
        self, perceptor: str, pictures: Sequence[bytes] = (), texts: Sequence[str] = ()
    ) -> Embedded:
        self.asked.append((len(pictures), tuple(texts)))
        await self.gate.wait()
        if self.reason:
            return Embedded(id="", reason=self.reason)
        if not self.up:
            raise SchedulerError("It is gone.")
        return Embedded(
            id="",
            pictures=tuple(unit(*self.colour(picture)) for picture in pictures),
            texts=tuple(unit(*COLOURS.get(text, (1.0, 1.0, 1.0))) for text in texts),
        )

    def colour(self, picture: bytes) -> tuple[float, ...]:
        with Image.open(io.BytesIO(picture)) as opened:
            assert max(opened.size) <= module.SEEN_SIDE_PX
            pixel = opened.convert("RGB").resize((1, 1)).getpixel((0, 0))
        assert isinstance(pixel, tuple)
        return pixel


@asynccontextmanager
async def looking(tmp_path: Path) -> AsyncIterator[tuple[Seeing, Colours]]:
    library = Library(tmp_path / "library")
    eyes = Colours()
    seeing = Seeing(eyes, library)
    try:
        yield seeing, eyes
    finally:
        await seeing.close()
        library.close()


async def test_a_score_is_the_cosine(tmp_path: Path) -> None:
    async with looking(tmp_path) as (seeing, _):
        assert await seeing.score(png(1000, 800, "red"), "red") == pytest.approx(1, abs=1e-3)
        assert await seeing.score(png(40, 30, "red"), "blue") == pytest.approx(0, abs=1e-3)
        half = await seeing.score(png(40, 30, "#ff00ff"), "blue")
        assert half == pytest.approx(0.5**0.5, abs=1e-3)


async def test_a_description_is_the_nearest_words(tmp_path: Path) -> None:
    words = list_words()
    async with looking(tmp_path) as (seeing, eyes):
        best = await seeing.describe(png(40, 30, "lime"), count=2)
        assert best[0][0] == "green" and best[0][1] == pytest.approx(1, abs=1e-3)
        assert len(best) == 2 and best[1][1] < best[0][1]
        texts = [text for _, asked in eyes.asked for text in asked]
        assert texts == list(words)
        assert all(len(asked) <= MAX_EMBEDDED_TEXTS for _, asked in eyes.asked)
        eyes.asked.clear()
        assert (await seeing.describe(png(40, 30, "blue")))[0][0] == "blue"
        assert eyes.asked == [(1, ())], "the words are known"
    async with looking(tmp_path) as (seeing, eyes):
        assert (await seeing.describe(png(40, 30, "red")))[0][0] == "red"
        assert eyes.asked == [(1, ())], "they are kept on disk"
    (kept,) = (tmp_path / "library" / "words").iterdir()
    kept.write_bytes(bytes(kept.stat().st_size))
    async with looking(tmp_path) as (seeing, eyes):
        assert (await seeing.describe(png(40, 30, "red")))[0][0] == "red"
        assert len(eyes.asked) > 1, "a torn file is made again"


async def test_words_that_take_too_long_go_on_from_there_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WORDS_LIMIT_S", 0.2)
    async with looking(tmp_path) as (seeing, eyes):
        answer = eyes.embed

        async def slow(
            perceptor: str, pictures: Sequence[bytes] = (), texts: Sequence[str] = ()
        ) -> Embedded:
            if len(eyes.asked) == 5:
                eyes.gate.clear()
            return await answer(perceptor, pictures, texts)

        monkeypatch.setattr(eyes, "embed", slow)
        with pytest.raises(SchedulerError, match="takes too long"):
            await seeing.describe(png(40, 30, "lime"))
        given_up = eyes.asked.pop()
        eyes.gate.set()
        monkeypatch.setattr(eyes, "embed", answer)
        monkeypatch.setattr(module, "WORDS_LIMIT_S", 60.0)
        assert (await seeing.describe(png(40, 30, "lime")))[0][0] == "green"
        assert given_up in eyes.asked
        assert [text for _, asked in eyes.asked for text in asked] == list(list_words())


def test_there_are_words_enough() -> None:
    words = list_words()
    assert len(words) >= 2000 and len(set(words)) == len(words)
    assert all(word == word.strip() and 0 < len(word) < 40 for word in words)
    assert {"castle", "fox", "an oil painting", "blurry"} <= set(words)


async def test_asks_that_come_meanwhile_go_together(tmp_path: Path) -> None:
    async with looking(tmp_path) as (seeing, eyes):
        eyes.gate.clear()
        first = asyncio.create_task(seeing.score(png(8, 8, "red"), "red"))
        while not eyes.asked:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        many = [
            asyncio.create_task(seeing.score(png(8, 8, "blue"), "blue"))
            for _ in range(MAX_EMBEDDED_PICTURES + 4)
        ]
        while len(seeing._wishes) < 2 * len(many):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        eyes.gate.set()
        scores = [await task for task in (first, *many)]
        assert all(score == pytest.approx(1, abs=1e-3) for score in scores)
        assert [pictures for pictures, _ in eyes.asked] == [1, MAX_EMBEDDED_PICTURES, 4]


async def test_it_takes_only_so_long_and_so_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with looking(tmp_path) as (seeing, eyes):
        eyes.gate.clear()
        with pytest.raises(SchedulerError, match="too long"):
            await seeing.embed(texts=["red"], limit_s=0.05)
        monkeypatch.setattr(module, "MAX_WAITING", 3)
        waiting = asyncio.create_task(seeing.embed(texts=["red", "green", "blue"]))
        await asyncio.sleep(0.02)
        with pytest.raises(LimitError):
            await seeing.embed(texts=["red"])
        eyes.gate.set()
        assert len((await waiting).texts) == 3
        assert len((await seeing.embed(texts=["red"])).texts) == 1


async def test_what_cannot_be_looked_at_is_said(tmp_path: Path) -> None:
    async with looking(tmp_path) as (seeing, eyes):
        with pytest.raises(InvalidRequestError, match="picture"):
            await seeing.score(b"nothing", "red")
        with pytest.raises(InvalidRequestError, match="characters"):
            await seeing.score(png(), " ")
        with pytest.raises(InvalidRequestError, match="1 to 50"):
            await seeing.describe(png(), count=99)
        eyes.reason = "There is no room."
        with pytest.raises(SchedulerError, match="no room"):
            await seeing.score(png(), "red")
        eyes.reason = ""
        eyes.perceptors = ()
        with pytest.raises(SchedulerError, match="no CLIP model"):
            await seeing.score(png(), "red")
        eyes.up = False
        with pytest.raises(SchedulerError, match="at present"):
            await seeing.describe(png())
