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
from bot.checking.second import FROM, LEAST_COSINE, SILENT, TEXTS, UNSAFE, WAYS, SecondOpinion
from bot.checking.service import NSFW, Brought, PictureChecks
from bot.config import Config
from bot.errors import InvalidRequestError, SchedulerError
from bot.model import Act, Dream, PictureCheck
from bot.seeing import Seeing
from bot.store import picture_checks
from bot.uploads import UploadLimits
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
        self.reason = ""

    async def embed(
        self, perceptor: str, pictures: Sequence[bytes] = (), texts: Sequence[str] = ()
    ) -> Embedded:
        self.asked.append((perceptor, len(pictures), len(texts)))
        await self.answers.wait()
        if self.reason:
            return Embedded(id="", reason=self.reason)
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

    async def close(self) -> None:
        await self.second.close()
        await self.seeing.close()

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
        await made.close()


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
        ("ViT-B-32", 0, len(TEXTS)), *[("ViT-B-32", 1, 0)] * 3,
    ]  # fmt: skip


async def test_many_pictures_after_a_start_wait_for_one_ask_for_the_texts(
    checked: Checked,
) -> None:
    scores = await asyncio.gather(*(checked.second.score(png()) for _ in range(12)))
    assert scores == [0.0] * 12
    assert sum(texts for _, _, texts in checked.clip.asked) == len(TEXTS)


async def test_texts_that_take_longer_than_a_picture_may_wait_are_there_for_the_next(
    checked: Checked,
) -> None:
    hasty = SecondOpinion(checked.seeing, 0.05)
    checked.clip.answers.clear()
    assert [await hasty.score(png()) for _ in range(2)] == [None, None]
    checked.clip.answers.set()
    async with asyncio.timeout(10):
        while await hasty.score(png()) is None:
            pass
    assert [texts for _, _, texts in checked.clip.asked if texts] == [len(TEXTS)]
    await hasty.close()


async def test_who_waits_for_the_texts_at_a_stop_is_told_nothing(checked: Checked) -> None:
    checked.clip.answers.clear()
    asked = asyncio.create_task(checked.second.score(png()))
    while not checked.clip.asked:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    await checked.second.close()
    assert await asked is None


async def test_it_is_told_when_nothing_is_said_of_many(
    checked: Checked, caplog: pytest.LogCaptureFixture
) -> None:
    checked.clip.reason = "There is no memory left."
    for count in range(2 * SILENT):
        assert ("CLIP has said nothing" in caplog.text) == (count >= SILENT)
        assert await checked.second.score(png()) is None
    told = [one for one in caplog.records if one.levelname == "WARNING"]
    assert ["There is no memory left." in one.message for one in told] == [True]
    checked.clip.reason = ""
    assert await checked.second.score(png()) == 0.0
    assert "CLIP says something of pictures again" in caplog.text
    caplog.clear()
    checked.clip.reason = "There is no memory left."
    assert await checked.second.score(png()) is None
    assert not [one for one in caplog.records if one.levelname == "WARNING"]


async def test_what_was_drawn_is_looked_at_however_large_it_is(tmp_path: Path) -> None:
    async with services(tmp_path) as parts:
        checked = Checked(parts, 10.0)
        parts.library.uploads = UploadLimits(max_bytes=100, max_pixels=100)
        assert len(png()) > 100
        assert await checked.second.score(png()) == 0.0
        with pytest.raises(InvalidRequestError):  # a stranger's is not
            await checked.seeing.score(png(), "a fox")
        await checked.close()


async def test_its_time_counts_from_when_the_picture_is_made_small(
    checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(*_: object) -> bytes:
        await asyncio.sleep(3600)
        return b""

    monkeypatch.setattr(checked.parts.library, "run", busy)
    async with asyncio.timeout(5):
        hasty = SecondOpinion(checked.seeing, 0.05)
        assert await hasty.score(png()) is None
        with pytest.raises(SchedulerError, match="too long"):
            await checked.seeing.embed([png()], limit_s=0.05)
        await hasty.close()


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
        await checked.close()


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
