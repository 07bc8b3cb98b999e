"""From what a person typed to the prompt that is drawn: choices made, the theme put around it.

``{a|b|c}`` and ``__palette__`` choose from alternatives and word lists; the choice follows from
the dream's seed alone, on every machine and in every version. A backslash before a brace or an
underscore makes it plain. What cannot be read as a choice stays as it was typed: every text is
fine. Weights and bars mean what docs/prompts.md says; they are read by the engines, not here.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from bot.model import Theme
from bot.palettes import PALETTES, palettes_of
from bot.text import clean, visible

PLACE = "{prompt}"
_HERE = "\0"  # stands for the place while choices are made: no text that was cleaned has it
MAX_DEPTH = 16  # braces nested deeper are plain text

_NAME = re.compile(r"__([a-z][a-z0-9-]{0,30})__")

# The same rules as the engines' own (`generation.prompts`, and `clip_prompts` among the engines),
# which tests compare. Everything in them is bounded or followed by something else: no prompt makes
# them try again and again.
_DIGITS = "[0-9]{1,30}"
_NUMBER = rf"\s*([+-]?(?:{_DIGITS}(?:\.[0-9]{{0,30}})?|\.{_DIGITS})(?:[eE][+-]?[0-9]{{1,3}})?)\s*"
_PROTECTED = re.compile(r"\\([\\|:])")
_PICTURE = re.compile(r"picture\s*(\d{1,3})", re.IGNORECASE | re.ASCII)
_WEIGHT = re.compile(rf":{_NUMBER}(?::{_NUMBER})?$")


def choose(text: str, seed: int, palettes: Mapping[str, Sequence[str]] = PALETTES) -> str:
    """Return the text with its alternatives and word lists chosen by `seed`."""
    return _Chooser(text, seed, palettes).choose()


def has_choices(text: str, palettes: Mapping[str, Sequence[str]] = PALETTES) -> bool:
    """Say whether another seed could choose other words."""
    return any(choose(text, seed, palettes) != choose(text, 0, palettes) for seed in range(1, 9))


def wrap(text: str, theme: Theme, *, placed: bool = False) -> str:
    """Put a theme's template around the first prompt and its modifiers after the last.

    The template goes around words only: ``a fox:2 | fog`` in ``{prompt}, oil`` is
    ``a fox, oil:2 | fog``. With `placed` it goes around each of those that lie side by side:
    ``sea / land:2`` is ``sea, oil / land, oil:2``. A place without words stays without.
    """
    return _wrapped(text, theme.template, theme.modifiers, _pairs(text), placed=placed)


def unwrap(text: str, after: str, *, placed: bool = False) -> str:
    """Undo `wrap` in a template that puts `after` behind the words, as far as it is there.

    ``a fox, oil:2 | fog`` without ``, oil`` is ``a fox:2 | fog``. `placed` is as for `wrap`.
    """
    first, rest = _split_first(text, _pairs(text))
    pieces = _places(first, _pairs(text)) if placed else [first]
    parts = [" / ".join(_cut(piece, after) for piece in pieces)]
    return " | ".join([*parts, *([rest.strip()] if rest.strip() else [])])


def expand(
    text: str,
    theme: Theme,
    seed: int,
    *,
    placed: bool = False,
) -> str:
    """Return the prompt that is drawn for what a person typed in a theme, with this seed.

    The theme's palette is one of the word lists. `placed` is as for `wrap`; what is left to chance
    in the template falls alike at every place.
    """
    palettes = palettes_of(theme.palette)
    if not placed:
        return clean(choose(wrap(text, theme), seed, palettes))
    chosen = []
    made = 0
    for part in (theme.template.replace(PLACE, _HERE, 1), clean(text), theme.modifiers):
        chooser = _Chooser(part, seed, palettes, made)
        chosen.append(chooser.choose())
        made = chooser.made
    template, words, modifiers = chosen
    return clean(_wrapped(words, template.replace(_HERE, PLACE), modifiers, {}, placed=True))


def wanted(text: str) -> list[tuple[str, float]]:
    """Return the parts of an expanded prompt that a picture is to come near to, with weights."""
    found = []
    for part in _parts(text):
        begins = _weight_begins(part)
        tail = _WEIGHT.match(part[begins:])
        words = _PROTECTED.sub(r"\1", part[:begins]).strip()
        weight = 1.0 if tail is None else float(tail[1])
        if words and weight > 0 and math.isfinite(weight):
            found.append((words, weight))
    return found


def without_pictures(text: str) -> str:
    """Return an expanded prompt without the parts that speak of a recipe's further pictures."""
    kept = [
        part for part in _parts(text)
        if not _PICTURE.fullmatch(part[: _weight_begins(part)].strip())
    ]  # fmt: skip
    return "|".join(kept).strip()


def pictures_in(text: str, *, placed: bool = False) -> set[int]:
    """Return which of a recipe's further pictures an expanded prompt speaks of, from 1."""
    found = set()
    for part in _parts(text):
        for piece in _places(part, {}) if placed else [part]:
            spoken = _PICTURE.fullmatch(piece[: _weight_begins(piece)].strip())
            if spoken is not None:
                found.add(int(spoken[1]))
    return found


def count_prompts(text: str) -> int:
    """Return how many prompts, at most, a text holds once its choices are made."""
    found = sum(visible(part[: _weight_begins(part)]) for part in _parts(text))
    # Bars between braces choose, unless these are nested deeper than is read.
    closing, depth, position = _pairs(text), 0, 0
    closed = set(closing.values())
    while position < len(text):
        if text[position] == "\\":
            position += 1
        elif position in closing:
            depth += 1
        elif position in closed:
            depth -= 1
        elif text[position] == "|" and depth > MAX_DEPTH:
            found += 1
        position += 1
    return found


def says_anything(text: str, *, wanted: bool = False) -> bool:
    """Say whether any part of a prompt, choices and all, has words that weigh something.

    With `wanted`, whether there is any that is not only to be kept away from.
    """
    for part in _parts(text):
        begins = _weight_begins(part)
        tail = _WEIGHT.match(part[begins:])
        weight = 1.0 if tail is None else float(tail[1])
        if visible(part[:begins]) and (weight > 0 or (weight < 0 and not wanted)):
            return True
    return False


def _wrapped(
    text: str, template: str, modifiers: str, closing: Mapping[int, int], *, placed: bool
) -> str:
    """Wrap a text of which `closing` says where each brace that holds alternatives ends."""
    first, rest = _split_first(text, closing)
    pieces = _places(first, closing) if placed else [first]
    if len(pieces) > 1:
        pieces = [_around(piece, template) if piece.strip() else "" for piece in pieces]
    else:
        pieces = [_around(first, template)]
    parts = [" / ".join(pieces), *([rest.strip()] if rest.strip() else [])]
    if modifiers:
        parts.append(modifiers)
    return " | ".join(parts)


def _around(part: str, template: str) -> str:
    """Put a template around a part's words, before their weight."""
    begins = _weight_begins(part)
    words, tail = part[:begins].strip(), part[begins:].strip()
    if PLACE in template:
        words = template.replace(PLACE, words, 1).strip()
    if tail and _protects(words):
        words += " "
    return words + tail


def _cut(part: str, after: str) -> str:
    """Take what stands at the end of a part's words away, before their weight."""
    begins = _weight_begins(part)
    return part[:begins].strip().removesuffix(after) + part[begins:].strip()


def _weight_begins(part: str) -> int:
    """Return where ``:weight`` or ``:weight:stop`` begins at the end, its length without one."""
    position = 0
    while found := _WEIGHT.search(part, position):
        finite = all(math.isfinite(float(number)) for number in found.groups() if number)
        if finite and not _protects(part[: found.start()]):
            return found.start()
        position = found.start() + 1
    return len(part)


def _protects(before: str) -> bool:
    """Say whether the text ends in a backslash that makes the next sign plain."""
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def _parts(text: str) -> Iterator[str]:
    """Split at every bar that is not between braces nor behind a backslash, in one pass."""
    start = 0
    for position in _outside(text, _pairs(text)):
        if text[position] == "|":
            yield text[start:position]
            start = position + 1
    yield text[start:]


def _split_first(text: str, closing: Mapping[int, int]) -> tuple[str, str]:
    """Split at the first such bar."""
    for position in _outside(text, closing):
        if text[position] == "|":
            return text[:position], text[position + 1 :]
    return text, ""


def _places(part: str, closing: Mapping[int, int]) -> list[str]:
    """Split at the slashes with spaces around them that are not between braces."""
    padded = f"{part} "
    ends = [
        position
        for position in _outside(part, closing)
        if part[position] == "/"
        and (position == 0 or part[position - 1].isspace())
        and padded[position + 1].isspace()
    ]
    return [
        part[start:end]
        for start, end in zip([0, *(end + 1 for end in ends)], [*ends, len(part)], strict=True)
    ]


def _outside(text: str, closing: Mapping[int, int]) -> Iterator[int]:
    """Yield the positions that lie in no braces and behind no backslash."""
    position = 0
    while position < len(text):
        if text[position] == "\\":
            position += 2
            continue
        if text[position] == "{" and position in closing:
            position = closing[position] + 1
            continue
        yield position
        position += 1


@lru_cache(maxsize=64)
def _pairs(text: str) -> Mapping[int, int]:
    """Map every opening brace that is closed again to where it is closed."""
    opened: list[int] = []
    pairs: dict[int, int] = {}
    position = 0
    while position < len(text):
        if text[position] == "\\":
            position += 1
        elif text[position] == "{":
            opened.append(position)
        elif text[position] == "}" and opened:
            pairs[opened.pop()] = position
        position += 1
    return pairs


class _Chooser:
    """One pass over one text; the n-th choice takes the n-th number of its seed, `made` before."""

    def __init__(
        self, text: str, seed: int, palettes: Mapping[str, Sequence[str]], made: int = 0
    ) -> None:
        self._text = text
        self._seed = seed
        self._palettes = palettes
        self._pairs = _pairs(text)
        self.made = made

    def choose(self) -> str:
        return self._span(0, len(self._text), depth=0)

    def _span(self, start: int, end: int, depth: int) -> str:
        parts = []
        position = start
        while position < end:
            sign = self._text[position]
            closed = self._pairs.get(position)
            name = _NAME.match(self._text, position, end) if sign == "_" else None
            if sign == "\\" and position + 1 < end:
                following = self._text[position + 1]
                parts.append(following if following in "{}_" else sign + following)
                position += 2
            elif closed is not None and depth < MAX_DEPTH:
                options = self._options(position + 1, closed)
                low, high = options[self._pick(len(options))]
                parts.append(self._span(low, high, depth + 1).strip())
                position = closed + 1
            elif name is not None and self._palettes.get(name[1]):
                words = self._palettes[name[1]]
                parts.append(words[self._pick(len(words))])
                position = name.end()
            else:
                parts.append(sign)
                position += 1
        return "".join(parts)

    def _options(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return where the alternatives between two braces begin and end."""
        options = []
        low = position = start
        while position < end:
            sign = self._text[position]
            if sign == "\\":
                position += 1
            elif sign == "{" and position in self._pairs:
                position = self._pairs[position]
            elif sign == "|":
                options.append((low, position))
                low = position + 1
            position += 1
        options.append((low, end))
        return options

    def _pick(self, count: int) -> int:
        digest = hashlib.blake2b(f"{self._seed}:{self.made}".encode(), digest_size=8).digest()
        self.made += 1
        return int.from_bytes(digest, "big") % count
