"""What an engine says of how a recipe is read, and a dream that is led by a sketch."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from bot.delivery.card import Face, Shown
from bot.errors import InvalidRequestError
from bot.limits import Limits
from bot.model import DreamState, Theme
from bot.requests import check
from bot.rights import Actor
from generation.protocol import PROTOCOL_VERSION, Failed, Started, Steer, Steered, Welcome
from tests.bot.drawer import (
    ANN,
    DIFFUSION,
    FOURIER,
    Services,
    finished,
    png,
    request,
    services,
    until,
)

LOST = "These words are beyond what it reads: “the sea”."
LED = replace(DIFFUSION, takes_sketch=True)
THEME = Theme(id=1, slug="open", title="Open")


async def started(s: Services, dream_id: str, *notices: str) -> None:
    await s.job(dream_id)
    await s.dreams.on_message(Started(dream_id, 0, notices))


def notice(s: Services, dream_id: str) -> str:
    live = s.dreams.live(dream_id)
    assert live is not None
    return live.notice


async def test_a_notice_is_shown_while_a_dream_forms_and_kept_with_its_picture(
    tmp_path: Path,
) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        await started(s, dream.id, LOST, "So is “the sky”.")
        assert notice(s, dream.id) == f"{LOST} So is “the sky”."
        await s.dreams.on_message(finished(s.drawer.jobs[dream.id]))
        ended = await s.dreams.wait(dream.id)
        assert (ended.state, ended.reason) == (DreamState.DONE, f"{LOST} So is “the sky”.")


async def test_a_notice_comes_again_after_a_restart_and_a_steer_takes_it_back(
    tmp_path: Path,
) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        await started(s, dream.id, LOST)
    async with services(tmp_path) as s:
        await until(lambda: s.dreams.live(dream.id) is not None)
        await started(s, dream.id, LOST)
        assert notice(s, dream.id) == LOST
        await s.dreams.steer(dream.id, Actor(ANN), "an owl", 5)
        await s.dreams.on_message(Steered(dream.id, Steer(3, "an owl", 5)))
        assert notice(s, dream.id) == ""
        await s.dreams.on_message(finished(s.drawer.jobs[dream.id]))
        assert (await s.dreams.wait(dream.id)).reason == ""


async def test_a_dream_that_fails_says_why_and_nothing_else(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        await started(s, dream.id, LOST)
        await s.dreams.on_message(Failed(job_id=dream.id, reason="It fell apart."))
        assert (await s.dreams.wait(dream.id)).reason == "It fell apart."


async def test_cards_show_what_pictures_came_with_each_sentence_once(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        made = await s.dreams.ask(request(count=3))
        for dream in made:
            await started(s, dream.id, LOST)
        forming = [Shown(dream, s.dreams.live(dream.id)) for dream in made]
        for dream in made:
            await s.dreams.on_message(finished(s.drawer.jobs[dream.id]))
        over = [Shown(await s.dreams.wait(dream.id)) for dream in made]
    for shown in (forming, over, forming[:1], over[:1]):
        face = Face(made[0].id, THEME, tuple(shown))
        assert str([item.to_component_dict() for item in face.view().children]).count(LOST) == 1


# --- sketches ----------------------------------------------------------------------------------


async def test_a_sketch_is_kept_and_named_in_the_recipe(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        await s.up(Welcome(version=PROTOCOL_VERSION, pid=1, device="a test", engines=(LED,)))
        (dream,) = await s.dreams.ask(request(engine="diffusion", sketch=png(40, 30, "white")))
        job = await s.job(dream.id)
        assert job.recipe.sketch_sha256 in job.pictures
        assert job.sketch is not None
        assert (job.init, job.mask) == (None, None)
        # The same again needs no upload: the sketch is still kept.
        await s.draw(dream.id)
        await s.dreams.wait(dream.id)
        again = await s.offspring.reroll(dream.id, Actor(ANN))
        assert (await s.job(again.id)).sketch == job.sketch


def test_a_sketch_only_where_it_is_taken() -> None:
    how = "A sketch needs weights: dreamstream models pull a-controlnet"
    lacking = replace(DIFFUSION, sketch_missing=how)
    for engines, words in (
        ((FOURIER, LED), "CLIP-steered cannot be led by a sketch. Diffusion can."),
        ((FOURIER, lacking), f"led by a sketch. Give it as the picture to start from. {how}"),
        ((FOURIER,), "Give it as the picture to start from."),
    ):
        with pytest.raises(InvalidRequestError) as caught:
            check(request(engine=FOURIER.name, sketch=b"x"), THEME, engines, Limits())
        assert caught.value.field == "sketch"
        assert words in str(caught.value)
