"""What is told in a bundle, and what a bundle is."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bot.model import Dream, Theme
from bot.parties.model import Record, Stage, Standing

INDEX, POST, ORIGINALS, WHOLE = "index.html", "post.md", "originals.zip", "whole.zip"
SHEET, FILM = "sheet.webp", "film.mp4"
CREDITS, LICENCES = "CREDITS.txt", "LICENCES.txt"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A finished dream as it is told. `words` are the associations that it came of."""

    dream: Dream
    parent_id: str | None = None
    other_id: str | None = None
    words: tuple[str, ...] = ()
    stage: Stage | None = None
    standing: Standing | None = None
    likes: int = 0


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle tells, its pictures in order; of a party all that was kept (`record`).

    `when` says in words which time it is about.
    """

    title: str
    topic: str
    when: str
    theme: Theme
    entries: tuple[Entry, ...]
    record: Record | None = None


class Told(msgspec.Struct, frozen=True):
    """What a bundle gives away, by ids: dreams, words, and the people who are named."""

    dream_ids: frozenset[str] = frozenset()
    word_ids: frozenset[int] = frozenset()
    person_ids: frozenset[str] = frozenset()

    def within(self, other: Told) -> bool:
        """Say whether nothing is told here that is not told there."""
        return (
            self.dream_ids <= other.dream_ids
            and self.word_ids <= other.word_ids
            and self.person_ids <= other.person_ids
        )


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A folder with a whole site in it. Of `pictures` that it was to show, some were not here.

    `left_out` counts those: their files are missing or damaged.
    """

    folder: Path
    title: str
    pictures: int
    left_out: int
    made_ms: int
    told: Told = Told()

    @property
    def index(self) -> Path:
        """The page that it begins with."""
        return self.folder / INDEX

    @property
    def post(self) -> Path:
        """A post in Markdown, with pictures."""
        return self.folder / POST

    @property
    def sheet(self) -> Path:
        """The first contact sheet."""
        return self.folder / SHEET

    @property
    def originals(self) -> Path:
        """The ZIP of the pictures, as they were drawn, with recipes."""
        return self.folder / ORIGINALS

    @property
    def film(self) -> Path | None:
        """The film of how the pictures formed; None where it could not be made."""
        path = self.folder / FILM
        return path if path.is_file() else None

    @property
    def whole(self) -> Path | None:
        """The ZIP of the whole bundle, where one was asked for."""
        path = self.folder / WHOLE
        return path if path.is_file() else None
