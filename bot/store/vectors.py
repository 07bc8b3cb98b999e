"""Where finished pictures lie in the spaces of the models that look at them.

The vectors of a deleted dream go by a trigger, in the transaction that deletes it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import aiosqlite
import msgspec

from bot.store import Row, Store

_PICTURE = "dream.id, dream.theme_id, dream.published, dream.channel_id, dream.image_sha256"
_SHOWN = "dream.state = 'done' AND dream.image_sha256 IS NOT NULL AND dream.deleted_ms IS NULL"
_UNSEEN = """
    NOT EXISTS (SELECT 1 FROM dream_vector WHERE dream_id = dream.id AND perceptor = ?)
"""

OLDER_UNSEEN = f"""
    SELECT {_PICTURE} FROM dream WHERE dream.id < ? AND {_SHOWN} AND {_UNSEEN}
    ORDER BY dream.id DESC LIMIT ?
"""  # noqa: S608 (own text)
UNSEEN_OF = f"""
    SELECT {_PICTURE} FROM dream
    WHERE dream.id IN (SELECT value FROM json_each(?)) AND {_SHOWN} AND {_UNSEEN}
"""  # noqa: S608 (own text)
# The plus and the CROSS keep to the order of the table, so that a page is read and no more.
PAGE = f"""
    SELECT dream_vector.id AS number, dream_vector.vector, {_PICTURE}
    FROM dream_vector CROSS JOIN dream ON dream.id = dream_vector.dream_id
    WHERE dream_vector.id > ? AND +dream_vector.perceptor = ? AND {_SHOWN}
    ORDER BY dream_vector.id LIMIT ?
"""  # noqa: S608 (own text)
NEWEST = "SELECT perceptor FROM dream_vector ORDER BY id DESC LIMIT 1"


@dataclass(frozen=True)
class Seeable:
    """A finished picture, and where it may be shown: see `bot.rights.may_see`."""

    dream_id: str
    theme_id: int
    published: bool
    channel_id: int | None
    sha256: str


async def insert(
    connection: aiosqlite.Connection, picture: Seeable, perceptor: str, vector: bytes
) -> bool:
    """Keep a picture's vector, and say whether it is still what its dream shows."""
    cursor = await connection.execute(
        """
        INSERT INTO dream_vector (dream_id, perceptor, vector)
        SELECT id, ?, ? FROM dream WHERE id = ? AND deleted_ms IS NULL AND image_sha256 = ?
        ON CONFLICT (dream_id, perceptor) DO UPDATE SET vector = excluded.vector
        """,
        (perceptor, vector, picture.dream_id, picture.sha256),
    )
    return cursor.rowcount == 1


async def older_unseen(store: Store, perceptor: str, before: str, limit: int) -> list[Seeable]:
    """Return the newest pictures before a dream's that a model has not looked at."""
    return [_seeable(row) for row in await store.read(OLDER_UNSEEN, (before, perceptor, limit))]


async def unseen_of(store: Store, perceptor: str, dream_ids: Collection[str]) -> list[Seeable]:
    """Return the pictures of these dreams that a model has not looked at."""
    ids = msgspec.json.encode(list(dream_ids)).decode()
    return [_seeable(row) for row in await store.read(UNSEEN_OF, (ids, perceptor))]


async def page(
    store: Store, perceptor: str, after: int, limit: int
) -> tuple[list[tuple[Seeable, bytes]], int]:
    """Return a page of a model's vectors after a number, and the number to go on after."""
    rows = await store.read(PAGE, (after, perceptor, limit))
    found = [(_seeable(row), bytes(row["vector"])) for row in rows]
    return found, rows[-1]["number"] if rows else after


async def newest_perceptor(store: Store) -> str:
    """Return the model that last looked at a picture, empty where none has."""
    row = await store.read_one(NEWEST)
    return "" if row is None else row["perceptor"]


def _seeable(row: Row) -> Seeable:
    return Seeable(
        dream_id=row["id"],
        theme_id=row["theme_id"],
        published=bool(row["published"]),
        channel_id=row["channel_id"],
        sha256=row["image_sha256"],
    )
