"""Prove a backup before it is put back; find what its pool has lost where it is whole. Blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from bot.backup.model import POOL, BackupError, Entry, Manifest, digest
from bot.backup.verifying import Verifier
from bot.blobs import Blobs, UnreachableError
from bot.errors import DiskError

_FAULTS_SHOWN = 20


@dataclass(frozen=True)
class Proved:
    """A backup that can be put back, and where what its pool has not got whole is to be had.

    `lost` is whole nowhere: each file, and what is wrong with the backup's copy of it.
    """

    root: Path
    backup: Path
    manifest: Manifest
    elsewhere: dict[Entry, Path]
    lost: dict[Entry, str]

    def source(self, entry: Entry) -> Path:
        """Return from where a file is to be copied."""
        return self.elsewhere.get(entry, self.root / POOL / entry.path)

    def lost_of(self, wanted: Collection[Entry], *, leave_out: bool) -> frozenset[Entry]:
        """Return which of the files that are to be put back are lost.

        Raises:
            BackupError: some are, and that is not wanted: `leave_out`.
        """
        lost = self.lost.keys() & wanted
        if lost and not leave_out:
            faults = [fault for entry, fault in self.lost.items() if entry in lost]
            do = "Name another backup; or say --leave-out-damaged, and all the rest is put back."
            raise BackupError(_told(self.backup, faults, do))
        return frozenset(lost)


def prove(root: Path, backup: Path, data_dir: Path, store: Blobs | None) -> Proved:
    """Read every byte of a backup; look in the data folder and the store for what is damaged.

    Raises:
        BackupError: it cannot be put back.
        DiskError: the store does not answer.
    """
    verdict = Verifier(root).judge(backup)
    if verdict.manifest is None or verdict.own:
        raise BackupError(_told(backup, verdict.faults, "Name an older backup."))
    damaged = dict(verdict.files)
    libraries = (data_dir / "library", *sorted(data_dir.glob("replaced-*/library")))
    found = _elsewhere(damaged, libraries)
    lost = {entry: fault for entry, fault in damaged.items() if entry not in found}
    if store is not None:
        try:
            lost = {entry: fault for entry, fault in lost.items() if not store_has(store, entry)}
        except UnreachableError as error:
            sentence = f"{store.where}: {error.strerror}. Nothing was changed."
            raise DiskError(sentence, store.where) from error
    return Proved(root, backup, verdict.manifest, found, lost)


def store_has(store: Blobs, entry: Entry) -> bool:
    """Say whether a store has a file, whole: its size says too little.

    Raises:
        UnreachableError: it does not answer.
    """
    try:
        if store.size(entry.path) != entry.size_bytes:
            return False
        return hashlib.sha256(store.raw(entry.path)).hexdigest() == entry.sha256
    except UnreachableError:
        raise
    except OSError:  # it has gone, or the store does not give it
        return False


def _elsewhere(damaged: Iterable[Entry], libraries: Iterable[Path]) -> dict[Entry, Path]:
    """Return where in libraries' folders files are whole."""
    places = tuple(libraries)
    found = {}
    for entry in damaged:
        for library in places:
            if _is_whole(library / entry.path, entry):
                found[entry] = library / entry.path
                break
    return found


def _is_whole(path: Path, entry: Entry) -> bool:
    try:
        return path.stat().st_size == entry.size_bytes and digest(path) == entry.sha256
    except OSError:
        return False


def _told(backup: Path, faults: list[str], do: str) -> str:
    shown = "\n".join(faults[:_FAULTS_SHOWN])
    more = len(faults) - _FAULTS_SHOWN
    return f"{backup} is not whole, and nothing was changed. {do}\n{shown}" + (
        f"\n… and {more} more." if more > 0 else ""
    )
