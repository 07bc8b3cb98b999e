"""What there is to watch beyond one stream's newest pictures."""

from __future__ import annotations

from collections.abc import Sequence

from bot.model import Dream
from bot.store import Store, dreams
from bot.store import watching as rows

MAX_PAGE = 200


class Watching:
    """Reads only. What is not published, or was deleted, is in none of it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def everything(self, *, before: str | None = None, limit: int = 48) -> list[Dream]:
        """Return the pictures of all public themes, newest first; `before` is an id to go on from.

        `limit` is at most `MAX_PAGE`.
        """
        before = before or dreams.PAST_EVERY_ID
        found = await rows.everything(self._store, before, max(1, min(limit, MAX_PAGE)))
        return await self._in_order(found)

    async def _in_order(self, dream_ids: Sequence[str]) -> list[Dream]:
        found = {dream.id: dream for dream in await dreams.by_ids(self._store, dream_ids)}
        return [found[dream_id] for dream_id in dream_ids if dream_id in found]
