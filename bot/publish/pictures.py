"""A bundle's pictures: copied as they are, made small for pages, described in words.

Everything here blocks. One picture is in memory at a time, however many there are.
"""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from PIL import Image as Pillow

from bot.blobs import UnreachableError, file_key, picture_key
from bot.errors import DiskError, NotFoundError
from bot.files import disk_sentences
from bot.library import Library
from bot.model import Dream, File
from bot.parents import words_of
from bot.prompts import has_choices, wanted
from bot.publish.model import Entry
from bot.recipes import parameters, read_document
from bot.text import clean, shorten

SMALL_PX, LARGE_PX = 384, 1024
_QUALITY = 82
_WIDE = 1.25
_FILMS = {"video/mp4": ".mp4", "image/webp": ".webp", "image/gif": ".gif"}
_MOST_ALT, _MOST_NAME, _MOST_PERSON = 300, 40, 60
_WORDLESS = "A picture without words"


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """A picture of a bundle. `number` counts from 1; `name` is that of its files, without ending.

    `said` is what was asked for; `by` is who asked, empty where they are not named. `recipe` is
    the whole recipe to be read by people. Sizes are in pixels, of the three files.
    """

    entry: Entry
    number: int
    name: str
    said: str
    alt: str
    by: str
    licence: str
    recipe: str
    size: tuple[int, int]
    large: tuple[int, int]
    small: tuple[int, int]
    film: str = ""

    @property
    def id(self) -> str:
        """The dream's id."""
        return self.entry.dream.id

    @property
    def model(self) -> str:
        """What drew it."""
        return self.entry.dream.recipe.model

    @property
    def original_file(self) -> str:
        """Where the picture lies as it was drawn, from the bundle's folder."""
        return f"pictures/{self.name}.png"

    @property
    def large_file(self) -> str:
        """Where it lies in a size for a page of its own."""
        return f"large/{self.name}.webp"

    @property
    def small_file(self) -> str:
        """Where it lies in a size for many on one page."""
        return f"small/{self.name}.webp"

    @property
    def form(self) -> str:
        """The form in which it is shown large: ``wide``, ``tall`` or ``square``."""
        ratio = self.large[0] / self.large[1]
        return "wide" if ratio >= _WIDE else "tall" if ratio <= 1 / _WIDE else "square"

    @property
    def page(self) -> str:
        """Where its page lies."""
        return f"p/{self.number}.html"


def taken(
    entries: Iterator[Entry], library: Library, into: Path, stopped: Callable[[], None]
) -> Iterator[Picture | None]:
    """Put pictures into a bundle's folder; yield None for each that is missing or damaged.

    `stopped` is called before each, to raise where there is to be no more.

    Raises:
        DiskError: the folder cannot be written, or the pictures' store does not answer.
    """
    with disk_sentences(into):
        for folder in ("pictures", "large", "small", "films"):
            (into / folder).mkdir(parents=True, exist_ok=True)
    number = 1
    for entry in entries:
        stopped()
        picture = _take(entry, number, library, into)
        number += picture is not None
        yield picture


def _take(entry: Entry, number: int, library: Library, into: Path) -> Picture | None:
    dream = entry.dream
    assert dream.image is not None
    try:
        png = library.blobs.get(picture_key(dream.image.sha256))
        with Pillow.open(io.BytesIO(png), formats=("PNG",)) as opened:
            size = opened.size
            whole = opened.convert("RGB")
    except UnreachableError as error:
        raise _silent(error) from error
    except (OSError, SyntaxError, ValueError, NotFoundError):
        return None
    said = said_of(dream)
    name = f"{number:03d}-{_file_name(said)}"
    document = read_document(png)
    large, large_size = _webp(whole, LARGE_PX)
    small, small_size = _webp(whole, SMALL_PX)
    with disk_sentences(into):
        (into / "pictures" / f"{name}.png").write_bytes(png)
        (into / "large" / f"{name}.webp").write_bytes(large)
        (into / "small" / f"{name}.webp").write_bytes(small)
    return Picture(
        entry=entry,
        number=number,
        name=name,
        said=said,
        alt=alt_of(dream, said),
        by=shorten(clean(dream.person.name), _MOST_PERSON),
        licence=clean(document.licence) if document is not None else "",
        recipe=parameters(dream.recipe),
        size=size,
        large=large_size,
        small=small_size,
        film=_film(dream, name, library, into),
    )


def said_of(dream: Dream) -> str:
    """Return the words of a picture: what was typed, or what came to be drawn instead of it.

    Weights and what is not wanted are left out; so is nothing else.
    """
    typed = dream.prompt
    if dream.recipe.steers or has_choices(typed) or not typed:
        typed = words_of(dream.recipe)
    words = ", ".join(clean(part) for part, _ in wanted(typed))
    return words or clean(typed)


def alt_of(dream: Dream, said: str) -> str:
    """Return a sentence that stands for a picture where it cannot be seen."""
    how = "Drawn by a machine"
    if dream.recipe.journey is not None:
        how = "The last frame of a film drawn by a machine"
    if not said:
        return f"{_WORDLESS}. {how}."
    return f"{how} from the words “{shorten(said, _MOST_ALT)}”."


def _film(dream: Dream, name: str, library: Library, into: Path) -> str:
    """Copy the film that belongs to a dream; return where it lies, empty if there is none."""
    file = next((file for file in dream.files if file.media_type in _FILMS), None)
    if file is None:
        return ""
    data = _read(file, library)
    if data is None:
        return ""
    path = f"films/{name}{_FILMS[file.media_type]}"
    with disk_sentences(into):
        (into / path).write_bytes(data)
    return path


def _read(file: File, library: Library) -> bytes | None:
    try:
        return library.blobs.get(file_key(file.sha256))
    except UnreachableError as error:
        raise _silent(error) from error
    except (OSError, NotFoundError):
        return None


def _silent(error: UnreachableError) -> DiskError:
    """Return the sentence for pictures that are there, and cannot be had at present."""
    return DiskError(f"The pictures cannot be read at present: {error.strerror}.")


def _webp(whole: Pillow.Image, side: int) -> tuple[bytes, tuple[int, int]]:
    made = whole.copy()
    made.thumbnail((side, side), Pillow.Resampling.LANCZOS)
    out = io.BytesIO()
    made.save(out, "WEBP", quality=_QUALITY)
    return out.getvalue(), made.size


def _file_name(said: str) -> str:
    """Return what is left of words in a name that every system takes."""
    plain = unicodedata.normalize("NFKD", said).encode("ascii", "ignore").decode().lower()
    return re.sub("[^a-z0-9]+", "-", plain)[:_MOST_NAME].strip("-") or "picture"
