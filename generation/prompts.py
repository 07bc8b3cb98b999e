"""The grammar of prompts: ``a misty castle:2 | oil on canvas:0.5 | text, watermark:-1``.

One prompt is ``text:weight:stop``; bars separate several. What a person types always parses: a
colon that is not followed by a number is text, a backslash makes ``|``, ``:`` or ``\\`` plain,
and parts without text are dropped. docs/prompts.md is the page for people.

Read as `placed`, slashes with spaces around them put prompts side by side along the picture:
``heaven / hell | oil on canvas:0.5``.

Alternatives (``{a|b}``) and word lists (``__palette__``) are chosen before, by the bot.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

MAX_WEIGHT = 100.0
NO_STOP = -math.inf

# Colons that end a text, followed by finite decimal numbers, at the very end of a part.
_DIGITS = "[0-9]{1,30}"
_NUMBER = rf"\s*([+-]?(?:{_DIGITS}(?:\.[0-9]{{0,30}})?|\.{_DIGITS})(?:[eE][+-]?[0-9]{{1,3}})?)\s*"
_TAIL = re.compile(rf":{_NUMBER}(?::{_NUMBER})?$")
_SPECIAL = re.compile(r"[\\|:]")
_BESIDE = re.compile(r"(?<=\s)/(?=\s)")


@dataclass(frozen=True)
class Place:
    """The place `index` (from 0) of `count` that lie side by side from left to right."""

    index: int
    count: int


@dataclass(frozen=True)
class Prompt:
    """One thing to draw, or with a negative weight to keep away from.

    `weight` lies within ±`MAX_WEIGHT`. `stop` bounds the loss below: once the (signed) distance
    is under it, this prompt pulls no more; `NO_STOP` means that it always does. Without a `place`
    it holds everywhere.
    """

    text: str
    weight: float = 1.0
    stop: float = NO_STOP
    place: Place | None = None


def parse(text: str, *, placed: bool = False) -> tuple[Prompt, ...]:
    """Read any text as prompts; empty if there is nothing to draw in it.

    With `placed`, slashes put prompts side by side; a place may be left empty.
    """
    if not placed:
        return tuple(prompt for part in _parts(text) if (prompt := _prompt(part)) is not None)
    found: list[Prompt] = []
    for part in _parts(text):
        pieces = _BESIDE.split(f" {part} ")
        for index, piece in enumerate(pieces):
            if (prompt := _prompt(piece)) is not None:
                place = Place(index, len(pieces)) if len(pieces) > 1 else None
                words = prompt.text.replace("\\/", "/")
                found.append(replace(prompt, text=words, place=place))
    return tuple(found)


def format_prompts(prompts: Iterable[Prompt]) -> str:
    """Write prompts so that `parse` gives the same ones back."""
    return " | ".join(_format_one(prompt) for prompt in prompts)


def plain_text(text: str) -> str:
    """Return only the words of the prompts with positive weight, joined by commas."""
    return ", ".join(prompt.text for prompt in parse(text) if prompt.weight > 0)


def _parts(text: str) -> Iterator[str]:
    """Split at bars that no backslash protects; the backslashes stay for `_unescape`."""
    start = position = 0
    while position < len(text):
        if text[position] == "\\":
            position += 2
            continue
        if text[position] == "|":
            yield text[start:position]
            start = position + 1
        position += 1
    yield text[start:]


def _prompt(part: str) -> Prompt | None:
    weight, stop = 1.0, NO_STOP
    tail = _tail(part)
    if tail is not None:
        part = part[: tail.start()]
        weight = max(-MAX_WEIGHT, min(MAX_WEIGHT, float(tail[1])))
        stop = float(tail[2]) if tail[2] is not None else NO_STOP
    words = _unescape(part.strip())
    return Prompt(words, weight, stop) if words.strip() else None


def _tail(part: str) -> re.Match[str] | None:
    """Find ``:weight`` or ``:weight:stop`` at the end, unless a backslash makes it text."""
    position = 0
    while match := _TAIL.search(part, position):
        before = part[: match.start()]
        protected = (len(before) - len(before.rstrip("\\"))) % 2 == 1
        finite = all(math.isfinite(float(number)) for number in match.groups() if number)
        if not protected and finite:
            return match
        position = match.start() + 1
    return None


def _unescape(text: str) -> str:
    return re.sub(r"\\([\\|:])", r"\1", text)


def _format_one(prompt: Prompt) -> str:
    words = _SPECIAL.sub(lambda found: "\\" + found[0], prompt.text)
    if prompt.stop != NO_STOP:
        return f"{words}:{prompt.weight!r}:{prompt.stop!r}"
    return f"{words}:{prompt.weight!r}" if prompt.weight != 1.0 else words


def words_beyond(text: str, tokens: Callable[[str], int], room: int) -> str:
    """Return the words of a text from the first on that does not fit into so many tokens.

    `tokens` counts a text's tokens, which never become fewer by a further word.
    """
    if tokens(text) <= room:
        return ""
    words = text.split()
    fits, too_many = 0, len(words)
    while fits + 1 < too_many:
        middle = (fits + too_many) // 2
        if tokens(" ".join(words[:middle])) <= room:
            fits = middle
        else:
            too_many = middle
    return " ".join(words[fits:])
