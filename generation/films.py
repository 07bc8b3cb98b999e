"""Films of how pictures form: a few frames of a run on the way, and in the end an MP4.

Frames are kept small and as WebP, within bounds, so that a hundred films can be under way. They
travel in the run's checkpoints (`wrap`), so that a film goes on after a crash, a pause, or a first
look. Times: a film lasts about five seconds, and shows the finished picture for one more.

Source: PyAV's documentation, and the H.264 guide of FFmpeg's wiki for `crf` and `preset`.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import msgspec
import numpy as np
from PIL import Image

from generation.protocol import Attachment, Recipe

NAME = "forming.mp4"
MAX_FRAMES = 120
MAX_SIDE_PX = 512
MAX_BYTES = 8 * 1024 * 1024

_SMALL_PX = 256  # up to this side pixels are doubled: half of them have no colour of their own
_SECONDS, _MIN_RATE, _MAX_RATE = 5, 6, 24
_CODECS = ("libx264", "libopenh264", "mpeg4")
_QUALITIES = (20, 28, 36, 44)
_MAGIC = b"DREAMFILM1"


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """What a run looked like after `step` steps, as WebP."""

    step: int
    webp: bytes


class _Envelope(msgspec.Struct, array_like=True):
    frames: list[Frame]
    run: bytes


@dataclass(frozen=True)
class Film:
    """The frames of one run so far. All that takes long with them happens in one thread."""

    size: tuple[int, int]
    every: int
    frames: list[Frame]

    @classmethod
    def of(cls, recipe: Recipe, frames: Sequence[Frame] = ()) -> Film:
        """Begin a film, or go on with one."""
        return cls(
            film_size(recipe.width, recipe.height),
            math.ceil(recipe.last_step / MAX_FRAMES),
            list(frames),
        )

    def wants(self, step: int) -> bool:
        """Whether this step's look belongs into it."""
        return step % self.every == 0

    def add(self, step: int, picture: Image.Image) -> None:
        """Take a look of the run; one of the same step or later gives way."""
        while self.frames and self.frames[-1].step >= step:
            self.frames.pop()
        if len(self.frames) >= MAX_FRAMES:
            del self.frames[1::2]
        file = io.BytesIO()
        _fitted(picture, self.size).save(file, "WEBP", quality=85, method=1)
        self.frames.append(Frame(step, file.getvalue()))

    def encode(self, last_step: int, picture: Image.Image) -> Attachment | None:
        """Return the film, with the finished picture as its last step; None if it is too large.

        Raises:
            Whatever an encoder raises.
        """
        before = [frame.webp for frame in self.frames if frame.step < last_step]
        shown = [Image.open(io.BytesIO(webp)).convert("RGB") for webp in before]
        shown.append(_fitted(picture, self.size))
        for quality in _QUALITIES:
            data = _mp4(shown, self.size, quality)
            if len(data) <= MAX_BYTES:
                return Attachment(name=NAME, media_type="video/mp4", data=data)
        return None


def film_size(width: int, height: int) -> tuple[int, int]:
    """Return a film's size: even sides, of at most `MAX_SIDE_PX`."""
    longest = max(width, height)
    scale = 2.0 if longest <= _SMALL_PX else min(1.0, MAX_SIDE_PX / longest)
    return max(16, 2 * round(width * scale / 2)), max(16, 2 * round(height * scale / 2))


def wrap(run: bytes, film: Film | None) -> bytes:
    """Return a run's checkpoint with the frames of its film."""
    if film is None:
        return run
    return _MAGIC + msgspec.msgpack.encode(_Envelope(list(film.frames), run))


def unwrap(checkpoint: bytes) -> tuple[bytes, list[Frame]]:
    """Return a run's own checkpoint, and the frames that came with it.

    Raises:
        ValueError: it is damaged.
    """
    if not checkpoint.startswith(_MAGIC):
        return checkpoint, []
    try:
        envelope = msgspec.msgpack.decode(checkpoint[len(_MAGIC) :], type=_Envelope)
    except msgspec.MsgspecError as error:
        raise ValueError("The saved state of this dream is damaged.") from error
    return envelope.run, envelope.frames


def _fitted(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    return picture.convert("RGB").resize(size, Image.Resampling.BICUBIC)


def _mp4(shown: Sequence[Image.Image], size: tuple[int, int], quality: int) -> bytes:
    import av  # loads FFmpeg: only where there is a film

    codec = next(name for name in _CODECS if name in av.codecs_available)
    rate = min(_MAX_RATE, max(_MIN_RATE, round(len(shown) / _SECONDS)))
    options = {"crf": str(quality), "preset": "veryfast"}
    if codec != "libx264":  # these know no constant quality
        options = {"b": str(round(4_000_000 * 2 ** ((20 - quality) / 8)))}
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = cast("av.VideoStream", container.add_stream(codec, rate=rate, options=options))
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1  # the others draw
        for picture in (*shown, *[shown[-1]] * rate):
            frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()
