"""Sizes, shapes and options as people type them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import InvalidRequestError
from bot.limits import Limits
from bot.model import Shape, Theme
from bot.options import parse_settings
from bot.requests import check
from bot.sizes import parse_size, shaped
from tests.bot.drawer import DIFFUSION, FOURIER, request

THEME = Theme(id=1, slug="open", title="Open")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (None, (None, None)),
        ("  ", (None, None)),
        ("256", (256, 256)),
        ("384x256", (384, 256)),
        (" 384 × 256 px ", (384, 256)),
        ("384*256", (384, 256)),
        ("0X9", (0, 9)),
    ],
)
def test_a_size_is_read(text: str | None, size: tuple[int | None, int | None]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["big", "1x2x3", "x", "-4", "1.5", "9" * 50, "٣", "4 5"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="384x256") as caught:
        parse_size(text, "--size")
    assert caught.value.field == "--size"


@given(st.text(max_size=30))
def test_any_text_is_a_size_or_is_refused(text: str) -> None:
    try:
        sides = parse_size(text)
    except InvalidRequestError:
        return
    assert all(side is None or 0 <= side < 10**6 for side in sides)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        (Shape.SQUARE, (128, 128)),
        (Shape.PORTRAIT, (112, 160)),
        (Shape.LANDSCAPE, (160, 112)),
        (Shape.WIDE, (176, 96)),
        (Shape.TALL, (96, 176)),
    ],
)
def test_a_shape_has_the_usual_area(shape: Shape, size: tuple[int, int]) -> None:
    assert shaped(FOURIER, shape, THEME) == size


def test_a_shape_keeps_to_the_themes_area() -> None:
    large = msgspec.structs.replace(THEME, width=256, height=256)
    assert shaped(FOURIER, Shape.TALL, large) == (176, 368)


def test_a_shape_that_does_not_fit_is_refused() -> None:
    assert shaped(DIFFUSION, Shape.SQUARE, THEME) == (64, 64)
    with pytest.raises(InvalidRequestError, match=r"no room for wide pictures.*64×64"):
        shaped(DIFFUSION, Shape.WIDE, THEME)


def test_a_request_takes_a_size_or_a_shape() -> None:
    plan = check(request(shape=Shape.WIDE), THEME, (FOURIER,), Limits())
    assert (plan.width, plan.height, plan.note) == (176, 96, "")
    with pytest.raises(InvalidRequestError, match="not both"):
        check(request(shape=Shape.WIDE, width=64), THEME, (FOURIER,), Limits())


def test_a_first_look_ends_after_a_part_of_the_steps() -> None:
    def until(**changes: object) -> int | None:
        plan = check(request(**changes), THEME, (FOURIER,), Limits())  # type: ignore[arg-type]
        return plan.until_step

    assert until(first_look=True) == 30
    assert until(first_look=True, steps=2) == 1
    assert until(first_look=True, steps=1) is None  # that is the whole picture
    assert until(first_look=True, until_step=7) == 7
    assert until() is None


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", {}),
        ("cutouts=16", {"cutouts": "16"}),
        (" cutouts = 16 ,kind=soft, ", {"cutouts": "16", "kind": "soft"}),
        ("words=red, green, kind=a=b", {"words": "red, green", "kind": "a=b"}),
    ],
)
def test_options_are_read(text: str, settings: dict[str, str]) -> None:
    assert parse_settings(text) == settings


@pytest.mark.parametrize("text", ["cutouts", "=3", "cutouts=", "a=1, a=2"])
def test_what_are_no_options_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"[Oo]ptions|twice"):
        parse_settings(text)
