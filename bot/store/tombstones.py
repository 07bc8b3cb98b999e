"""Take a dream's words, recipe and files out of the database, and leave its row as a tombstone.

Files are only doomed here: `bot.removal` removes them afterwards. Which of them something else
still names is asked again then.
"""

from __future__ import annotations

from enum import StrEnum

import aiosqlite
import msgspec

from bot.store import Store, images, portraits, themes
from generation.protocol import Recipe

NOTHING = Recipe(engine="", model="", prompt="", width=0, height=0, steps=0, seed=0)

DOOMED = "SELECT kind, sha256 FROM doomed_file ORDER BY kind, sha256"
RESULT_OF = "SELECT 1 FROM dream WHERE image_sha256 = ? LIMIT 1"
FILE_NAMED = "SELECT 1 FROM dream_file WHERE sha256 = ? LIMIT 1"


class Kind(StrEnum):
    """What kind of file is to be removed."""

    PICTURE = "picture"
    FILE = "file"


async def bury(
    connection: aiosqlite.Connection, dream_id: str, deleted_by: str, now_ms: int
) -> bool:
    """Make a tombstone of a dream that is over; say whether it was not one before.

    Its picture is doomed also where other dreams start from it, which then say that it is no
    longer kept, and where it stands for a theme; not where another dream has come to the very same
    picture. Nor is it removed while an entry in a game is that picture.
    """
    rows = await connection.execute_fetchall(
        """
        SELECT image_sha256, init_sha256 FROM dream
        WHERE id = ? AND deleted_ms IS NULL AND state IN ('done', 'failed', 'cancelled')
        """,
        (dream_id,),
    )
    for row in rows:
        own, drawn_from = row["image_sha256"], {row["init_sha256"]}
        break
    else:
        return False
    await connection.execute(
        """
        UPDATE dream
        SET prompt = '', recipe = ?, reason = '', studied = NULL, image_sha256 = NULL,
            init_sha256 = NULL, score = NULL, deleted_ms = ?, deleted_by = ?
        WHERE id = ?
        """,
        (msgspec.json.encode(NOTHING).decode(), now_ms, deleted_by, dream_id),
    )
    pictures = "DELETE FROM dream_picture WHERE dream_id = ? RETURNING sha256"
    drawn_from |= {row[0] for row in await connection.execute_fetchall(pictures, (dream_id,))}
    files = "DELETE FROM dream_file WHERE dream_id = ? RETURNING sha256"
    for row in await connection.execute_fetchall(files, (dream_id,)):
        await doom(connection, Kind.FILE, row[0])
    if own is not None and not await connection.execute_fetchall(RESULT_OF, (own,)):
        await connection.execute(
            "UPDATE dream SET init_sha256 = NULL WHERE init_sha256 = ?", (own,)
        )
        await connection.execute("DELETE FROM dream_picture WHERE sha256 = ?", (own,))
        await themes.forget_picture(connection, own)
    covered = "DELETE FROM picture_check WHERE dream_id = ? RETURNING original_sha256"
    drawn_from |= {row[0] for row in await connection.execute_fetchall(covered, (dream_id,))}
    for sha256 in {own, *drawn_from} - {None}:
        await doom(connection, Kind.PICTURE, sha256)
    await connection.execute("DELETE FROM favourite WHERE dream_id = ?", (dream_id,))
    await portraits.revoke(connection, dream_id, now_ms)
    return True


async def doom(connection: aiosqlite.Connection, kind: Kind, sha256: str) -> None:
    """Have a file removed, unless a dream, a theme or a game names it when that is done."""
    await connection.execute(
        "INSERT INTO doomed_file (kind, sha256) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (kind, sha256),
    )


async def doomed(store: Store) -> list[tuple[Kind, str]]:
    """Return the files that are to be removed."""
    return [(Kind(row["kind"]), row["sha256"]) for row in await store.read(DOOMED)]


async def is_named(connection: aiosqlite.Connection, kind: Kind, sha256: str) -> bool:
    """Say whether a dream, a theme or a game names a file."""
    if kind is Kind.FILE:
        return bool(await connection.execute_fetchall(FILE_NAMED, (sha256,)))
    return await images.named_now(connection, sha256)


async def spare(connection: aiosqlite.Connection, kind: Kind, sha256: str) -> None:
    """Note that a file is not to be removed after all."""
    await connection.execute(
        "DELETE FROM doomed_file WHERE kind = ? AND sha256 = ?", (kind, sha256)
    )


async def forget(connection: aiosqlite.Connection, kind: Kind, sha256: str) -> None:
    """Note that a file, which nothing names, is gone."""
    await spare(connection, kind, sha256)
    if kind is Kind.PICTURE:
        await images.forget_unnamed(connection, sha256)
