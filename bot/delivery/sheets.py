"""Contact sheets: many small pictures on few large ones, each with its number. Blocks."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont, UnidentifiedImageError

SHEET = 25
"""How many pictures a sheet holds at the most."""

TILE_PX = 256
FORMING_TILE_PX = 128
_GAP_PX = 4
_BEHIND = (30, 31, 34)
_EMPTY = (43, 45, 49)
_QUALITY = 88


def sheet(
    pictures: Sequence[bytes | None], numbers: Sequence[int], tile_px: int = TILE_PX
) -> bytes:
    """Return a WebP picture with up to `SHEET` pictures, each with its number.

    Each is fitted whole into a square of `tile_px` pixels; one that is not there yet is an empty
    square.
    """
    columns = _columns(len(pictures))
    rows = -(-len(pictures) // columns)
    pitch = tile_px + _GAP_PX
    paper = Pillow.new("RGB", (columns * pitch - _GAP_PX, rows * pitch - _GAP_PX), _BEHIND)
    draw = ImageDraw.Draw(paper)
    font = ImageFont.load_default(max(12, tile_px // 8))
    for place, (encoded, number) in enumerate(zip(pictures, numbers, strict=True)):
        left, top = place % columns * pitch, place // columns * pitch
        picture = None if encoded is None else _opened(encoded, tile_px)
        if picture is None:
            draw.rectangle((left, top, left + tile_px - 1, top + tile_px - 1), _EMPTY)
        else:
            beside, above = (tile_px - picture.width) // 2, (tile_px - picture.height) // 2
            paper.paste(picture, (left + beside, top + above))
        _number(draw, (left, top), str(number), font)
    out = io.BytesIO()
    paper.save(out, "WEBP", quality=_QUALITY)
    return out.getvalue()


def _columns(count: int) -> int:
    """Return how many stand side by side: as square as may be."""
    columns = 1
    while columns * columns < count:
        columns += 1
    return columns


def _opened(encoded: bytes, side_px: int) -> Pillow.Image | None:
    try:
        with Pillow.open(io.BytesIO(encoded), formats=("PNG", "WEBP")) as picture:
            whole = picture.convert("RGB")
    except (OSError, UnidentifiedImageError, ValueError):
        return None  # a tile that cannot be read must not cost the others theirs
    scale = side_px / max(whole.size)
    size = (max(1, round(whole.width * scale)), max(1, round(whole.height * scale)))
    return whole.resize(size, Pillow.Resampling.LANCZOS)


def _number(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Write a number into a tile's corner, legible on whatever is there."""
    left, top, right, bottom = draw.textbbox(corner, text, font=font)
    x, y = corner
    edge = max(3, int(bottom - top) // 3)
    box = (x, y, x + right - left + 2 * edge, y + bottom - top + 2 * edge)
    draw.rectangle(box, (0, 0, 0))
    draw.text((x + edge - (left - x), y + edge - (top - y)), text, (255, 255, 255), font=font)
