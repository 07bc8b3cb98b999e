"""Painters of open country: sea, mountains, hills, forest, desert, islands and volcanoes."""

from __future__ import annotations

import numpy as np

from training.scenery import (
    Picture,
    Rng,
    Scenery,
    dim_of,
    disc,
    fill_below,
    noise_line,
    rgb,
    ridge_line,
    sky,
)


def sea(rng: Rng, width: int, height: int) -> Scenery:
    """Paint the open sea, with or without a beach."""
    horizon = float(rng.uniform(0.42, 0.62))
    picture, key, words = sky(rng, width, height, horizon)
    water = rgb("#1f78b8", rng) * dim_of(key)
    near = rgb("#2fa6c8", rng) * dim_of(key)
    line = np.full(width, horizon, np.float32)
    below = picture.copy()
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    depth = np.clip((rows - horizon) / (1 - horizon), 0, 1)
    below[:] = water * (1 - depth) + near * depth
    glint = picture[max(0, int(horizon * height) - 2)][None]
    wave = np.sin(rows[..., 0] * rng.uniform(150, 260) + 3 * noise_line(rng, width, (3.0, 7.0)))
    below += (np.clip(wave, 0, 1)[..., None] * 0.35 * (1 - depth)) * (glint - below)
    cover = np.clip(rows[..., 0] * height - line[None] * height + 0.5, 0, 1)[..., None]
    picture += cover * (below - picture)
    ground, name, place = 0.85, str(rng.choice(["the sea", "the ocean"])), "on the sea"
    if rng.random() < 0.45:
        shore = 0.78 + 0.04 * noise_line(rng, width, (0.7, 2.0))
        fill_below(picture, shore - 0.015, rgb("#f5fbff") * max(dim_of(key), 0.6))
        fill_below(picture, shore, rgb("#eccf95", rng) * max(dim_of(key), 0.5))
        name, place, ground = str(rng.choice(["a beach", "a sandy beach"])), "on the beach", 0.93
    return Scenery(picture, f"{name} {words}", ground, f"{place} {words}" if rng.random() < 0.5
                   else place)  # fmt: skip


def mountains(rng: Rng, width: int, height: int) -> Scenery:
    """Paint mountain ranges, some with snow, a lake or a meadow in front."""
    horizon = float(rng.uniform(0.55, 0.75))
    picture, key, words = sky(rng, width, height, horizon)
    snowy = rng.random() < 0.5
    dim = dim_of(key)
    haze = picture[int(horizon * height) - 1].mean(0)
    layers = int(rng.integers(1, 4))
    for i in range(layers):
        near = (i + 1) / layers
        ridge = ridge_line(rng, width, int(rng.integers(1, 4)))
        line = horizon - (0.5 - 0.15 * i) * ridge * rng.uniform(0.7, 1)
        rock = (rgb("#6b6f80", rng) * near + haze * (1 - near)) * (0.5 + 0.5 * dim)
        fill_below(picture, line, rock)
        if snowy:
            snow = np.where(ridge > 0.55, line, 2.0).astype(np.float32)
            fill_below(picture, snow, rgb("#f4f8fc") * (0.4 + 0.6 * dim))
            edge = line + 0.1 * ridge + 0.025 * noise_line(rng, width, (9.0, 17.0))
            fill_below(picture, edge.astype(np.float32), rock)
    front, name = _foreground(rng, dim)
    fill_below(picture, horizon + 0.03 * noise_line(rng, width, (0.8, 2.0)), front)
    what = "snowy mountains" if snowy else "mountains"
    phrase = f"{what} {name}{words}" if name else f"{what} {words}"
    return Scenery(
        picture, phrase, 0.9, str(rng.choice(["in the mountains", f"with {what} behind"]))
    )


def _foreground(rng: Rng, dim: float) -> tuple[Picture, str]:
    options = [("#58a944", ""), ("#3f8fb8", "behind a lake "), ("#e9eef2", "and a snow field "),
               ("#8a7a4a", "")]  # fmt: skip
    colour, name = options[int(rng.integers(len(options)))]
    return rgb(colour, rng) * (0.35 + 0.65 * dim), name


def hills(rng: Rng, width: int, height: int) -> Scenery:
    """Paint rolling hills: green, autumn, snow or flower meadow."""
    horizon = float(rng.uniform(0.5, 0.65))
    picture, key, words = sky(rng, width, height, horizon)
    kind = str(rng.choice(["green hills", "a meadow", "snowy hills", "autumn hills", "a field"]))
    base = {"snowy hills": "#eaf1f7", "autumn hills": "#c9792e", "a field": "#d8b94a"}.get(
        kind, "#5fb548"
    )
    dim = 0.3 + 0.7 * dim_of(key)
    for i in range(3):
        line = horizon + 0.13 * i + 0.06 * noise_line(rng, width, (0.7, 1.7))
        fill_below(picture, line, rgb(base, rng, 0.03) * dim * (1 - 0.12 * i))
    if kind == "a meadow":
        count = 60
        ys = rng.integers(int(height * (horizon + 0.15)), height - 1, count)
        xs = rng.integers(0, width - 1, count)
        petals = np.stack([rgb(c) for c in ("#ffffff", "#ffd43b", "#f06595", "#e03131")])
        chosen = petals[rng.integers(0, 4, count)] * dim
        for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
            picture[ys + dy, xs + dx] = chosen
        kind = str(rng.choice(["a meadow full of flowers", "a flower meadow"]))
    return Scenery(picture, f"{kind} {words}", 0.9, str(rng.choice(["on a hill", "in a meadow"]))
                   if "snow" not in kind else "in the snow")  # fmt: skip


def _conifer(picture: Picture, x: float, base: float, size: float, colour: Picture) -> None:
    height, width = picture.shape[:2]
    tall, half = size * height, size * height * 0.28
    left, right = int(max(0, x * width - half)), int(min(width, x * width + half + 1))
    top, bottom = int(max(0, base * height - tall)), int(min(height, base * height))
    if right <= left or bottom <= top:
        return
    yy, xx = np.mgrid[top:bottom, left:right].astype(np.float32)
    t = (yy - (base * height - tall)) / tall
    saw = 0.45 + 0.55 * ((t * 4) % 1)
    cover = np.clip(half * t * saw - np.abs(xx - x * width) + 0.5, 0, 1)[..., None]
    patch = picture[top:bottom, left:right]
    patch += cover * (colour - patch)


def forest(rng: Rng, width: int, height: int) -> Scenery:
    """Paint rows of trees: conifers or round crowns, in summer, autumn or winter."""
    horizon = float(rng.uniform(0.5, 0.6))
    picture, key, words = sky(rng, width, height, horizon)
    season = str(rng.choice(["summer", "autumn", "winter", "pine"]))
    crown = {"summer": "#2f8f3a", "autumn": "#d9692a", "winter": "#dfe9f0", "pine": "#1f5f3a"}
    dim = 0.3 + 0.7 * dim_of(key)
    fill_below(picture, np.full(width, horizon, np.float32),
               rgb("#eef3f7" if season == "winter" else "#6b8f3a", rng) * dim)  # fmt: skip
    for row in range(3):
        base = horizon + 0.1 + 0.15 * row
        size = 0.3 + 0.14 * row
        for x in np.linspace(0, 1, 9 - 2 * row) + rng.uniform(-0.05, 0.05, 9 - 2 * row):
            colour = rgb(crown[season], rng, 0.05) * dim * (0.75 + 0.12 * row)
            if season in ("pine", "winter"):
                _conifer(picture, float(x), base, size * float(rng.uniform(0.8, 1.2)), colour)
            else:
                trunk = rgb("#6b4628") * dim
                left, right = int((x - 0.012) * width), int((x + 0.015) * width) + 1
                top = int((base - size * 0.5) * height)
                if right > 0:
                    picture[top : int(base * height), max(left, 0) : right] = trunk
                for _ in range(3):
                    dx, dy = rng.normal(0, 0.03, 2)
                    disc(picture, float(x + dx), base - size * 0.6 + float(dy),
                         size * 0.22 * height, colour * float(rng.uniform(0.9, 1.1)))  # fmt: skip
    names = {"summer": ("a forest", "a green forest", "trees"),
             "autumn": ("an autumn forest", "a forest in autumn"),
             "winter": ("a snowy forest", "a forest in winter"),
             "pine": ("a pine forest", "a dark forest")}  # fmt: skip
    name = str(rng.choice(names[season]))
    return Scenery(np.clip(picture, 0, 1), f"{name} {words}", 0.95, str(
        rng.choice(["in the forest", f"in {name}", "in the woods"])))  # fmt: skip


def desert(rng: Rng, width: int, height: int) -> Scenery:
    """Paint dunes."""
    horizon = float(rng.uniform(0.5, 0.65))
    picture, key, words = sky(rng, width, height, horizon)
    dim = 0.35 + 0.65 * dim_of(key)
    for i in range(4):
        line = horizon + 0.11 * i + 0.05 * np.abs(noise_line(rng, width, (1.0, 2.0)))
        fill_below(picture, line.astype(np.float32),
                   rgb("#e2b066", rng, 0.03) * dim * (1.05 - 0.13 * (i % 2)))  # fmt: skip
    name = str(rng.choice(["a desert", "sand dunes", "the desert"]))
    return Scenery(np.clip(picture, 0, 1), f"{name} {words}", 0.88, "in the desert")


def island(rng: Rng, width: int, height: int) -> Scenery:
    """Paint a volcano or a small island in the sea."""
    horizon = 0.62
    picture, key, words = sky(rng, width, height, horizon)
    dim = 0.35 + 0.65 * dim_of(key)
    x = np.linspace(-1, 1, width, dtype=np.float32)
    volcano = rng.random() < 0.5
    if volcano:
        cone = np.clip(1.05 - np.abs(x) * 1.6, 0, 0.8) ** 1.2
        line = horizon + 0.04 - 0.5 * cone
        fill_below(picture, line, rgb("#5b4238", rng) * dim)
        top = float(np.min(line))
        disc(picture, 0.5, top, 0.09 * height, rgb("#ff7a1f"), 0.8)
        flow = np.abs(x - 0.06 * np.sin(np.linspace(0, 9, height))[:, None]) < 0.05
        flow &= np.arange(height)[:, None] > top * height
        picture[flow] = rgb("#ff4a12")
        fill_below(picture, np.full(width, horizon + 0.1, np.float32), rgb("#3a3230", rng) * dim)
        name = str(rng.choice(["a volcano", "an erupting volcano", "a volcano with lava"]))
        return Scenery(np.clip(picture, 0, 1), f"{name} {words}", 0.92, "in front of a volcano")
    fill_below(picture, np.full(width, horizon, np.float32), rgb("#2390b8", rng) * dim)
    bump = horizon + 0.12 - 0.16 * np.clip(1 - (x * 1.8) ** 2, 0, 1)
    fill_below(picture, np.where(np.abs(x) < 0.56, bump, 2).astype(np.float32),
               rgb("#e8cf95", rng) * dim)  # fmt: skip
    fill_below(picture, np.full(width, horizon + 0.12, np.float32), rgb("#1f86b0", rng) * dim)
    return Scenery(picture, f"an island in the sea {words}", 0.72, "on an island")
