"""Making a picture's canvas larger: the old picture in its place, and a mask of what is new.

What is new begins as a blurred reflection of what it is next to, so that light and colours go on,
and its border with the old picture is soft. These functions block: call them in a thread.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from enum import StrEnum

from PIL import Image, ImageChops, ImageFilter, ImageOps

from bot.errors import InvalidRequestError
from bot.sentences import say
from bot.sizes import nearest
from generation.protocol import EngineInfo

LEAST, MOST = 0.1, 2.0
_SOFT = 0.1  # of the old picture's shorter side: how far into it the mask reaches
_BLUR = 0.05  # of the new canvas's shorter side


class Side(StrEnum):
    """Where a picture is extended. Its share is of the picture's width, or height."""

    LEFT = "left"
    RIGHT = "right"
    UP = "up"
    DOWN = "down"
    SIDES = "sides"
    ALL = "all"


_EDGES: dict[Side, tuple[bool, bool, bool, bool]] = {  # left, up, right, down
    Side.LEFT: (True, False, False, False),
    Side.RIGHT: (False, False, True, False),
    Side.UP: (False, True, False, False),
    Side.DOWN: (False, False, False, True),
    Side.SIDES: (True, False, True, False),
    Side.ALL: (True, True, True, True),
}


@dataclass(frozen=True)
class Extension:
    """A larger canvas in pixels, and the box (left, top, right, bottom) of the old picture."""

    width: int
    height: int
    box: tuple[int, int, int, int]


def plan(engine: EngineInfo, width: int, height: int, side: Side, share: float) -> Extension:
    """Return what a picture of this size becomes, within an engine's bounds.

    `share` of the picture's width or height is added: on both sides together where it grows on
    both. Where the engine cannot draw as large a picture, all of it becomes smaller.

    Raises:
        InvalidRequestError: the share is out of bounds, or the engine has no room for it.
    """
    if not LEAST <= share <= MOST:
        raise InvalidRequestError(
            "by",
            say(
                "A picture is extended by {least:.0%} to {most:.0%}, not by {share:.0%}.",
                least=LEAST,
                most=MOST,
                share=share,
            ),
        )
    left, up, right, down = _EDGES[side]
    across, along = left or right, up or down
    wanted = (width * (1 + share * across), height * (1 + share * along))
    whole = nearest(engine, round(wanted[0]), round(wanted[1]))
    # Rounding to the engine's multiples is left to what is new, not to the old picture's shape.
    scale = min(whole[0] / wanted[0], whole[1] / wanted[1], 1.0)
    if not across:
        scale = whole[0] / width
    elif not along:
        scale = whole[1] / height
    old = (min(whole[0], round(width * scale)), min(whole[1], round(height * scale)))
    spare = (whole[0] - old[0], whole[1] - old[1])
    if (across and spare[0] < engine.size_multiple) or (along and spare[1] < engine.size_multiple):
        raise InvalidRequestError(
            "by",
            say(
                "{engine} draws at most {side} pixels a side and {most:,} in all, which leaves no "
                "room there. Extend another side, or by more.",
                engine=engine.title,
                side=engine.max_side,
                most=engine.max_pixels,
            ),
        )
    at = (_before(spare[0], left, right), _before(spare[1], up, down))
    return Extension(*whole, (at[0], at[1], at[0] + old[0], at[1] + old[1]))


def extended(picture: bytes, extension: Extension) -> tuple[bytes, bytes]:
    """Return the larger canvas and its mask, white where it is new, as PNG."""
    left, top, right, bottom = extension.box
    with Image.open(io.BytesIO(picture)) as opened:
        old = opened.convert("RGB").resize((right - left, bottom - top), Image.Resampling.LANCZOS)
    canvas = _reflected(old, extension)
    canvas = canvas.filter(ImageFilter.GaussianBlur(_BLUR * min(canvas.size)))
    canvas.paste(old, (left, top))
    return _png(canvas), _png(_mask(extension))


def _reflected(old: Image.Image, extension: Extension) -> Image.Image:
    """Return a picture in its place, mirrored at its edges as often as there is room."""
    left, top, _, _ = extension.box
    canvas = Image.new("RGB", (extension.width, extension.height))
    for row in range(-math.ceil(top / old.height), math.ceil(extension.height / old.height)):
        in_row = ImageOps.flip(old) if row % 2 else old
        for column in range(-math.ceil(left / old.width), math.ceil(extension.width / old.width)):
            tile = ImageOps.mirror(in_row) if column % 2 else in_row
            canvas.paste(tile, (left + column * old.width, top + row * old.height))
    return canvas


def _mask(extension: Extension) -> Image.Image:
    """Return the mask: it fades over the soft border, along those edges that are not outer ones."""
    left, top, right, bottom = extension.box
    size = extension.width, extension.height
    soft = max(1.0, _SOFT * min(right - left, bottom - top))

    def kept(side: int, low: int, high: int) -> bytes:
        rises = [1.0 if low == 0 else (at + 0.5 - low) / soft for at in range(side)]
        falls = [1.0 if high == side else (high - at - 0.5) / soft for at in range(side)]
        least = (min(1.0, max(0.0, min(pair))) for pair in zip(rises, falls, strict=True))
        return bytes(round(255 * part) for part in least)

    across = Image.frombytes("L", (size[0], 1), kept(size[0], left, right)).resize(size)
    along = Image.frombytes("L", (1, size[1]), kept(size[1], top, bottom)).resize(size)
    return ImageChops.invert(ImageChops.darker(across, along))


def _before(spare: int, begins: bool, ends: bool) -> int:
    """Return how much of what is new comes before the old picture."""
    if begins and ends:
        return spare // 2
    return spare if begins else 0


def _png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=6)
    return out.getvalue()
