"""Find written words in a picture, and cover them. Blocks: call it in a thread.

CLIP reads: a sheet of paper with the words on it comes nearer to them than many a drawing. So what
is written is taken out before a picture is scored. Letters are found by what sets them apart from
other strokes: several shapes of about one height and one thickness, close together on one line,
of which few neighbours are the same. Joined handwriting is not found by this.

Source: Goh et al., “Multimodal Neurons in Artificial Neural Networks”, Distill 2021 (typographic
attacks).
"""

from __future__ import annotations

import io
import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image as Pillow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Grey = NDArray[np.float32]
    Mask = NDArray[np.bool_]

SIDE_PX = 384
_CONTRAST = 28.0  # shades between a stroke and what is around it
_WINDOW = 1 / 6  # of the side: how far around a pixel its surroundings go
_LEAST_PX = 6  # a letter's height; smaller ones are not read by CLIP either
_TALLEST = 0.5  # of the picture's height
_MOST_SHAPES = 4000  # noise has more; letters do not
_EVEN = 40.0  # shades: one pen has one colour
_THIN_PX = 3.5  # strokes that are hardly more than their own edges
_FEWEST = 3  # letters in a line
_LEAST_GROUND = 20  # pixels between the letters of a line
_SURE = 5  # letters in a line that can hardly be anything else
_LEAST_DRAWN = 0.004  # of the pixels of a drawing; dots that were left of letters are fewer
_PAPER = 90.0  # shades between the darkest and the lightest place of a sheet that is lit unevenly


@dataclass(frozen=True)
class Box:
    """A part of a picture, in pixels: from (x, y) to (right, bottom), which are outside it."""

    x: int
    y: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Its width in pixels."""
        return self.right - self.x

    @property
    def height(self) -> int:
        """Its height in pixels."""
        return self.bottom - self.y


@dataclass(frozen=True)
class _Shape:
    """What hangs together: its box and pixels, how thick its strokes are, and its colour.

    `shade` is the median of its greys, `even` the part of its pixels that are near to that.
    """

    box: Box
    mask: Mask
    thickness: float
    shade: float
    even: float


@dataclass(frozen=True)
class Looked:
    """What was found in a picture.

    `blotted` is the picture without its writing, as a small PNG, None where it has none. Of one
    that is `blank`, nothing is left without its writing.
    """

    blotted: bytes | None
    blank: bool


def look(png: bytes) -> Looked:
    """Look for writing in a picture, and whether there is anything else.

    Raises:
        OSError: it is not a picture that can be read.
    """
    with Pillow.open(io.BytesIO(png)) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((SIDE_PX, SIDE_PX), Pillow.Resampling.BOX)
    lines = find_lines(picture)
    for line in lines:
        _cover(picture, line)
    blank = is_blank(picture)
    if not lines:
        return Looked(None, blank)
    out = io.BytesIO()
    picture.save(out, "PNG")
    return Looked(out.getvalue(), blank)


def is_blank(picture: Pillow.Image) -> bool:
    """Say whether a picture shows nothing: few edges, and about one shade, as paper has it."""
    import numpy as np

    pixels = np.asarray(picture.convert("RGB"), np.float32)
    around = np.stack(
        [_mean(pixels[..., one], max(8, round(max(pixels.shape) * _WINDOW))) for one in range(3)],
        axis=-1,
    )
    drawn = float((np.abs(pixels - around).max(axis=-1) > _CONTRAST / 2).mean())
    low, high = np.percentile(pixels, (2, 98), axis=(0, 1))
    return drawn < _LEAST_DRAWN and float((high - low).max()) < _PAPER


def find_lines(picture: Pillow.Image) -> list[Box]:
    """Return the lines of writing in a picture of at most about `SIDE_PX` pixels a side."""
    import numpy as np

    grey = np.asarray(picture.convert("L"), np.float32)
    around = _mean(grey, max(8, round(max(grey.shape) * _WINDOW)))
    found: list[Box] = []
    for mask in (grey < around - _CONTRAST, grey > around + _CONTRAST):
        shapes = [shape for shape in _shapes(mask, grey) if _is_letter(shape, grey.shape[0])]
        found += [
            _around(_with_stray(line, shapes))
            for line in _lines(shapes)
            if _on_even_ground(grey, mask, line)
        ]
    return found


def _mean(grey: Grey, window: int) -> Grey:
    """Return the mean [height, width] of the square of `window` pixels around each pixel."""
    import numpy as np

    half = window // 2
    padded = np.pad(grey, half, mode="edge").astype(np.float64)
    sums = np.pad(padded.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    side = 2 * half + 1
    total = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    mean: Grey = (total / side**2).astype(np.float32)
    return mean


def _shapes(mask: Mask, grey: Grey) -> Iterator[_Shape]:
    """Yield what hangs together in a mask [height, width], by sides or corners."""
    import numpy as np

    runs: list[tuple[int, int, int]] = []  # row, first, end
    parent: list[int] = []

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    above: range = range(0)
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    for row in range(mask.shape[0]):
        begun = len(runs)
        for first, end in zip(
            np.flatnonzero(edges[row] == 1), np.flatnonzero(edges[row] == -1), strict=True
        ):
            index = len(runs)
            runs.append((row, int(first), int(end)))
            parent.append(index)
            for other in above:
                if runs[other][1] <= end and first <= runs[other][2]:
                    parent[root(other)] = root(index)
        above = range(begun, len(runs))
    groups: dict[int, list[tuple[int, int, int]]] = {}
    for index, run in enumerate(runs):
        groups.setdefault(root(index), []).append(run)
    if len(groups) > _MOST_SHAPES:
        return
    for group in groups.values():
        box = Box(
            min(first for _, first, _ in group),
            group[0][0],
            max(end for _, _, end in group),
            max(row for row, _, _ in group) + 1,
        )
        if box.height < _LEAST_PX:
            continue
        own = np.zeros((box.height, box.width), bool)
        for line, left, right in group:
            own[line - box.y, left - box.x : right - box.x] = True
        greys = grey[box.y : box.bottom, box.x : box.right][own]
        shade = float(np.median(greys))
        even = float((np.abs(greys - shade) < _EVEN).mean())
        yield _Shape(box, own, _thickness(own), shade, even)


def _thickness(mask: Mask) -> float:
    """Return how thick strokes are, in pixels: the area over half the outline's length."""
    import numpy as np

    padded = np.pad(mask, 1)
    outline = sum(
        int((padded & ~np.roll(padded, step, axis)).sum()) for axis in (0, 1) for step in (1, -1)
    )
    return 2 * float(mask.sum()) / max(1, outline)


def _is_letter(shape: _Shape, height: int) -> bool:
    box = shape.box
    return (
        box.height <= _TALLEST * height
        and box.width <= 2.2 * box.height
        and 0.03 * box.height <= shape.thickness <= 0.3 * box.height
        and (shape.even >= 0.5 or shape.thickness < _THIN_PX)
    )


def _lines(shapes: Sequence[_Shape]) -> Iterator[list[_Shape]]:
    """Yield lines of letters: neighbours from left to right that go together."""
    left = sorted(shapes, key=lambda shape: shape.box.x)
    used: set[int] = set()
    for start in range(len(left)):
        if start in used:
            continue
        line, last = [left[start]], start
        places = [start]
        for index in range(start + 1, len(left)):
            if index not in used and _go_together(left[last], left[index]):
                line.append(left[index])
                places.append(index)
                last = index
        if _is_written(line):
            used.update(places)
            yield line


def _go_together(one: _Shape, other: _Shape) -> bool:
    """Say whether a shape can be the letter after another."""
    tall = max(one.box.height, other.box.height)
    low = min(one.box.height, other.box.height)
    overlap = min(one.box.bottom, other.box.bottom) - max(one.box.y, other.box.y)
    gap = other.box.x - one.box.right
    thick = max(one.thickness, other.thickness)
    return (
        low >= 0.45 * tall
        and overlap >= 0.6 * low
        and -0.3 * tall <= gap <= 0.9 * tall
        and thick <= 1.8 * min(one.thickness, other.thickness)
        and _of_one_pen(one, other)
    )


def _of_one_pen(one: _Shape, other: _Shape) -> bool:
    """Say whether two shapes have one colour; thin strokes are blended with their ground."""
    thin = min(one.thickness, other.thickness) < _THIN_PX
    return abs(one.shade - other.shade) <= (2 if thin else 1) * _EVEN


def _with_stray(line: Sequence[_Shape], shapes: Sequence[_Shape]) -> list[_Shape]:
    """Return a line with the single letters that stand before and after it: words of one."""
    tall = statistics.median(shape.box.height for shape in line)
    top, bottom = min(one.box.y for one in line), max(one.box.bottom for one in line)
    left, right = min(one.box.x for one in line), max(one.box.right for one in line)
    stray = [
        shape
        for shape in shapes
        if top <= (shape.box.y + shape.box.bottom) / 2 <= bottom
        and 0.4 * tall <= shape.box.height <= 1.6 * tall
        and left - 2 * tall <= shape.box.right
        and shape.box.x <= right + 2 * tall
        and _of_one_pen(shape, line[0])
    ]
    return [*line, *stray]


def _is_written(line: Sequence[_Shape]) -> bool:
    """Say whether shapes in a row are letters, and not a fence, windows or a row of trees."""
    if len(line) < _FEWEST:
        return False
    heights = [shape.box.height for shape in line]
    gaps = [two.box.x - one.box.right for one, two in itertools.pairwise(line)]
    tall = statistics.median(heights)
    pairs = list(itertools.pairwise(line))
    differing = sum(_alike(one.mask, two.mask) < 0.75 for one, two in pairs) / len(pairs)
    # Letters of one line end on one baseline, or begin at one height.
    bottoms = [shape.box.bottom for shape in line]
    tops = [shape.box.y for shape in line]
    few = len(line) < _SURE
    level = max(_share_at(bottoms, 0.12 * tall), _share_at(tops, 0.12 * tall))
    close = statistics.median(gaps) <= (0.3 if few else 0.5) * tall
    return level >= (0.65 if few else 0.5) and close and differing >= 0.6


def _on_even_ground(grey: Grey, mask: Mask, line: Sequence[_Shape]) -> bool:
    """Say whether what is between letters is of about one shade, as of paper or a clear sky."""
    import numpy as np

    x, y = min(one.box.x for one in line), min(one.box.y for one in line)
    right, bottom = max(one.box.right for one in line), max(one.box.bottom for one in line)
    inked = np.pad(mask, 1)
    inked = inked[:-2, 1:-1] | inked[2:, 1:-1] | inked[1:-1, :-2] | inked[1:-1, 2:] | mask
    ground = grey[y:bottom, x:right][~inked[y:bottom, x:right]]
    if ground.size < _LEAST_GROUND:
        return False
    low, high = np.percentile(ground, (15, 85))
    return float(high - low) <= _EVEN


def _share_at(values: Sequence[int], reach: float) -> float:
    """Return the part of values that lie within `reach` of one of them, at best."""
    return max(sum(abs(one - other) <= reach for other in values) for one in values) / len(values)


def _alike(one: Mask, other: Mask) -> float:
    """Return how much of two shapes, brought to one size, is the same: 0 to 1."""
    import numpy as np

    size = (12, 16)
    first, second = (
        np.asarray(Pillow.fromarray(mask).resize(size, Pillow.Resampling.NEAREST), bool)
        for mask in (one, other)
    )
    return float((first & second).sum() / max(1, (first | second).sum()))


def _around(line: Sequence[_Shape]) -> Box:
    """Return the box of a line, with the dots and tails that belong to its letters."""
    boxes = [shape.box for shape in line]
    more = round(0.35 * statistics.median(box.height for box in boxes))
    return Box(
        min(box.x for box in boxes) - more,
        min(box.y for box in boxes) - more,
        max(box.right for box in boxes) + more,
        max(box.bottom for box in boxes) + more,
    )


def _cover(picture: Pillow.Image, box: Box) -> None:
    """Paint a part of a picture in the colour of what is around it."""
    import numpy as np

    pixels = np.array(picture)
    height, width = pixels.shape[:2]
    x, y = max(0, box.x), max(0, box.y)
    right, bottom = min(width, box.right), min(height, box.bottom)
    frame = np.zeros((height, width), bool)
    frame[max(0, y - 2) : bottom + 2, max(0, x - 2) : right + 2] = True
    frame[y:bottom, x:right] = False
    around = pixels[frame] if frame.any() else pixels.reshape(-1, 3)
    colour = np.median(around, axis=0).astype(np.uint8)
    picture.paste(tuple(int(shade) for shade in colour), (x, y, right, bottom))
