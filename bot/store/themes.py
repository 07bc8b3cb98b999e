"""Themes, one row each."""

from __future__ import annotations

import aiosqlite
import msgspec

from bot.model import AskedBy, Holds, Theme, Visibility
from bot.store import Row, Store

COLUMNS = tuple(field for field in Theme.__struct_fields__ if field != "id")

ALL = "SELECT * FROM theme ORDER BY id"
BY_ID = "SELECT * FROM theme WHERE id = ?"
BY_SLUG = "SELECT * FROM theme WHERE slug = ?"


async def insert(connection: aiosqlite.Connection, theme: Theme) -> Theme:
    """Add a theme and return it with the id it got; the id it came with does not matter.

    Raises:
        sqlite3.IntegrityError: there is one with this slug.
    """
    marks = ", ".join("?" for _ in COLUMNS)
    cursor = await connection.execute(
        f"INSERT INTO theme ({', '.join(COLUMNS)}) VALUES ({marks})",  # noqa: S608 (own names)
        [getattr(theme, column) for column in COLUMNS],
    )
    assert cursor.lastrowid is not None
    return msgspec.structs.replace(theme, id=cursor.lastrowid)


async def update(connection: aiosqlite.Connection, theme: Theme) -> None:
    """Change the row with the theme's id to what the theme says."""
    changes = ", ".join(f"{column} = ?" for column in COLUMNS)
    await connection.execute(
        f"UPDATE theme SET {changes} WHERE id = ?",  # noqa: S608 (own names)
        [*(getattr(theme, column) for column in COLUMNS), theme.id],
    )


async def newest(connection: aiosqlite.Connection, slug: str) -> Theme | None:
    """Return the theme with this slug as it is within the transaction, if there is one."""
    for row in await connection.execute_fetchall(BY_SLUG, (slug,)):
        return from_row(row)
    return None


async def listing(store: Store) -> list[Theme]:
    """Return all themes, oldest first."""
    return [from_row(row) for row in await store.read(ALL)]


async def by_id(store: Store, theme_id: int) -> Theme | None:
    """Return the theme with this id, if there is one."""
    row = await store.read_one(BY_ID, (theme_id,))
    return None if row is None else from_row(row)


async def by_slug(store: Store, slug: str) -> Theme | None:
    """Return the theme with this slug, if there is one."""
    row = await store.read_one(BY_SLUG, (slug,))
    return None if row is None else from_row(row)


async def forget_picture(connection: aiosqlite.Connection, sha256: str) -> None:
    """Leave the themes that a picture stands for without one."""
    await connection.execute(
        "UPDATE theme SET picture_sha256 = NULL WHERE picture_sha256 = ?", (sha256,)
    )


def from_row(row: Row) -> Theme:
    """Read a theme from a row that has its columns."""
    values = {column: row[column] for column in COLUMNS}
    values["visibility"] = Visibility(values["visibility"])
    values["asked_by"], values["holds"] = AskedBy(values["asked_by"]), Holds(values["holds"])
    for switch in ("autopilot_alone", "paused", "retired"):
        values[switch] = bool(values[switch])
    return Theme(id=row["id"], **values)
