"""Films: of how a picture forms, and of journeys. A few frames of a run on the way, then one file.

Frames are kept small and as WebP, within bounds, so that a hundred films can be under way. They
travel in the run's checkpoints (`wrap`), so that a film goes on after a crash, a pause, or a first
look. A film of forming lasts about five seconds, and shows the finished picture for one more; a
journey has all its frames, at its own rate.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from PIL import Image

from generation.protocol import Attachment, FilmFormat, Recipe

FORMING, JOURNEY = "forming", "journey"
MAX_FRAMES = 120
MAX_JOURNEY_FRAMES = 240
MAX_SIDE_PX = 512
MAX_JOURNEY_SIDE_PX = 768
MAX_BYTES = 8 * 1024 * 1024

_SMALL_PX = 256  # up to this side pixels are doubled: half of them have no colour of their own
_SECONDS, _MIN_RATE, _MAX_RATE = 5, 6, 24
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
    """The frames of one run so far. All that takes long with them happens in one thread.

    It has a frame each `every` steps from step `first` on. One that `keeps_all` of them is a
    journey of that many frames a second; the frames of another one may be thinned out.
    """

    size: tuple[int, int]
    first: int
    every: int
    frames: list[Frame]
    kind: FilmFormat = FilmFormat.MP4
    rate: int | None = None

    @classmethod
    def of(cls, recipe: Recipe, frames: Sequence[Frame] = ()) -> Film:
        """Begin a film, or go on with one."""
        journey = recipe.journey
        if journey is None:
            every = math.ceil(recipe.last_step / MAX_FRAMES)
            size = film_size(recipe.width, recipe.height)
            return cls(size, 0, every, list(frames), recipe.film_format)
        return cls(
            film_size(recipe.width, recipe.height, MAX_JOURNEY_SIDE_PX),
            recipe.steps,
            journey.frame_steps,
            list(frames),
            recipe.film_format,
            journey.rate,
        )

    @property
    def keeps_all(self) -> bool:
        """Whether no frame may be missing."""
        return self.rate is not None

    def wants(self, step: int) -> bool:
        """Whether this step's look belongs into it."""
        return step >= self.first and (step - self.first) % self.every == 0

    def add(self, step: int, picture: Image.Image) -> None:
        """Take a look of the run; one of the same step or later gives way."""
        while self.frames and self.frames[-1].step >= step:
            self.frames.pop()
        if len(self.frames) >= (MAX_JOURNEY_FRAMES if self.keeps_all else MAX_FRAMES):
            del self.frames[1::2]
        file = io.BytesIO()
        quality = 92 if self.keeps_all else 85
        _fitted(picture, self.size).save(file, "WEBP", quality=quality, method=1)
        self.frames.append(Frame(step, file.getvalue()))

    def encode(self, last_step: int, picture: Image.Image) -> Attachment | None:
        """Return the film, with the finished picture as its last step; None if it is too large.

        Raises:
            Whatever an encoder raises.
        """
        # It loads numpy, which takes longer than all else that a process without torch starts with.
        from generation.film_files import MEDIA_TYPES, film_file

        before = [frame.webp for frame in self.frames if frame.step < last_step]
        shown = [Image.open(io.BytesIO(webp)).convert("RGB") for webp in before]
        shown.append(_fitted(picture, self.size))
        rate = self.rate
        if rate is None:
            rate = min(_MAX_RATE, max(_MIN_RATE, round(len(shown) / _SECONDS)))
            shown.extend([shown[-1]] * rate)
        data = film_file(shown, rate, self.kind, MAX_BYTES)
        if data is None:
            return None
        name = f"{JOURNEY if self.keeps_all else FORMING}.{self.kind}"
        return Attachment(name=name, media_type=MEDIA_TYPES[self.kind], data=data)


def film_size(width: int, height: int, max_side_px: int = MAX_SIDE_PX) -> tuple[int, int]:
    """Return a film's size: even sides, of at most `max_side_px`."""
    longest = max(width, height)
    scale = 2.0 if longest <= _SMALL_PX else min(1.0, max_side_px / longest)
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
