"""What CLIP says of a picture beside the check's own network: its limits decide, and never wait."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from math import sqrt
from pathlib import Path
from typing import Any

import pytest

from bot.checking.classifier import NotCheckedError
from bot.checking.model import Verdict
from bot.checking.reviews import Reviews
from bot.checking.second import FROM, LEAST_COSINE, TEXTS, UNSAFE, WAYS, SecondOpinion
from bot.checking.service import NSFW, Brought, PictureChecks
from bot.config import Config
from bot.errors import InvalidRequestError
from bot.model import Act, Dream, PictureCheck
from bot.seeing import Seeing
from bot.store import picture_checks
from generation.protocol import MAX_EMBEDDED_TEXTS, Embedded
from tests.bot.drawer import ANN, Services, png, request, services

GUILD, CHANNEL = 7, 8
DIM = len(TEXTS) // len(WAYS) + 1
"""A direction for each description, and one that is none of them."""


def toward(cosines: dict[int, float]) -> bytes:
    """Return a unit vector with these cosines to the descriptions; the rest of it is nothing."""
    parts = [0.0] * DIM
    for concept, cosine in cosines.items():
        parts[concept] = cosine
    parts[-1] = sqrt(1 - sum(part * part for part in parts))
    return struct.pack(f"<{DIM}e", *parts)


class Clip:
    """Eyes to which each description is a direction of its own, and every picture `seen`."""

    up = True

    def __init__(self) -> None:
        self.perceptors: tuple[str, ...] = ("starter-clip", "ViT-B-32")
        self.seen = toward({})
        self.asked: list[tuple[str, int, int]] = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def embed(
        self, perceptor: str, pictures: Sequence[bytes] = (), texts: Sequence[str] = ()
    ) -> Embedded:
        self.asked.append((perceptor, len(pictures), len(texts)))
        await self.answers.wait()
        concepts = [TEXTS.index(text) // len(WAYS) for text in texts]
        return Embedded(
            id="",
            pictures=(self.seen,) * len(pictures),
            texts=tuple(toward({concept: 1.0}) for concept in concepts),
        )


class Network:
    """The first check."""

    def __init__(self) -> None:
        self.found = 0.0
        self.broken = False

    async def score(self, data: bytes, media_type: str = "image/png") -> float:
        if self.broken:
            raise NotCheckedError("broken by the test")
        return self.found


class Checked:
    """Services with both checks."""

    def __init__(self, parts: Services, limit_s: float) -> None:
        self.parts = parts
        self.clip, self.network = Clip(), Network()
        self.seeing = Seeing(self.clip, parts.library)
        self.second = SecondOpinion(self.seeing, limit_s)
        self.checks = PictureChecks(
            parts.library, parts.settings, self.network, PictureCheck.SPOILER
        )
        self.checks.ask_too(self.second)
        parts.dreams.check_pictures(self.checks)

    async def dream(self) -> Dream:
        (dream,) = await self.parts.dreams.ask(request(guild_id=GUILD, channel_id=CHANNEL))
        await self.parts.draw(dream.id)
        return await self.parts.dreams.wait(dream.id)

    async def kept(self, dream: Dream) -> tuple[str, float | None, float | None]:
        sql = "SELECT verdict, nsfw, second FROM picture_check WHERE dream_id = ?"
        (row,) = await self.parts.store.read(sql, (dream.id,))
        return row["verdict"], row["nsfw"], row["second"]

    async def logged(self, dream: Dream) -> list[dict[str, Any]]:
        log = await self.parts.moderation.log(GUILD, act=Act.COVERED)
        return [entry.detail for entry in log if entry.dream_id == dream.id]


@pytest.fixture
async def checked(tmp_path: Path) -> AsyncIterator[Checked]:
    async with services(tmp_path) as parts:
        made = Checked(parts, 10.0)
        yield made
        await made.seeing.close()


NUDE, CLOTHED = 0, len(UNSAFE)


@pytest.mark.parametrize(
    ("cosines", "least", "most"),
    [
        ({NUDE: 0.30, CLOTHED: 0.20}, 0.99, 1.0),
        ({NUDE: 0.25, CLOTHED: 0.25}, 0.45, 0.55),
        ({NUDE: 0.20, CLOTHED: 0.30}, 0.0, 0.01),
        # Two that are for adults count together.
        ({NUDE: 0.25, NUDE + 1: 0.25, CLOTHED: 0.25}, 0.6, 0.7),
        # Nothing that it knows is near, though one of them is nearest.
        ({NUDE: LEAST_COSINE - 0.02, CLOTHED: 0.0}, 0.0, 0.0),
        ({NUDE: LEAST_COSINE + 0.02, CLOTHED: 0.0}, 0.99, 1.0),
        ({}, 0.0, 0.0),
    ],
)
async def test_the_score_is_the_probability_of_what_is_for_adults(
    checked: Checked, cosines: dict[int, float], least: float, most: float
) -> None:
    checked.clip.seen = toward(cosines)
    score = await checked.second.score(png())
    assert score is not None and least <= score <= most


async def test_the_texts_are_asked_for_once_and_fit_into_one_ask(checked: Checked) -> None:
    assert len(TEXTS) <= MAX_EMBEDDED_TEXTS
    for _ in range(3):
        await checked.second.score(png())
    assert checked.clip.asked == [
        ("ViT-B-32", 1, len(TEXTS)), ("ViT-B-32", 1, 0), ("ViT-B-32", 1, 0),
    ]  # fmt: skip


@pytest.mark.parametrize("difference", [-0.005, 0.005])
async def test_either_finds_and_both_scores_are_kept(checked: Checked, difference: float) -> None:
    # Of one description on each side the probability is a logistic function of the difference.
    at = 0.3 - 0.0219722  # ln(0.9 / 0.1) / 100
    checked.clip.seen = toward({NUDE: 0.3, CLOTHED: at - difference})
    checked.network.found = 0.1
    dream = await checked.dream()
    verdict, nsfw, second = await checked.kept(dream)
    assert nsfw == 0.1 and second is not None and abs(second - FROM) < 0.08
    if difference < 0:
        assert second < FROM and verdict == Verdict.CLEAR and dream.behind is None
        assert await checked.logged(dream) == []
    else:
        assert second >= FROM and verdict == Verdict.FLAGGED and dream.behind is not None
        (detail,) = await checked.logged(dream)
        assert (detail["nsfw"], detail["second"]) == ("0.10", f"{second:.2f}")


async def test_the_first_alone_is_enough(checked: Checked) -> None:
    checked.network.found = NSFW
    dream = await checked.dream()
    assert (await checked.kept(dream))[0] == Verdict.FLAGGED


@pytest.mark.parametrize("here", [(), ("starter-clip",)])
async def test_where_no_published_model_is_the_first_decides_alone(
    checked: Checked, here: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    checked.clip.perceptors = here
    for _ in range(2):
        assert await checked.kept(await checked.dream()) == (Verdict.CLEAR, 0.0, None)
    assert checked.clip.asked == []
    assert caplog.text.count("The second check of pictures does nothing") == bool(here)


async def test_what_is_not_said_in_time_holds_no_picture_up(tmp_path: Path) -> None:
    async with services(tmp_path) as parts:
        checked = Checked(parts, 0.2)
        checked.clip.answers.clear()
        async with asyncio.timeout(5):
            assert await checked.kept(await checked.dream()) == (Verdict.CLEAR, 0.0, None)
        await checked.seeing.close()


async def test_where_the_first_cannot_look_the_picture_is_covered_and_looked_at_again(
    checked: Checked,
) -> None:
    checked.network.broken = True
    checked.clip.seen = toward({NUDE: 0.3})
    dream = await checked.dream()
    assert await checked.kept(dream) == (Verdict.UNCHECKED, None, None)
    checked.network.broken = False
    parts = checked.parts
    assert await Reviews(parts.store, parts.library, parts.dreams, checked.checks).look_again() == 1
    verdict, _, second = await checked.kept(dream)
    assert verdict == Verdict.FLAGGED and second is not None and second > FROM
    found = await picture_checks.by_id(parts.store, dream.id)
    assert found is not None and found.original_sha256 is not None


async def test_what_people_bring_is_looked_at_by_both(checked: Checked) -> None:
    brought = Brought(ANN, GUILD, CHANNEL)
    await checked.checks.check_upload(png(), PictureCheck.BLUR, brought)
    checked.clip.seen = toward({NUDE: 0.3})
    with pytest.raises(InvalidRequestError, match="for adults"):
        await checked.checks.check_upload(png(), PictureCheck.BLUR, brought)


def test_it_is_off_unless_it_is_wanted() -> None:
    assert Config().safety.second_check == "off"
