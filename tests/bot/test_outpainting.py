"""A larger canvas: how large, where the old picture stands, what the mask lets be redrawn."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image, ImageDraw

from bot.errors import InvalidRequestError
from bot.outpainting import LEAST, MOST, Side, extended, plan
from tests.bot.drawer import DIFFUSION

ENGINE = replace(
    DIFFUSION, min_side=64, max_side=512, max_pixels=256 * 256, size_multiple=16, takes_mask=True
)


def picture(width: int, height: int) -> bytes:
    drawn = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    ImageDraw.Draw(drawn).rectangle((0, 0, width // 4, height // 4), fill="orange")
    out = io.BytesIO()
    drawn.save(out, "PNG")
    return out.getvalue()


def pixels(data: bytes, mode: str = "RGB") -> np.ndarray:
    with Image.open(io.BytesIO(data)) as opened:
        return np.asarray(opened.convert(mode)).astype(int)


@pytest.mark.parametrize(
    ("side", "size", "box"),
    [
        (Side.LEFT, (192, 128), (64, 0, 192, 128)),
        (Side.RIGHT, (192, 128), (0, 0, 128, 128)),
        (Side.UP, (128, 192), (0, 64, 128, 192)),
        (Side.DOWN, (128, 192), (0, 0, 128, 128)),
        (Side.SIDES, (192, 128), (32, 0, 160, 128)),
        (Side.ALL, (192, 192), (32, 32, 160, 160)),
    ],
)
def test_the_old_picture_keeps_its_size_at_its_side(
    side: Side, size: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    extension = plan(ENGINE, 128, 128, side, 0.5)
    assert ((extension.width, extension.height), extension.box) == (size, box)


def test_any_extension_is_within_bounds_and_keeps_the_old_proportions() -> None:
    dice = random.Random(1)
    refused = 0
    for _ in range(400):
        width, height = (16 * dice.randint(4, 32) for _ in range(2))
        side, share = dice.choice(list(Side)), dice.uniform(LEAST, MOST)
        try:
            found = plan(ENGINE, width, height, side, share)
        except InvalidRequestError as error:
            assert "no room" in str(error)
            refused += 1
            continue
        assert found.width % 16 == found.height % 16 == 0
        assert 64 <= min(found.width, found.height) <= max(found.width, found.height) <= 512
        assert found.width * found.height <= ENGINE.max_pixels
        left, top, right, bottom = found.box
        assert 0 <= left < right <= found.width and 0 <= top < bottom <= found.height
        assert (right - left, bottom - top) != (found.width, found.height)
        # A pixel of rounding, and half a multiple where a side stands at its least.
        assert abs((right - left) / (bottom - top) / (width / height) - 1) < 0.13
    assert refused < 60


def test_the_canvas_holds_the_old_picture_and_its_mask_only_fades_into_it() -> None:
    old = picture(128, 96)
    extension = plan(ENGINE, 128, 96, Side.RIGHT, 0.5)
    canvas, mask = extended(old, extension)
    drawn, white = pixels(canvas), pixels(mask, "L")
    assert drawn.shape == (96, 192, 3) and white.shape == (96, 192)
    assert np.array_equal(drawn[:, :128], pixels(old))
    assert (white[:, 128:] == 255).all()
    assert (white[:, :110] == 0).all()  # nothing along the outer edges either
    border = white[48, 110:130]
    assert (np.diff(border) >= 0).all() and len(set(border)) > 8
    # What is new begins with the shades of what it is next to.
    assert np.abs(drawn[:, 128:136].mean((1, 2)) - drawn[:, 120:128].mean((1, 2))).max() < 40


def test_a_picture_that_the_engine_cannot_have_larger_becomes_smaller_as_a_whole() -> None:
    extension = plan(ENGINE, 256, 256, Side.ALL, 1.0)
    assert (extension.width, extension.height) == (256, 256)
    assert extension.box == (64, 64, 192, 192)
    canvas, _ = extended(picture(256, 256), extension)
    assert pixels(canvas).shape == (256, 256, 3)


@pytest.mark.parametrize("share", [0.0, LEAST / 2, MOST * 1.1, float("nan"), float("inf")])
def test_a_share_out_of_bounds_is_refused(share: float) -> None:
    with pytest.raises(InvalidRequestError, match="by 10% to 200%"):
        plan(ENGINE, 128, 128, Side.ALL, share)


def test_no_room_is_said() -> None:
    with pytest.raises(InvalidRequestError, match="no room"):
        plan(replace(ENGINE, max_side=128, min_side=128), 128, 128, Side.LEFT, 0.5)
