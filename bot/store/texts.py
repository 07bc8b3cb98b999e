"""Texts as they lie in the database: one whose bytes are damaged takes no other along.

SQLite does not look at what it keeps as text. Left to itself the driver refuses a row, and with it
the whole answer, for one byte that is no UTF-8; and no check of SQLite's finds such a byte.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


def readable(data: bytes) -> str:
    """Return a text, with � in place of what is no UTF-8: a connection's `text_factory`."""
    return data.decode("utf-8", "replace")


def is_sound(data: bytes) -> bool:
    """Say whether all of a text can be read."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


@contextmanager
def errors_readable() -> Iterator[None]:
    """Have SQLite's errors be its errors, also where they quote a damaged schema.

    Then the driver cannot read what the error says, and raises that instead.

    Raises:
        sqlite3.DatabaseError: in place of a UnicodeDecodeError.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        raise sqlite3.DatabaseError(readable(error.object)) from error
