"""What ``/help`` tells: pages of words, with pictures that the product drew itself.

`pages.toml` has the words, and how each picture was drawn; `docs/make_help_pictures.py` draws them
anew.
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
def pages() -> tuple[Page, ...]:
    """Return all pages, in order. Reads a file the first time."""
    data = resources.files(__name__).joinpath("pages.toml").read_bytes()
    return msgspec.toml.decode(data, type=_Pages).page
