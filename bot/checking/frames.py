"""The pictures of a file: a still one is one, of a film a few are taken. In the worker alone."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from itertools import islice
from typing import Any

from PIL import Image

_MAX_PIXELS = 64_000_000
_MAX_SIDE_PX = 1024
_FRAMES = 6
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
_MOST_DECODED = 4000
_MOST_PIXELS_DECODED = 400_000_000


def frames(data: bytes, media_type: str) -> list[Image.Image]:
    """Return a file's picture, or `_FRAMES` of a film's, evenly over its length.

    None of them has more than `_MAX_SIDE_PX` a side. What is no picture (a drawing in SVG, whose
    likeness is looked at by itself) has none.

    Raises:
        Exception: the file is damaged, or too large. Decoders raise anything at all.
    """
    if media_type.startswith("image/svg"):
        return []
    if media_type.startswith("video/"):
        return _of_video(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            if picture.width * picture.height > _MAX_PIXELS:
                raise ValueError("too many pixels")
            # To count the frames of a GIF is to walk through all of them; the others say how many.
            counted = picture.format != "GIF"
            count = int(getattr(picture, "n_frames", 1)) if counted else _count(picture)
            found = []
            for index in _spread(count):
                picture.seek(index)
                found.append(_small(picture.convert("RGB")))
            return found


def _count(film: Image.Image) -> int:
    """Return how many frames a film has.

    Raises:
        ValueError: more than can be gone through in the time there is.
    """
    most = min(_MOST_DECODED, _MOST_PIXELS_DECODED // (film.width * film.height) + 1)
    for index in range(most + 1):
        try:
            film.seek(index)
        except EOFError:
            return index
    raise ValueError("too many frames")


def _of_video(data: bytes) -> list[Image.Image]:
    import av  # slow to load, and seldom needed

    def decoded() -> Iterator[Any]:
        with av.open(io.BytesIO(data), "r") as film:
            yield from islice(film.decode(video=0), _MOST_DECODED)

    wanted = set(_spread(sum(1 for _ in decoded())))
    return [_small(one.to_image()) for index, one in enumerate(decoded()) if index in wanted]


def _spread(count: int) -> list[int]:
    """Return the indices of so many frames at most, the first and the last among them."""
    few = min(count, _FRAMES)
    return sorted({round(index * (count - 1) / max(1, few - 1)) for index in range(few)})


def _small(picture: Image.Image) -> Image.Image:
    picture.thumbnail((_MAX_SIDE_PX, _MAX_SIDE_PX), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return picture
