"""Which pictures a gallery shows. A deleted dream is in none of them.

Pages are asked for by how many were shown before: what is liked moves while people look.
"""

from __future__ import annotations

from collections.abc import Sequence

from bot.model import Dream
from bot.store import Store
from bot.store import dreams as rows

_SHOWN = "dream.state = 'done' AND dream.deleted_ms IS NULL"

LATEST = f"""
    SELECT dream.id FROM dream
    WHERE dream.theme_id = ? AND dream.published AND {_SHOWN}
    ORDER BY dream.id DESC LIMIT ? OFFSET ?
"""  # noqa: S608 (own text)
# From the likes to the dreams: most dreams of a long stream have none.
BEST = f"""
    SELECT dream.id FROM favourite JOIN dream ON dream.id = favourite.dream_id
    WHERE dream.theme_id = ? AND dream.published AND {_SHOWN}
    GROUP BY dream.id ORDER BY count(*) DESC, dream.id DESC LIMIT ? OFFSET ?
"""  # noqa: S608 (own text)
OF_PERSON = f"""
    SELECT dream.id FROM dream
    WHERE dream.person_id = ? AND {_SHOWN}
    ORDER BY dream.id DESC LIMIT ? OFFSET ?
"""  # noqa: S608 (own text)


async def latest(store: Store, theme_id: int, *, skip: int, limit: int) -> list[Dream]:
    """Return a stream's pictures, newest first."""
    return await _page(store, LATEST, (theme_id, limit, skip))


async def best(store: Store, theme_id: int, *, skip: int, limit: int) -> list[Dream]:
    """Return a stream's pictures that somebody likes, those that most people like first."""
    return await _page(store, BEST, (theme_id, limit, skip))


async def of_person(store: Store, person_id: str, *, skip: int, limit: int) -> list[Dream]:
    """Return a person's pictures of all streams, newest first."""
    return await _page(store, OF_PERSON, (person_id, limit, skip))


async def _page(store: Store, query: str, values: Sequence[object]) -> list[Dream]:
    ids = [row["id"] for row in await store.read(query, tuple(values))]
    found = {dream.id: dream for dream in await rows.by_ids(store, ids)}
    # One may have been deleted between the two readings.
    dreams = [found[dream_id] for dream_id in ids if dream_id in found]
    return [dream for dream in dreams if dream.deleted_ms is None]
