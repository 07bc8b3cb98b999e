"""Put pictures onto surroundings: one thing, several, beside and above each other, recoloured.

Everything is a function of a numpy generator, so a scene is known by its seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.captions import Words, caption, in_more_words, plural, with_article
from training.filters import apply_filter
from training.pictures import Pictures
from training.places import hour, paint, pattern
from training.render import Rgba
from training.scenery import COLOURS, Picture, Rng, rgb

_COUNTS = {
    2: ("two", "a pair of", "2"), 3: ("three", "three", "3"), 4: ("four", "four", "4"),
    5: ("five", "five", "5"),
}  # fmt: skip
_SPOTS = {
    2: [(0.27, 0.5), (0.73, 0.5)],
    3: [(0.22, 0.5), (0.5, 0.5), (0.78, 0.5)],
    4: [(0.28, 0.28), (0.72, 0.28), (0.28, 0.72), (0.72, 0.72)],
    5: [(0.25, 0.25), (0.75, 0.25), (0.5, 0.5), (0.25, 0.75), (0.75, 0.75)],
}
"""Where the things of a counted group stand, as (x, y) in 0..1."""
_NAMED_SHARE = 0.6
"""Of the single things, how many are picked by noun and called by it."""
_HUES = {"red": 0, "orange": 22, "yellow": 38, "green": 90, "turquoise": 125, "blue": 155,
         "purple": 195, "pink": 230}  # fmt: skip


_DAYLIGHT = np.ones(3, np.float32)


@dataclass(frozen=True)
class Example:
    """A finished training picture."""

    picture: npt.NDArray[np.uint8]
    """[H, W, 3]"""
    caption: str


def recolour(image: Rgba, name: str) -> Rgba:
    """Return the picture with its colours turned to a named one; alpha and shading stay."""
    out = image.copy()
    hsv = np.asarray(Image.fromarray(image[..., :3]).convert("HSV")).astype(np.float32)
    if name in _HUES:
        grey = (hsv[..., 1] * (image[..., 3] > 128)).mean() < 25
        change = np.ones(hsv.shape[:2], bool) if grey else hsv[..., 1] > 40
        hsv[..., 0] = np.where(change, _HUES[name], hsv[..., 0])
        hsv[..., 1] = np.where(change, np.clip(hsv[..., 1], 130, 235), hsv[..., 1])
        hsv[..., 2] = np.where(change, np.clip(hsv[..., 2], 60, 255), hsv[..., 2])
    elif name == "black":
        hsv[..., 1] *= 0.2
        hsv[..., 2] *= 0.3
    elif name == "white":
        hsv[..., 1] *= 0.12
        hsv[..., 2] = 165 + hsv[..., 2] * 0.35
    else:
        hsv[..., 1] *= 0.05
    out[..., :3] = np.asarray(Image.fromarray(hsv.astype(np.uint8), "HSV").convert("RGB"))
    return out


_NAMES = (*_HUES, "black", "white", "grey")


def paste(
    picture: Picture, image: Rgba, x: float, y: float, side_px: int, angle: float = 0,
    light: Picture = _DAYLIGHT,
) -> None:  # fmt: skip
    """Lay an RGBA picture in a light over a background, centred at (x, y) in 0..1, in place."""
    small = Image.fromarray(image).resize(
        (side_px, side_px), Image.Resampling.BOX, reducing_gap=None
    )
    if angle:
        small = small.rotate(angle, Image.Resampling.BILINEAR)
    piece = np.asarray(small, np.float32) / 255
    height, width = picture.shape[:2]
    left, top = int(x * width - side_px / 2), int(y * height - side_px / 2)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + side_px, width), min(top + side_px, height)
    if x1 <= x0 or y1 <= y0:
        return
    piece = piece[y0 - top : y1 - top, x0 - left : x1 - left]
    area = picture[y0:y1, x0:x1]
    area += piece[..., 3:] * (piece[..., :3] * light - area)


class Backdrop(NamedTuple):
    """What things are laid on; of a named hour they have the light, too."""

    picture: Picture
    words: str
    """What the caption adds: " on the beach", or nothing."""
    ground: float = 0.0
    """Height (0 top .. 1 bottom) of the line to stand on, or 0 for none."""
    light: Picture = _DAYLIGHT
    """[3], what things' colours are multiplied by."""


def _backdrop(rng: Rng, width: int, height: int) -> Backdrop:
    draw = rng.random()
    if draw < 0.36:
        return Backdrop(np.ones((height, width, 3), np.float32), "")
    if draw < 0.48:
        name = str(rng.choice(list(COLOURS)))
        words = f" on a {name} background" if rng.random() < 0.6 else ""
        plain = np.broadcast_to(rgb(COLOURS[name], rng), (height, width, 3)).copy()
        return Backdrop(plain, words)
    if draw < 0.52:
        return Backdrop(pattern(rng, width, height).picture, "")
    if draw < 0.66:
        scenery, bright = hour(rng, width, height)
        # Darker and bluer than by day, and still to be told by its colours.
        light = 1 - (1 - bright) * np.array([0.55, 0.5, 0.25], np.float32)
        return Backdrop(scenery.picture, f" {scenery.place}", scenery.ground, light)
    scenery = paint(rng, width, height)
    words = f" {scenery.place}" if rng.random() < 0.85 else ""
    return Backdrop(scenery.picture.copy(), words, scenery.ground)


def one_thing(pictures: Pictures, rng: Rng, width: int, height: int) -> tuple[Picture, str]:
    """Compose a single picture: large on a plain background, or standing in a scenery."""
    if rng.random() < _NAMED_SHARE:
        index, noun = pictures.pick_named(rng)
        words = Words(noun, (), 1.0)
    else:
        index = pictures.pick(rng)
        words = pictures.words[index]
    image = pictures.rgba(index)
    styles = pictures.styles(index)
    if rng.random() < 0.11:
        colour = str(rng.choice(_NAMES))
        image = recolour(image, colour)
        words, styles = Words(f"{colour} {words.label}", (), 1.0), ()
    canvas, place, ground, light = _backdrop(rng, width, height)
    short = min(width, height)
    if ground:
        side = int(short * rng.uniform(0.5, 0.85))
        y = ground - side / height / 2 + rng.uniform(-0.08, 0.02)
        x = rng.uniform(0.3, 0.7)
    else:
        side = int(short * rng.uniform(0.82, 1.0))
        slack = (short - side) / short / 2
        x, y = 0.5 + rng.uniform(-slack, slack), 0.5 + rng.uniform(-slack, slack)
    paste(canvas, image, x, y, side, float(rng.normal(0, 6)) if rng.random() < 0.12 else 0,
          light)  # fmt: skip
    return canvas, caption(words, styles, rng, pictures.style_share(index)) + place


def several(pictures: Pictures, rng: Rng, width: int, height: int) -> tuple[Picture, str]:
    """Compose a counted group, or two things related in space."""
    canvas, place, ground, light = _backdrop(rng, width, height)
    short = min(width, height)
    index, noun = pictures.pick_thing(rng)
    image = pictures.rgba(index)
    if rng.random() < 0.25:
        colour = str(rng.choice(_NAMES))
        image, noun = recolour(image, colour), f"{colour} {noun}"
    line = min(ground, 0.8) if ground else 0.5
    if rng.random() < 0.5:
        count = int(rng.choice([2, 2, 3, 3, 4, 5]))
        side = int(short * {2: 0.5, 3: 0.42, 4: 0.4, 5: 0.34}[count])
        spots = _SPOTS[count]
        if count == 3 and rng.random() < 0.5:
            spots = [(0.5, 0.27), (0.27, 0.72), (0.73, 0.72)]
        row = all(y == 0.5 for _, y in spots)
        for x, y in spots:
            paste(canvas, image, x + rng.normal(0, 0.015),
                  (line if row else y) + rng.normal(0, 0.015), side, light=light)  # fmt: skip
        return canvas, f"{rng.choice(_COUNTS[count])} {plural(noun)}{place}"
    other, name = pictures.pick_thing(rng)
    second = pictures.rgba(other)
    side = int(short * rng.uniform(0.44, 0.52))
    a, b = with_article(noun), with_article(name)
    if rng.random() < 0.72:
        at = line - 0.05 if ground else 0.5 + rng.uniform(-0.1, 0.1)
        paste(canvas, image, 0.26, at, side, light=light)
        paste(canvas, second, 0.74, at, side, light=light)
        texts: tuple[str, ...] = (
            f"{a} and {b}", f"{a} and {b}", f"{noun} and {name}", f"{a} with {b}",
            f"{a} next to {b}", f"{a} beside {b}", f"{a} looking at {b}", f"{a} meets {b}",
            f"{a} to the left of {b}", f"{b} to the right of {a}",
        )  # fmt: skip
    else:
        paste(canvas, second, 0.5, 0.74, side, light=light)
        paste(canvas, image, 0.5, 0.28, side, light=light)
        texts = (f"{a} above {b}", f"{a} on top of {b}", f"{b} under {a}", f"{b} below {a}")
    return canvas, str(rng.choice(texts)) + place


def example(pictures: Pictures, rng: Rng, width: int = 128, height: int = 128) -> Example:
    """Compose one seeded training example: 60 % one thing, 27 % several, 13 % scenery alone."""
    draw = rng.random()
    if draw < 0.6:
        canvas, text = one_thing(pictures, rng, width, height)
        filtered = 0.2
    elif draw < 0.87:
        canvas, text = several(pictures, rng, width, height)
        filtered = 0.12
    else:
        scenery = paint(rng, width, height)
        canvas, text, filtered = scenery.picture, scenery.phrase, 0.3
    if rng.random() < filtered:
        canvas, text = apply_filter(canvas, text, rng)
    text = in_more_words(text, rng)
    return Example((np.clip(canvas, 0, 1) * 255).astype(np.uint8), text)
