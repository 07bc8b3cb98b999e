"""Films as files: MP4, animated WebP and GIF, made smaller until they fit.

A file that is too large is written again with less quality, then with smaller sides. GIF has 256
colours for the whole film, those that suit its frames best, and an ordered pattern between them:
unlike scattered errors, that stands still from frame to frame, and packs well.

Source: PyAV's documentation, and the H.264 guide of FFmpeg's wiki for `crf` and `preset`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
from PIL import Image

from generation.protocol import FilmFormat

MEDIA_TYPES = {
    FilmFormat.MP4: "video/mp4",
    FilmFormat.WEBP: "image/webp",
    FilmFormat.GIF: "image/gif",
}

_CODECS = ("libx264", "libopenh264", "mpeg4")
# Quality and scale of each try. Quality is MP4's crf, WebP's quality, GIF's number of colours.
_TRIES: dict[FilmFormat, tuple[tuple[int, float], ...]] = {
    FilmFormat.MP4: ((20, 1.0), (28, 1.0), (36, 1.0), (36, 0.7), (44, 0.5)),
    FilmFormat.WEBP: ((82, 1.0), (65, 1.0), (50, 0.7), (40, 0.5), (30, 0.35)),
    FilmFormat.GIF: ((256, 1.0), (128, 1.0), (128, 0.7), (96, 0.5), (64, 0.35), (32, 0.25)),
}

# How much of each colour is added where (Bayer, 1973), in parts of `_SPREAD` levels of 255: about
# what lies between two of 256 colours.
_PATTERN = (
    np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.float32) - 7.5
) / 16
_SPREAD = 16.0
_PALETTE_FRAMES = 16


def film_file(
    shown: Sequence[Image.Image], rate: int, kind: FilmFormat, max_bytes: int
) -> bytes | None:
    """Return RGB pictures of one size, with even sides, as a film; None if it cannot fit.

    Raises:
        Whatever an encoder raises.
    """
    write = _WRITERS[kind]
    for quality, scale in _TRIES[kind]:
        data = write([_scaled(picture, scale) for picture in shown], rate, quality)
        if len(data) <= max_bytes:
            return data
    return None


def _scaled(picture: Image.Image, scale: float) -> Image.Image:
    if scale == 1.0:
        return picture
    sides = [max(16, 2 * round(side * scale / 2)) for side in picture.size]
    return picture.resize((sides[0], sides[1]), Image.Resampling.LANCZOS)


def _mp4(shown: Sequence[Image.Image], rate: int, quality: int) -> bytes:
    import av  # loads FFmpeg: only where there is a film

    codec = next(name for name in _CODECS if name in av.codecs_available)
    options = {"crf": str(quality), "preset": "veryfast"}
    if codec != "libx264":  # these know no constant quality
        options = {"b": str(round(4_000_000 * 2 ** ((20 - quality) / 8)))}
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = cast("av.VideoStream", container.add_stream(codec, rate=rate, options=options))
        stream.width, stream.height = shown[0].size
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1  # the others draw
        for picture in shown:
            frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def _webp(shown: Sequence[Image.Image], rate: int, quality: int) -> bytes:
    file = io.BytesIO()
    shown[0].save(
        file,
        "WEBP",
        save_all=True,
        append_images=list(shown[1:]),
        duration=_durations(len(shown), rate, 1000),
        loop=0,
        quality=quality,
        method=3,
    )
    return file.getvalue()


def _gif(shown: Sequence[Image.Image], rate: int, colours: int) -> bytes:
    palette = _palette(shown, colours)
    width, height = shown[0].size
    tiled = np.tile(_PATTERN, (-(-height // 4), -(-width // 4)))[:height, :width, None]
    frames = []
    for picture in shown:
        pixels = (np.asarray(picture, np.float32) + _SPREAD * tiled).clip(0, 255).astype(np.uint8)
        nearest = Image.fromarray(pixels).quantize(palette=palette, dither=Image.Dither.NONE)
        frames.append(nearest)
    file = io.BytesIO()
    frames[0].save(
        file,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        # It counts in hundredths of a second.
        duration=[10 * part for part in _durations(len(frames), rate, 100)],
        loop=0,
        optimize=False,
    )
    return file.getvalue()


def _palette(shown: Sequence[Image.Image], colours: int) -> Image.Image:
    """Return the colours that suit a few frames of the film, each at half its size."""
    some = shown[:: max(1, len(shown) // _PALETTE_FRAMES)]
    half = [picture.resize([max(1, side // 2) for side in picture.size]) for picture in some]
    width, height = half[0].size
    sheet = Image.new("RGB", (width, height * len(half)))
    for place, picture in enumerate(half):
        sheet.paste(picture, (0, place * height))
    return sheet.quantize(colours, Image.Quantize.MEDIANCUT)


def _durations(frames: int, rate: int, unit: int) -> list[int]:
    """Return how long each frame is shown, in whole parts of a second, without drifting."""
    ends = [round(unit * (frame + 1) / rate) for frame in range(frames)]
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


_WRITERS: dict[FilmFormat, Callable[[Sequence[Image.Image], int, int], bytes]] = {
    FilmFormat.MP4: _mp4,
    FilmFormat.WEBP: _webp,
    FilmFormat.GIF: _gif,
}
