"""Captions of single pictures: CLDR labels and tags, cleaned set names, style words.

The emoji sets name their pictures after CLDR; emojibase gives each name its label, tags and group,
so one concept drawn in nine styles gets the same words nine times.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from training.fetch import package_dir
from training.lists import lines, word_list

_SMILEYS, _PEOPLE, _COMPONENTS, _SYMBOLS, _FLAGS = 0, 1, 2, 8, 9
_DROP = re.compile(
    r"skin tone|keycap|\bbutton\b|\barrow|regional indicator|o.clock|-thirty|\bflag\b|\bsign\b"
    r"|^family|^kiss: |^couple with heart: |facing right|input |\bno \w+ing\b|prohibited|\bON!"
    r"|\btone\d|\b(light|medium|dark)$|letter \w$|digit|thirty|oclock|antenna|^kiss "
    r"|crossed flags|zodiac"
    r"|\bmark\b|blood type|^japanese “|hundred points|information|currency|\bsymbol: "
)
_SHAPES = re.compile(
    r"^(red|orange|yellow|green|blue|purple|brown|black|white) (circle|square)$"
    r"|(orange|blue) diamond|^(peace|recycling) symbol|yin yang|radioactive|biohazard|infinity"
    r"|snowflake|musical note|atom symbol|eight-spoked|trident|fleur|hot springs"
)
_ZODIAC = re.compile(
    r"^(aries|taurus|gemini|cancer|leo|virgo|libra|scorpio|sagittarius|capricorn|aquarius|pisces"
    r"|ophiuchus)$",
    re.IGNORECASE,
)
_UI_WORDS = word_list("interface_words")
_SUFFIX = re.compile(r"(-(\d+|flat|duo|remix|fill|one|two|three|four|five|alt|left|right|color))+$")


_PLAIN = ("a picture of", "an image of", "a drawing of", "an illustration of", "a photo of")
"""How people ask who name no style."""
_PLAIN_SHARE = 0.06
_MOODS = (
    "ancient", "beautiful", "brave", "cosy", "cute", "dreamy", "epic", "friendly", "funny", "giant",
    "happy", "huge", "little", "lovely", "magic", "mysterious", "new", "old", "old", "sad",
    "silent", "strange", "surreal", "tiny", "wild", "young",
)  # fmt: skip
_TAILS = (
    "beautiful", "concept art", "digital art", "dramatic", "fantasy", "high quality",
    "highly detailed", "masterpiece", "surreal", "trending on artstation", "very detailed",
)  # fmt: skip
"""Words that people add and that no picture here shows: a prompt is to bear them."""
_WORDY_SHARE = 0.14
_KIND_SHARE = 0.2
_BEFORE = {"", "a", "an", "the", "of", "and", "with", "beside", "above", "under", "below", "red",
           "yellow", "green", "blue", "purple", "pink", "black", "white", "grey"}  # fmt: skip
_BEHIND = {"", "and", "at", "beside", "by", "in", "looking", "meets", "next", "on", "to", "under",
           "with", "above", "below"}  # fmt: skip
"""What stands around a word that is a thing's whole name: a hot dog is no kind of hound."""


@dataclass(frozen=True)
class Words:
    """What one picture shows: a label, other words for it, and how often it should be drawn."""

    label: str
    tags: tuple[str, ...]
    weight: float


def slug(text: str) -> str:
    """Return a label in the form that the sets use as a name."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def _emoji_weight(label: str, group: int) -> float:
    if group == _PEOPLE:
        return 0.25 if re.match(r"(man|woman|men|women|person|people)\b", label) else 0.5
    if group in (_SMILEYS, _SYMBOLS):
        return 0.6
    return 1.3 if group in (3, 4, 5) else 1.0


@cache
def emoji_words() -> dict[str, Words]:
    """Return the words of every emoji worth drawing, by slug, by hexcode and by Unicode name."""
    entries = json.loads((package_dir("emojibase-data") / "package/en/data.json").read_text())
    words: dict[str, Words] = {}
    for entry in entries:
        label, group = entry["label"], entry.get("group", _COMPONENTS)
        if group in (_COMPONENTS, _FLAGS) or _DROP.search(label) or _ZODIAC.match(label):
            continue
        if group == _SYMBOLS and not _SHAPES.search(label):
            continue
        clean = label.replace(": ", " ").replace("’", "'").lower()
        tags = tuple(
            tag for tag in entry.get("tags", ()) if tag.isascii() and tag.isalpha() and len(tag) > 2
        )
        found = Words(clean, tags, _emoji_weight(label, group))
        hexcode = entry["hexcode"].lower()
        keys = {slug(label), hexcode, hexcode.replace("-fe0f", "")}
        points = [int(code, 16) for code in hexcode.split("-") if code != "fe0f"]
        if len(points) == 1:
            unicode_name = unicodedata.name(chr(points[0]), "")
            keys |= {slug(unicode_name), slug(unicode_name).replace("-", "")}
            keys.add(slug(label).replace("-", ""))
        for key in keys:
            words.setdefault(key, found)
    return words


@cache
def _other_names(of: str) -> dict[str, tuple[str, ...]]:
    """Return a list of lines like ``label: name, another`` by label."""
    pairs = [line.split(":", 1) for line in lines(of)]
    return {
        label.strip(): tuple(name.strip() for name in names.split(",")) for label, names in pairs
    }


def names(label: str) -> tuple[str, ...]:
    """Return a label and what people call it otherwise."""
    return (label, *_other_names("synonyms").get(label, ()))


@cache
def _nouns() -> frozenset[str]:
    nouns = set()
    for words in emoji_words().values():
        nouns |= set(words.label.split()) | set(words.tags)
    return frozenset(nouns) - _UI_WORDS


def picture_words(name: str, *, emoji: bool) -> Words | None:
    """Return the words for a set's picture name, or None where it should not be drawn."""
    known = emoji_words()
    if emoji:
        found = known.get(name) or known.get(_SUFFIX.sub("", name))
        if found:
            return found
    base = _SUFFIX.sub("", name)
    parts = base.split("-")
    if any(part in _UI_WORDS or part.isdigit() for part in parts) or len(parts) > 4:
        return None
    if not any(part in _nouns() for part in parts):
        return None
    if _DROP.search(base.replace("-", " ")):
        return None
    same = known.get(base)
    return Words(" ".join(parts), same.tags if same else (), 0.7)


def with_article(noun: str) -> str:
    """Return a noun phrase with "a" or "an" where it reads as one countable thing."""
    first = noun.split()[0]
    last = noun.split()[-1]
    plural = last.endswith("s") and not last.endswith(("ss", "us", "is"))
    if plural or first in {"a", "an", "the", "person", "men", "women", "people", "two"}:
        return noun
    return f"{_article(noun)} {noun}"


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"


_IRREGULAR = {
    "calf": "calves", "child": "children", "deer": "deer", "foot": "feet", "goose": "geese",
    "knife": "knives", "leaf": "leaves", "loaf": "loaves", "man": "men", "mouse": "mice",
    "ox": "oxen", "person": "people", "potato": "potatoes", "shrimp": "shrimp",
    "tomato": "tomatoes", "tooth": "teeth", "volcano": "volcanoes", "wolf": "wolves",
    "woman": "women",
}  # fmt: skip


def plural(noun: str) -> str:
    """Return the plural of an English noun phrase whose last word is the noun."""
    first, space, last = noun.rpartition(" ")
    if last in _IRREGULAR:
        return f"{first}{space}{_IRREGULAR[last]}"
    if last.endswith(("fish", "sheep")) or (last.endswith("s") and not last.endswith(("ss", "us"))):
        return noun
    if last.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if last.endswith("y") and last[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def in_more_words(text: str, rng: np.random.Generator) -> str:
    """Return a caption as people write prompts: every seventh with a word that shows nothing."""
    if rng.random() >= _WORDY_SHARE:
        return text
    article, _, rest = text.partition(" ")
    if article not in {"a", "an"} or rng.random() < 0.5:
        return f"{text}, {rng.choice(_TAILS)}"
    mood = str(rng.choice(_MOODS))
    return f"{_article(mood)} {mood} {rest}"


def in_other_words(text: str, rng: np.random.Generator) -> str:
    """Return a caption in which now and then a thing is called by another name, or a kind of it.

    Pictures have few words. A model that is told others for them now and then learns to take a
    word that it was never told for the one beside it, as the text tower does.
    """
    kinds = _other_names("kinds")
    words = text.split()
    plain = [word.removesuffix(",") for word in words]
    found = [
        place
        for place, word in enumerate(plain)
        if word in kinds
        and (plain[place - 1] if place else "") in _BEFORE
        and (words[place].endswith(",") or ([*plain, ""])[place + 1] in _BEHIND)
    ]
    if not found or rng.random() >= _KIND_SHARE:
        return text
    place = int(rng.choice(found))
    kind = str(rng.choice(kinds[plain[place]]))
    if place and words[place - 1] in {"a", "an"}:
        words[place - 1] = _article(kind)
    words[place] = kind + "," * words[place].endswith(",")
    return " ".join(words)


def caption(
    words: Words, styles: Sequence[str], rng: np.random.Generator, style_share: float = 0.34
) -> str:
    """Return one seeded caption: the label or a tag; ``style_share`` of them name a style."""
    noun = str(rng.choice(names(words.label)))
    draw = rng.random()
    if words.tags and draw < 0.12:
        noun = str(rng.choice(words.tags))
    elif words.tags and draw < 0.22:
        noun = f"{noun}, {rng.choice(words.tags)}"
    elif noun.endswith(" face") and draw < 0.5:
        noun = noun.removesuffix(" face")
    text = with_article(noun) if rng.random() < 0.6 else noun
    if rng.random() < _PLAIN_SHARE:
        return f"{rng.choice(_PLAIN)} {with_article(noun)}"
    if styles and rng.random() < style_share:
        style = str(rng.choice(styles))
        if not style.endswith(" of"):
            text = f"{style} {noun}" if rng.random() < 0.7 else f"{text}, {style} style"
        else:
            text = f"{style} {text}"
    return text
