"""Where the library's pictures and files lie, by the names that their bytes give them.

A key is a path such as ``images/ab/ab12….png`` or ``files/ab/ab12…``, whose last part is the
SHA-256 of the bytes. So what lies under a key never changes, and may be written twice. Only
whoever keeps such a thing knows how: `FolderBlobs` in a folder of this machine,
`bot.object_blobs` in a store that is reached over the network.

Everything here blocks: it belongs in a worker thread, never on the event loop.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bot.errors import NotFoundError
from bot.files import TEMPORARY_PREFIX, disk_sentences, read_file, sync_folder, write_atomic

PICTURES, FILES = PLACES = ("images", "files")
_PROBE_BYTES = 1024 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")


class UnreachableError(OSError):
    """Whether something is there cannot be said at present: its store does not answer."""


def sentence(error: OSError) -> str:
    """Return why something could not be read or written, as a sentence."""
    reason = error.strerror or type(error).__name__
    return f"{reason[0].upper()}{reason[1:]}."


@dataclass(frozen=True)
class Blob:
    """Something that lies there: under which key, how large, and since when (seconds of 1970)."""

    key: str
    size_bytes: int
    modified_s: float


class Blobs(Protocol):
    """Keeps bytes under their keys. All methods may be called from any thread."""

    @property
    def where(self) -> str:
        """Where it is, for people: a folder, or ``s3://bucket/prefix``."""
        ...

    @property
    def remote(self) -> bool:
        """Whether it is reached over the network."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Keep `data`, in place of what may be there; once this returns it survives a power cut.

        Raises:
            DiskError: it is not kept, or nobody knows whether it is.
        """
        ...

    def get(self, key: str) -> bytes:
        """Return what lies under a key, or a copy of it.

        Raises:
            FileNotFoundError: nothing does.
            OSError: it cannot be read; an UnreachableError where it may be there all the same.
        """
        ...

    def raw(self, key: str) -> bytes:
        """Return what lies under a key, as it lies there: no copy, and not proved.

        Raises:
            As `get` does.
        """
        ...

    def size(self, key: str) -> int | None:
        """Return how many bytes lie under a key, None where nothing does.

        Raises:
            OSError: it cannot be said; an UnreachableError where the store does not answer.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove what lies under a key, with all copies of it, if there is anything.

        Raises:
            DiskError: it may be there still.
        """
        ...

    def list(self, place: str) -> Iterator[Blob]:
        """Yield all that lies in one of the `PLACES`, also what is not named by its bytes.

        Raises:
            OSError: it cannot be read; an UnreachableError where the store does not answer.
        """
        ...

    def claim(self, library: str | None, *, kept: bool = False) -> str | None:
        """Have it be the place of a library alone, by that library's id; say whose it is.

        That is who claimed it first, and None where nobody has. None claims nothing. Where a
        library is known to have `kept` its pictures here, a place that is nobody's and has none is
        not claimed anew, and is another than it was. Until that is ruled out, also for who claims
        nothing, `get`, `raw`, `size` and `local` call what is missing out of reach.

        Raises:
            OSError: it cannot be said; an UnreachableError where the store does not answer, or is
                another than it was.
        """
        ...

    def leave(self) -> None:
        """Have it be nobody's.

        Raises:
            DiskError: it may be somebody's still.
        """
        ...

    def path(self, key: str) -> Path:
        """Return where on this machine its bytes are, or would be once they were read."""
        ...

    def here(self, key: str) -> Path | None:
        """Return where on this machine its bytes are; None where they must be fetched first."""
        ...

    def local(self, key: str) -> Path:
        """Return where on this machine its bytes are, fetched first where need be.

        Raises:
            FileNotFoundError: there are none.
            OSError: they cannot be had; an UnreachableError where they may be there all the same.
        """
        ...

    def probe(self) -> None:
        """Try whether something can be kept.

        Raises:
            DiskError: it cannot.
        """
        ...

    def sweep(self) -> None:
        """Remove what was half written when a process died."""
        ...

    def close(self) -> None:
        """Let go of what it holds of this machine."""
        ...


class FolderBlobs:
    """Files in a folder, each under its key."""

    remote = False

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def where(self) -> str:
        """The folder."""
        return str(self._root)

    def put(self, key: str, data: bytes) -> None:
        """Keep `data`; one that is damaged has the name, and perhaps the size: it is replaced."""
        path = self.path(key)
        with disk_sentences(self._root):
            present = _reads_as(path, data)
            if present:  # perhaps its name was never synced
                sync_folder(path.parent)
        if not present:
            write_atomic(path, data)

    def get(self, key: str) -> bytes:
        """Return a file's bytes."""
        return read_file(self.path(key))

    def raw(self, key: str) -> bytes:
        """Return a file's bytes."""
        return read_file(self.path(key))

    def size(self, key: str) -> int | None:
        """Return a file's size."""
        try:
            return self.path(key).stat().st_size
        except FileNotFoundError:
            return None

    def delete(self, key: str) -> None:
        """Remove a file."""
        with disk_sentences(self._root):
            self.path(key).unlink(missing_ok=True)

    def list(self, place: str) -> Iterator[Blob]:
        """Yield the files below a folder, also those that were left half written."""
        for path in sorted((self._root / place).rglob("*")):
            with suppress(FileNotFoundError):  # gone since it was listed
                if not path.is_dir():
                    stat = path.stat()
                    key = path.relative_to(self._root).as_posix()
                    yield Blob(key, stat.st_size, stat.st_mtime)

    def claim(self, library: str | None, *, kept: bool = False) -> str | None:
        """Say that it is the library's whose folder it is."""
        return library

    def leave(self) -> None:
        """Do nothing: the folder is its library's."""

    def path(self, key: str) -> Path:
        """Return where a file is, or would be."""
        return self._root / key

    def here(self, key: str) -> Path | None:
        """Return where a file is."""
        path = self.path(key)
        return path if path.is_file() else None

    def local(self, key: str) -> Path:
        """Return where a file is."""
        path = self.path(key)
        path.stat()
        return path

    def probe(self) -> None:
        """Write a trial file, and remove it."""
        path = self._root / PICTURES / f"{TEMPORARY_PREFIX}probe-{secrets.token_hex(4)}"
        try:
            write_atomic(path, bytes(_PROBE_BYTES))
        finally:
            with suppress(OSError):
                path.unlink()

    def sweep(self) -> None:
        """Remove files that were left half written."""
        for place in PLACES:
            remove_temporaries(self._root / place)

    def close(self) -> None:
        """Do nothing: it holds nothing."""


def _reads_as(path: Path, data: bytes) -> bool:
    try:
        return read_file(path) == data
    except OSError:  # whatever is there, nobody can read it
        return False


def picture_key(sha256: str) -> str:
    """Return the key of a picture, PNG.

    Raises:
        NotFoundError: `sha256` is not the name of one.
    """
    return f"{PICTURES}/{checked(sha256)[:2]}/{sha256}.png"


def file_key(sha256: str) -> str:
    """Return the key of what was made besides a picture.

    Raises:
        NotFoundError: `sha256` is not the name of one.
    """
    return f"{FILES}/{checked(sha256)[:2]}/{sha256}"


def sha256_of(key: str) -> str | None:
    """Return the SHA-256 that a key says its bytes have; None where it is no key."""
    sha256 = key.rpartition("/")[2].removesuffix(".png")
    known = _SHA256.fullmatch(sha256) and key in (picture_key(sha256), file_key(sha256))
    return sha256 if known else None


def checked(sha256: str) -> str:
    """Return the name of a picture or file, if it is one.

    Raises:
        NotFoundError: it is not, so that it never becomes a path.
    """
    if not is_sha256(sha256):
        raise NotFoundError("There is no such picture.")
    return sha256


def is_sha256(name: str) -> bool:
    """Say whether a name is a SHA-256, as 64 hexadecimal digits."""
    return _SHA256.fullmatch(name) is not None


def remove_temporaries(folder: Path) -> None:
    """Remove what was left half written in a folder and below."""
    for path in folder.rglob(f"{TEMPORARY_PREFIX}*"):
        with suppress(OSError):
            path.unlink()
