"""What painted surroundings are made of: colours, skies, height lines, discs, clouds, stars.

Every painter takes (rng, width_px, height_px) and returns a float picture [H, W, 3] in 0..1 and
the phrase that describes it. Layers are height lines over columns, so a scene takes well under a
millisecond per layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.floating[Any]]
"""[H, W, 3] or [W], float32 where it is made here"""
Rng = np.random.Generator


@dataclass(frozen=True)
class Scenery:
    """A painted background, its phrase, and where things pasted onto it stand or float."""

    picture: Picture
    phrase: str
    ground: float
    """Height (0 top .. 1 bottom) of the line that things stand on."""
    place: str
    """What "a cat ..." continues with: "on the beach", "in space", ..."""


SKIES: dict[str, tuple[str, str]] = {
    "day": ("#4aa3e8", "#cfeaff"),
    "clear blue sky": ("#2d7fd6", "#a8d8ff"),
    "sunset": ("#5b3a8c", "#ff9a3d"),
    "sunrise": ("#7fa8e0", "#ffd9a0"),
    "dusk": ("#2b2a5e", "#e88a9a"),
    "night": ("#060a22", "#1f2c5c"),
    "storm": ("#2e3440", "#7a8594"),
    "overcast": ("#9aa6b2", "#d9dfe4"),
    "pink sky": ("#f4a6c8", "#ffe3ec"),
    "green aurora": ("#04121f", "#0d3b3a"),
}
_WORDS = {
    "day": ("on a sunny day", "in daylight", "by day"),
    "clear blue sky": ("under a clear blue sky", "under a blue sky"),
    "sunset": ("at sunset", "in the evening sun", "at golden hour"),
    "sunrise": ("at sunrise", "at dawn", "in the morning"),
    "dusk": ("at dusk", "at twilight"),
    "night": ("at night", "under the stars", "under a starry sky", "by moonlight", "in the dark"),
    "storm": ("in a storm", "under dark clouds", "in stormy weather"),
    "overcast": ("on a cloudy day", "under grey clouds"),
    "pink sky": ("under a pink sky",),
    "green aurora": ("under the northern lights", "under an aurora"),
}
COLOURS: dict[str, str] = {
    "red": "#e03131", "orange": "#f76707", "yellow": "#ffd43b", "green": "#2f9e44",
    "blue": "#1c7ed6", "purple": "#7b3fe4", "pink": "#f783ac", "brown": "#8a5a34",
    "black": "#16181d", "white": "#fbfbfb", "grey": "#9aa0a6", "turquoise": "#20c9b5",
    "gold": "#d8a520", "beige": "#eadfc8", "dark blue": "#12336b", "light blue": "#a9d8ff",
    "light green": "#b6e8a2", "dark green": "#14532d", "lavender": "#cdb9f5",
}  # fmt: skip


def rgb(hex_colour: str, rng: Rng | None = None, jitter: float = 0.05) -> Picture:
    """Return a colour as float [3], jittered when a generator is given."""
    value = np.array([int(hex_colour[i : i + 2], 16) for i in (1, 3, 5)], np.float32) / 255
    if rng is not None:
        value = np.clip(value + rng.normal(0, jitter, 3).astype(np.float32), 0, 1)
    return value


def gradient(top: Picture, bottom: Picture, width: int, height: int) -> Picture:
    """Return a vertical gradient [H, W, 3]."""
    t = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    return np.broadcast_to(top * (1 - t) + bottom * t, (height, width, 3)).copy()


def noise_line(rng: Rng, width: int, octaves: tuple[float, ...], roughness: float = 0.5) -> Picture:
    """Return a smooth random line [W] in about -1..1; octaves are waves per picture."""
    x = np.linspace(0, 1, width, dtype=np.float32)
    line = np.zeros(width, np.float32)
    for i, frequency in enumerate(octaves):
        line += roughness**i * np.sin(
            2 * np.pi * (frequency * rng.uniform(0.7, 1.3) * x + rng.random())
        ).astype(np.float32)
    return line / sum(roughness**i for i in range(len(octaves)))


def ridge_line(rng: Rng, width: int, peaks: int) -> Picture:
    """Return a jagged line [W] in 0..1, 1 at the peaks."""
    knots = np.sort(rng.random(2 * peaks + 1))
    knots[0], knots[-1] = -0.1, 1.1
    heights = np.where(np.arange(len(knots)) % 2, rng.uniform(0.6, 1, len(knots)),
                       rng.uniform(0, 0.4, len(knots)))  # fmt: skip
    line = np.interp(np.linspace(0, 1, width), knots, heights)
    return (line + rng.normal(0, 0.015, width)).astype(np.float32)


def fill_below(picture: Picture, line: Picture, colour: Picture) -> None:
    """Paint everything below a height line [W] (0 top .. 1 bottom), antialiased, in place."""
    height = picture.shape[0]
    rows = np.arange(height, dtype=np.float32)[:, None]
    cover = np.clip(rows - line[None] * height + 0.5, 0, 1)[..., None]
    picture += cover * (colour - picture)


def disc(picture: Picture, x: float, y: float, radius_px: float, colour: Picture,
         glow: float = 0.0) -> None:  # fmt: skip
    """Paint an antialiased disc (x, y in 0..1), with an optional glow, in place."""
    height, width = picture.shape[:2]
    yy, xx = np.mgrid[:height, :width].astype(np.float32)
    distance = np.hypot(xx - x * width, yy - y * height)
    if glow:
        halo = np.exp(-((distance / (radius_px * 2.5)) ** 2))[..., None] * glow
        picture += halo * (colour - picture)
    cover = np.clip(radius_px - distance + 0.5, 0, 1)[..., None]
    picture += cover * (colour - picture)


def stars(picture: Picture, rng: Rng, count: int, below: float = 1.0) -> None:
    """Scatter stars over the upper part, in place."""
    height, width = picture.shape[:2]
    ys = rng.integers(0, max(1, int(height * below)), count)
    xs = rng.integers(0, width, count)
    picture[ys, xs] = np.maximum(picture[ys, xs], rng.uniform(0.5, 1, (count, 1)))


def clouds(picture: Picture, rng: Rng, colour: Picture, count: int, below: float) -> None:
    """Paint soft flat-bottomed clouds, in place."""
    height, width = picture.shape[:2]
    yy, xx = np.mgrid[:height, :width].astype(np.float32)
    for _ in range(count):
        cx, cy = rng.uniform(0, width), rng.uniform(0.05, below) * height
        size = rng.uniform(0.05, 0.11) * min(width, height)
        field = np.zeros((height, width), np.float32)
        for offset in np.linspace(-1.6, 1.6, 5):
            radius = size * (1.1 - 0.3 * abs(offset)) * rng.uniform(0.8, 1.2)
            inside = radius - np.hypot(xx - cx - offset * size, (yy - cy) * 1.3)
            field = np.maximum(field, np.clip(inside + 0.5, 0, 1))
        field *= (yy < cy + size * 0.45)[...]
        picture += field[..., None] * 0.9 * (colour - picture)


def sky(
    rng: Rng, width: int, height: int, horizon: float, key: str | None = None
) -> tuple[Picture, str, str]:
    """Return a sky picture, its key in SKIES (any, where none is given) and the words for it."""
    key = str(rng.choice(list(SKIES))) if key is None else key
    top, bottom = (rgb(colour, rng) for colour in SKIES[key])
    picture = gradient(top, bottom, width, height)
    words = str(rng.choice(_WORDS[key]))
    if key == "night" and rng.random() < 0.35:
        words = "at night"
    radius = rng.uniform(0.06, 0.12) * min(width, height)
    x = float(rng.uniform(0.15, 0.85))
    if key == "night":
        stars(picture, rng, width * height // 220, horizon)
        if words == "by moonlight" or rng.random() < 0.6:
            disc(picture, x, float(rng.uniform(0.12, 0.3)), radius, rgb("#f4f1d8"), 0.35)
            if words.startswith("at"):
                words += str(rng.choice([" with a full moon", " with the moon", ""]))
    elif key in ("sunset", "sunrise", "dusk"):
        disc(picture, x, horizon - rng.uniform(-0.03, 0.12), radius * 1.3, rgb("#ffe08a", rng), 0.7)
    elif key in ("day", "clear blue sky") and rng.random() < 0.6:
        disc(picture, x, float(rng.uniform(0.12, 0.28)), radius, rgb("#ffe75e"), 0.5)
    elif key == "green aurora":
        stars(picture, rng, width * height // 300, horizon)
        rows = np.linspace(0, 1, height, dtype=np.float32)[:, None]
        for _ in range(2):
            centre = 0.25 + 0.1 * noise_line(rng, width, (1.0, 2.5)) + rng.uniform(-0.05, 0.1)
            band = np.exp(-(((rows - centre) / 0.11) ** 2)) * (rows < horizon)
            picture += band[..., None] * 0.8 * (rgb("#52f2a0", rng) - picture)
    if key in ("day", "overcast", "storm", "pink sky") or rng.random() < 0.15:
        shade = {"storm": "#565e6a", "overcast": "#c5ccd3"}.get(key, "#ffffff")
        clouds(picture, rng, rgb(shade, rng), int(rng.integers(1, 5)), horizon * 0.7)
    return picture, key, words


def dim_of(key: str) -> float:
    """Return how bright the land lies under a sky, 0..1."""
    return {"night": 0.35, "green aurora": 0.35, "dusk": 0.6, "storm": 0.6, "sunset": 0.8}.get(
        key, 1.0
    )
