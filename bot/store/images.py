"""What the library holds: one row per picture file."""

from __future__ import annotations

import aiosqlite

from bot.model import Image
from bot.store import Row, Store

KNOWN = "SELECT 1 FROM image WHERE sha256 = ?"


async def insert(connection: aiosqlite.Connection, image: Image, now_ms: int) -> None:
    """Record a picture that is in the library. The same picture twice is one row."""
    await connection.execute(
        """
        INSERT INTO image (sha256, width, height, size_bytes, kept_ms) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (sha256) DO NOTHING
        """,
        (image.sha256, image.width, image.height, image.size_bytes, now_ms),
    )


async def known(store: Store, sha256: str) -> bool:
    """Say whether a picture is recorded."""
    return await store.read_one(KNOWN, (sha256,)) is not None


def from_row(row: Row) -> Image:
    """Read a picture from a row that has its columns."""
    return Image(
        sha256=row["sha256"],
        width=row["width"],
        height=row["height"],
        size_bytes=row["size_bytes"],
    )
