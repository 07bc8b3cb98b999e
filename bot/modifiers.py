"""Words that change how a picture looks, by kind, each with a picture drawn by the product.

`bot/data/modifiers.toml` has the words; `docs/make_modifier_pictures.py` draws the pictures, all of
the same subject with the same seed, so that only the words differ.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from importlib import resources
from pathlib import Path

import msgspec

PICTURES = Path(__file__).parent / "wall" / "static" / "modifiers"
SUBJECT = "snowy mountains over a lake"
"""What the pictures show."""
PLAIN = "plain"
"""The name of the picture of the subject alone."""


class Modifier(msgspec.Struct, frozen=True):
    """Words to be put after a prompt's own, their kind's name, and what they do."""

    words: str
    kind: str
    about: str

    @property
    def name(self) -> str:
        """What its picture is called: its words in small plain letters, joined by hyphens."""
        plain = unicodedata.normalize("NFKD", self.words.casefold())
        kept = "".join(sign for sign in plain if not unicodedata.combining(sign))
        return re.sub(r"[^a-z0-9]+", "-", kept).strip("-")

    @property
    def picture(self) -> Path:
        """Where its picture lies: a small square WebP."""
        return PICTURES / f"{self.name}.webp"


class Kind(msgspec.Struct, frozen=True):
    """Modifiers that do alike things, the commonest first."""

    name: str
    title: str
    about: str
    modifiers: tuple[Modifier, ...]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: str
    about: str
    words: dict[str, str]


@cache
def kinds() -> tuple[Kind, ...]:
    """Return all kinds, in the order in which they are shown. Reads a file the first time."""
    data = resources.files("bot").joinpath("data/modifiers.toml").read_bytes()
    tables = msgspec.toml.decode(data, type=dict[str, _Table])
    return tuple(
        Kind(
            name=name,
            title=table.title,
            about=table.about,
            modifiers=tuple(Modifier(words, name, about) for words, about in table.words.items()),
        )
        for name, table in tables.items()
    )


def find_kind(name: str) -> Kind | None:
    """Return the kind with this name or title, if there is one."""
    wanted = name.strip().casefold()
    return next((one for one in kinds() if wanted in (one.name, one.title.casefold())), None)


def find_modifier(words: str) -> Modifier | None:
    """Return the modifier with these words, if it is a known one."""
    return _by_words().get(" ".join(words.split()).casefold())


@cache
def _by_words() -> dict[str, Modifier]:
    return {one.words.casefold(): one for kind in kinds() for one in kind.modifiers}
