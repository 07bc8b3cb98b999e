"""Read strangers' pictures in a process of their own, which is ended when it takes too long.

A thread cannot be stopped, and a file within all limits can keep a decoder busy for an hour: each
of the 100,000 scans that 10 MiB of a progressive JPEG hold goes over all 40 million pixels. So
what could take long is read by `python -m bot.upload_process`, with bounds on its time and memory.
These functions block, as those of `bot.uploads` do, which say what is taken.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image as Pillow

import bot
from bot import uploads
from bot.errors import InvalidRequestError
from bot.sentences import Sentence
from bot.uploads import KEPT_SIDE_PX, UploadLimits

LIMIT_S = 20.0
_MEMORY_BYTES = 3 * 1024**3
# The worst scan of a JPEG took 1.1 ns a pixel and has 80 bytes: at most 0.3 s for both of these.
_QUICK_BYTES, _QUICK_PIXELS = 64 * 1024, 512 * 512
_COMMAND = (sys.executable, "-m", "bot.upload_process")
_ROOT = str(Path(bot.__file__).resolve().parent.parent)
_KEPT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "LANG", "LC_ALL")
_UNREADABLE = "The uploaded file is not a picture that can be read. Send a PNG, JPEG or WebP file."
_TOO_SLOW = "The uploaded picture takes too long to be read. Save it anew as a plain PNG or JPEG."


class Ask(msgspec.Struct, frozen=True):
    """A file to be read: as a mask where its `field` is one, else as a picture."""

    field: str
    data: bytes
    max_bytes: int
    max_pixels: int
    side: int


class Answer(msgspec.Struct, frozen=True):
    """The picture; or why it is not taken, as `bot.sentences.Sentence` has it."""

    png: bytes = b""
    field: str = ""
    template: str = ""
    values: dict[str, Any] = {}


def to_png(
    data: bytes,
    limits: UploadLimits | None = None,
    *,
    field: str = "init",
    side: int = KEPT_SIDE_PX,
    limit_s: float = LIMIT_S,
) -> bytes:
    """Return an uploaded picture as `bot.uploads.to_png` does, and raise what it raises.

    Raises:
        InvalidRequestError: besides, it took longer than `limit_s` to be read.
    """
    limits = limits or UploadLimits()
    if not data or len(data) > limits.max_bytes or _is_quick(data):
        return uploads.to_png(data, limits, field=field, side=side)
    return _apart(Ask(field, data, limits.max_bytes, limits.max_pixels, side), limit_s)


def to_mask(data: bytes, limits: UploadLimits | None = None, *, limit_s: float = LIMIT_S) -> bytes:
    """Return an uploaded mask as `bot.uploads.to_mask` does, else as `to_png`."""
    limits = limits or UploadLimits()
    if not data or len(data) > limits.max_bytes or _is_quick(data):
        return uploads.to_mask(data, limits)
    return _apart(Ask("mask", data, limits.max_bytes, limits.max_pixels, KEPT_SIDE_PX), limit_s)


def _is_quick(data: bytes) -> bool:
    """Say whether a file is so small that nothing in it could take long."""
    if len(data) > _QUICK_BYTES:
        return False
    try:
        with Pillow.open(io.BytesIO(data), formats=uploads.FORMATS) as picture:
            return picture.width * picture.height <= _QUICK_PIXELS
    except Exception:  # damaged files make decoders raise anything at all; it is refused at once
        return True


def _apart(ask: Ask, limit_s: float) -> bytes:
    environment = {name: value for name, value in os.environ.items() if name in _KEPT}
    try:
        done = subprocess.run(  # noqa: S603 - this program, and none of its words
            _COMMAND,
            input=msgspec.msgpack.encode(ask),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=limit_s,
            cwd=_ROOT,
            env=environment,
            check=True,
        )
        answer = msgspec.msgpack.decode(done.stdout, type=Answer)
    except subprocess.TimeoutExpired as error:
        raise InvalidRequestError(ask.field, _TOO_SLOW) from error
    except (subprocess.CalledProcessError, msgspec.MsgspecError) as error:
        raise InvalidRequestError(ask.field, _UNREADABLE) from error  # it died of the file
    if answer.png:
        return answer.png
    sentence = Sentence(answer.template, answer.values) if answer.values else answer.template
    raise InvalidRequestError(answer.field, sentence)


def main() -> int:
    """Read one file from standard input, and write the picture to standard output."""
    _bound()
    ask = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Ask)
    limits = UploadLimits(ask.max_bytes, ask.max_pixels)
    try:
        if ask.field == "mask":
            answer = Answer(uploads.to_mask(ask.data, limits))
        else:
            answer = Answer(uploads.to_png(ask.data, limits, field=ask.field, side=ask.side))
    except InvalidRequestError as error:
        said = error.args[0]
        template, values = (
            (said.template, dict(said.values)) if isinstance(said, Sentence) else (said, {})
        )
        answer = Answer(field=error.field, template=template, values=values)
    sys.stdout.buffer.write(msgspec.msgpack.encode(answer))
    return 0


def _bound() -> None:
    """Have a bomb end this process, also where whoever started it is gone."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # not everywhere

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (int(2 * LIMIT_S), int(2 * LIMIT_S)))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    sys.exit(main())
