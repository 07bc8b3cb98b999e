"""Look at a database file without changing it, for `dreamstream doctor`. Blocks."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from bot.errors import NewerDatabaseError, StoreError
from bot.store.migrate import BUSY_TIMEOUT_MS, shipped
from bot.store.soundness import faults
from bot.store.texts import errors_readable


def check_file(path: Path) -> int:
    """Return the version of a database file, having read all of it.

    Raises:
        NewerDatabaseError: a newer version of Dreamstream wrote it.
        StoreError: it is damaged, or cannot be read.
    """
    try:
        uri = f"{path.resolve().as_uri()}?mode=ro"
        with errors_readable(), closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            wrong = faults(connection, quick=True, most=1)
    except sqlite3.OperationalError as error:
        raise StoreError(
            f"{path} cannot be read ({error}). It need not be damaged: check that it and its "
            "folder may be read and written by this user."
        ) from error
    except sqlite3.Error as error:
        raise StoreError(
            f"{path} is damaged ({error}). Put a backup in its place, or move it "
            "away to start with an empty one; the pictures are kept elsewhere."
        ) from error
    if wrong:
        raise StoreError(f"{path} is damaged: {wrong[0]}. Put a backup in its place.")
    if version > len(shipped()):
        raise NewerDatabaseError(
            f"{path} was written by a newer version of Dreamstream (its format is {version}, this "
            f"version knows {len(shipped())}). Install the newer version again."
        )
    return version
