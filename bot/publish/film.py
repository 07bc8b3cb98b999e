"""The film of an evening: its pictures in turn, each as it formed where that was filmed.

A picture that grew of another one is faded into from that. It is written by a process of its own
(``python -m bot.publish.film``), which reads what to show as JSON: so FFmpeg, which also reads
films here, has neither the bot's memory nor its time. It holds a few frames at once, whatever
there is to show.

Source: PyAV's documentation, and the H.264 guide of FFmpeg's wiki for `crf` and `preset`.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
from PIL import Image as Pillow

log = logging.getLogger(__name__)

RATE = 12
MOST = 120
"""How many pictures a film shows at the most."""

LIMIT_S = 600.0
_LOOK_S = 0.1
_SIDE_PX = 640
_FADE, _HOLD, _LAST_HOLD = 6, 12, 30
_FORMING = 30
_BEHIND = (16, 15, 20)
_CODECS = ("libx264", "libopenh264", "mpeg4")


class Shot(msgspec.Struct, frozen=True):
    """One picture: its file, the film of how it formed, and the picture that it grew of."""

    picture: str
    forming: str | None = None
    grew_of: str | None = None


def film_of(shots: Sequence[Shot], into: Path, stopped: Callable[[], bool]) -> bool:
    """Write a film of pictures; say whether that could be done. Blocks.

    It is given up where it takes too long, or once `stopped` says so.
    """
    shots = list(shots)[:MOST]
    if len(shots) < 2 and not any(shot.forming for shot in shots):
        return False
    begun = time.monotonic()
    try:
        with tempfile.TemporaryFile() as told:
            told.write(msgspec.json.encode(shots))
            told.seek(0)
            writer = subprocess.Popen(  # noqa: S603 (this program's own module)
                [sys.executable, "-m", "bot.publish.film", str(into)],
                stdin=told,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
    except OSError as error:
        log.warning("No film: %s", error)
        return False
    while writer.poll() is None:
        if stopped() or time.monotonic() - begun > LIMIT_S:
            writer.kill()
            writer.wait()
        time.sleep(_LOOK_S)
    if writer.returncode != 0:
        log.warning("No film: the process that writes it ended with %s", writer.returncode)
        into.unlink(missing_ok=True)
    return writer.returncode == 0


def main() -> int:
    """Write the film that standard input describes into the file that is named."""
    if hasattr(os, "nice"):
        os.nice(10)  # nobody waits for it: what is being drawn goes first
    shots = msgspec.json.decode(sys.stdin.buffer.read(), type=list[Shot])
    write(shots, Path(sys.argv[1]))
    return 0


def write(shots: Sequence[Shot], into: Path) -> None:
    """Write an MP4.

    Raises:
        OSError, ValueError: a picture cannot be read, or there is none.
        av.error.FFmpegError: it cannot be encoded.
    """
    import av  # loads FFmpeg: only where there is a film to write

    as_frame: Any = av.VideoFrame.from_image  # has no types
    codec = next(name for name in _CODECS if name in av.codecs_available)
    options = {"crf": "23", "preset": "veryfast"} if codec == "libx264" else {"b": "2000000"}
    with Pillow.open(shots[0].picture) as first:
        size = _size(first.size)
    with av.open(str(into), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = cast("av.VideoStream", container.add_stream(codec, rate=RATE, options=options))
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        for picture in _frames(shots, size):
            container.mux(stream.encode(as_frame(picture)))
        container.mux(stream.encode())


def _frames(shots: Sequence[Shot], size: tuple[int, int]) -> Iterator[Pillow.Image]:
    before: Pillow.Image | None = None
    for shot in shots:
        with Pillow.open(shot.picture) as opened:
            picture = _fitted(opened, size)
        forming = list(_formed(shot.forming, size)) if shot.forming else []
        if shot.grew_of is not None and not forming:
            with Pillow.open(shot.grew_of) as opened:
                origin = _fitted(opened, size)
            yield from _fade(before, origin)
            before = origin
        first = forming[0] if forming else picture
        yield from _fade(before, first)
        yield from forming
        if forming:
            yield from _fade(forming[-1], picture)
        yield from [picture] * _HOLD
        before = picture
    if before is not None:
        yield from [before] * _LAST_HOLD


def _formed(path: str, size: tuple[int, int]) -> Iterator[Pillow.Image]:
    """Yield some frames of a film, evenly spread; none where it cannot be read."""
    import av

    try:
        with av.open(path) as container:
            count = container.streams.video[0].frames or 1
            every = max(1, -(-count // _FORMING))
            frames: Iterator[Any] = container.decode(video=0)  # its `to_image` has no types
            for number, frame in enumerate(frames):
                if number >= _FORMING * every:
                    return
                if number % every == 0:
                    yield _fitted(frame.to_image(), size)
    except (av.error.FFmpegError, IndexError, ValueError):
        return


def _fade(before: Pillow.Image | None, after: Pillow.Image) -> Iterator[Pillow.Image]:
    if before is None:
        return
    for number in range(1, _FADE + 1):
        yield Pillow.blend(before, after, number / (_FADE + 1))


def _size(size: tuple[int, int]) -> tuple[int, int]:
    """Return a film's size in the proportions of a picture: even sides, within bounds."""
    scale = _SIDE_PX / max(size)
    return max(64, 2 * round(size[0] * scale / 2)), max(64, 2 * round(size[1] * scale / 2))


def _fitted(picture: Pillow.Image, size: tuple[int, int]) -> Pillow.Image:
    """Return a picture whole on a ground of this size."""
    whole = picture.convert("RGB")
    scale = min(size[0] / whole.width, size[1] / whole.height)
    inner = (max(1, round(whole.width * scale)), max(1, round(whole.height * scale)))
    whole = whole.resize(inner, Pillow.Resampling.BICUBIC)
    if inner == size:
        return whole
    ground = Pillow.new("RGB", size, _BEHIND)
    ground.paste(whole, ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
    return ground


if __name__ == "__main__":
    sys.exit(main())
