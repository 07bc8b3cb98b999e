"""Write files so that a crash at any moment leaves the old one or the new one, whole.

These functions block: they belong in a worker thread, never on the event loop.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bot.errors import DiskError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)
TEMPORARY_PREFIX = ".part-"


@contextmanager
def disk_sentences(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write `path` into a `DiskError` that hides it."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            sentence = "The disk is full: nothing more can be kept. Free some space."
        elif error.errno in _REFUSED:
            sentence = "The library's folder may not be written. Make it writable."
        else:
            reason = error.strerror or type(error).__name__
            sentence = f"The disk does not keep files: {reason}."
        raise DiskError(sentence, str(path)) from error


def write_atomic(path: Path, data: bytes, *, durable: bool = True, mode: int = 0o666) -> None:
    """Make `path` hold `data`, replacing what was there. `durable` makes it survive a power cut.

    Raises:
        DiskError: the disk is full, or may not be written. Nothing is left behind.
    """
    with disk_sentences(path.parent):
        _make_folder(path.parent, durable=durable)
        temporary = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
        try:
            _write(temporary, data, durable=durable, mode=mode)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        if durable:
            sync_folder(path.parent)


def read_file(path: Path) -> bytes:
    """Return a file's bytes. What is no file is refused: of a pipe the reading would never end.

    Raises:
        OSError: it is not there, is no file, or cannot be read.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # a folder the system refuses itself
        raise OSError(errno.EINVAL, "Not a file", str(path))
    return path.read_bytes()


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut, where the system has such a thing."""
    if os.name == "nt":  # Windows opens no folders; its file systems journal names by themselves
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folder(folder: Path, *, durable: bool) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent, durable=durable)
    folder.mkdir(exist_ok=True)
    if durable:
        sync_folder(folder.parent)


def _write(path: Path, data: bytes, *, durable: bool, mode: int = 0o666) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, mode)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
