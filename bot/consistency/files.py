"""Look at the library: every file that is named is there and whole; and there is no other. Blocks.

A picture is read once: hashed, and every pixel of it decoded.
"""

# ruff: noqa: S608 - names of tables and columns are the schema's own

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path

from PIL import Image as Pillow

from bot.backup.database import referring
from bot.backup.model import POOL, Entry, other_file, picture
from bot.blobs import FILES, PICTURES, Blobs, FolderBlobs, UnreachableError
from bot.checkpoints import CHECKPOINTS
from bot.consistency.model import FIRST, LAST, Fault, Folder
from bot.errors import DiskError
from bot.files import TEMPORARY_PREFIX, read_file, write_atomic
from bot.ids import now_ms
from bot.library import Library, described
from bot.library_place import CACHE
from bot.model import Image
from bot.thumbnails import THUMBNAIL_SIDES

_LATELY_S = 600.0
_NO_COPY = (
    "No backup has it. Draw the dream again (its recipe is kept), delete it, or put the file back "
    "by hand."
)


def pictures(
    connection: sqlite3.Connection, folder: Folder, library: Library, whole: dict[str, Image]
) -> Iterator[tuple[Fault, ...]]:
    """Yield, for every picture that the database knows or names, what is wrong with it.

    `whole` are those that were read already, and are well; it is added to.
    """
    rows = {row["sha256"]: row for row in connection.execute("SELECT * FROM image")}
    naming = named_pictures(connection)
    drawn = {row[0] for row in connection.execute("SELECT image_sha256 FROM dream")} - {None}
    doomed = {
        row[0]
        for row in connection.execute("SELECT sha256 FROM doomed_file WHERE kind = 'picture'")
    }
    for sha256 in sorted(rows.keys() | naming):
        if sha256 not in naming:
            if sha256 not in doomed:
                yield (_unnamed(connection, sha256),)
            continue
        row = rows.get(sha256)
        yield tuple(_picture(connection, folder, sha256, row, whole))
        if sha256 in drawn:
            yield tuple(_thumbnails(folder, library, sha256))


def _picture(
    connection: sqlite3.Connection,
    folder: Folder,
    sha256: str,
    row: sqlite3.Row | None,
    whole: dict[str, Image],
) -> Iterator[Fault]:
    entry = picture(sha256, 0)
    if sha256 not in whole:
        fault, content = _content(folder, entry)
        if fault is not None:
            yield fault
            return
        try:
            with Pillow.open(BytesIO(content), formats=("PNG",)) as opened:
                opened.load()
        except (OSError, SyntaxError, ValueError) as error:
            yield Fault(
                "picture",
                sha256,
                f"{entry.path} is what was kept, and is no picture: {error}.",
                cannot="Draw the dream again, or delete it.",
            )
            return
        whole[sha256] = described(sha256, content)
    image = whole[sha256]
    values = (image.width, image.height, image.size_bytes)
    if row is None:
        yield Fault(
            "image-row",
            sha256,
            f"{entry.path} is there, and the database has no row of it.",
            partial(_write_row, connection, sha256, values),
            order=FIRST,
        )
    elif values != (row["width"], row["height"], row["size_bytes"]):
        yield Fault(
            "image-row",
            sha256,
            f"The database has another size of {entry.path} than it has.",
            partial(_write_row, connection, sha256, values),
            order=FIRST,
        )


def files(connection: sqlite3.Connection, folder: Folder) -> Iterator[tuple[Fault, ...]]:
    """Yield, for every film or drawing that a dream names, what is wrong with it."""
    rows = connection.execute("SELECT DISTINCT sha256, size_bytes FROM dream_file ORDER BY sha256")
    for row in rows.fetchall():
        fault, content = _content(folder, other_file(row["sha256"], 0))
        if fault is not None:
            yield (fault,)
        elif len(content) != row["size_bytes"]:
            yield (
                Fault(
                    "file-row",
                    row["sha256"],
                    f"The database has another size of files/…/{row['sha256']} than it has.",
                    partial(_set_size, connection, row["sha256"], len(content)),
                ),
            )
        else:
            yield ()


def strays(connection: sqlite3.Connection, folder: Folder) -> Iterator[Fault]:
    """Yield the files of the library that nothing names, and what was left half written."""
    held = {path.name for path in (folder.library / "held").glob("*")}
    kept = named_pictures(connection)
    doomed = {tuple(row) for row in connection.execute("SELECT kind, sha256 FROM doomed_file")}
    others = {row[0] for row in connection.execute("SELECT sha256 FROM dream_file")}
    blobs, local = folder.blobs, FolderBlobs(folder.library)
    # Copies of what lies elsewhere are looked at as it is.
    copies = [(f"{CACHE}/{PICTURES}", ".png", kept), (f"{CACHE}/{FILES}", "", others)]
    small = [(f"thumbnails/{side}", ".webp", kept) for side in THUMBNAIL_SIDES]
    places = [
        (blobs, PICTURES, ".png", kept, "picture"),
        (blobs, FILES, "", others, "file"),
        *((local, *one, "") for one in small + copies),
    ]
    for there, place, suffix, names, kind in places:
        for blob in there.list(place):
            if not _settled(folder, blob.modified_s):
                continue
            name = blob.key.rpartition("/")[2]
            sha256 = name.removesuffix(suffix)
            in_place = blob.key == f"{place}/{sha256[:2]}/{sha256}{suffix}" and len(sha256) == 64
            if name.startswith(TEMPORARY_PREFIX):
                text = f"{blob.key} was left half written."
                yield Fault("half", blob.key, text, _removing(there, blob.key), order=LAST)
            elif not in_place or sha256 not in names | held:
                gone = not kind or (kind, sha256) in doomed
                mend = _removing if gone else partial(_putting_aside, folder)
                text = f"{blob.key} is named by nothing."
                yield Fault("stray", blob.key, text, mend(there, blob.key), order=LAST)
    dreams = {row[0]: row[1] for row in connection.execute("SELECT id, deleted_ms FROM dream")}
    for path in sorted((folder.library / CHECKPOINTS).rglob("*.checkpoint")):
        if _settled_file(folder, path) and dreams.get(path.stem, 0) is not None:
            relative = path.relative_to(folder.library).as_posix()
            text = f"{relative} is of a dream that is not there, or was deleted."
            yield Fault("stray", relative, text, _removing(local, relative), order=LAST)


def named_pictures(connection: sqlite3.Connection) -> set[str]:
    """Return the names of the pictures that any row points at."""
    found: set[str] = set()
    for child, column in referring(connection, "image"):
        rows = connection.execute(f"SELECT DISTINCT {column} FROM {child}")
        found |= {row[0] for row in rows if row[0] is not None}
    return found


def _content(folder: Folder, entry: Entry) -> tuple[Fault | None, bytes]:
    try:
        content = folder.blobs.raw(entry.path)
    except UnreachableError:
        raise  # nothing can be said of any of them
    except FileNotFoundError:
        text = f"{entry.path} is missing."
    except OSError as error:
        text = f"{entry.path} cannot be read ({error.strerror})."
    else:
        if hashlib.sha256(content).hexdigest() == entry.sha256:
            return None, content
        text = f"{entry.path} is damaged: its bytes are not what its name says."
    copy = folder.backups / POOL / entry.path if folder.backups is not None else None
    mend = partial(_take_back, copy, folder.blobs, entry) if copy and copy.is_file() else None
    return Fault("file", entry.sha256, text, mend, _NO_COPY, FIRST), b""


def _thumbnails(folder: Folder, library: Library, sha256: str) -> Iterator[Fault]:
    for side in THUMBNAIL_SIDES:
        path = folder.library / f"thumbnails/{side}/{sha256[:2]}/{sha256}.webp"
        try:
            with Pillow.open(BytesIO(read_file(path)), formats=("WEBP",)) as small:
                small.load()
        except FileNotFoundError:
            continue  # it is made when it is asked for
        except (OSError, SyntaxError, ValueError) as error:
            yield Fault(
                "thumbnail",
                sha256,
                f"A thumbnail of {sha256} is damaged: {error}.",
                partial(_make_thumbnail, library, path, sha256, side),
            )


def _unnamed(connection: sqlite3.Connection, sha256: str) -> Fault:
    def forget() -> str:
        connection.execute("DELETE FROM image WHERE sha256 = ?", (sha256,))
        return "The row is removed; its file, if there is one, is put aside."

    text = f"The database has a row of {sha256}, which nothing names."
    return Fault("image-row", sha256, text, forget, order=LAST)


def _settled(folder: Folder, modified_s: float) -> bool:
    """Say whether nobody can be at work on what was changed then."""
    return folder.alone or time.time() - modified_s > _LATELY_S


def _settled_file(folder: Folder, path: Path) -> bool:
    try:
        return _settled(folder, path.stat().st_mtime)
    except OSError:
        return False


def _write_row(connection: sqlite3.Connection, sha256: str, values: tuple[int, ...]) -> str:
    connection.execute(
        "INSERT INTO image (sha256, width, height, size_bytes, kept_ms) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (sha256) DO UPDATE SET width = excluded.width, height = excluded.height, "
        "size_bytes = excluded.size_bytes",
        (sha256, *values, now_ms()),
    )
    return "The row is written as the picture has it."


def _set_size(connection: sqlite3.Connection, sha256: str, size_bytes: int) -> str:
    connection.execute(
        "UPDATE dream_file SET size_bytes = ? WHERE sha256 = ?", (size_bytes, sha256)
    )
    return "The row is written as the file has it."


def _take_back(copy: Path, blobs: Blobs, entry: Entry) -> str:
    data = copy.read_bytes()
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise DiskError(f"The backup's copy of {entry.sha256} is damaged, too.")
    blobs.put(entry.path, data)
    return "It is taken from the backup."


def _make_thumbnail(library: Library, path: Path, sha256: str, side: int) -> str:
    path.unlink(missing_ok=True)
    library.thumbnail(sha256, side)
    return "It is made again."


def _removing(there: Blobs, key: str) -> Callable[[], str]:
    def remove() -> str:
        there.delete(key)
        return "It is removed."

    return remove


def _putting_aside(folder: Folder, there: Blobs, key: str) -> Callable[[], str]:
    def put_aside() -> str:
        target, path = folder.aside / key, there.path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        if there.remote:
            write_atomic(target, there.raw(key))
            there.delete(key)
        else:
            path.replace(target)
            with suppress(OSError):
                path.parent.rmdir()
        return f"It is put aside, into {folder.aside}."

    return put_aside
