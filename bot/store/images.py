"""What the library holds: one row per picture file."""

from __future__ import annotations

import aiosqlite

from bot.model import Image
from bot.store import Row, Store


def naming(sha256: str) -> str:
    """Return, as SQL, whether a dream, a theme or a game names the picture of an expression."""
    return f"""
    (EXISTS (SELECT 1 FROM dream WHERE image_sha256 = {sha256})
    OR EXISTS (SELECT 1 FROM dream WHERE init_sha256 = {sha256})
    OR EXISTS (SELECT 1 FROM dream_picture WHERE sha256 = {sha256})
    OR EXISTS (SELECT 1 FROM theme WHERE picture_sha256 = {sha256})
    OR EXISTS (SELECT 1 FROM game_entry WHERE image_sha256 = {sha256})
    OR EXISTS (SELECT 1 FROM picture_check WHERE original_sha256 = {sha256}))
    """  # noqa: S608 (own text)


NAMED = f"SELECT {naming(':sha256')} AS named"
FORGET_UNNAMED = f"DELETE FROM image WHERE sha256 = :sha256 AND NOT {naming(':sha256')}"  # noqa: S608


async def insert(connection: aiosqlite.Connection, image: Image, now_ms: int) -> None:
    """Record a picture that is in the library. The same picture twice is one row."""
    await connection.execute(
        """
        INSERT INTO image (sha256, width, height, size_bytes, kept_ms) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (sha256) DO NOTHING
        """,
        (image.sha256, image.width, image.height, image.size_bytes, now_ms),
    )


async def named(store: Store, sha256: str) -> bool:
    """Say whether a dream, a theme or a game has a picture, or a dream is drawn from it."""
    row = await store.read_one(NAMED, {"sha256": sha256})
    return row is not None and bool(row["named"])


async def named_now(connection: aiosqlite.Connection, sha256: str) -> bool:
    """Say the same within a transaction."""
    (row,) = await connection.execute_fetchall(NAMED, {"sha256": sha256})
    return bool(row["named"])


async def forget_unnamed(connection: aiosqlite.Connection, sha256: str) -> None:
    """Remove the record of a picture, unless a dream, a theme or a game names it."""
    await connection.execute(FORGET_UNNAMED, {"sha256": sha256})


def from_row(row: Row) -> Image:
    """Read a picture from a row that has its columns."""
    return Image(
        sha256=row["sha256"],
        width=row["width"],
        height=row["height"],
        size_bytes=row["size_bytes"],
    )
