"""Choose a picture's size within what an engine can draw."""

from __future__ import annotations

import math
import re

from bot.errors import InvalidRequestError
from bot.model import Shape, Theme
from bot.sentences import option, say
from generation.protocol import EngineInfo

_SIZE = re.compile(r"\s*(\d{1,6})\s*(?:[x×*]\s*(\d{1,6}))?\s*(?:px)?\s*", re.ASCII)
_PROPORTIONS = {
    Shape.SQUARE: (1, 1),
    Shape.PORTRAIT: (2, 3),
    Shape.LANDSCAPE: (3, 2),
    Shape.WIDE: (2, 1),
    Shape.TALL: (1, 2),
}
_OUT_OF_SHAPE = 1.2  # how far the bounds may squeeze a shape before it is another one


def parse_size(text: str | None, field: str = "size") -> tuple[int | None, int | None]:
    """Return the width and height in what was typed, such as “256” or “384x256”; both are px.

    Nothing, or only spaces, leaves both open.

    Raises:
        InvalidRequestError: it is not a size; the sentence names `field`.
    """
    if text is None or not text.strip():
        return None, None
    found = _SIZE.fullmatch(text.lower())
    if found is None:
        raise InvalidRequestError(
            field, say("The {field} is written like 256 or 384x256.", field=option(field))
        )
    return int(found[1]), int(found[2] or found[1])


def shaped(engine: EngineInfo, shape: Shape, theme: Theme) -> tuple[int, int]:
    """Return the width and height of a picture of this shape, with about the usual area.

    Raises:
        InvalidRequestError: the engine's bounds leave no room for it.
    """
    across, down = _PROPORTIONS[shape]
    area = (theme.width or engine.default_width) * (theme.height or engine.default_height)
    unit = math.sqrt(area / (across * down))
    width, height = nearest(engine, round(unit * across), round(unit * down))
    if not 1 / _OUT_OF_SHAPE <= (width * down) / (height * across) <= _OUT_OF_SHAPE:
        raise InvalidRequestError(
            "shape",
            f"{engine.title} has no room for {shape.value} pictures: its sides have "
            f"{engine.min_side} to {engine.max_side} pixels. The nearest it can do is "
            f"{_show((width, height))}.",
        )
    return width, height


def fit(
    engine: EngineInfo, width: int | None, height: int | None, theme: Theme
) -> tuple[int, int, str]:
    """Return width, height and a note for the person, empty where nothing was changed.

    A size within the engine's bounds is rounded to its multiple; one outside is refused. What
    the person left open comes from the theme, brought within bounds, else from the engine.

    Raises:
        InvalidRequestError: the size is outside of what the engine can draw.
    """
    width, height = _sane(width), _sane(height)
    if width is None and height is None:
        return *nearest(
            engine, theme.width or engine.default_width, theme.height or engine.default_height
        ), ""
    if width is None or height is None:
        given = width or height or 0
        other = (theme.height if height is None else theme.width) or (
            engine.default_height if height is None else engine.default_width
        )
        other = _beside(engine, given, other)
        chosen = (other, given) if width is None else (given, other)
    else:
        chosen = (width, height)
    low, high = engine.min_side, engine.max_side
    near = nearest(engine, *chosen)
    if not all(low <= side <= high for side in chosen) or math.prod(chosen) > engine.max_pixels:
        raise InvalidRequestError(
            "size",
            say(
                "{size} is outside of what {engine} can draw: sides of {low} to {high} pixels, "
                "{most:,} pixels in all. The nearest it can do is {near}.",
                size=_show(chosen),
                engine=engine.title,
                low=low,
                high=high,
                most=engine.max_pixels,
                near=_show(near),
            ),
        )
    if near == chosen:
        return *chosen, ""
    return *near, (
        f"Drawn at {_show(near)} instead of {_show(chosen)}: {engine.title} draws in multiples of "
        f"{engine.size_multiple} pixels."
    )


def scaled(engine: EngineInfo, width: int, height: int) -> tuple[int, int]:
    """Return what a picture of this size becomes in an engine that makes it larger.

    Raises:
        InvalidRequestError: that is larger than what the engine can draw.
    """
    scale = engine.scale or 1
    size = scale * width, scale * height
    if max(size) > engine.max_side or math.prod(size) > engine.max_pixels:
        most = math.isqrt(engine.max_pixels) // scale
        raise InvalidRequestError(
            "init",
            say(
                "A picture of {size} becomes {larger}, which is more than {engine} can do. Give "
                "one of about {most} at most.",
                size=_show((width, height)),
                larger=_show(size),
                engine=engine.title,
                most=_show((most, most)),
            ),
        )
    return size


def tiles(engine: EngineInfo, width: int, height: int) -> int:
    """Return how many windows cover a picture of this size: the steps of making it larger."""
    window, stride = engine.tile

    def along(side: int) -> int:
        return 1 + max(0, math.ceil((side - window) / stride))

    return along(width) * along(height)


def nearest(engine: EngineInfo, width: int, height: int) -> tuple[int, int]:
    """Return the allowed size closest to the one given, of like proportions where possible."""
    unit = engine.size_multiple
    low, high = _bounds(engine)
    width, height = max(1, width), max(1, height)
    shrink = min(1.0, high / max(width, height), math.sqrt(engine.max_pixels / (width * height)))
    whole = round if shrink == 1.0 else math.floor

    def side(length: float) -> int:
        return min(high, max(low, whole(length / unit + 1e-9) * unit))

    fitted = side(width * shrink), side(height * shrink)
    while math.prod(fitted) > engine.max_pixels and max(fitted) > low:
        # Rounding, or a side that could not shrink, left it too large: the longer side gives way.
        if fitted[0] >= fitted[1]:
            fitted = (fitted[0] - unit, fitted[1])
        else:
            fitted = (fitted[0], fitted[1] - unit)
    return fitted


def _sane(side: int | None) -> int | None:
    """Return the side, cut to a length that arithmetic and a sentence can bear."""
    return None if side is None else max(-1, min(side, 10**9))


def _bounds(engine: EngineInfo) -> tuple[int, int]:
    """Return the smallest and largest side that are multiples."""
    unit = engine.size_multiple
    low = math.ceil(engine.min_side / unit) * unit
    return low, max(low, engine.max_side // unit * unit)


def _beside(engine: EngineInfo, given: int, wanted: int) -> int:
    """Return the side to go with the one given: the one wanted, as far as there is room."""
    unit = engine.size_multiple
    low, high = _bounds(engine)
    room = engine.max_pixels // max(given, 1) // unit * unit
    return max(low, min(wanted, high, room))


def _show(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"
