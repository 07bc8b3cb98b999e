"""Put a backup back: proved before anything is touched, swapped in whole, deletions kept.

First a copy of the backup's database forgets what was deleted since, in ``.restoring-from`` within
the data folder. Only then is it known which files are to be put back, and whether one of them is
lost. Up to there nothing is touched; what a restore leaves that is cut off, the next start removes.

What is put back is built in ``.restoring`` and takes the place of what was there at the very end;
that is moved aside, not removed. While ``.restoring`` is there, no Dreamstream starts on the folder
(`bot.data_folder`), so that a restore which was cut off is neither taken for a new start nor for a
whole one; the same command again begins anew.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sqlite3
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bot.backup import database
from bot.backup.forgetting import Gone, forget, gone
from bot.backup.model import (
    DATABASE,
    MANIFEST,
    BackupError,
    Entry,
    Manifest,
    copy_verified,
    digest,
    name_at,
    sync_file,
    told,
    whole_backups,
)
from bot.backup.proving import Proved, prove, store_has
from bot.blobs import Blobs, UnreachableError
from bot.data_folder import RESTORING, RESTORING_FROM, lock_folder
from bot.errors import DiskError
from bot.files import sync_folder, write_atomic
from bot.ids import is_id, now_ms
from bot.library_place import id_path, new_id, note_id, note_place, read_id

_CLASHES = (FileExistsError, IsADirectoryError, NotADirectoryError)
_AT_ONCE = 8
_UNFINISHED = "the restore was not finished. Do the same again once that is mended."


@dataclass(frozen=True)
class Restored:
    """What was put back, and where what was there before is now.

    `forgotten` counts the dreams that were deleted since the backup, and are not back.
    `left_out` are the paths of those files that it names yet, and of which no whole copy was left;
    `missing` those that it names yet, and that the library had not got when it was backed up.
    `notes` are sentences for whoever did it.
    """

    backup: Path
    manifest: Manifest
    forgotten: int
    left_out: tuple[str, ...]
    missing: tuple[str, ...]
    replaced: Path | None
    notes: tuple[str, ...]


async def restore(
    source: Path,
    data_dir: Path,
    *,
    replace: bool = False,
    store: Blobs | None = None,
    take_store: bool = False,
    leave_out: bool = False,
) -> Restored:
    """Put a backup back: a folder of backups (the newest of it), one of its backups, or a TAR.

    A file of which the backup's copy is damaged is taken from what is replaced, if it is whole
    there. What is whole in neither is left out, if that is wanted: `leave_out`. What was deleted
    since is not missed.

    Pictures and files go into the `store`, where there is one: what is whole there stays, and
    nothing is removed. It must be the store of the data folder that is replaced, or nobody's; to
    `take_store` is to say that whoever it belonged to is lost.

    Raises:
        BackupError: it is not whole, or of a newer version; the data folder is not empty and is
            not to be replaced; or the store is another's.
        ConfigError: a Dreamstream is at work on the data folder.
        DiskError: the data folder cannot be written.
    """
    lock = await asyncio.to_thread(lock_folder, data_dir, restoring=True)
    try:
        return await _restore(source, data_dir, replace, store, take_store, leave_out)
    finally:
        lock.release()


async def _restore(
    source: Path,
    data_dir: Path,
    replace: bool,
    store: Blobs | None,
    take_store: bool,
    leave_out: bool,
) -> Restored:
    present = [path for path in _ours(data_dir) if path.exists()]
    if present and not replace:
        raise BackupError(
            f"{data_dir} is not empty. Name another folder with --into; or say --replace, and what "
            "is there is moved aside."
        )
    staging = data_dir / RESTORING
    made_from = data_dir / RESTORING_FROM
    try:
        with told(data_dir, _UNFINISHED):
            root, backup = await asyncio.to_thread(_find, source, made_from)
            proved = await asyncio.to_thread(prove, root, backup, data_dir, store)
            manifest = proved.manifest
            own = await asyncio.to_thread(_identity, data_dir, store, take_store)
            taken, notes = await asyncio.to_thread(_gone_since, root, backup, data_dir)
            copied = made_from / DATABASE
            await asyncio.to_thread(_copy_database, backup / DATABASE, copied, manifest)
            before = await asyncio.to_thread(gone, copied, in_use=False, retired=True)
            forgotten = 0
            if since := taken.without(before):
                forgotten = await forget(copied, since)
            named = await asyncio.to_thread(database.named, copied)
            lost = proved.lost_of(named, leave_out=leave_out)
            await asyncio.to_thread(_begin, staging, copied, own)
            missing = [one for one in named if one.path in manifest.missing]
            wanted = [one for one in named if one not in lost and one not in missing]
            await asyncio.to_thread(_copy_files, proved, wanted, staging, store, own)
            replaced = await asyncio.to_thread(_swap, staging, data_dir)
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, made_from, ignore_errors=True))
    put_back = source if made_from in root.parents else backup
    left_out = tuple(sorted(one.path for one in lost))
    had_not_got = tuple(one.path for one in missing)
    return Restored(put_back, manifest, forgotten, left_out, had_not_got, replaced, tuple(notes))


def _ours(data_dir: Path) -> list[Path]:
    """Return what a restore puts into a data folder, and what belongs to that."""
    return [
        *(data_dir / f"{DATABASE}{suffix}" for suffix in ("", "-wal", "-shm")),
        *sorted(data_dir.glob(f"{DATABASE}.before-*")),
        data_dir / "library",
    ]


def _unpack(archive: Path, into: Path) -> None:
    into.mkdir(parents=True)
    try:
        with tarfile.open(archive, "r:") as packed:
            packed.extractall(into, filter=_only_files)  # noqa: S202 - it filters
    except (tarfile.TarError, ValueError, EOFError, *_CLASHES) as error:
        raise BackupError(f"{archive} is not a whole backup ({error}). Use another one.") from error


def _only_files(member: tarfile.TarInfo, into: str) -> tarfile.TarInfo | None:
    """Take plain files and folders: no links, no devices, and none that swell when unpacked."""
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise tarfile.SpecialFileError(member)
    return tarfile.data_filter(member, into)


def _find(source: Path, made_from: Path) -> tuple[Path, Path]:
    """Return a folder of backups, that of a TAR unpacked into `made_from`, and which is meant."""
    shutil.rmtree(made_from, ignore_errors=True)
    made_from.mkdir()
    if source.is_file():
        unpacked = made_from / "unpacked"
        _unpack(source, unpacked)
        source = unpacked
    if (source / MANIFEST).is_file():
        return source.absolute().parent.parent, source.absolute()
    backups = whole_backups(source)
    if not backups:
        raise BackupError(f"There is no finished backup in {source}. Name the folder they are in.")
    return source, backups[-1]


def _gone_since(root: Path, backup: Path, data_dir: Path) -> tuple[Gone, list[str]]:
    """Return what newer databases know to be gone: of later backups, and of what is replaced."""
    taken, notes = Gone(), []
    newer = [(one / DATABASE, False) for one in whole_backups(root) if one.name > backup.name]
    here = [(path / DATABASE, True) for path in (data_dir, *data_dir.glob("replaced-*"))]
    for path, in_use in newer + [one for one in here if one[0].exists()]:
        try:
            taken |= gone(path, in_use=in_use)
        except sqlite3.DatabaseError as error:
            notes.append(
                f"{path} cannot be read ({error}): what was deleted since the backup, and is known "
                "there alone, is back."
            )
    return taken, notes


def _identity(data_dir: Path, store: Blobs | None, take_store: bool) -> str:
    """Return what the library that is put back is known by in its store.

    A store is one library's alone. If a second one worked in it, each would take the other's
    pictures for what nothing names, and what was deleted since the backup would be back there.
    A restore that was cut off may have put the folder's own id aside, or claimed the store by it.
    """
    libraries = (data_dir / "library", *sorted(data_dir.glob("replaced-*/library"), reverse=True))
    staging = data_dir / RESTORING
    known = [read_id(one) for one in (*libraries, staging / "library", staging)]
    ids = [one for one in known if one is not None]
    try:
        found = None if store is None else store.claim(None)
    except UnreachableError as error:
        assert store is not None
        sentence = f"{store.where}: {error.strerror}. Nothing was changed."
        raise DiskError(sentence, store.where) from error
    if store is not None and found is not None and found not in ids and not take_store:
        raise BackupError(
            f"{store.where} has the pictures of another Dreamstream than that of {data_dir}, and "
            "nothing was changed. If its data folder is lost, and nothing works on it any more, "
            "say --take-store. To try a backup beside it, set library.store to a prefix of its "
            'own, or to "".'
        )
    return found or next(iter(ids), None) or new_id()


def _begin(staging: Path, copied: Path, own: str) -> None:
    """From here on no Dreamstream starts on the data folder, until what is put back is in place."""
    staging.mkdir(exist_ok=True)
    sync_folder(staging.parent)
    # Noted before the library goes that a restore which was cut off claimed the store by: else
    # nothing would know that the store is its own, if this one is cut off as well.
    note_id(staging, own)
    # Emptied and never removed, or for a moment nothing would tell of a restore that was cut off.
    for left in staging.iterdir():
        if left == id_path(staging):
            continue
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()
    copied.rename(staging / DATABASE)


def _copy_database(source: Path, target: Path, manifest: Manifest) -> None:
    shutil.copyfile(source, target)
    sync_file(target)
    if digest(target) != manifest.database_sha256:
        raise BackupError(f"{source} changed while it was put back. Nothing was replaced.")


def _copy_files(
    proved: Proved, wanted: Sequence[Entry], staging: Path, store: Blobs | None, own: str
) -> None:
    library = staging / "library"
    library.mkdir()
    note_id(library, own)  # before the store is claimed by it
    if store is None:
        _copy_into(library, proved, wanted)
    else:
        try:
            if store.claim(own) != own:
                raise BackupError(f"{store.where} has just become another Dreamstream's.")
            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="restore") as threads:
                for _ in threads.map(partial(_put, store, proved), wanted):
                    pass
        except UnreachableError as error:
            sentence = f"{store.where}: {error.strerror}. {_UNFINISHED}"
            raise DiskError(sentence, store.where) from error
        note_place(library, store.where)
    for party_id in proved.manifest.bundles:
        if is_id(party_id):
            write_atomic(library / "bundles" / party_id / "wanted", b"")
    for folder in (library, *(one for one in library.rglob("*") if one.is_dir())):
        sync_folder(folder)


def _put(store: Blobs, proved: Proved, entry: Entry) -> None:
    if store_has(store, entry):
        return
    data = proved.source(entry).read_bytes()
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise BackupError(f"{entry.path} changed while it was put back. Nothing was replaced.")
    store.put(entry.path, data)


def _copy_into(library: Path, proved: Proved, wanted: Sequence[Entry]) -> None:
    staging = library.parent
    need, free = sum(one.size_bytes for one in wanted), shutil.disk_usage(staging).free
    if need > free:
        raise DiskError(
            f"{staging.parent} has {free / 1024**2:.0f} MiB left, and the backup's files take "
            f"{need / 1024**2:.0f} MiB. Free some space, or name another folder with --into."
        )
    for entry in wanted:
        if not copy_verified(proved.source(entry), library / entry.path, entry.sha256):
            raise BackupError(f"{entry.path} changed while it was put back. Nothing was replaced.")


def _swap(staging: Path, data_dir: Path) -> Path | None:
    """Put what was built where it belongs, and what was there aside."""
    # Else it would be in two files, which cannot be moved at one stroke.
    database.take_in_journal(data_dir / DATABASE)
    old = [path for path in _ours(data_dir) if path.exists()]
    replaced = data_dir / f"replaced-{name_at(now_ms())}" if old else None
    if replaced is not None:
        replaced.mkdir()
        for path in old:
            path.rename(replaced / path.name)
        sync_folder(replaced)
    for name in ("library", DATABASE):
        (staging / name).rename(data_dir / name)
    sync_folder(data_dir)
    shutil.rmtree(staging)
    sync_folder(data_dir)
    return replaced
