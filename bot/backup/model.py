"""What a backup is, and how a folder of backups is laid out.

    BACKUPS/
      pool/images/ab/ab12….png    files of the library under its own names: the SHA-256 of their
      pool/files/ab/ab12…         bytes. Backups share them, so only what is new is copied.
      backups/2026-11-21T15-52-21.123Z/
        dreamstream.db            the database as it was at one moment
        manifest.json             what belongs to it, written last

A folder whose name begins with a dot was not finished and counts for nothing.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from bot.blobs import FILES, PICTURES
from bot.errors import DiskError, DreamstreamError
from bot.files import TEMPORARY_PREFIX

FORMAT = 1
POOL, BACKUPS = "pool", "backups"
DATABASE, MANIFEST = "dreamstream.db", "manifest.json"
CHUNK_BYTES = 1024 * 1024

_Part = TypeVar("_Part")
_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}Z")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SQLITE_DISK = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR)


class BackupError(DreamstreamError):
    """A backup cannot be made, is not whole, or cannot be put back."""


class Stopped(Exception):
    """It was to be stopped, and nothing of it counts."""


class SourceError(OSError):
    """What is to be copied cannot be read; nothing is said about where it was to go."""


class Entry(msgspec.Struct, frozen=True, order=True):
    """A file of the library: its path there, and how large it is. Its name is its SHA-256."""

    path: str
    size_bytes: int

    @property
    def sha256(self) -> str:
        """The SHA-256 of its bytes, as its name has it."""
        return self.path.rpartition("/")[2].partition(".")[0]

    @property
    def is_named_by_content(self) -> bool:
        """Whether it lies where a library has its files, and nowhere else."""
        known = (picture(self.sha256, self.size_bytes), other_file(self.sha256, self.size_bytes))
        return bool(_SHA256.fullmatch(self.sha256)) and self.size_bytes >= 0 and self in known


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What belongs to a backup. `schema` is the database's version.

    `missing` are paths that the database names and the library had not got, or damaged. `bundles`
    are the parties that had published; a bundle is made anew of what is put back.
    """

    format: int = FORMAT
    product: str
    schema: int
    made_ms: int
    database_sha256: str
    database_bytes: int
    files: tuple[Entry, ...]
    missing: tuple[str, ...] = ()
    bundles: tuple[str, ...] = ()


def picture(sha256: str, size_bytes: int) -> Entry:
    """Return a picture as the library files it."""
    return Entry(f"{PICTURES}/{sha256[:2]}/{sha256}.png", size_bytes)


def other_file(sha256: str, size_bytes: int) -> Entry:
    """Return what was made besides a picture as the library files it."""
    return Entry(f"{FILES}/{sha256[:2]}/{sha256}", size_bytes)


def name_at(at_ms: int) -> str:
    """Return the name of a backup made at a time; names sort by it."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return f"{at:%Y-%m-%dT%H-%M-%S}.{at_ms % 1000:03d}Z"


def whole_backups(root: Path) -> list[Path]:
    """Return the finished backups of a folder, oldest first."""
    folder = root / BACKUPS
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(one for one in found if _NAME.fullmatch(one.name) and (one / MANIFEST).is_file())


def read_manifest(backup: Path) -> Manifest:
    """Return what belongs to a backup.

    Raises:
        BackupError: it cannot be read, or was made by a newer version.
    """
    manifest = _read(backup, Manifest)
    if not all(one.is_named_by_content for one in manifest.files):
        # Else it could name any file of this machine: a device, of which there is no end.
        raise BackupError(
            f"{backup / MANIFEST} names files that no library has. Use another backup."
        )
    return manifest


def read_made_ms(backup: Path) -> int:
    """Return when a backup was made; what else is in its manifest is only skipped.

    Raises:
        BackupError: it cannot be read, or was made by a newer version.
    """
    return _read(backup, _When).made_ms


class _When(msgspec.Struct):
    made_ms: int


def _read(backup: Path, part: type[_Part]) -> _Part:
    path = backup / MANIFEST
    try:
        data = path.read_bytes()
        known = msgspec.json.decode(data, type=dict[str, msgspec.Raw]).get("format")
        written = msgspec.json.decode(known, type=int) if known is not None else 0
        if written > FORMAT:
            raise BackupError(
                f"{backup} was made by a newer version of Dreamstream (its form is {written}, this "
                f"version knows {FORMAT}). Nothing was changed. Install the newer version."
            )
        return msgspec.json.decode(data, type=part)
    except OSError as error:
        raise BackupError(f"{path} cannot be read ({error.strerror}).") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BackupError(f"{path} is damaged ({error}). Use another backup.") from error


def digest(path: Path) -> str:
    """Return the SHA-256 of a file. Blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_verified(source: Path, target: Path, sha256: str) -> bool:
    """Copy a file as it is read and hashed; say whether it was what its name says.

    As `write_verified` does.

    Raises:
        SourceError: `source` is not there, or cannot be read; `target` is as before.
        OSError: `target` cannot be written.
    """
    return write_verified(_chunks(source), target, sha256)


def write_verified(chunks: Iterable[bytes], target: Path, sha256: str) -> bool:
    """Write a file of what comes, hashed meanwhile; say whether it was what its name says.

    Where it was not, `target` is as before. The copy survives a power cut once the folder of
    `target` is synced. Copied, never linked: a copy that shares its bytes is none.

    Raises:
        OSError: `target` cannot be written; or what `chunks` raises, and `target` is as before.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
    found = hashlib.sha256()
    try:
        with temporary.open("xb") as written:
            for chunk in chunks:
                found.update(chunk)
                written.write(chunk)
            written.flush()
            os.fsync(written.fileno())
        if found.hexdigest() != sha256:
            return False
        temporary.replace(target)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return True


def _chunks(source: Path) -> Iterator[bytes]:
    try:
        with source.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise SourceError(error.errno, error.strerror, str(source)) from error


def sync_file(path: Path) -> None:
    """Make a file's bytes survive a power cut."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def told(folder: Path, what: str) -> Iterator[None]:
    """Turn what the system says of writing a folder into a sentence that says what to do.

    Raises:
        DiskError: the folder's disk is full, or may not be written.
    """
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        if isinstance(error, OSError):
            full = error.errno in _FULL
            reason = error.strerror or type(error).__name__
        else:
            code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
            if code not in _SQLITE_DISK:
                raise
            full, reason = code == sqlite3.SQLITE_FULL, str(error)
        if full:
            sentence = f"The disk of {folder} is full: {what} Free some space, or name another."
        else:
            sentence = f"{folder} cannot be used ({reason}): {what} Check that it may be written."
        raise DiskError(sentence, str(folder)) from error
