"""The log: a line for each thing that happened, what it was about, and no secret in any.

Whoever begins something says what it is `about`: every line that comes of it names that, whoever
writes it, in other tasks and threads as well. The scheduler process's lines are passed on by
`bot.scheduler_client` and name their dreams in the same way, so that one search finds the whole way
of a dream.

Addresses that open an interaction or a webhook hold its token. Errors of the network name the
address, wherever they are logged, so tokens are taken out of every line as it is written.

Made of the standard library's logging: discord.py, aiohttp and torch write there as well, and a
second way to log beside it would need a bridge for each.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

import msgspec

Form = Literal["text", "json"]

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_TOKEN = re.compile(r"(/(?:webhooks|interactions)/\d+/)[^/?\s\"'<>]+")
_FIELDS = (
    "dream",
    "dreams",
    "ask",
    "party",
    "game",
    "interaction",
    "guild",
    "channel",
    "shard",
    "engine",
)
"""What a record may name beside its message: in its `extra`, or by `about`."""

_NO_DETAILS = ("aiosqlite", "discord")
"""Who writes all that passes by where details are wanted: each statement with its parameters, each
event and request of Discord's. Those have what people type, and the tokens to answer them by. All
of discord.py's: which of its modules write such things is its own affair, and changes."""

_about: ContextVar[Mapping[str, Any]] = ContextVar("about", default={})  # noqa: B039 - never changed
_secrets: set[str] = set()
_log = logging.getLogger(__name__)


@contextmanager
def about(**fields: str | int | None) -> Iterator[None]:
    """Name what is at hand in every line that is logged within, and in tasks begun within.

    `fields` are some of `_FIELDS`; None names nothing.
    """
    assert fields.keys() <= set(_FIELDS), f"not a field of the log: {fields}"
    named = {name: value for name, value in fields.items() if value is not None}
    token = _about.set({**_about.get(), **named})
    try:
        yield
    finally:
        _about.reset(token)


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a record is about; call it where the record was made."""
    around = _about.get()
    found = {name: getattr(record, name, around.get(name)) for name in _FIELDS}
    return {name: value for name, value in found.items() if value not in (None, ())}


class Formatter(logging.Formatter):
    """Writes a line a record, and then its traceback, without tokens."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as it is written."""
        return without_tokens(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return its line: what it is about follows its message, where that does not say it."""
        line = super().formatMessage(record)
        said = record.message
        more = [
            f"{name}={_plain(value)}"
            for name, value in fields_of(record).items()
            if not re.search(rf"(?<!\w){re.escape(_plain(value))}(?!\w)", said)
        ]
        return f"{line} [{' '.join(more)}]" if more else line


class JsonFormatter(logging.Formatter):
    """Writes an object of JSON a record, on one line, without tokens."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as it is written."""
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "process": getattr(record, "process_role", "bot"),
            "logger": record.name,
            "message": _writable(record.getMessage()),
            **fields_of(record),
        }
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            line["exception"] = _writable(record.exc_text)
        if record.stack_info:
            line["stack"] = record.stack_info
        return without_tokens(msgspec.json.encode(line, enc_hook=str).decode())


def without_tokens(text: str) -> str:
    """Return a text with `…` in place of the tokens of addresses, and of what is to be hidden."""
    text = _TOKEN.sub(r"\1…", text)
    for secret in _secrets:
        text = text.replace(secret, "…")
    return text


def hide(secret: str | None) -> None:
    """Have a secret, such as the bot's token, in no line from now on."""
    if secret:
        _secrets.add(secret)


def begin(level: str, form: Form = "text") -> None:
    """Write what is logged, from a level on, to standard error; errors nobody caught as well."""
    for name in _NO_DETAILS:
        logging.getLogger(name).setLevel(logging.INFO)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else Formatter(_FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def _plain(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
    else:
        _log.critical("Nobody caught this", exc_info=(kind, error, traceback))


def _uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    error = arguments.exc_value
    name = "?" if arguments.thread is None else arguments.thread.name
    if error is not None and not isinstance(error, SystemExit):
        _log.critical(
            "Nobody caught this in thread %s",
            name,
            exc_info=(arguments.exc_type, error, arguments.exc_traceback),
        )


def _writable(text: str) -> str:
    """Return text as UTF-8 can have it: half a surrogate pair, as of odd file names, is spelled."""
    return text.encode(errors="backslashreplace").decode()
