"""The changes of a dream's row, from what was asked for to its one end.

Those of its state are guarded here: a dream ends once. All are written in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable

import aiosqlite
import msgspec

from bot.model import Dream, DreamState, File, Image, PictureCheck
from generation.protocol import Recipe


async def insert(connection: aiosqlite.Connection, dreams: Iterable[Dream]) -> None:
    """Add dreams that have just been asked for. Their people are known already."""
    await connection.executemany(
        """
        INSERT INTO dream (
            id, ask_id, theme_id, person_id, prompt, recipe, state, parent_id, relation,
            init_sha256, background, studied, guild_id, channel_id, published, created_ms
        ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        """,
        [
            (
                dream.id,
                dream.ask_id,
                dream.theme_id,
                dream.person.id,
                dream.prompt,
                _json(dream.recipe),
                dream.state,
                dream.parent_id,
                dream.relation,
                dream.recipe.init_sha256,
                dream.background,
                dream.studied,
                dream.guild_id,
                dream.channel_id,
                dream.published,
                dream.created_ms,
            )
            for dream in dreams
        ],
    )
    await connection.executemany(
        "INSERT INTO dream_picture (dream_id, sha256) VALUES (?, ?)",
        [
            (dream.id, sha256)
            for dream in dreams
            for sha256 in dream.recipe.named_pictures
            if sha256 != dream.recipe.init_sha256
        ],
    )


async def keep_to_place(connection: aiosqlite.Connection, dream_ids: Iterable[str]) -> None:
    """Record that dreams are not published."""
    await connection.executemany(
        "UPDATE dream SET published = 0 WHERE id = ?", [(dream_id,) for dream_id in dream_ids]
    )


async def keep_from_channels(connection: aiosqlite.Connection, dream_ids: Iterable[str]) -> None:
    """Record that dreams count in their server and are shown in no channel of it."""
    await connection.executemany(
        "UPDATE dream SET channel_id = NULL WHERE id = ?", [(dream_id,) for dream_id in dream_ids]
    )


async def check_as(
    connection: aiosqlite.Connection, dream_ids: Iterable[str], setting: PictureCheck
) -> None:
    """Record how the place where dreams are asked for wants their pictures checked."""
    await connection.executemany(
        "UPDATE dream SET checked_as = ? WHERE id = ?",
        [(setting, dream_id) for dream_id in dream_ids],
    )


async def to_drawing(
    connection: aiosqlite.Connection, dream_id: str, step: int, now_ms: int
) -> bool:
    """Record that a waiting dream is being drawn, and say whether it was waiting."""
    cursor = await connection.execute(
        """
        UPDATE dream
        SET state = 'drawing', step = ?, started_ms = coalesce(started_ms, ?)
        WHERE id = ? AND state = 'waiting'
        """,
        (step, now_ms, dream_id),
    )
    return cursor.rowcount == 1


async def to_waiting(
    connection: aiosqlite.Connection, dream_ids: Iterable[str] | None = None
) -> None:
    """Record that these, or where none are named all, are not being drawn."""
    if dream_ids is None:
        await connection.execute("UPDATE dream SET state = 'waiting' WHERE state = 'drawing'")
        return
    await connection.executemany(
        "UPDATE dream SET state = 'waiting' WHERE id = ? AND state = 'drawing'",
        [(dream_id,) for dream_id in dream_ids],
    )


async def set_step(
    connection: aiosqlite.Connection, dream_id: str, step: int, gpu_s: float
) -> None:
    """Record the step up to which an unfinished dream is safe, and what was charged for it."""
    await connection.execute(
        "UPDATE dream SET step = ?, gpu_s = ? WHERE id = ? AND state IN ('waiting', 'drawing')",
        (step, gpu_s, dream_id),
    )


async def set_attempt(connection: aiosqlite.Connection, dream_id: str, attempt: int) -> None:
    """Record how many crashes an unfinished dream was in."""
    await connection.execute(
        "UPDATE dream SET attempt = ? WHERE id = ? AND state IN ('waiting', 'drawing')",
        (attempt, dream_id),
    )


async def set_recipe(connection: aiosqlite.Connection, dream_id: str, recipe: Recipe) -> bool:
    """Change an unfinished dream's recipe, and say whether it was unfinished."""
    cursor = await connection.execute(
        "UPDATE dream SET recipe = ? WHERE id = ? AND state IN ('waiting', 'drawing')",
        (_json(recipe), dream_id),
    )
    return cursor.rowcount == 1


async def to_done(
    connection: aiosqlite.Connection,
    dream_id: str,
    recipe: Recipe,
    image: Image,
    *,
    gpu_s: float,
    score: float | None,
    now_ms: int,
    reason: str = "",
) -> bool:
    """End a dream with its picture, and say whether it had not ended before."""
    cursor = await connection.execute(
        """
        UPDATE dream
        SET state = 'done', recipe = ?, step = ?, image_sha256 = ?, gpu_s = ?, score = ?,
            reason = ?, started_ms = coalesce(started_ms, ?), ended_ms = ?
        WHERE id = ? AND state IN ('waiting', 'drawing')
        """,
        (
            _json(recipe),
            recipe.last_step,
            image.sha256,
            gpu_s,
            score,
            reason,
            now_ms,
            now_ms,
            dream_id,
        ),
    )
    return cursor.rowcount == 1


async def add_files(connection: aiosqlite.Connection, dream_id: str, files: Iterable[File]) -> None:
    """Record what was made besides a dream's picture."""
    await connection.executemany(
        """
        INSERT OR REPLACE INTO dream_file (dream_id, name, media_type, sha256, size_bytes)
        VALUES (?, ?, ?, ?, ?)
        """,
        [(dream_id, file.name, file.media_type, file.sha256, file.size_bytes) for file in files],
    )


async def to_ended(
    connection: aiosqlite.Connection,
    dream_id: str,
    state: DreamState,
    reason: str,
    now_ms: int,
) -> bool:
    """End a dream without a picture (failed, cancelled), and say whether it had not ended."""
    assert state in (DreamState.FAILED, DreamState.CANCELLED)
    cursor = await connection.execute(
        """
        UPDATE dream SET state = ?, reason = ?, ended_ms = ?
        WHERE id = ? AND state IN ('waiting', 'drawing')
        """,
        (state, reason, now_ms, dream_id),
    )
    return cursor.rowcount == 1


def _json(recipe: Recipe) -> str:
    return msgspec.json.encode(recipe).decode()


async def state_of(connection: aiosqlite.Connection, dream_id: str) -> DreamState:
    """Return the state of a dream that there is."""
    (row,) = await connection.execute_fetchall("SELECT state FROM dream WHERE id = ?", (dream_id,))
    return DreamState(row["state"])
