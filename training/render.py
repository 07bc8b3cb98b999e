"""Draw the picture sets at 128 px with transparency, one array and one word list per set."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.captions import Words, picture_words
from training.fetch import package_dir
from training.paths import subdir
from training.sources import DRAWN, FLUENT_3D, ICON_SETS, IconSet

SIZE_PX = 128
_MIN_COVER = 0.02
_DRAWN_DIR = Path(__file__).parent / "drawn"
_VARIANT = re.compile(r"-\d+$")
Rgba = npt.NDArray[np.uint8]


def svg_document(icon: dict[str, Any], defaults: dict[str, Any]) -> str:
    """Return a square SVG document around an Iconify icon body."""
    left = icon.get("left", defaults.get("left", 0))
    top = icon.get("top", defaults.get("top", 0))
    width = icon.get("width", defaults.get("width", 16))
    height = icon.get("height", defaults.get("height", 16))
    side = max(width, height)
    box = f"{left - (side - width) / 2} {top - (side - height) / 2} {side} {side}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{box}" width="{SIZE_PX}" height="{SIZE_PX}">{icon["body"]}</svg>'
    )


def render_svg(document: str) -> Rgba:
    """Return [128, 128, 4] uint8 with straight alpha."""
    import resvg_py

    png = bytes(
        resvg_py.svg_to_bytes(
            svg_string=document, width=SIZE_PX, height=SIZE_PX, skip_system_fonts=True
        )
    )
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def _iconify(icon_set: IconSet) -> Iterator[tuple[Words, Rgba]]:
    path = package_dir("@iconify/json") / "package/json" / f"{icon_set.prefix}.json"
    data = json.loads(path.read_text())
    for name, icon in data["icons"].items():
        words = picture_words(name, emoji=icon_set.emoji)
        if words is None or icon.get("hidden"):
            continue
        try:
            yield words, render_svg(svg_document(icon, data))
        except ValueError:  # a few bodies are not valid SVG for the renderer
            continue


def _fluent_3d() -> Iterator[tuple[Words, Rgba]]:
    for path in sorted((package_dir("@lobehub/fluent-emoji-3d") / "package/assets").glob("*.webp")):
        words = picture_words(path.stem, emoji=True)
        if words is not None and "-1f3f" not in path.stem:
            image = Image.open(path).convert("RGBA")
            yield words, np.asarray(image.resize((SIZE_PX, SIZE_PX), Image.Resampling.LANCZOS))


def _drawn() -> Iterator[tuple[Words, Rgba]]:
    for path in sorted(_DRAWN_DIR.glob("*.svg")):
        label = _VARIANT.sub("", path.stem).replace("-", " ")
        yield Words(label, (), 1.0), render_svg(path.read_text())


def set_paths(icon_set: IconSet) -> tuple[Path, Path]:
    """Return where a rendered set's pixels and words lie."""
    folder = subdir("pictures")
    return folder / f"{icon_set.prefix}.npy", folder / f"{icon_set.prefix}.json"


def render_set(icon_set: IconSet) -> int:
    """Draw one set, without blanks and repeats; return how many pictures it has."""
    pixels, words = [], []
    seen: set[bytes] = set()
    special = {FLUENT_3D.prefix: _fluent_3d, DRAWN.prefix: _drawn}
    drawings = special[icon_set.prefix]() if icon_set.prefix in special else _iconify(icon_set)
    for found, image in drawings:
        key = image[::4, ::4].tobytes()
        if key in seen or (image[..., 3] > 32).mean() < _MIN_COVER:
            continue
        seen.add(key)
        pixels.append(image)
        words.append(asdict(found))
    pixel_path, word_path = set_paths(icon_set)
    np.save(pixel_path, np.stack(pixels))
    word_path.write_text(json.dumps(words))
    return len(pixels)


def render() -> None:
    """Draw every set that is not drawn yet."""
    for icon_set in ICON_SETS:
        if not set_paths(icon_set)[1].exists():
            print(f"{icon_set.prefix}: {render_set(icon_set)} pictures", flush=True)
