"""A sound database is not called damaged, whatever the SQLite there is; a damaged one is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from bot.store.soundness import faults

TABLE = """
    CREATE TABLE t (
        a INTEGER NOT NULL, b TEXT NOT NULL, p INTEGER NOT NULL, PRIMARY KEY (a, p)
    ) STRICT, WITHOUT ROWID
"""


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        made.execute(TABLE)
        made.executemany("INSERT INTO t VALUES (1, 'x', ?)", [(place,) for place in range(300)])
        yield made


@pytest.mark.parametrize("quick", [True, False])
def test_a_sound_database_is_sound(connection: sqlite3.Connection, quick: bool) -> None:
    assert faults(connection, quick=quick) == []


@pytest.mark.parametrize("quick", [True, False])
def test_what_is_wrong_is_found_behind_what_is_not(
    connection: sqlite3.Connection, quick: bool
) -> None:
    connection.execute("CREATE TABLE z (a INTEGER, b INTEGER)")
    connection.execute("INSERT INTO z VALUES (1, NULL)")
    connection.execute("PRAGMA writable_schema = ON")
    changed = "CREATE TABLE z (a INTEGER, b INTEGER NOT NULL)"
    connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'z'", (changed,))
    connection.execute("PRAGMA writable_schema = RESET")
    assert faults(connection, quick=quick) == ["NULL value in z.b"]
    assert faults(connection, quick=quick, most=1) == ["NULL value in z.b"]


def test_an_index_that_lacks_a_row_is_wrong(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE i (a INTEGER)")
    connection.execute("CREATE INDEX of_i ON i (a)")
    connection.execute("INSERT INTO i VALUES (7)")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("DELETE FROM sqlite_master WHERE name = 'of_i'")
    connection.execute("PRAGMA writable_schema = RESET")
    assert any("never used" in fault for fault in faults(connection))
