"""Themes as files: TOML that people write, send to each other, and keep.

A file is read strictly: a key that is not known, or is of the wrong kind, is a mistake that is
named, so that nothing is left out in silence. What the values have to be is judged where themes
are made (`bot.themes`). All of this blocks.
"""

from __future__ import annotations

import difflib
import tomllib
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import msgspec

from bot.errors import InvalidRequestError, NotFoundError
from bot.ids import now_ms
from bot.model import Theme
from bot.sentences import say
from bot.text import clean, shorten
from bot.themes import BOUNDS, checked

FORMAT = 1
MAX_BYTES = 32 * 1024
TOO_LARGE = say(
    "A theme's file has {most} KiB at most. Send a smaller one.", most=MAX_BYTES // 1024
)
SUFFIX = ".toml"

_TEXTS = (
    *("slug", "title", "topic", "template", "modifiers", "negative", "palette"),
    *("preset", "engine", "model"),
    *("asked_by", "subject", "holds", "colour", "visibility"),
)
_WHOLE = ("width", "height", "steps", *BOUNDS)
_NUMBERS = {"weight": 1.0, "strictness": 0.5}
_AUTOPILOT = ("autopilot", "autopilot_seconds", "autopilot_quiet")
_SWITCHES = ("autopilot_alone", "paused")
_KEYS = ("format", *_TEXTS, *_WHOLE, *_NUMBERS, *_AUTOPILOT, *_SWITCHES)
_HEADER = "# A theme of Dreamstream. Take it in with: dreamstream themes import {}\n"


@dataclass(frozen=True)
class ThemeFile:
    """What a file says: the theme's short name, its title, and the other fields it names."""

    slug: str
    title: str
    details: dict[str, Any] = field(default_factory=dict)


def read(data: bytes, name: str = "") -> ThemeFile:
    """Read a theme. Where the file has no `slug`, it is that of the file's `name`.

    Raises:
        InvalidRequestError: it is not a theme; the sentence names the key, or the line.
    """
    values = _decoded(data)
    _check_keys(values)
    for key in _TEXTS:
        if key in values and not isinstance(values[key], str):
            raise InvalidRequestError(
                key, say("{key} is a text, as in {key} = “…”, in quotes.", key=key)
            )
    for key in (*_WHOLE, *_AUTOPILOT):
        if key in values and (isinstance(values[key], bool) or not isinstance(values[key], int)):
            raise InvalidRequestError(key, say("{key} is a whole number, or left out.", key=key))
    for key in _SWITCHES:
        if not isinstance(values.get(key, False), bool):
            raise InvalidRequestError(key, say("{key} is true or false.", key=key))
    for key, usual in _NUMBERS.items():
        if key in values:
            values[key] = _number(key, values[key], usual)
    if ("width" in values) != ("height" in values):
        raise InvalidRequestError("width", "width and height are given together, or neither.")
    if "title" not in values:
        raise InvalidRequestError("title", "The file has no title. Write title = “…” into it.")
    slug = str(values.pop("slug", "") or _stem(name)).strip().lower()
    values.pop("format", None)
    title = values.pop("title")
    # Judged here too, so that a file is known to be good before anything is done with it.
    checked(Theme(id=0, slug=slug, title=title, created_ms=now_ms()), values, named=str)
    return ThemeFile(slug, title, values)


def write(theme: Theme) -> bytes:
    """Return a theme as a file that `read` takes; all that it says is in it."""
    said = msgspec.structs.asdict(theme)
    values = {
        key: str(said[key]) if key in _TEXTS else said[key]
        for key in _KEYS
        if key != "format" and said[key] is not None
    }
    body = msgspec.toml.encode({"format": FORMAT, **values})
    return _HEADER.format(file_name(theme)).encode() + body


def file_name(theme: Theme) -> str:
    """Return what a theme's file is called."""
    return f"{theme.slug}{SUFFIX}"


@cache
def shipped() -> dict[str, ThemeFile]:
    """Return the themes that come with Dreamstream, by their short names."""
    folder = resources.files("bot").joinpath("data/themes")
    found = [
        read(entry.read_bytes(), entry.name)
        for entry in folder.iterdir()
        if entry.name.endswith(SUFFIX)
    ]
    return {one.slug: one for one in sorted(found, key=lambda one: one.title)}


def shipped_one(slug: str) -> ThemeFile:
    """Return one of the themes that come with Dreamstream.

    Raises:
        NotFoundError: there is none of that name; the sentence says which there are.
    """
    slug = slug.strip().lower()
    try:
        return shipped()[slug]
    except KeyError:
        raise NotFoundError(
            say(
                "No theme called “{slug}” comes with Dreamstream. There are: {these}.",
                slug=shorten(clean(slug), 40),
                these=", ".join(shipped()),
            )
        ) from None


def _decoded(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_BYTES:
        raise InvalidRequestError("file", TOO_LARGE)
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InvalidRequestError("file", "The file is not text in UTF-8. Save it as such.") from (
            error
        )
    except tomllib.TOMLDecodeError as error:
        raise InvalidRequestError(
            "file",
            say(
                "The file is not TOML: {error}. Mend it there.",
                error=shorten(clean(str(error)), 150),
            ),
        ) from error
    except (RecursionError, ValueError) as error:  # nested too deep; a number of too many digits
        raise InvalidRequestError("file", "The file is no theme: it cannot be read.") from error


def _check_keys(values: dict[str, Any]) -> None:
    for key in values:
        if key not in _KEYS:
            close = difflib.get_close_matches(key, _KEYS, 1)
            name = shorten(clean(key), 40)
            raise InvalidRequestError(
                name,
                say("A theme has no “{name}”. Is “{meant}” meant?", name=name, meant=close[0])
                if close
                else say(
                    "A theme has no “{name}”. There are: {these}.",
                    name=name,
                    these=", ".join(_KEYS),
                ),
            )
    version = values.get("format", FORMAT)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise InvalidRequestError(
            "format", say("{key} is {usual}, or left out.", key="format", usual=FORMAT)
        )
    if version > FORMAT:
        raise InvalidRequestError(
            "format", "This theme was written by a newer Dreamstream. Install that one here."
        )


def _number(key: str, value: object, usual: float) -> float:
    if not isinstance(value, bool) and isinstance(value, int | float):
        with suppress(OverflowError):  # a whole number past every float
            return float(value)
    raise InvalidRequestError(key, say("{key} is a number, such as {usual}.", key=key, usual=usual))


def _stem(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(SUFFIX)
