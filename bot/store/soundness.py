"""What SQLite itself finds wrong with a file, without what it only takes for wrong. Blocks.

SQLite 3.40.0 to 3.41.0 (Debian 12 has 3.40.1) calls values NULL that are not, in tables WITHOUT
ROWID whose key is not their first columns: it looks for a column where it is declared, not where it
lies in the row. There one row of such a table is enough for a sound database to be called damaged.

Source: https://sqlite.org/pragma.html#pragma_integrity_check
"""

from __future__ import annotations

import re
import sqlite3

_NULL = re.compile(r"NULL value in (\w+)\.(\w+)")
_UNTRUE_FROM, _UNTRUE_BEFORE = (3, 40, 0), (3, 41, 1)
_ALL = 10_000_000
"""A verdict for each row that is taken for wrong; the true ones may come after them."""


def faults(connection: sqlite3.Connection, *, quick: bool = False, most: int = 20) -> list[str]:
    """Return what is wrong with a database, `most` things of it; nothing where it is sound.

    `quick` leaves out whether indexes say what their tables do.
    """
    untrue = _UNTRUE_FROM <= sqlite3.sqlite_version_info < _UNTRUE_BEFORE
    pragma = "quick_check" if quick else "integrity_check"
    found: dict[str, None] = {}
    for (verdict,) in connection.execute(f"PRAGMA {pragma}({_ALL if untrue else most})"):
        if verdict != "ok" and verdict not in found:
            found[verdict] = None
    if untrue:
        return [verdict for verdict in found if not _is_untrue(connection, verdict)][:most]
    return [*found]


def _is_untrue(connection: sqlite3.Connection, verdict: str) -> bool:
    null = _NULL.fullmatch(verdict)
    if null is None:
        return False
    table, column = null.groups()
    # Not “IS NULL”: of a column that is declared NOT NULL, SQLite takes that for false unread.
    sql = f'SELECT 1 FROM "{table}" WHERE typeof("{column}") = \'null\' LIMIT 1'  # noqa: S608
    try:
        return connection.execute(sql).fetchone() is None
    except sqlite3.DatabaseError:
        return False
