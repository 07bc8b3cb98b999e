"""Which pictures are shown to those who watch: ids only, `dreams` reads them."""

from __future__ import annotations

from bot.store import Row, Store

_SHOWN = "dream.state = 'done' AND dream.deleted_ms IS NULL AND dream.published"
# CROSS keeps SQLite at the newest dreams, whose themes it then looks up.
EVERYTHING = f"""
    SELECT dream.id FROM dream CROSS JOIN theme ON theme.id = dream.theme_id
    WHERE theme.visibility = 'public' AND {_SHOWN} AND dream.id < ?
    ORDER BY dream.id DESC LIMIT ?
"""  # noqa: S608 (own text)

_BETWEEN = f"dream.theme_id = ? AND {_SHOWN} AND dream.id >= ? AND dream.id < ?"
BETWEEN = f"SELECT dream.id FROM dream WHERE {_BETWEEN} ORDER BY dream.id LIMIT ? OFFSET ?"  # noqa: S608
COUNT_BETWEEN = f"SELECT count(*) AS count FROM dream WHERE {_BETWEEN}"  # noqa: S608
LAST_BEFORE = f"""
    SELECT dream.id FROM dream WHERE dream.theme_id = ? AND {_SHOWN} AND dream.id < ?
    ORDER BY dream.id DESC LIMIT 1
"""  # noqa: S608 (own text)
FIRST_FROM = f"""
    SELECT dream.id FROM dream WHERE dream.theme_id = ? AND {_SHOWN} AND dream.id >= ?
    ORDER BY dream.id LIMIT 1
"""  # noqa: S608 (own text)
# CROSS: few of the dreams there ever were are liked by anybody. All that are have to be looked at
# to find the best, so that they are counted on the way.
BEST = f"""
    SELECT dream.id, count(*) OVER () AS count FROM (
        SELECT dream_id, count(*) AS hearts FROM favourite
        WHERE dream_id >= :first AND dream_id < :end GROUP BY dream_id
    ) AS liked CROSS JOIN dream ON dream.id = liked.dream_id
    WHERE dream.theme_id = :theme_id AND {_SHOWN}
    ORDER BY liked.hearts DESC, dream.id LIMIT :limit OFFSET :offset
"""  # noqa: S608 (own text)


# CROSS: of one day's pictures of one theme each is looked up among the likes.
BEST_WITHIN = """
    SELECT dream.id FROM dream CROSS JOIN favourite ON favourite.dream_id = dream.id
    WHERE dream.theme_id = ? AND dream.id >= ? AND dream.id < ?
        AND dream.state = 'done' AND dream.deleted_ms IS NULL
        AND (dream.published OR dream.channel_id = ?)
    GROUP BY dream.id ORDER BY count(*) DESC, dream.id LIMIT ?
"""


async def everything(store: Store, before: str, limit: int) -> list[str]:
    """Return the newest finished dreams of all public themes, before one, newest first."""
    return _ids(await store.read(EVERYTHING, (before, limit)))


async def between(
    store: Store, theme_id: int, first: str, end: str, offset: int, limit: int
) -> tuple[int, list[str]]:
    """Return how many of a theme's pictures have an id from `first` to before `end`, and some.

    Those are in the order in which they were asked for.
    """
    values = (theme_id, first, end)
    count = await store.read_one(COUNT_BETWEEN, values)
    assert count is not None
    return int(count["count"]), _ids(await store.read(BETWEEN, (*values, limit, offset)))


async def best(
    store: Store, theme_id: int, first: str, end: str, offset: int, limit: int
) -> tuple[int, list[str]]:
    """Return the same of those that somebody likes, the most liked first, then the older."""
    values = {"theme_id": theme_id, "first": first, "end": end}
    found = await store.read(BEST, {**values, "limit": limit, "offset": offset})
    # Behind the last there is none that says how many there are.
    counted = found or await store.read(BEST, {**values, "limit": 1, "offset": 0})
    return (int(counted[0]["count"]) if counted else 0), _ids(found)


async def best_within(
    store: Store, theme_id: int, first: str, end: str, channel_id: int, limit: int
) -> list[str]:
    """Return the most liked of a theme's pictures with such ids, as they may be seen in a channel.

    What is kept to that channel counts there.
    """
    return _ids(await store.read(BEST_WITHIN, (theme_id, first, end, channel_id, limit)))


async def beside(store: Store, theme_id: int, first: str, end: str) -> tuple[str, str]:
    """Return the last picture before some of a theme and the first after; empty for none."""
    before = await store.read_one(LAST_BEFORE, (theme_id, first))
    after = await store.read_one(FIRST_FROM, (theme_id, end))
    return ("" if before is None else before["id"], "" if after is None else after["id"])


def _ids(rows: list[Row]) -> list[str]:
    return [row["id"] for row in rows]
