"""What the check of pictures found, one row per picture; and which pictures are covered."""

from __future__ import annotations

import aiosqlite

from bot.checking.model import CHECKER, Check, Decision, Judged, Verdict
from bot.model import Act, Dream, File, Image
from bot.store import Row, Store, moderation, people, tombstones
from bot.store import dream_states as rows
from bot.store.tombstones import Kind

BY_ID = "SELECT * FROM picture_check WHERE dream_id = ?"
UNCHECKED = """
    SELECT * FROM picture_check
    WHERE verdict = 'unchecked' AND decision IS NULL AND tries < ? AND dream_id > ?
    ORDER BY dream_id LIMIT ?
"""
FILES = "SELECT name, media_type, sha256, size_bytes FROM dream_file WHERE dream_id = ?"


async def put(
    connection: aiosqlite.Connection,
    dream: Dream,
    judged: Judged,
    original: Image | None,
    now_ms: int,
) -> None:
    """Record what was found of a picture, in the transaction that ends its dream with it.

    `original` is what is covered. What is not clear stands in its server's log, too.
    """
    await connection.execute(
        """
        INSERT OR REPLACE INTO picture_check (
            dream_id, setting, verdict, nsfw, second, original_sha256, off_wall, checked_ms
        ) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        """,
        (
            dream.id,
            judged.setting,
            judged.verdict,
            judged.nsfw,
            judged.second,
            None if original is None else original.sha256,
            judged.off_wall,
            now_ms,
        ),
    )
    if judged.off_wall:
        await rows.keep_to_place(connection, [dream.id])
    if judged.verdict is not Verdict.CLEAR and dream.guild_id is not None:
        await people.upsert(connection, CHECKER, now_ms)
        detail = {"setting": judged.setting.value, "verdict": judged.verdict.value}
        if judged.nsfw is not None:
            detail["nsfw"] = f"{judged.nsfw:.2f}"
        if judged.second is not None:
            detail["second"] = f"{judged.second:.2f}"
        await moderation.append(
            connection,
            Act.COVERED,
            dream.guild_id,
            CHECKER,
            now_ms,
            person=dream.person,
            dream_id=dream.id,
            channel_id=dream.channel_id,
            detail=detail,
        )


async def by_id(store: Store, dream_id: str) -> Check | None:
    """Return what was found of a dream's picture, if it was looked at or is to be."""
    row = await store.read_one(BY_ID, (dream_id,))
    return None if row is None else _check(row)


async def unchecked(store: Store, max_tries: int, limit: int, after: str = "") -> list[Check]:
    """Return pictures that nobody could look at yet, and that have not been tried too often.

    Of none of them a moderator has said anything: that is the last word. The oldest are first, or
    those of the dreams that come `after` one.
    """
    return [_check(row) for row in await store.read(UNCHECKED, (max_tries, after, limit))]


async def files(store: Store, dream_id: str) -> list[File]:
    """Return what was made besides a dream's picture, whether it is covered or not."""
    return [File(**dict(row)) for row in await store.read(FILES, (dream_id,))]


async def found(
    connection: aiosqlite.Connection,
    dream_id: str,
    verdict: Verdict,
    nsfw: float | None,
    second: float | None,
    now_ms: int,
) -> bool:
    """Record what was found of a picture of which nobody had said anything; say whether so.

    Where that is nothing, a try is counted that failed of the picture itself.
    """
    cursor = await connection.execute(
        """
        UPDATE picture_check
        SET verdict = ?, nsfw = ?, second = ?, tries = tries + 1, checked_ms = ?
        WHERE dream_id = ? AND verdict = 'unchecked' AND decision IS NULL
        """,
        (verdict, nsfw, second, now_ms, dream_id),
    )
    return cursor.rowcount == 1


async def decide(
    connection: aiosqlite.Connection, dream_id: str, decision: Decision, by: str, now_ms: int
) -> None:
    """Record what a moderator said of a picture."""
    await connection.execute(
        "UPDATE picture_check SET decision = ?, decided_by = ?, checked_ms = ? WHERE dream_id = ?",
        (decision, by, now_ms, dream_id),
    )


async def uncover(connection: aiosqlite.Connection, dream_id: str) -> bool:
    """Have a dream show its picture in place of the cover; say whether it was covered.

    The cover is doomed. What a model saw was the cover, and is forgotten.
    """
    covered = await connection.execute_fetchall(
        """
        SELECT original_sha256, image_sha256 FROM picture_check JOIN dream ON dream.id = dream_id
        WHERE dream_id = ? AND original_sha256 IS NOT NULL AND deleted_ms IS NULL
        """,
        (dream_id,),
    )
    for row in covered:
        await connection.execute(
            "UPDATE dream SET image_sha256 = ? WHERE id = ?", (row["original_sha256"], dream_id)
        )
        await connection.execute(
            "UPDATE picture_check SET original_sha256 = NULL WHERE dream_id = ?", (dream_id,)
        )
        await connection.execute("DELETE FROM dream_vector WHERE dream_id = ?", (dream_id,))
        if row["image_sha256"] is not None:
            await tombstones.doom(connection, Kind.PICTURE, row["image_sha256"])
        return True
    return False


async def put_on_wall(connection: aiosqlite.Connection, dream_id: str) -> bool:
    """Publish a dream that the check alone has kept from the wall; say whether it did.

    Not where who asked for it has meanwhile said that nothing of theirs is to be published.
    """
    cursor = await connection.execute(
        """
        UPDATE dream SET published = 1
        WHERE id = ? AND deleted_ms IS NULL
        AND EXISTS (SELECT 1 FROM picture_check WHERE dream_id = dream.id AND off_wall)
        AND EXISTS (SELECT 1 FROM person WHERE id = dream.person_id AND publishes)
        """,
        (dream_id,),
    )
    await connection.execute(
        "UPDATE picture_check SET off_wall = 0 WHERE dream_id = ?", (dream_id,)
    )
    if cursor.rowcount:  # the search keeps in memory where it is shown: it looks at it anew
        await connection.execute("DELETE FROM dream_vector WHERE dream_id = ?", (dream_id,))
    return cursor.rowcount == 1


def _check(row: Row) -> Check:
    return Check(
        dream_id=row["dream_id"],
        verdict=Verdict(row["verdict"]),
        nsfw=row["nsfw"],
        original_sha256=row["original_sha256"],
        off_wall=bool(row["off_wall"]),
    )
