"""The process that looks at pictures: `python -m bot.checking.worker`, by `classifier` alone.

Strangers' files are decoded here and nowhere nearer to the database. It reads asks from standard
input and writes answers to standard output; it ends when its input does, and so with the bot,
however that dies.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import BinaryIO

import msgspec

from bot.checking.frames import frames
from bot.checking.nsfw import MissingError, OpenNsfw, find_weights
from bot.checking.wire import LENGTH, MAX_BYTES, Look, Looked, Ready, framed

_MEMORY_BYTES = 4 * 1024**3


def main() -> int:
    """Answer until there is nobody to answer; return the exit status."""
    asks, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints is no answer
    _bound_memory()
    try:
        return _answer(asks, answers)
    except BrokenPipeError:  # nobody is there any more, as after a kill
        with contextlib.suppress(BrokenPipeError):
            answers.close()
        return 0


def _answer(asks: BinaryIO, answers: BinaryIO) -> int:
    try:
        network = OpenNsfw(find_weights())
    except MissingError as error:
        _say(answers, Ready(str(error)))
        return 1
    _say(answers, Ready())
    while (ask := _next(asks)) is not None:
        try:
            seen = Looked(tuple(network.score(one) for one in frames(*ask)))
        except Exception as error:  # a damaged file makes decoders raise anything at all
            seen = Looked(reason=f"{type(error).__name__}: {error}"[:300])
        _say(answers, seen)
    return 0


def _next(asks: BinaryIO) -> tuple[bytes, str] | None:
    """Return what is to be looked at, and its media type; None after the last."""
    head = asks.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    if length > MAX_BYTES:
        return None
    said = asks.read(length)
    if len(said) < length:
        return None
    ask = msgspec.msgpack.decode(said, type=Look)
    if not 0 <= ask.size_bytes <= MAX_BYTES:
        return None
    data = asks.read(ask.size_bytes)
    return (data, ask.media_type) if len(data) == ask.size_bytes else None


def _say(answers: BinaryIO, message: Looked | Ready) -> None:
    answers.write(framed(message))
    answers.flush()


def _bound_memory() -> None:
    """Have a bomb end this process, and not others for want of memory."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # not everywhere

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))


if __name__ == "__main__":
    sys.exit(main())
