"""What the autopilot has done, and what it goes by."""

from __future__ import annotations

from typing import NamedTuple

from bot.ids import MOST_AHEAD_MS, first_at
from bot.store import Store

# The plus keeps to the autopilot's own dreams of that time, which are a part of its index. What is
# dated later than now was asked for while the clock was ahead, in no time that is to come.
SPENT = """
    SELECT count(*) AS dreams, coalesce(sum(gpu_s), 0.0) AS seconds FROM dream
    WHERE person_id = :person_id AND id >= :since AND created_ms BETWEEN :since_ms AND :now_ms
    AND +theme_id = :theme_id
"""
NEWEST = """
    SELECT created_ms FROM dream WHERE theme_id = :theme_id AND id < :end AND created_ms <= :now_ms
    ORDER BY id DESC LIMIT 1
"""
_SHOWN = "dream.state = 'done' AND dream.deleted_ms IS NULL AND dream.published"
RECENT = f"""
    SELECT id, prompt, 1 AS weight FROM dream
    WHERE theme_id = ? AND {_SHOWN} AND person_id <> ?
    ORDER BY id DESC LIMIT ?
"""  # noqa: S608 (own text)
# The likes are counted as their key has them, before any dream is looked up.
LIKED = f"""
    SELECT dream.id, dream.prompt, liked.weight
    FROM (SELECT dream_id, count(*) AS weight FROM favourite GROUP BY dream_id) AS liked
    CROSS JOIN dream ON dream.id = liked.dream_id
    WHERE dream.theme_id = ? AND {_SHOWN}
    ORDER BY liked.weight DESC, dream.id DESC LIMIT ?
"""  # noqa: S608 (own text)
# Whatever became of them, and whoever asked: what was tried of late is not tried again.
TRIED = """
    SELECT prompt FROM dream WHERE theme_id = ? AND deleted_ms IS NULL ORDER BY id DESC LIMIT ?
"""


class Seed(NamedTuple):
    """What another dream may come of: a picture's dream, and what was typed for it."""

    id: str
    prompt: str
    weight: int


async def spent(
    store: Store, person_id: str, theme_id: int, since_ms: int, now_ms: int
) -> tuple[int, float]:
    """Return how many dreams a person asked for in a theme since a time, and their seconds."""
    values = {
        "person_id": person_id,
        "theme_id": theme_id,
        "since": first_at(since_ms),
        "since_ms": since_ms,
        "now_ms": now_ms,
    }
    row = await store.read_one(SPENT, values)
    assert row is not None
    return int(row["dreams"]), float(row["seconds"])


async def newest_ms(store: Store, theme_id: int, now_ms: int) -> int | None:
    """Return when something was asked for last in a theme; None where nothing was."""
    # No id is further ahead of the time at which it was made.
    end = first_at(now_ms + MOST_AHEAD_MS + 1)
    row = await store.read_one(NEWEST, {"theme_id": theme_id, "end": end, "now_ms": now_ms})
    return None if row is None else int(row["created_ms"])


async def recent(store: Store, theme_id: int, but: str, limit: int) -> list[Seed]:
    """Return a theme's newest pictures, but for those of one person, all of the same weight."""
    return [Seed(**row) for row in await store.read(RECENT, (theme_id, but, limit))]


async def liked(store: Store, theme_id: int, limit: int) -> list[Seed]:
    """Return a theme's pictures that most people like; they weigh as many as do."""
    return [Seed(**row) for row in await store.read(LIKED, (theme_id, limit))]


async def tried(store: Store, theme_id: int, limit: int) -> list[str]:
    """Return the prompts that were asked for last in a theme."""
    return [row["prompt"] for row in await store.read(TRIED, (theme_id, limit))]
