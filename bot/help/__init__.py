"""What ``/help`` tells: pages of words, with pictures that the product drew itself.

`pages.toml` has the words, and how each picture was drawn; `docs/make_help_pictures.py` draws them
anew. `pages.de.toml` and the like have the words in other languages.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import msgspec


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A picture: its file beside this module, and the words and the seed that it was drawn from."""

    file: str
    prompt: str
    seed: int

    def read(self) -> bytes:
        """Return the encoded picture (WebP). May block."""
        return resources.files(__name__).joinpath(self.file).read_bytes()


class Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One page. `name` is what leads to it; `text` is Markdown as Discord shows it."""

    name: str
    title: str
    text: str
    pictures: tuple[Example, ...] = ()


class _Pages(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    page: tuple[Page, ...]


@cache
def pages(language: str = "") -> tuple[Page, ...]:
    """Return all pages, in order, in a language such as `de`; else in English.

    Reads a file the first time.
    """
    english = _read("pages.toml")
    if not language:
        return english
    translated = _read(f"pages.{language}.toml")
    return tuple(
        msgspec.structs.replace(page, pictures=there.pictures)
        for page, there in zip(translated, english, strict=True)
    )


def _read(name: str) -> tuple[Page, ...]:
    data = resources.files(__name__).joinpath(name).read_bytes()
    return msgspec.toml.decode(data, type=_Pages).page
