"""Make a backup beside a running bot: whole at its moment, or known not to be.

First the database is copied as it stands, then the files that the copy names and the folder has not
got; what comes later belongs to the next backup. A file that is gone by then was deleted meanwhile:
that is done again to the copy, for deletions win. Or something has another in its place: then the
database is copied once more. The manifest is written last, and the backup gets its name only then.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from bot.backup import database
from bot.backup.forgetting import Gone, forget, gone
from bot.backup.model import (
    BACKUPS,
    DATABASE,
    MANIFEST,
    POOL,
    BackupError,
    Entry,
    Manifest,
    SourceError,
    Stopped,
    copy_verified,
    digest,
    name_at,
    read_manifest,
    sync_file,
    told,
    whole_backups,
    write_verified,
)
from bot.blobs import Blobs, FolderBlobs, UnreachableError
from bot.data_folder import PRIVATE
from bot.errors import DiskError
from bot.files import TEMPORARY_PREFIX, sync_folder, write_atomic
from bot.ids import now_ms

log = logging.getLogger(__name__)

_TRIES = 3
LEFT_OUT = "this backup was not finished, and those before it are whole."


@dataclass(frozen=True)
class Made:
    """A backup that was made: how many of its files are new to the folder, and their bytes."""

    path: Path
    manifest: Manifest
    new_files: int
    new_bytes: int


async def make(
    data_dir: Path,
    root: Path,
    *,
    keep: int = 0,
    blobs: Blobs | None = None,
    leave_bytes: int = 0,
    stopped: Callable[[], bool] = lambda: False,
) -> Made:
    """Add a backup of a data folder to a folder of backups, and keep the newest `keep` (0: all).

    Pictures and files are had from `blobs`, or from the library's folder. None is made that would
    leave less than `leave_bytes` of room on the disk.

    Raises:
        BackupError: there is nothing to back up, the database is damaged, or another backup is
            being made there.
        DiskError: the folder cannot be written. What was there before is whole.
        Stopped: it was to be stopped.
    """
    with await asyncio.to_thread(lock_backups, root):
        blobs = blobs or FolderBlobs(data_dir / "library")
        return await make_locked(data_dir, root, keep, blobs, leave_bytes, stopped)


async def make_locked(
    data_dir: Path,
    root: Path,
    keep: int,
    blobs: Blobs,
    leave_bytes: int,
    stopped: Callable[[], bool],
) -> Made:
    """Do as `make` does, for who has the folder of backups alone."""
    live = data_dir / DATABASE
    part = root / BACKUPS / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    copied = part / DATABASE
    try:
        with told(root, LEFT_OUT):
            await asyncio.to_thread(_begin, root, part)
            await asyncio.to_thread(_see_to_room, root, _size(live), leave_bytes)
            library, fresh = data_dir / "library", []
            for left in reversed(range(_TRIES)):
                await asyncio.to_thread(_remove, copied)
                await asyncio.to_thread(database.copy, live, copied, stopped)
                schema = await asyncio.to_thread(database.check, copied)
                await asyncio.to_thread(database.sign_out, copied)
                entries = await asyncio.to_thread(database.named, copied)
                new, absent = await asyncio.to_thread(
                    _fill, blobs, root, entries, leave_bytes, stopped
                )
                fresh += new
                taken = await asyncio.to_thread(_gone_since, live, copied)
                lost = {Path(one).stem for one in absent if one.startswith("images/")}
                # What a theme, an entry in a game or a dream that was covered had until it got
                # another picture was deleted by nobody: a later copy names what it has now.
                replaced = (
                    lost - await asyncio.to_thread(database.named_now, live) if lost else lost
                )
                if taken or replaced:
                    await forget(copied, taken, () if left else replaced)
                    schema = await asyncio.to_thread(database.check, copied)
                    entries = await asyncio.to_thread(database.named, copied)
                if not any(one.sha256 in replaced for one in entries):
                    break
            made = await asyncio.to_thread(
                _finish, part, root, schema, entries, absent, _published(library)
            )
            await asyncio.to_thread(_prune, root, keep, made.path.name)
    except sqlite3.DatabaseError as error:
        raise BackupError(f"{live} cannot be copied: {error}.") from error
    except BackupError as error:
        raise BackupError(f"No backup of {live} was made. {error}") from error
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, part, ignore_errors=True))
    for path in made.manifest.missing:
        log.error("Not in the library, or damaged, and so in no backup: %s", path)
    return Made(made.path, made.manifest, len(fresh), sum(one.size_bytes for one in fresh))


def _gone_since(live: Path, copied: Path) -> Gone:
    """Return what has gone while files were copied: those of it may not be there any more."""
    return gone(live, retired=True).without(gone(copied, in_use=False, retired=True))


def lock_backups(root: Path) -> ExitStack:
    """Have a folder of backups be changed by this process alone, until what is returned is left.

    It is no `FileLock`: to enter one that is taken takes it once more, and leaving it then does not
    let it go.

    Raises:
        BackupError: another one is at work on it.
        DiskError: the folder cannot be written.
    """
    with told(root, "no backup was made."):
        root.mkdir(PRIVATE, parents=True, exist_ok=True)
        # By default a lock is released only in the thread that took it.
        lock = FileLock(root / ".lock", timeout=0, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            raise BackupError(
                f"A backup into {root} is being made at this moment. Wait until it is done."
            ) from None
    held = ExitStack()
    held.callback(lock.release)
    return held


def _begin(root: Path, part: Path) -> None:
    """Make room for a new backup, and remove what one that was cut off has left."""
    if (root / BACKUPS).is_dir():
        for left in (root / BACKUPS).glob(f"{TEMPORARY_PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)
    for left in (root / POOL).rglob(f"{TEMPORARY_PREFIX}*"):
        left.unlink(missing_ok=True)
    part.mkdir(parents=True)


def _remove(database: Path) -> None:
    """Remove a copy of a database that nobody has open, with what lies beside it."""
    for path in database.parent.glob(f"{database.name}*"):
        path.unlink()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _see_to_room(root: Path, need: int, leave_bytes: int) -> None:
    """Refuse what there is no room for.

    Raises:
        DiskError: there is none.
    """
    free = shutil.disk_usage(root).free
    if need + leave_bytes > free:
        left = f", and {leave_bytes / 1024**2:.0f} MiB are to stay free" if leave_bytes else ""
        raise DiskError(
            f"The disk of {root} has {free / 1024**2:.0f} MiB left, and this backup needs "
            f"{need / 1024**2:.0f} MiB more{left}. Free some space, or name a folder on another "
            "disk.",
            str(root),
        )


def _fill(
    blobs: Blobs,
    root: Path,
    entries: tuple[Entry, ...],
    leave_bytes: int,
    stopped: Callable[[], bool],
) -> tuple[list[Entry], set[str]]:
    """Copy what the pool has not got; return it, and the paths of what could not be had."""
    pool = root / POOL
    wanted = [one for one in entries if not _is_there(pool / one.path, one.size_bytes)]
    _see_to_room(root, sum(one.size_bytes for one in wanted), leave_bytes)
    fresh, absent = [], set()
    for entry in wanted:
        if stopped():
            raise Stopped
        try:
            if copy_entry(blobs, entry, pool):
                fresh.append(entry)
                continue
        except SourceError as error:
            if error.errno != errno.ENOENT:
                log.error("%s", error)  # the fault of the library's disk, not of the backups'
        absent.add(entry.path)
    for folder in {(pool / one.path).parent for one in fresh}:
        sync_folder(folder)
        sync_folder(folder.parent)
    return fresh, absent


def copy_entry(blobs: Blobs, entry: Entry, pool: Path) -> bool:
    """Copy a file into the pool; say whether it was what its name says.

    Where it was not, what the pool has is as before.

    Raises:
        SourceError: it is not there, or cannot be read.
        DiskError: what has it does not answer.
    """
    target = pool / entry.path
    if (here := blobs.here(entry.path)) is not None:
        if not blobs.remote:
            return copy_verified(here, target, entry.sha256)
        with suppress(SourceError):  # a copy that is gone or damaged is not all that there is
            if copy_verified(here, target, entry.sha256):
                return True
    try:
        data = blobs.raw(entry.path)
    except UnreachableError as error:  # it is not lost: the whole backup waits
        raise DiskError(f"Not all pictures can be read: {error.strerror}.", blobs.where) from error
    except OSError as error:
        where = error.filename or f"{blobs.where}/{entry.path}"
        raise SourceError(error.errno, error.strerror, where) from error
    return write_verified((data,), target, entry.sha256)


def _is_there(path: Path, size_bytes: int) -> bool:
    try:
        return path.stat().st_size == size_bytes
    except OSError:
        return False


def _finish(
    part: Path,
    root: Path,
    schema: int,
    entries: tuple[Entry, ...],
    absent: set[str],
    bundles: tuple[str, ...],
) -> Made:
    copied = part / DATABASE
    sync_file(copied)
    at_ms = now_ms()
    while (path := root / BACKUPS / name_at(at_ms)).exists():
        at_ms += 1
    manifest = Manifest(
        product=metadata.version("dreamstream"),
        schema=schema,
        made_ms=at_ms,
        database_sha256=digest(copied),
        database_bytes=copied.stat().st_size,
        files=tuple(one for one in entries if one.path not in absent),
        missing=tuple(one.path for one in entries if one.path in absent),
        bundles=bundles,
    )
    write_atomic(part / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))
    part.rename(path)
    sync_folder(path.parent)
    return Made(path, manifest, 0, 0)


def _published(library: Path) -> tuple[str, ...]:
    """Return the ids of the parties that have a bundle, or are to get one."""
    found = {path.parent.name for path in (library / "bundles").glob("*/bundle.json")}
    return tuple(
        sorted(found | {path.parent.name for path in (library / "bundles").glob("*/wanted")})
    )


def _prune(root: Path, keep: int, newest: str) -> None:
    """Remove all but the newest backups, and then what none of those that are left names.

    What has a later name than the one just made is of another clock: it is neither counted nor
    removed before its time has come. While one that is left cannot be read, no file is removed.
    """
    backups = [one for one in whole_backups(root) if one.name <= newest]
    old = backups[:-keep] if keep > 0 else []
    if not old:
        return
    for backup in old:
        # First it loses its name: one that is half removed must not be taken for whole.
        dying = backup.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
        backup.rename(dying)
        shutil.rmtree(dying, ignore_errors=True)
    try:
        named = {one.path for backup in whole_backups(root) for one in read_manifest(backup).files}
    except BackupError as error:
        log.error("Files that no backup names any more stay for now: %s", error)
        return
    for path in (root / POOL).rglob("*"):
        if path.is_file() and path.relative_to(root / POOL).as_posix() not in named:
            path.unlink()
