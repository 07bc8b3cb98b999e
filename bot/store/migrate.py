"""Bring a database file to this version, one numbered script at a time.

The file's version is its ``PRAGMA user_version``: the number of the last script that ran. Each
script runs in one transaction together with the change of that number, so a crash leaves the file
at one version or at the next, never between. This module blocks; `Store.open` calls it from a
thread. It does not know what the tables mean.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from bot.errors import NewerDatabaseError, StoreError
from bot.store.texts import errors_readable

APPLICATION_ID = 0x44524D53  # "DRMS": tells our files from other programs' SQLite files
BUSY_TIMEOUT_MS = 10_000
_OLDEST_SQLITE = (3, 37, 0)  # STRICT tables
_NAME = re.compile(r"(\d{3})_\w+\.sql")


@dataclass(frozen=True)
class Migration:
    """One step of the ladder: the script that makes version `number` of version `number` - 1."""

    number: int
    name: str
    sql: str


def shipped() -> tuple[Migration, ...]:
    """Return this version's migrations, in order."""
    found = []
    for entry in resources.files("bot.store").joinpath("migrations").iterdir():
        match = _NAME.fullmatch(entry.name)
        if match:
            text = entry.read_text(encoding="utf-8")
            found.append(Migration(int(match[1]), entry.name, text))
    return tuple(sorted(found, key=lambda migration: migration.number))


def upgrade(path: Path, migrations: tuple[Migration, ...] | None = None) -> int:
    """Make or upgrade the database at `path` and return the version it had before.

    A file that is about to change is first copied beside itself (`backup_path`).

    Raises:
        NewerDatabaseError: a newer version of Dreamstream wrote it. The file is not touched.
        StoreError: it is damaged, not ours, or cannot be opened or written.
    """
    ladder = shipped() if migrations is None else migrations
    numbers = [migration.number for migration in ladder]
    assert numbers == list(range(1, len(ladder) + 1)), f"migrations are numbered {numbers}"
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise StoreError(
            f"This Python comes with SQLite {sqlite3.sqlite_version}; Dreamstream needs 3.37 or "
            "newer. Install a newer Python."
        )
    with _sentences(path), errors_readable():
        before = _version(path) if path.exists() and path.stat().st_size else 0
        if before > len(ladder):
            raise NewerDatabaseError(
                f"{path} was written by a newer version of Dreamstream (its format is {before}, "
                f"this version knows {len(ladder)}). Nothing was changed. Install the newer "
                "version again, or name another database in the configuration."
            )
        if 0 < before < len(ladder):
            _copy(path, backup_path(path, before))
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            # Off while a script may rebuild tables; what it leaves is checked before it counts.
            connection.execute("PRAGMA foreign_keys = OFF")
            for migration in ladder[before:]:
                _run(connection, migration)
        return before


def backup_path(path: Path, version: int) -> Path:
    """Return where `path` is copied to before it leaves `version`."""
    return path.with_name(f"{path.name}.before-{version + 1:03d}")


def _version(path: Path) -> int:
    """Return the version of an existing file without writing to it.

    What was left in the middle of a transaction, before the file was in WAL mode, is taken back
    first: nobody can read it otherwise, and SQLite does so by itself for who may write.
    """
    try:
        return _read_version(path, "ro")
    except sqlite3.OperationalError as error:
        if not is_half_written(error):
            raise
    return _read_version(path, "rw")


def is_half_written(error: sqlite3.Error) -> bool:
    """Say whether a file cannot be read for want of the right to take a transaction back.

    Source: https://sqlite.org/rescode.html#readonly_rollback
    """
    code = getattr(error, "sqlite_errorcode", None) or 0
    return (code & 0xFF) == sqlite3.SQLITE_READONLY


def _read_version(path: Path, mode: str) -> int:
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and owner != APPLICATION_ID:
        raise StoreError(
            f"{path} is a database of another program. Name another file in the configuration."
        )
    return version


def _run(connection: sqlite3.Connection, migration: Migration) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been quicker while this one waited for the lock.
        if connection.execute("PRAGMA user_version").fetchone()[0] >= migration.number:
            connection.execute("ROLLBACK")
            return
        for statement in statements(migration.sql):
            connection.execute(statement)
        broken = connection.execute("PRAGMA foreign_key_check").fetchone()
        if broken:
            raise StoreError(
                f"The database could not be upgraded: {migration.name} leaves a row of "
                f"{broken[0]} that points nowhere. It is unchanged; please report this."
            )
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {migration.number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def statements(script: str) -> Iterator[str]:
    """Split a script into statements; ``executescript`` would commit before it begins."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if line.rstrip().endswith(";") and sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if re.sub(r"--[^\n]*", "", pending).strip():
        raise StoreError(f"A migration ends in an unfinished statement: {pending.strip()[:80]}")


def _copy(path: Path, target: Path) -> None:
    """Copy a database, with what its journal still holds, so that `target` is whole or absent."""
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(partial)) as copy:
        source.backup(copy)
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    partial.replace(target)


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say into a sentence that says what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreError(
            f"The database {path} cannot be opened: {error}. Check that its folder exists, may be "
            "written, has free space, and that no other program holds the file."
        ) from error
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"The database {path} is damaged ({error}). Nothing was changed. Put a backup in its "
            "place, or move it away to start with an empty one; the pictures are kept elsewhere."
        ) from error
    except OSError as error:
        raise StoreError(
            f"The database {path} cannot be used: {error.strerror or error}. Check its folder."
        ) from error
