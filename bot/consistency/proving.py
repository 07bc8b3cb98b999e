"""Prove a whole data folder, and mend it. Blocks: for a large library minutes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from bot.consistency import files, rows, texts
from bot.consistency.model import Fault, Folder, Proof
from bot.errors import DiskError, DreamstreamError, NewerDatabaseError, StoreError
from bot.library import Library
from bot.model import Image
from bot.store.migrate import BUSY_TIMEOUT_MS, is_half_written, shipped
from bot.store.texts import errors_readable, readable

Mended = Callable[[Fault, str], None]

# What is wrong is not what the file holds.
_NOT_THE_FILES = (
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
)


def prove(folder: Folder) -> Proof:
    """Look at everything, as it is at one moment; change nothing.

    Raises:
        StoreError: the database cannot be read, or is of another version.
    """
    with _opened(folder, "ro") as connection:
        connection.execute("BEGIN")
        proof = _look(connection, folder)
    if not folder.alone:  # what was just deleted is no fault
        with _opened(folder, "ro") as connection:
            named = files.named_pictures(connection) | {
                row[0] for row in connection.execute("SELECT sha256 FROM dream_file")
            }
        proof.faults = [
            fault for fault in proof.faults if fault.kind != "file" or fault.about in named
        ]
    return proof


def mend(folder: Folder, on_mended: Mended) -> Proof:
    """Mend what can be mended, and return what is left; `folder` must be this process's alone.

    `on_mended` is told of every fault that was mended, and how.

    Raises:
        StoreError, DiskError: the database cannot be used, or something cannot be written. What
            was mended up to then is.
    """
    assert folder.alone, "a bot is at work on it"
    whole: dict[str, Image] = {}
    tried: set[tuple[str, str]] = set()
    while True:
        with _opened(folder, "rw") as connection:
            proof = _look(connection, folder, whole)
            left = [one for one in proof.faults if one.mend and (one.kind, one.text) not in tried]
            if not left:
                return proof
            # What nothing names now may be named again by a row that is mended: so in order, and
            # each thing once, or what two rules quarrel over would never end.
            first = min(fault.order for fault in left)
            connection.execute("BEGIN IMMEDIATE")
            try:
                for fault in [one for one in left if one.order == first]:
                    tried.add((fault.kind, fault.text))
                    _try(connection, fault, on_mended)
            finally:
                connection.execute("COMMIT")


def _look(
    connection: sqlite3.Connection, folder: Folder, whole: dict[str, Image] | None = None
) -> Proof:
    proof = Proof()
    proof.faults += rows.damage(connection)
    if proof.faults:
        return proof
    library = Library(folder.library, blobs=folder.blobs)
    try:
        whole = {} if whole is None else whole
        for found in files.pictures(connection, folder, library, whole):
            proof.faults += found
        proof.pictures = len(whole)
        for found in files.files(connection, folder):
            proof.files += 1
            proof.faults += found
        proof.faults += files.strays(connection, folder)
    finally:
        library.close()
    proof.faults += texts.unreadable(connection)
    proof.faults += rows.look(connection)
    counts = "SELECT count(*), coalesce(sum(state IN ('waiting', 'drawing')), 0) FROM dream"
    proof.dreams, proof.unfinished = connection.execute(counts).fetchone()
    return proof


def _try(connection: sqlite3.Connection, fault: Fault, on_mended: Mended) -> None:
    """Mend one thing, all of it or nothing. What cannot be mended is found again."""
    assert fault.mend is not None
    connection.execute("SAVEPOINT mend")
    try:
        said = fault.mend()
    except (sqlite3.IntegrityError, DreamstreamError):
        connection.execute("ROLLBACK TO mend")
        connection.execute("RELEASE mend")
        return
    except OSError as error:
        connection.execute("ROLLBACK TO mend")
        connection.execute("RELEASE mend")
        raise DiskError(f"Mending stopped: {error.strerror}. {fault.text}") from error
    connection.execute("RELEASE mend")
    on_mended(fault, said)


@contextmanager
def _opened(folder: Folder, mode: str) -> Iterator[sqlite3.Connection]:
    try:
        uri = f"{folder.database.resolve().as_uri()}?mode={mode}"
        with (
            errors_readable(),
            closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection,
        ):
            connection.row_factory = sqlite3.Row
            connection.text_factory = readable
            connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            if mode == "rw":
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA secure_delete = ON")
            _check_version(connection, folder)
            yield connection
    except sqlite3.DatabaseError as error:
        if mode == "ro" and is_half_written(error):
            raise StoreError(
                f"{folder.database} was left in the middle of a change. Start the bot once: it "
                "takes that back; then look again."
            ) from error
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if code == sqlite3.SQLITE_BUSY:
            raise StoreError(
                f"Another process has {folder.database} to itself ({error}). It need not be "
                "damaged: end what else has it open, and look again."
            ) from error
        if code in _NOT_THE_FILES:
            raise StoreError(
                f"{folder.database} cannot be read ({error}). It need not be damaged: check that "
                "it and its folder may be read and written by this user."
            ) from error
        raise StoreError(
            f"{folder.database} cannot be read ({error}). Put a backup back: dreamstream restore."
        ) from error


def _check_version(connection: sqlite3.Connection, folder: Folder) -> None:
    version, known = int(connection.execute("PRAGMA user_version").fetchone()[0]), len(shipped())
    if version > known:
        raise NewerDatabaseError(
            f"{folder.database} was written by a newer version of Dreamstream. Install that one."
        )
    if version < known:
        raise StoreError(
            f"{folder.database} is of an older version ({version} of {known}). Start the bot once: "
            "it upgrades the database; then look again."
        )
