"""Look at every text of the database: whether all of it can be read. Blocks.

A byte that has gone wrong within a text breaks no rule of SQLite's, so `bot.store.soundness` finds
none of them. The product shows � there, and so does the mend.
"""

# ruff: noqa: S608 - names of tables and columns are the schema's own

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from bot.backup.database import foreign_keys
from bot.consistency.model import Fault
from bot.errors import NotFoundError
from bot.store.texts import is_sound, readable

_SOUND = "is_sound"
_SHOWN = 60


def unreadable(connection: sqlite3.Connection) -> Iterator[Fault]:
    """Yield the texts of which a part cannot be read."""
    connection.create_function(_SOUND, 1, is_sound, deterministic=True)
    keys = set[tuple[str, str]]()
    for child, column, parent, pointed_at in foreign_keys(connection):
        keys |= {(child, column), (parent, pointed_at)}
    for table in _tables(connection):
        for column in table.texts:
            yield from _damaged(
                connection,
                table,
                column,
                is_key=column in table.key or (table.name, column) in keys,
            )


@dataclass(frozen=True)
class _Table:
    """A table: the columns that tell its rows apart, and those that hold text."""

    name: str
    key: tuple[str, ...]
    texts: tuple[str, ...]


def _tables(connection: sqlite3.Connection) -> Iterator[_Table]:
    found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (name,) in found:
        columns = connection.execute(f"PRAGMA table_info({name})").fetchall()
        key = sorted((row["pk"], row["name"]) for row in columns if row["pk"])
        texts = tuple(row["name"] for row in columns if row["type"] == "TEXT")
        yield _Table(name, tuple(column for _, column in key) or ("rowid",), texts)


def _damaged(
    connection: sqlite3.Connection, table: _Table, column: str, *, is_key: bool
) -> Iterator[Fault]:
    sound = " AND ".join(f"{_SOUND}(CAST({one} AS BLOB))" for one in table.key)
    rows = connection.execute(
        f"SELECT {', '.join(table.key)}, CAST({column} AS BLOB) AS damaged, {sound} AS is_told "
        f"FROM {table.name} "
        f"WHERE {column} IS NOT NULL AND NOT {_SOUND}(CAST({column} AS BLOB))"
    ).fetchall()
    for row in rows:
        key = tuple(row[one] for one in table.key)
        named = ", ".join(map(str, key))[:_SHOWN]
        yield Fault(
            "text",
            f"{table.name}.{column} {named}",
            f"A text of {table.name} ({column}, of {named}) is damaged: not all of it can be read.",
            # By a key that is damaged as well, which is read with �, no row is found.
            None
            if is_key or not row["is_told"]
            else partial(_mend, connection, table, column, key, row["damaged"]),
            "Put a backup back, if one has it: dreamstream restore.",
        )


def _mend(
    connection: sqlite3.Connection,
    table: _Table,
    column: str,
    key: tuple[object, ...],
    damaged: bytes,
) -> str:
    where = " AND ".join(f"{one} = ?" for one in table.key)
    changed = connection.execute(
        f"UPDATE {table.name} SET {column} = ? WHERE {where}", (readable(damaged), *key)
    ).rowcount
    if changed != 1:  # another mend has removed it meanwhile
        raise NotFoundError(f"There is no such row of {table.name} any more.")
    return "� stands in place of what cannot be read."
