"""Painterly filters that a caption can name, so that style words mean something.

Each takes a float picture [H, W, 3] in 0..1 and a generator, and returns another of that shape.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from training.scenery import Picture, Rng, rgb


def _pil(picture: Picture) -> Image.Image:
    return Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))


def _array(image: Image.Image) -> Picture:
    return np.asarray(image.convert("RGB"), np.float32) / 255


def _blur(picture: Picture, radius: float) -> Picture:
    return _array(_pil(picture).filter(ImageFilter.GaussianBlur(radius)))


def _smooth_noise(rng: Rng, height: int, width: int, cell: int) -> Picture:
    """Return smooth noise [H, W] in 0..1."""
    small = (rng.random((height // cell + 2, width // cell + 2)) * 255).astype(np.uint8)
    return np.asarray(
        Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC), np.float32
    ) / 255  # fmt: skip


def _warp(picture: Picture, rng: Rng, cell: int, amount_px: float) -> Picture:
    """Shift every pixel by smooth noise of up to about ``amount_px``."""
    height, width = picture.shape[:2]
    dy = (_smooth_noise(rng, height, width, cell) - 0.5) * 2 * amount_px
    dx = (_smooth_noise(rng, height, width, cell) - 0.5) * 2 * amount_px
    yy, xx = np.mgrid[:height, :width]
    rows = np.clip(yy + dy, 0, height - 1).astype(int)
    columns = np.clip(xx + dx, 0, width - 1).astype(int)
    return np.asarray(picture[rows, columns])


def _edges(picture: Picture) -> Picture:
    """Return edge strength [H, W] in 0..1."""
    grey = picture.mean(-1)
    gy, gx = np.gradient(grey)
    colour = np.abs(np.gradient(picture, axis=0)).max(-1) + np.abs(
        np.gradient(picture, axis=1)
    ).max(-1)
    return np.asarray(np.clip(3.0 * np.hypot(gx, gy) + 1.2 * colour, 0, 1).astype(np.float32))


def watercolour(picture: Picture, rng: Rng) -> Picture:
    """Bleed the colours, darken their edges, let the paper through."""
    height, width = picture.shape[:2]
    wet = _blur(_warp(picture, rng, 9, 3.0), 0.8)
    wet = 1 - (1 - wet) * (0.62 + 0.38 * _smooth_noise(rng, height, width, 14)[..., None])
    wet -= 0.3 * _blur(np.repeat(_edges(wet)[..., None], 3, 2), 0.7)
    paper = rgb("#fdf8ee") - 0.05 * rng.random((height, width, 1)).astype(np.float32)
    return (wet * 0.9 + 0.1) * paper


def oil(picture: Picture, rng: Rng) -> Picture:
    """Lay the picture down in short daubs."""
    height, width = picture.shape[:2]
    base = _array(_pil(_warp(picture, rng, 5, 2.5)).filter(ImageFilter.ModeFilter(7)))
    grain = _smooth_noise(rng, height, width, 3) - 0.5
    relief = np.gradient(grain, axis=0) + np.gradient(grain, axis=1)
    return np.asarray(_blur(base, 0.4) * (1 + 0.1 * grain[..., None]) + 0.2 * relief[..., None])


def pencil(picture: Picture, rng: Rng) -> Picture:
    """Draw the outlines and shade with strokes in graphite."""
    height, width = picture.shape[:2]
    grey = picture.mean(-1)
    yy, xx = np.mgrid[:height, :width]
    strokes = 0.5 + 0.5 * np.sin((xx + yy) * 1.5 + 4 * _smooth_noise(rng, height, width, 8))
    shade = 1 - (1 - grey) * (0.25 + 0.4 * strokes)
    line = np.clip(1 - 1.3 * _edges(picture), 0, 1)
    return np.repeat((0.1 + 0.88 * np.clip(shade * line, 0, 1))[..., None], 3, 2)


def pixel_art(picture: Picture, rng: Rng) -> Picture:
    """Show large square pixels in few colours."""
    height, width = picture.shape[:2]
    cell = int(rng.choice([4, 4, 6, 8]))
    small = _pil(picture).resize((width // cell, height // cell), Image.Resampling.BOX)
    few = small.quantize(14, method=Image.Quantize.MEDIANCUT).convert("RGB")
    return _array(few.resize((width, height), Image.Resampling.NEAREST))


def woodcut(picture: Picture, rng: Rng) -> Picture:
    """Print in one ink with carved hatching."""
    height, width = picture.shape[:2]
    grey = _blur(picture, 0.6).mean(-1)
    yy, xx = np.mgrid[:height, :width]
    hatch = 0.5 + 0.5 * np.sin((0.3 * xx + yy) * 1.4 + 5 * _smooth_noise(rng, height, width, 16))
    paper = np.clip((grey - 0.15 - 0.6 * hatch * (grey < 0.85)) * 6 + 0.5, 0, 1)
    paper = np.minimum(paper, 1 - np.clip(_edges(picture) * 2 - 0.4, 0, 1))[..., None]
    ink = rgb(str(rng.choice(["#1a1512", "#1a1512", "#2a1a3a", "#5a1a12"])))
    return np.asarray(ink + paper * (rgb("#f3e6cc") - ink))


def neon(picture: Picture, rng: Rng) -> Picture:
    """Bend the outlines in glowing tubes on black."""
    height, width = picture.shape[:2]
    line = _edges(_blur(picture, 0.7))[..., None]
    vivid = picture / (picture.max(-1, keepdims=True) + 1e-3)
    tint = np.stack([rgb(c) for c in ("#ff2bd6", "#20e0ff", "#6bff3a", "#ffb020")])
    pick = tint[(_smooth_noise(rng, height, width, 40) * 3.99).astype(int)]
    glow = line * (0.45 * vivid + 0.55 * pick)
    return np.asarray(rgb("#07060f") + 1.1 * glow + 1.5 * _blur(np.clip(glow, 0, 1), 3.0))


def mosaic(picture: Picture, rng: Rng) -> Picture:
    """Set the picture in stones with dark joints (stained glass when large)."""
    height, width = picture.shape[:2]
    cell = int(rng.integers(9, 15))
    rows, columns = height // cell + 1, width // cell + 1
    cy = (np.arange(rows)[:, None] + rng.uniform(0.1, 0.9, (rows, columns))) * cell
    cx = (np.arange(columns)[None] + rng.uniform(0.1, 0.9, (rows, columns))) * cell
    yy, xx = np.mgrid[:height, :width]
    best = np.full((height, width), 1e9)
    second = best.copy()
    label = np.zeros((height, width), int)
    for dr in (-1, 0, 1):
        for dc in (-1, 0, 1):
            r = np.clip(yy // cell + dr, 0, rows - 1)
            c = np.clip(xx // cell + dc, 0, columns - 1)
            far = np.hypot(cy[r, c] - yy, cx[r, c] - xx)
            near = far < best
            second = np.where(near, best, np.minimum(second, np.where(far > best, far, second)))
            label = np.where(near, r * columns + c, label)
            best = np.where(near, far, best)
    at_y = np.clip(cy, 0, height - 1).astype(int).ravel()
    at_x = np.clip(cx, 0, width - 1).astype(int).ravel()
    stones = _blur(picture, 1.5)[at_y, at_x][label]
    joint = np.clip(second - best, 0, 1.6)[..., None] / 1.6
    return np.asarray(stones * (0.15 + 0.85 * joint))


def sepia(picture: Picture, rng: Rng) -> Picture:
    """Fade to an old photograph."""
    grey = _blur(picture, 0.5).mean(-1, keepdims=True)
    height, width = picture.shape[:2]
    yy, xx = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    vignette = 1 - 0.35 * np.clip(np.hypot(xx, yy) - 0.5, 0, 1)[..., None]
    return np.asarray((rgb("#2a1a0c") + grey * (rgb("#f4dcb0") - rgb("#2a1a0c"))) * vignette)


def vaporwave(picture: Picture, rng: Rng) -> Picture:
    """Map the tones onto purple, pink and turquoise."""
    grey = picture.mean(-1)
    stops = np.stack([rgb(c) for c in ("#1b0b3b", "#7a2bd6", "#ff5fb8", "#6ff0ff", "#fdf6ff")])
    out = np.stack([np.interp(grey, np.linspace(0, 1, 5), stops[:, i]) for i in range(3)], -1)
    return (0.75 * out + 0.25 * picture).astype(np.float32)


def line_art(picture: Picture, rng: Rng) -> Picture:
    """Keep black outlines on white."""
    line = np.clip(1.15 - 2.2 * _edges(_blur(picture, 0.5)), 0, 1)
    return np.repeat(line[..., None], 3, 2)


def crayon(picture: Picture, rng: Rng) -> Picture:
    """Rub wax over rough paper."""
    height, width = picture.shape[:2]
    rough = _warp(picture, rng, 6, 2.0)
    grain = rng.random((height, width)).astype(np.float32)
    yy, xx = np.mgrid[:height, :width]
    rub = 0.5 + 0.5 * np.sin((xx * 1.1 - yy) * 1.1)
    cover = np.clip(0.75 + 0.3 * rub - 0.4 * (grain > 0.8), 0.45, 1)[..., None]
    return np.asarray(1 - (1 - rough) * cover)


FILTERS: dict[str, tuple[Callable[[Picture, Rng], Picture], tuple[str, ...], float]] = {
    "watercolour": (watercolour, ("a watercolour painting of", "watercolor of", "watercolour",
                                  "a painting of"), 2.0),
    "oil": (oil, ("an oil painting of", "oil painting of", "a painting of"), 1.5),
    "pencil": (pencil, ("a pencil drawing of", "pencil sketch of", "a sketch of", "charcoal"), 1.5),
    "pixel art": (pixel_art, ("pixel art of", "pixel art", "8-bit", "16-bit pixel art of"), 2.0),
    "woodcut": (woodcut, ("a woodcut of", "linocut of", "an engraving of"), 1.0),
    "neon": (neon, ("neon", "a neon sign of", "glowing neon"), 2.0),
    "mosaic": (mosaic, ("a mosaic of", "stained glass of", "a stained glass window of"), 1.2),
    "sepia": (sepia, ("an old photograph of", "sepia", "vintage"), 0.8),
    "vaporwave": (vaporwave, ("vaporwave", "synthwave"), 0.8),
    "line art": (line_art, ("line art of", "a black and white drawing of", "an ink drawing of",
                            "a coloring page of"), 1.2),
    "crayon": (crayon, ("a crayon drawing of", "a child's drawing of"), 1.0),
}  # fmt: skip


def apply_filter(picture: Picture, caption: str, rng: Rng) -> tuple[Picture, str]:
    """Return the picture through one seeded filter, and the caption that names it."""
    names = list(FILTERS)
    weights = np.array([FILTERS[name][2] for name in names])
    name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    function, phrases, _ = FILTERS[name]
    phrase = str(rng.choice(phrases))
    if phrase.endswith(" of"):
        text = f"{phrase} {caption}"
    else:
        text = f"{phrase} {caption}" if rng.random() < 0.5 else f"{caption}, {phrase} style"
    return np.clip(function(picture, rng), 0, 1).astype(np.float32), text
