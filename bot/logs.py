"""The log: a line for each thing that happened, and no secret in any.

Addresses that open an interaction or a webhook hold its token. Errors of the network name the
address, wherever they are logged, so tokens are taken out of every line as it is written.
"""

from __future__ import annotations

import logging
import re
import sys

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_TOKEN = re.compile(r"(/(?:webhooks|interactions)/\d+/)[^/?\s\"'<>]+")


class Formatter(logging.Formatter):
    """Writes records, their tracebacks too, without tokens."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as it is written."""
        return without_tokens(super().format(record))


def without_tokens(text: str) -> str:
    """Return a text with `…` in place of the tokens of the addresses in it."""
    return _TOKEN.sub(r"\1…", text)


def begin(level: str) -> None:
    """Write what is logged, from a level on, to standard error."""
    # A statement a line, each with its parameters, is no use to anybody who looks for our own.
    logging.getLogger("aiosqlite").setLevel(logging.INFO)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter(_FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
