"""A theme's bounds: refused by name where somebody goes beyond them, kept to everywhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.bounds import bounded
from bot.errors import DreamstreamError, InvalidRequestError, LimitError
from bot.inits import DrawnFrom
from bot.limits import Limits
from bot.model import Dream, DreamRequest, JourneyRequest, Shape, Theme
from bot.requests import check, check_recipe
from bot.rights import Actor
from tests.bot.drawer import ANN, DIFFUSION, FOURIER, Services, png, request, services

BOUNDED = Theme(id=1, slug="t", title="T", max_side=96, max_steps=40, max_count=2)
UPSCALER = msgspec.structs.replace(
    FOURIER, name="upscale", title="Upscaler", scale=4, needs_init=True, max_side=4096
)
ENGINES = (FOURIER, DIFFUSION, UPSCALER)
LIMITS = Limits()


def asked(theme: Theme = BOUNDED, **changes: Any) -> Any:
    return check(
        DreamRequest(theme="t", person=ANN, prompt="a fox", **changes), theme, ENGINES, LIMITS
    )


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"width": 112, "height": 64}, InvalidRequestError, "at most 96 pixels, not 112"),
        ({"height": 10**12}, InvalidRequestError, "at most 96 pixels"),
        ({"steps": 41}, InvalidRequestError, "at most 40 steps, not 41"),
        ({"count": 3}, LimitError, "at most 2 pictures"),
        ({"count": 60, "background": True}, LimitError, "at most 2 pictures"),
        ({"journey": JourneyRequest(frame_steps=41)}, InvalidRequestError, "at most 40 steps"),
    ],
)
def test_what_goes_beyond_is_refused_by_name(
    changes: dict[str, Any], kind: type[DreamstreamError], words: str
) -> None:
    with pytest.raises(kind, match=f"In this theme.*{words}"):
        asked(**changes)
    unbounded = msgspec.structs.replace(BOUNDED, max_side=None, max_steps=None, max_count=None)
    if "height" not in changes or changes["height"] < 600:
        asked(unbounded, **changes)


def test_one_picture_at_once_is_said_so() -> None:
    alone = msgspec.structs.replace(BOUNDED, max_count=1)
    assert asked(alone).count == 1
    with pytest.raises(LimitError, match="only one picture"):
        asked(alone, count=2)


def test_what_nobody_said_is_brought_within() -> None:
    plan = asked()
    assert (plan.width, plan.height, plan.steps, plan.note) == (96, 96, 40, "")
    wide = asked(shape=Shape.LANDSCAPE)
    assert max(wide.width, wide.height) <= 96 and wide.width > wide.height
    journey = asked(journey=JourneyRequest(frames=4), engine="clip").journey
    assert journey.frame_steps <= 40


def test_an_engine_that_draws_nothing_so_small_is_refused() -> None:
    tiny = msgspec.structs.replace(BOUNDED, max_side=32)
    with pytest.raises(InvalidRequestError, match="at most 32 pixels, not 64"):
        asked(tiny, engine="diffusion")


def test_what_is_only_made_larger_keeps_to_its_own_bounds() -> None:
    plan = asked(engine="upscale", init=png(64, 64))
    assert plan.engine == UPSCALER
    assert bounded(UPSCALER, BOUNDED) is UPSCALER


@given(
    side=st.one_of(st.none(), st.integers(1, 5000)),
    steps=st.one_of(st.none(), st.integers(1, 5000)),
    width=st.one_of(st.none(), st.integers(1, 600)),
    height=st.one_of(st.none(), st.integers(1, 600)),
    asked_steps=st.one_of(st.none(), st.integers(1, 1100)),
    shape=st.one_of(st.none(), st.sampled_from(Shape)),
    engine=st.sampled_from(["clip", "diffusion"]),
)
def test_nothing_that_is_planned_lies_beyond_them(
    side: int | None,
    steps: int | None,
    width: int | None,
    height: int | None,
    asked_steps: int | None,
    shape: Shape | None,
    engine: str,
) -> None:
    theme = msgspec.structs.replace(BOUNDED, max_side=side, max_steps=steps, max_count=None)
    try:
        plan = asked(
            theme, width=width, height=height, steps=asked_steps, shape=shape, engine=engine
        )
    except InvalidRequestError:
        return
    assert max(plan.width, plan.height) <= (side or 5000)
    assert plan.steps <= (steps or 5000)


async def drawn(s: Services, **changes: Any) -> Dream:
    (dream,) = await s.dreams.ask(request("a fox", **changes))
    await s.draw(dream.id)
    return await s.dreams.wait(dream.id)


async def test_no_button_is_a_way_round_them(tmp_path: Path) -> None:
    actor = Actor(ANN)
    async with services(tmp_path) as s:
        large = await drawn(s, width=128, height=128, steps=100, until_step=30)
        await s.themes.change("open", max_side=96, max_steps=40, max_count=2)
        for door in (
            lambda: s.offspring.reroll(large.id, actor),
            lambda: s.offspring.carry_on([large.id], actor),
            lambda: s.dreams.draw_recipe("open", ANN, large.recipe),
            lambda: s.dreams.redo(large.id, ANN, same_seed=True),
        ):
            with pytest.raises(InvalidRequestError, match="In this theme"):
                await door()
        small = await drawn(s)
        assert (small.recipe.width, small.recipe.steps) == (96, 40)
        varied = await s.offspring.variations(small.id, actor, count=4)
        assert len(varied) == 2
        assert all(one.recipe.width <= 96 and one.recipe.steps <= 40 for one in varied)
        others = [await drawn(s, until_step=9) for _ in range(3)]
        with pytest.raises(LimitError, match="at most 2"):
            await s.offspring.carry_on([one.id for one in others], actor)


def test_a_recipe_outlasts_that_its_engine_heeds_no_negative_words_any_more() -> None:
    engines = [msgspec.structs.replace(DIFFUSION, takes_negative=True)]
    wish = DreamRequest(theme="t", person=ANN, prompt="a fox", negative="fog")
    recipe = check(wish, BOUNDED, engines, LIMITS).recipe(0, DrawnFrom())
    assert recipe.negative == "fog"
    heedless = [msgspec.structs.replace(DIFFUSION, takes_negative=False)]
    assert check_recipe(recipe, BOUNDED, heedless, LIMITS, kept=True).negative == ""
    kept = msgspec.structs.replace(wish, kept_settings=True)
    assert check(kept, BOUNDED, heedless, LIMITS).recipe(0, DrawnFrom()).negative == ""
    with pytest.raises(InvalidRequestError, match="takes no negative prompt"):
        check(wish, BOUNDED, heedless, LIMITS)


def test_a_recipe_from_elsewhere_keeps_to_them() -> None:
    theme = msgspec.structs.replace(BOUNDED, max_side=None, max_steps=None)
    plan = asked(theme, width=128, height=128, journey=JourneyRequest(frames=4, frame_steps=60))
    recipe = plan.recipe(0, DrawnFrom())
    assert check_recipe(recipe, theme, ENGINES, LIMITS).width == 128
    for bounds, words in (
        ({"max_side": 96}, "96 pixels"),
        ({"max_steps": 99}, "99 steps, not 100"),
        ({"max_steps": 50}, "50 steps"),
    ):
        narrower = msgspec.structs.replace(theme, **bounds)
        with pytest.raises(InvalidRequestError, match=words):
            check_recipe(recipe, narrower, ENGINES, LIMITS)
