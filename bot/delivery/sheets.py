"""Contact sheets: many small pictures on few large ones, each with its number or words. Blocks."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from functools import cache

from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont, UnidentifiedImageError

SHEET = 25
"""How many pictures a sheet holds at the most."""

TILE_PX = 256
FORMING_TILE_PX = 128
FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "Arial Unicode.ttf",
    "arial.ttf",
)
"""Which of a machine's fonts labels are written in: the first that is there."""
_GAP_PX = 4
_BEHIND = (30, 31, 34)
_EMPTY = (43, 45, 49)
_QUALITY = 88
_MAX_LINES = 2


def sheet(
    pictures: Sequence[bytes | None], numbers: Sequence[int], tile_px: int = TILE_PX
) -> bytes:
    """Return a WebP picture with up to `SHEET` pictures, each with its number.

    Each is fitted whole into a square of `tile_px` pixels; one that is not there yet is an empty
    square.
    """
    paper, corners = _laid_out(pictures, tile_px, below_px=0)
    draw = ImageDraw.Draw(paper)
    font = ImageFont.load_default(max(12, tile_px // 8))
    for corner, number in zip(corners, numbers, strict=True):
        _number(draw, corner, str(number), font)
    return _encoded(paper)


def labelled_sheet(
    pictures: Sequence[bytes | None], labels: Sequence[str], tile_px: int = TILE_PX
) -> bytes:
    """Return the same as `sheet` does, with words below each picture.

    Letters that the font lacks are drawn without their accents, and other signs that it lacks are
    left out; where nothing is left of a label, its number stands.
    """
    font = _label_font(max(11, tile_px // 14))
    line_px = round(1.3 * font.size) if isinstance(font, ImageFont.FreeTypeFont) else 14
    written = [
        _lines(_drawable(label, font) or str(number), font, tile_px)
        for number, label in enumerate(labels, 1)
    ]
    below_px = line_px * max(map(len, written)) + line_px // 2
    paper, corners = _laid_out(pictures, tile_px, below_px)
    draw = ImageDraw.Draw(paper)
    for (left, top), lines in zip(corners, written, strict=True):
        for place, line in enumerate(lines):
            at = (left + tile_px // 2, top + tile_px + line_px // 4 + place * line_px)
            draw.text(at, line, (255, 255, 255), font=font, anchor="ma")
    return _encoded(paper)


def _laid_out(
    pictures: Sequence[bytes | None], tile_px: int, below_px: int
) -> tuple[Pillow.Image, list[tuple[int, int]]]:
    """Return a sheet with the pictures on it, and their places' upper left corners."""
    columns = _columns(len(pictures))
    rows = -(-len(pictures) // columns)
    across, down = tile_px + _GAP_PX, tile_px + below_px + _GAP_PX
    paper = Pillow.new("RGB", (columns * across - _GAP_PX, rows * down - _GAP_PX), _BEHIND)
    draw = ImageDraw.Draw(paper)
    corners = []
    for place, encoded in enumerate(pictures):
        left, top = place % columns * across, place // columns * down
        picture = None if encoded is None else _opened(encoded, tile_px)
        if picture is None:
            draw.rectangle((left, top, left + tile_px - 1, top + tile_px - 1), _EMPTY)
        else:
            beside, above = (tile_px - picture.width) // 2, (tile_px - picture.height) // 2
            paper.paste(picture, (left + beside, top + above))
        corners.append((left, top))
    return paper, corners


def _encoded(paper: Pillow.Image) -> bytes:
    out = io.BytesIO()
    paper.save(out, "WEBP", quality=_QUALITY)
    return out.getvalue()


_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@cache
def _label_font(size_px: int) -> _Font:
    """Return a font of this machine that has many alphabets; else Pillow's own, which is ASCII."""
    for name in FONTS:
        with suppress(OSError):
            return ImageFont.truetype(name, size_px)
    return ImageFont.load_default(size_px)


def _drawable(text: str, font: _Font) -> str:
    """Return a text as a font can draw it, without the signs that it shows as empty boxes."""
    missing = _look(font, "\uffff")

    def drawn(sign: str) -> str:
        if sign == " " or _look(font, sign) != missing:
            return sign
        plain = (part for part in unicodedata.normalize("NFKD", sign) if part.isascii())
        return "".join(plain)

    return " ".join("".join(map(drawn, unicodedata.normalize("NFC", text))).split())


def _look(font: _Font, sign: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(sign)
    return mask.size, bytes(mask)


def _lines(text: str, font: _Font, width_px: int) -> list[str]:
    """Break a text into lines that fit, the last one with an ellipsis where it is too long."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width_px:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > _MAX_LINES:
        lines = [*lines[: _MAX_LINES - 1], " ".join(lines[_MAX_LINES - 1 :])]
    return [_cut(line, font, width_px) for line in lines]


def _cut(line: str, font: _Font, width_px: int) -> str:
    if font.getlength(line) <= width_px:
        return line
    while line and font.getlength(f"{line}…") > width_px:
        line = line[:-1]
    return f"{line.rstrip()}…"


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
    font: _Font,
) -> None:
    """Write a number into a tile's corner, legible on whatever is there."""
    left, top, right, bottom = draw.textbbox(corner, text, font=font)
    x, y = corner
    edge = max(3, int(bottom - top) // 3)
    box = (x, y, x + right - left + 2 * edge, y + bottom - top + 2 * edge)
    draw.rectangle(box, (0, 0, 0))
    draw.text((x + edge - (left - x), y + edge - (top - y)), text, (255, 255, 255), font=font)
