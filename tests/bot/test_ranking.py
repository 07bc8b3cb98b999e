"""Ranking: which scores are believed, what is looked at, and in which order it comes out."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

from bot.errors import InvalidRequestError, SchedulerError
from bot.model import Dream, PictureCheck
from bot.prompts import wanted
from bot.ranking import own_scores, rank
from bot.seeing import Seen
from generation.protocol import MAX_EMBEDDED_PICTURES, Finished
from tests.bot.drawer import Services, png, request, services

COLOURS = {"red": (1.0, 0.0, 0.0), "lime": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}


def seen_as(picture: bytes) -> Any:
    with Image.open(io.BytesIO(picture)) as opened:
        pixel = np.asarray(opened.convert("RGB"), np.float32)[0, 0]
    return pixel / np.linalg.norm(pixel)


class Eyes:
    """Sees a picture as the colour that it is of, and a text as the colours that it names."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.asked: list[int] = []

    def perceptor(self) -> str:
        return "colours"

    async def knows_words(self, perceptor: str) -> bool:
        return False

    async def word_vectors(self, perceptor: str) -> Any:
        raise SchedulerError("Nothing knows words in this test.")

    async def embed(
        self, pictures: Sequence[bytes] = (), texts: Sequence[str] = (), **named: Any
    ) -> Seen:
        self.texts += texts
        self.asked.append(len(pictures))
        return Seen(
            tuple(seen_as(one) for one in pictures),
            tuple(
                np.array(
                    np.sum([COLOURS[word] for word in text.split() if word in COLOURS], axis=0),
                    np.float32,
                )
                for text in texts
            ),
        )


async def drawn(s: Services, colours: Sequence[str], **changes: Any) -> list[Dream]:
    """Have dreams drawn of plain colours; what has no colour fails."""
    dreams = await s.dreams.ask(request(count=len(colours), **changes))
    for dream, colour in zip(dreams, colours, strict=True):
        if colour:
            job = await s.begin(dream.id)
            await s.dreams.on_message(
                Finished(job_id=job.id, recipe=job.recipe, png=png(colour=colour), gpu_s=0.5)
            )
            await s.dreams.wait(dream.id)
    return [await s.dreams.get(dream.id) for dream in dreams]


async def test_the_nearest_is_first_and_what_has_no_picture_is_left_out(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        dreams = await drawn(s, ["red", "", "blue", "lime"], prompt="a blue:3 | lime | red:-2")
        eyes = Eyes()
        ranked = await rank(dreams, eyes, s.library)
        # (3 blue + 1 green) / 4, and what is to be kept away does not count.
        assert eyes.texts == ["a blue", "lime"]
        assert [(dreams.index(one.dream), one.score) for one in ranked] == [
            (2, 0.75),
            (3, 0.25),
            (0, 0.0),
        ]
        by_words = await rank(dreams, eyes, s.library, " lime ")
        assert [dreams.index(one.dream) for one in by_words] == [3, 0, 2]
        assert eyes.texts[-1] == "lime"


async def test_scores_of_its_engine_are_believed_where_all_were_judged_alike(
    tmp_path: Path,
) -> None:
    async with services(tmp_path) as s:
        dreams = await drawn(s, ["red", "blue"], prompt="a blue fox")
        judged = [replace(dreams[0], score=0.3), replace(dreams[1], score=0.2)]
        eyes = Eyes()
        ranked = await rank(judged, eyes, s.library)
        assert [one.score for one in ranked] == [0.3, 0.2] and not eyes.asked
        # One without a score, or drawn in another manner: all are looked at.
        for other in (
            dreams[1],
            replace(judged[1], recipe=replace(judged[1].recipe, model="vqgan")),
            replace(judged[1], recipe=replace(judged[1].recipe, prompt="a lime fox")),
        ):
            assert own_scores([judged[0], other]) == {}
            ranked = await rank([judged[0], other], eyes, s.library)
            assert [one.score for one in ranked] == [1.0, 0.0]
        # Other words are looked for, whatever was judged before.
        assert (await rank(judged, eyes, s.library, "red"))[0].dream.id == dreams[0].id


async def test_a_hundred_are_looked_at_some_at_a_time_and_one_that_is_gone_is_left_out(
    tmp_path: Path,
) -> None:
    async with services(tmp_path) as s:
        (dream, other) = await drawn(s, ["red", "blue"])
        many = [replace(dream, id=f"{number:012}") for number in range(99)] + [other]
        eyes = Eyes()
        ranked = await rank(many, eyes, s.library, "blue")
        assert len(ranked) == 100 and ranked[0].dream is other
        assert [one.dream.id for one in ranked[1:]] == [one.id for one in many[:99]]
        assert max(eyes.asked) == MAX_EMBEDDED_PICTURES
        assert other.image is not None
        s.library.path(other.image.sha256).unlink()
        assert len(await rank(many, eyes, s.library, "blue")) == 99


async def test_what_cannot_be_ranked_is_said(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        dreams = await drawn(s, ["red", "", ""])
        assert dreams[0].image is not None
        with pytest.raises(InvalidRequestError, match="fewer than two"):
            await rank(dreams, Eyes(), s.library)
        two = [replace(dreams[0], id=name) for name in "ab"]
        with pytest.raises(InvalidRequestError, match="fewer than two"):  # the cover says nothing
            await rank([two[0], replace(two[1], veil=PictureCheck.BLUR)], Eyes(), s.library, "red")
        with pytest.raises(InvalidRequestError, match="Say in 1 to"):
            await rank(two, Eyes(), s.library, "x" * 2000)
        wordless = [replace(one, prompt="", recipe=replace(one.recipe, prompt="")) for one in two]
        with pytest.raises(InvalidRequestError, match="without words"):
            await rank(wordless, Eyes(), s.library)
        s.library.path(dreams[0].image.sha256).unlink()
        with pytest.raises(InvalidRequestError, match="fewer than two"):
            await rank(two, Eyes(), s.library)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a castle:2 | fog | people:-1", [("a castle", 2.0), ("fog", 1.0)]),
        (r"a \| b:0.5:0.3|", [("a | b", 0.5)]),
        (r"a\: b", [("a: b", 1.0)]),
        ("at 10:30 am", [("at 10:30 am", 1.0)]),
        (" | ", []),
        ("", []),
    ],
)
def test_the_parts_that_are_wanted(text: str, parts: list[tuple[str, float]]) -> None:
    assert wanted(text) == parts
