"""What the autopilot has done, and what it goes by."""

from __future__ import annotations

from typing import NamedTuple

from bot.ids import first_at
from bot.store import Store

# The plus keeps to the autopilot's own dreams of that time, which are a part of its index.
SPENT = """
    SELECT count(*) AS dreams, coalesce(sum(gpu_s), 0.0) AS seconds FROM dream
    WHERE person_id = ? AND id >= ? AND +theme_id = ?
"""
NEWEST = "SELECT id FROM dream WHERE theme_id = ? ORDER BY id DESC LIMIT 1"
_SHOWN = "dream.state = 'done' AND dream.deleted_ms IS NULL AND dream.published"
RECENT = f"""
    SELECT id, prompt, 1 AS weight FROM dream
    WHERE theme_id = ? AND {_SHOWN} AND person_id <> ?
    ORDER BY id DESC LIMIT ?
"""  # noqa: S608 (own text)
LIKED = f"""
    SELECT dream.id, dream.prompt, count(*) AS weight FROM favourite
    CROSS JOIN dream ON dream.id = favourite.dream_id
    WHERE dream.theme_id = ? AND {_SHOWN}
    GROUP BY dream.id ORDER BY weight DESC, dream.id DESC LIMIT ?
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


async def spent(store: Store, person_id: str, theme_id: int, since_ms: int) -> tuple[int, float]:
    """Return how many dreams a person asked for in a theme since a time, and their seconds."""
    row = await store.read_one(SPENT, (person_id, first_at(since_ms), theme_id))
    assert row is not None
    return int(row["dreams"]), float(row["seconds"])


async def newest(store: Store, theme_id: int) -> str:
    """Return the id of what was asked for last in a theme, empty where nothing was."""
    row = await store.read_one(NEWEST, (theme_id,))
    return "" if row is None else row["id"]


async def recent(store: Store, theme_id: int, but: str, limit: int) -> list[Seed]:
    """Return a theme's newest pictures, but for those of one person, all of the same weight."""
    return [Seed(**row) for row in await store.read(RECENT, (theme_id, but, limit))]


async def liked(store: Store, theme_id: int, limit: int) -> list[Seed]:
    """Return a theme's pictures that most people like; they weigh as many as do."""
    return [Seed(**row) for row in await store.read(LIKED, (theme_id, limit))]


async def tried(store: Store, theme_id: int, limit: int) -> list[str]:
    """Return the prompts that were asked for last in a theme."""
    return [row["prompt"] for row in await store.read(TRIED, (theme_id, limit))]
