"""The folder of a bundle: pictures, pages, texts, contact sheets, ZIPs and the film.

`bundle` blocks, for a party some seconds to minutes: it belongs into a thread. It is written
beside where it is to be, and comes there whole or not at all.
"""

from __future__ import annotations

import os
import secrets
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bot.delivery.sheets import sheet
from bot.errors import InvalidRequestError, RequestError
from bot.files import TEMPORARY_PREFIX, disk_sentences
from bot.ids import now_ms
from bot.library import Library
from bot.publish import pages, texts
from bot.publish.film import Shot, film_of
from bot.publish.model import (
    CREDITS,
    FILM,
    LICENCES,
    ORIGINALS,
    POST,
    SHEET,
    WHOLE,
    Bundle,
    Story,
    Told,
)
from bot.publish.pictures import Picture, taken
from bot.publish.story import told_by
from bot.zips import begin_zip, packed_member

ON_SHEET = 64
_EMPTY = "There is nothing to publish: none of the pictures is here any more."


class StoppedError(RequestError):
    """It was to be stopped, and nothing of it is left."""


def bundle(
    story: Story,
    library: Library,
    into: Path,
    *,
    whole: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> Bundle:
    """Make a bundle in the folder `into`, which is not there yet, or empty. Blocks.

    With `whole` there is a ZIP of all of it besides. It ends early once `stopped` says so.

    Raises:
        InvalidRequestError: there is something in the folder, or there is no picture to show.
        DiskError: it cannot be written.
        StoppedError: it ended early.
    """
    with disk_sentences(into):
        if into.exists() and (not into.is_dir() or any(into.iterdir())):
            raise InvalidRequestError(
                "into", f"{into.name} is not empty. Name a folder that is not there yet."
            )
        into.parent.mkdir(parents=True, exist_ok=True)
        making = into.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
        making.mkdir()
    try:
        made = _fill(story, library, making, whole, stopped)
        with disk_sentences(into):
            if into.exists():
                into.rmdir()
            making.replace(into)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    pictures, left_out = made
    return Bundle(
        folder=into,
        title=story.title,
        pictures=pictures,
        left_out=left_out,
        made_ms=now_ms(),
        told=told_by(story.record) if story.record is not None else Told(),
    )


def _fill(
    story: Story, library: Library, folder: Path, whole: bool, stopped: Callable[[], bool]
) -> tuple[int, int]:
    """Write all files; return how many pictures there are, and how many were left out."""

    def check() -> None:
        if stopped():
            raise StoppedError("It was stopped.")

    pictures: list[Picture] = []
    left_out = 0
    for picture in taken(iter(story.entries), library, folder, check):
        if picture is None:
            left_out += 1
        else:
            pictures.append(picture)
    if not pictures:
        raise InvalidRequestError("party", _EMPTY)
    best = pages.best_of(story, pictures)
    _film(story, pictures, folder, stopped)
    check()
    sheets = _sheets(pictures, folder)
    with disk_sentences(folder):
        _write(folder / POST, texts.post(story, pictures, best))
        _write(folder / CREDITS, texts.credits_text(story, pictures))
        _write(folder / LICENCES, texts.licences_text(pictures))
    _originals(pictures, folder, check)
    site = pages.Site(story, pictures, best, sheets, left_out, folder)
    for path, page in site.pages():
        check()
        with disk_sentences(folder):
            (folder / path).parent.mkdir(exist_ok=True)
            _write(folder / path, page)
    if whole:
        _whole(folder, check)
    return len(pictures), left_out


def _film(
    story: Story, pictures: Sequence[Picture], folder: Path, stopped: Callable[[], bool]
) -> None:
    """Write the film; a bundle without one is a bundle all the same."""
    files = {picture.id: str(folder / picture.large_file) for picture in pictures}

    def shot(picture: Picture) -> Shot:
        parent_id = picture.entry.parent_id
        return Shot(
            picture=files[picture.id],
            forming=str(folder / picture.film) if picture.film.endswith(".mp4") else None,
            grew_of=files.get(parent_id) if parent_id is not None else None,
        )

    film_of([shot(one) for one in pages.for_film(story, pictures)], folder / FILM, stopped)


def _sheets(pictures: Sequence[Picture], folder: Path) -> list[str]:
    """Write contact sheets, each with so many pictures; return their names."""
    names: list[str] = []
    for place in range(0, len(pictures), ON_SHEET):
        some = pictures[place : place + ON_SHEET]
        small = [(folder / picture.small_file).read_bytes() for picture in some]
        name = SHEET if not names else f"sheet-{len(names) + 1}.webp"
        with disk_sentences(folder):
            (folder / name).write_bytes(sheet(small, [picture.number for picture in some]))
        names.append(name)
    return names


def _originals(pictures: Sequence[Picture], folder: Path, check: Callable[[], None]) -> None:
    """Write the ZIP of the pictures as they were drawn, each with its recipe beside it."""
    with disk_sentences(folder), begin_zip(folder / ORIGINALS) as archive:
        for picture in pictures:
            check()
            archive.write(folder / picture.original_file, f"{picture.name}.png")
            text = f"{picture.recipe}\n\nLicence of the model: {picture.licence or texts.UNKNOWN}\n"
            archive.writestr(packed_member(f"{picture.name}.txt"), text)
        for name in (CREDITS, LICENCES):
            archive.write(folder / name, name, zipfile.ZIP_DEFLATED)


def _whole(folder: Path, check: Callable[[], None]) -> None:
    """Write the ZIP of everything, under one folder. Pictures are packed already."""
    with disk_sentences(folder), begin_zip(folder / WHOLE) as archive:
        for parent, _, names in sorted(os.walk(folder)):
            for name in sorted(names):
                check()
                path = Path(parent) / name
                if path != folder / WHOLE:
                    packed = path.suffix in (".html", ".css", ".md", ".txt")
                    archive.write(
                        path,
                        Path("bundle") / path.relative_to(folder),
                        zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED,
                    )


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
