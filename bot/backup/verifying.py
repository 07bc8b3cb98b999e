"""Prove that a backup is whole: every byte of it is read, hashed and compared. Blocks."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from bot.backup import database
from bot.backup.model import (
    DATABASE,
    POOL,
    BackupError,
    Entry,
    Manifest,
    digest,
    read_manifest,
)
from bot.store.migrate import shipped


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a backup: with itself, and with files that others may share; sentences.

    `manifest` is None where it cannot be read.
    """

    manifest: Manifest | None
    own: tuple[str, ...] = ()
    files: tuple[tuple[Entry, str], ...] = ()

    @property
    def faults(self) -> list[str]:
        """All of it."""
        return [*self.own, *(fault for _, fault in self.files)]


class Verifier:
    """Judges the backups of one folder; a file that they share is read once."""

    def __init__(self, root: Path) -> None:
        self._pool = root / POOL
        self._seen: dict[Entry, str] = {}

    def judge(self, backup: Path) -> Verdict:
        """Return what is wrong with a backup, having read every byte of it."""
        try:
            manifest = read_manifest(backup)
            check_version(backup, manifest)
            own = self._database(backup / DATABASE, manifest)
        except (BackupError, OSError, sqlite3.DatabaseError) as error:
            return Verdict(None, (str(error),))
        files = [(entry, fault) for entry in manifest.files if (fault := self._file(entry))]
        return Verdict(manifest, tuple(own), tuple(files))

    def _database(self, path: Path, manifest: Manifest) -> list[str]:
        if not path.is_file():
            return [f"{path} is missing."]
        if digest(path) != manifest.database_sha256:
            return [f"{path} is damaged: its bytes are not those that were written."]
        version = database.check(path)
        if version != manifest.schema:
            return [f"{path} has version {version}, and its manifest says {manifest.schema}."]
        listed = {*manifest.files}
        return [
            f"{one.path} is named by the database and not by the manifest."
            for one in database.named(path)
            if one not in listed and one.path not in manifest.missing
        ]

    def _file(self, entry: Entry) -> str:
        if entry not in self._seen:
            self._seen[entry] = self._judged(entry)
        return self._seen[entry]

    def _judged(self, entry: Entry) -> str:
        path = self._pool / entry.path
        try:
            whole = path.stat().st_size == entry.size_bytes and digest(path) == entry.sha256
        except FileNotFoundError:
            return f"{path} is missing."
        except OSError as error:
            return f"{path} cannot be read ({error.strerror})."
        return "" if whole else f"{path} is damaged: its bytes are not what its name says."


def check_version(backup: Path, manifest: Manifest) -> None:
    """Refuse a backup of a newer version.

    Raises:
        BackupError: this version cannot read its database.
    """
    known = len(shipped())
    if manifest.schema > known:
        raise BackupError(
            f"{backup} was made by a newer version of Dreamstream, {manifest.product} (its "
            f"database is {manifest.schema}, this version knows {known}). Nothing was changed. "
            "Install that version, or use an older backup."
        )
