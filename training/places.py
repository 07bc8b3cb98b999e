"""Painters of cities, space, the sea floor, rooms and patterns, and the choice among them all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.landscapes import desert, forest, hills, island, mountains, sea
from training.scenery import (
    COLOURS,
    Picture,
    Rng,
    Scenery,
    dim_of,
    disc,
    fill_below,
    gradient,
    noise_line,
    rgb,
    sky,
    stars,
)


def city(rng: Rng, width: int, height: int) -> Scenery:
    """Paint a skyline with windows, lit at night."""
    horizon = float(rng.uniform(0.75, 0.88))
    picture, key, words = sky(rng, width, height, horizon)
    dark = dim_of(key) < 0.7
    for layer in range(2):
        x = -4
        while x < width:
            wide = int(rng.integers(width // 14, width // 6))
            top = int(height * rng.uniform(0.2 + 0.2 * layer, 0.6 + 0.08 * layer))
            bottom = int(horizon * height)
            shade = rgb(str(rng.choice(["#4a5568", "#6b7280", "#8a6d5a", "#5b6b8a", "#94a3b8"])),
                        rng) * (0.3 if dark else 0.85 + 0.15 * (1 - layer))  # fmt: skip
            left, right = max(0, x), min(width, x + wide)
            if right > left:
                picture[top:bottom, left:right] = shade
                glass = rgb("#ffe38a") if dark else rgb("#cfe6f5")
                for wy in range(top + 3, bottom - 3, 6):
                    for wx in range(left + 2, right - 3, 5):
                        if rng.random() < (0.45 if dark else 0.8):
                            picture[wy : wy + 3, wx : wx + 2] = glass
            x += wide + int(rng.integers(0, 3))
    water = rng.random() < 0.3
    ground = rgb("#2a6f9e" if water else "#55585c", rng) * (0.4 + 0.6 * dim_of(key))
    fill_below(picture, np.full(width, horizon, np.float32), ground)
    name = str(
        rng.choice(["a city skyline", "a city", "skyscrapers", "a city with tall buildings"])
    )
    if water:
        name += " by the water"
    return Scenery(picture, f"{name} {words}", 0.95, "in the city")


def space(rng: Rng, width: int, height: int) -> Scenery:
    """Paint space: stars, a nebula, planets with shadow and rings."""
    deep = rgb(str(rng.choice(["#05060f", "#0b0a2a", "#140a2a"])), rng, 0.015)
    picture = gradient(deep, deep * 0.6, width, height)
    words = []
    yy, xx = np.mgrid[:height, :width].astype(np.float32)
    if rng.random() < 0.45:
        tint = rgb(str(rng.choice(["#b13fd6", "#2f7fe0", "#e0508a", "#2fc0a0"])), rng)
        for _ in range(5):
            cx, cy = rng.uniform(0, width), rng.uniform(0, height)
            spread = rng.uniform(0.15, 0.35) * width
            blob = np.exp(-(((xx - cx) ** 2 + (yy - cy) ** 2) / spread**2))[..., None]
            picture += blob * 0.4 * (tint - picture)
        words.append("a nebula")
    stars(picture, rng, width * height // 120)
    planets = int(rng.integers(0, 3))
    for _ in range(planets):
        name = str(rng.choice(list(COLOURS)[:12]))
        radius = rng.uniform(0.1, 0.26) * min(width, height)
        cx, cy = rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.8) * height
        distance = np.hypot(xx - cx, yy - cy)
        light = np.clip(0.25 + 0.75 * ((cx - xx) + (cy - yy) + radius) / (2 * radius), 0.15, 1)
        stripes = 1 + 0.15 * np.sin((yy - cy) / radius * rng.uniform(4, 12))
        cover = np.clip(radius - distance + 0.5, 0, 1)[..., None]
        picture += cover * (rgb(COLOURS[name], rng) * (light * stripes)[..., None] - picture)
        ringed = rng.random() < 0.3
        if ringed:
            oval = np.hypot((xx - cx) / 1.7, (yy - cy) * 3.2)
            ring = np.clip(radius * 0.12 - np.abs(oval - radius) + 0.5, 0, 1)
            ring *= (distance > radius) | (yy > cy)
            picture += ring[..., None] * (rgb("#e8d8b0") - picture)
        words.append(f"a {name} planet{' with rings' if ringed else ''}")
    if not words:
        words = [str(rng.choice(["stars", "the starry night sky", "outer space"]))]
    phrase = " and ".join(words[:2])
    if rng.random() < 0.5 and "space" not in phrase:
        phrase += " in space"
    return Scenery(
        np.clip(picture, 0, 1), phrase, 0.55, str(rng.choice(["in space", "in outer space"]))
    )


def underwater(rng: Rng, width: int, height: int) -> Scenery:
    """Paint the sea from below."""
    picture = gradient(rgb("#3fc1e0", rng), rgb("#0a3a6b", rng), width, height)
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    columns = np.linspace(0, 1, width, dtype=np.float32)[None]
    rays = np.clip(np.sin(columns * 25 + rows * 6 + rng.random() * 6), 0, 1) * (1 - rows) ** 2
    picture += rays[..., None] * 0.25 * (1 - picture)
    fill_below(picture, 0.88 + 0.03 * noise_line(rng, width, (1.0, 3.0)), rgb("#d8c38a", rng) * 0.8)
    for _ in range(int(rng.integers(3, 9))):
        disc(picture, float(rng.random()), float(rng.uniform(0.1, 0.85)),
             float(rng.uniform(1, 3)), rgb("#d8f4ff"))  # fmt: skip
    for _ in range(int(rng.integers(2, 6))):
        x0, weed = rng.random(), rgb(str(rng.choice(["#2f9e44", "#1f7f5a", "#c2455e"])), rng)
        sway = x0 + 0.02 * np.sin(rows * 30 + rng.random() * 6)
        stalk = (np.abs(columns - sway) < 0.012) & (rows > rng.uniform(0.45, 0.8)) & (rows < 0.93)
        picture[stalk] = weed
    return Scenery(picture, str(rng.choice(["under the sea", "the sea floor", "underwater",
                   "the ocean floor with seaweed"])), 0.7, str(rng.choice(["under the sea",
                   "underwater", "in the sea"])))  # fmt: skip


def room(rng: Rng, width: int, height: int) -> Scenery:
    """Paint a room: wall, floor, a window."""
    wall_name, floor_name = (str(rng.choice(list(COLOURS))) for _ in range(2))
    picture = gradient(rgb(COLOURS[wall_name], rng), rgb(COLOURS[wall_name]) * 0.9, width, height)
    line = float(rng.uniform(0.65, 0.75))
    fill_below(picture, np.full(width, line, np.float32), rgb(COLOURS[floor_name], rng) * 0.85)
    left, top = int(width * rng.uniform(0.1, 0.6)), int(height * 0.12)
    wide, tall = int(width * 0.3), int(height * 0.32)
    picture[top : top + tall, left : left + wide] = 1
    view, _, _ = sky(rng, wide - 4, tall - 4, 1.0)
    picture[top + 2 : top + tall - 2, left + 2 : left + wide - 2] = view
    picture[top : top + tall, left + wide // 2 - 1 : left + wide // 2 + 1] = 1
    return Scenery(picture, str(rng.choice(["a room with a window", f"a {wall_name} room"])), 0.93,
                   str(rng.choice(["in a room", "indoors", f"in a {wall_name} room"])))  # fmt: skip


def pattern(rng: Rng, width: int, height: int) -> Scenery:
    """Paint a plain colour, gradient, stripes, checks, dots or a rainbow."""
    first, second = (str(n) for n in rng.choice(list(COLOURS), 2, replace=False))
    a, b = rgb(COLOURS[first], rng, 0.02), rgb(COLOURS[second], rng, 0.02)
    yy, xx = np.mgrid[:height, :width].astype(np.float32)
    size = float(rng.uniform(8, 24))
    kind = str(rng.choice(["plain", "gradient", "stripes", "checks", "dots", "rainbow", "rings"]))
    if kind == "plain":
        mix, phrase = np.zeros_like(xx), f"plain {first}"
    elif kind == "gradient":
        angle = rng.uniform(0, np.pi)
        mix = xx * np.cos(angle) / width + yy * np.sin(angle) / height
        phrase = f"a gradient from {first} to {second}"
    elif kind == "stripes":
        along = (xx, yy, xx + yy)[int(rng.integers(3))]
        mix, phrase = (
            (along % (2 * size) < size).astype(np.float32),
            f"{first} and {second} stripes",
        )
    elif kind == "checks":
        mix = ((xx // size + yy // size) % 2).astype(np.float32)
        phrase = f"a {first} and {second} checkerboard"
    elif kind == "dots":
        mix = np.clip(size * 0.3 - np.hypot(xx % size - size / 2, yy % size - size / 2) + 0.5, 0, 1)
        phrase = f"{second} dots on {first}"
    elif kind == "rings":
        far = np.hypot(xx - width / 2, yy - height / 2)
        mix, phrase = (far % size < size / 2).astype(np.float32), f"{first} and {second} circles"
    else:
        bands = np.stack([rgb(COLOURS[c]) for c in ("red", "orange", "yellow", "green", "blue",
                                                    "purple")])  # fmt: skip
        index = np.clip((xx + 0.3 * yy) / (width * 1.3) * 6, 0, 5).astype(int)
        return Scenery(bands[index], str(rng.choice(["rainbow colours", "rainbow stripes"])), 0.85,
                       "on a rainbow background")  # fmt: skip
    picture = a + np.clip(mix, 0, 1)[..., None] * (b - a)
    place = f"on a {first} background" if kind == "plain" else f"on {phrase}"
    return Scenery(picture.astype(np.float32), phrase, 0.85, place)


PAINTERS: dict[Callable[[Rng, int, int], Scenery], float] = {
    sea: 1.4, mountains: 1.4, hills: 1.0, forest: 1.2, desert: 0.7, city: 1.2, space: 1.2,
    underwater: 0.8, island: 0.7, room: 0.5, pattern: 1.0,
}  # fmt: skip


def paint(rng: Rng, width: int, height: int) -> Scenery:
    """Paint one seeded surrounding with weather over it now and then."""
    painters = list(PAINTERS)
    weights = np.array([PAINTERS[p] for p in painters])
    scenery = painters[int(rng.choice(len(painters), p=weights / weights.sum()))](
        rng, width, height
    )
    picture, phrase = np.clip(scenery.picture, 0, 1).astype(np.float32), scenery.phrase
    outdoors = any(word in phrase for word in ("day", "cloud", "storm", "sky", "dusk", "morning"))
    if outdoors and rng.random() < 0.25:
        phrase += weather(picture, rng)
    return Scenery(picture, phrase, scenery.ground, scenery.place)


def weather(picture: Picture, rng: Rng) -> str:
    """Let it snow or rain, or lay fog over a picture, in place; return the words for it."""
    height, width = picture.shape[:2]
    kind = str(rng.choice(["snow", "rain", "fog"]))
    if kind == "fog":
        picture += 0.55 * (rgb("#dfe5ea") - picture)
        return str(rng.choice([" in fog", " in the mist"]))
    count = width * height // 130
    ys, xs = rng.integers(0, height - 4, count), rng.integers(0, width, count)
    for step in range(1 if kind == "snow" else 4):
        picture[ys + step, np.maximum(xs - step // 2, 0)] = 0.97 if kind == "snow" else 0.8
    words = [" in the snow", " with snow falling"] if kind == "snow" else [" in the rain"]
    return str(rng.choice(words))


_HOURS = {"night": 4.0, "sunset": 2.0, "sunrise": 1.0, "dusk": 1.0, "storm": 1.0, "day": 1.0}
"""The skies that people name beside a thing, and how often."""
_LANDS = {"snow": "#f2f6fa", "grass": "#4f9e3f", "earth": "#8a6a48", "stone": "#7b818a",
          "sand": "#dcc389"}  # fmt: skip


def hour(rng: Rng, width: int, height: int) -> tuple[Scenery, float]:
    """Paint open land under the sky of an hour, or in its weather, and how bright it lies there.

    Its place is that hour or weather ("at night", "in the rain"), for what stands there.
    """
    keys = list(_HOURS)
    weights = np.array([_HOURS[key] for key in keys])
    key = str(rng.choice(keys, p=weights / weights.sum()))
    horizon = float(rng.uniform(0.66, 0.86))
    picture, key, words = sky(rng, width, height, horizon, key)
    land = str(rng.choice(list(_LANDS)))
    bright = dim_of(key)
    line = horizon + 0.02 * noise_line(rng, width, (0.7, 1.8))
    fill_below(picture, line, rgb(_LANDS[land], rng) * (0.15 + 0.85 * bright))
    if key in ("day", "storm"):
        words = weather(picture, rng).strip()
    return Scenery(np.clip(picture, 0, 1), f"open land {words}", 0.92, words), bright
