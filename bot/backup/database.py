"""The database within a backup: copied at one moment, read and judged without changing it. Blocks.

Nothing here relies on the present tables alone: a backup may be of any earlier version.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from bot.backup.model import BackupError, Entry, Stopped, other_file, picture
from bot.store.migrate import APPLICATION_ID, BUSY_TIMEOUT_MS
from bot.store.soundness import faults
from bot.store.texts import errors_readable

_PAGES = 256  # of 4 KiB each: how much is copied between two looks at whether to stop

_FILES = "SELECT DISTINCT sha256, size_bytes FROM dream_file"


def copy(source: Path, target: Path, stopped: Callable[[], bool]) -> None:
    """Copy a database that is in use, as it is at one moment, into a file that is not there.

    It holds nobody up: one read transaction lasts for as long as the copying does, and in WAL mode
    no reader keeps a writer waiting. Without that transaction every commit of the bot's would have
    SQLite begin anew.

    Raises:
        BackupError: there is no database, or it cannot be read.
        Stopped: it was to be stopped.

    Source: https://sqlite.org/c3ref/backup_finish.html, “Concurrent Usage of Database Handles”.
    """

    def look(_status: int, _remaining: int, _total: int) -> None:
        if stopped():
            raise Stopped

    if not source.is_file():
        raise BackupError(f"There is no database at {source}: there is nothing to back up yet.")
    uri = f"{source.resolve().as_uri()}?mode=ro"
    with (
        closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as live,
        closing(sqlite3.connect(target, isolation_level=None)) as kept,
    ):
        live.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        try:
            with errors_readable():
                live.execute("BEGIN")
                live.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.DatabaseError as error:
            raise BackupError(
                f"{source} cannot be read ({error}). Run “dreamstream doctor --deep”."
            ) from error
        live.backup(kept, pages=_PAGES, progress=look)


def take_in_journal(path: Path) -> None:
    """Have a database that nobody has open be one file, with what its journal still held.

    One that is damaged, or not there, is left as it is.
    """
    if path.is_file():
        with (
            suppress(sqlite3.DatabaseError),
            errors_readable(),
            closing(sqlite3.connect(path)) as connection,
        ):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def sign_out(path: Path) -> None:
    """Sign everybody out in a copy that is sound: they may sign out before it is put back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as copied:
        copied.row_factory = sqlite3.Row
        copied.execute("PRAGMA secure_delete = ON")
        if columns(copied, "wall_session"):
            copied.execute("DELETE FROM wall_session")


@contextmanager
def opened(path: Path, *, in_use: bool = False) -> Iterator[sqlite3.Connection]:
    """Give a database for reading. Of one that nobody has open nothing appears beside its file."""
    uri = f"{path.resolve().as_uri()}?mode=ro{'' if in_use else '&immutable=1'}"
    with (
        errors_readable(),
        closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection,
    ):
        connection.row_factory = sqlite3.Row
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        yield connection


def columns(connection: sqlite3.Connection, table: str) -> set[str]:
    """Return the names of a table's columns, none where there is no such table."""
    return {row["name"] for row in connection.execute(f"PRAGMA table_info({table})")}


def foreign_keys(connection: sqlite3.Connection) -> list[tuple[str, str, str, str]]:
    """Return every column that points at a table: its table, its name, and to which column."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return [
        (name, key["from"], key["table"], key["to"])
        for (name,) in tables
        for key in connection.execute(f"PRAGMA foreign_key_list({name})")
    ]


def referring(connection: sqlite3.Connection, table: str) -> list[tuple[str, str]]:
    """Return every column that points at a table, as its own table and its name."""
    keys = foreign_keys(connection)
    return [(child, column) for child, column, parent, _ in keys if parent == table]


def check(path: Path) -> int:
    """Return the version of a database that nobody has open, having read and proved all of it.

    Raises:
        BackupError: it is damaged, or not ours.
    """
    try:
        with opened(path) as connection:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
            wrong = faults(connection, most=1)
            broken = connection.execute("PRAGMA foreign_key_check").fetchone()
    except sqlite3.DatabaseError as error:
        raise BackupError(f"{path.name} is damaged ({error}).") from error
    if owner != APPLICATION_ID:
        raise BackupError(f"{path.name} is not a database of Dreamstream.")
    if wrong:
        raise BackupError(f"{path.name} is damaged: {wrong[0]}.")
    if broken is not None:
        raise BackupError(f"{path.name} is damaged: a row of {broken[0]} points nowhere.")
    return version


def named_now(path: Path) -> frozenset[str]:
    """Return the SHA-256 of the pictures that a database names which is in use."""
    uri = f"{path.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        connection.execute("BEGIN")
        return frozenset(row["sha256"] for row in _pictures(connection))


def named(path: Path) -> tuple[Entry, ...]:
    """Return the files that a database names which nobody has open, in order of their paths."""
    with opened(path) as connection:
        found = {picture(row["sha256"], row["size_bytes"]) for row in _pictures(connection)}
        if columns(connection, "dream_file"):
            found |= {
                other_file(row["sha256"], row["size_bytes"]) for row in connection.execute(_FILES)
            }
    return tuple(sorted(found))


def _pictures(connection: sqlite3.Connection) -> Iterator[sqlite3.Row]:
    """Yield the pictures, but for those that nothing names and that are just being removed."""
    going: set[str] = set()
    if columns(connection, "doomed_file"):
        doomed = connection.execute("SELECT sha256 FROM doomed_file WHERE kind = 'picture'")
        going = {row["sha256"] for row in doomed}
    for child, column in referring(connection, "image") if going else ():
        going -= {row[0] for row in connection.execute(f"SELECT {column} FROM {child}")}  # noqa: S608
    for row in connection.execute("SELECT sha256, size_bytes FROM image"):
        if row["sha256"] not in going:
            yield row
