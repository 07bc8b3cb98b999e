"""The scheduler process's log: a line of JSON a record, which the bot passes on as its own.

Each record names the dreams that were being worked on in its thread, whoever wrote it: what a
library says in the middle of a step is about that step's dreams. What is not a record (prints,
what the interpreter itself says of a crash) goes out as it is.
"""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar

import msgspec

from generation.protocol import LogLine

_dreams: ContextVar[tuple[str, ...]] = ContextVar("dreams", default=())


def about(dream_ids: tuple[str, ...]) -> None:
    """Name these dreams in what this thread, or task, logs from now on."""
    _dreams.set(dream_ids)


def writable(text: str) -> str:
    """Return text as UTF-8 can have it: half a surrogate pair, as of odd file names, is spelled."""
    return text.encode(errors="backslashreplace").decode()


class Formatter(logging.Formatter):
    """Writes a record as a `LogLine`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        exception = "" if not record.exc_info else self.formatException(record.exc_info)
        line = LogLine(
            log=record.name,
            level=record.levelname,
            at_s=record.created,
            message=writable(record.getMessage()),
            dreams=_dreams.get(),
            exception=writable(exception),
        )
        return msgspec.json.encode(line).decode()


def begin(level: str) -> None:
    """Write what is logged, from a level on, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
