"""Looking at dreams: what is kept of them, and how those that are not over stand at this moment.

Nothing here changes anything. `bot.dreams` asks, `bot.dream_changes` changes and ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from itertools import chain

from bot.errors import GoneError, NotFoundError
from bot.ids import is_id
from bot.model import Dream, Live, Person
from bot.store import Store
from bot.store import dreams as rows
from bot.unfinished import Unfinished

MAX_PAGE = 200
LONGEST_WAIT_MS = 7 * 24 * 3600 * 1000


class DreamReader:
    """The dreams there are, as they are now."""

    def __init__(self, store: Store, unfinished: Unfinished) -> None:
        self._store = store
        self._unfinished = unfinished

    async def get(self, dream_id: str) -> Dream:
        """Return a dream as it is at this moment; one that was deleted as its tombstone.

        Raises:
            NotFoundError: there is none with this id.
        """
        dream = await rows.by_id(self._store, dream_id) if is_id(dream_id) else None
        if dream is None:
            raise NotFoundError("There is no such dream.")
        return self._unfinished.present(dream)

    async def existing(self, dream_id: str) -> Dream:
        """Return a dream that has not been deleted, as it is at this moment.

        Raises:
            NotFoundError: there is none with this id; a GoneError where it was deleted.
        """
        dream = await self.get(dream_id)
        if dream.deleted_ms is not None:
            raise GoneError
        return dream

    async def recent(
        self, theme_id: int | None, *, before: str | None = None, limit: int = 48
    ) -> list[Dream]:
        """Return dreams that may be shown anywhere and have their picture, newest first.

        `before` is an id to go on from.
        """
        return await rows.finished(self._store, theme_id, before, max(1, min(limit, MAX_PAGE)))

    def standing(self) -> list[Dream]:
        """Return the dreams that are waiting or being drawn, as they are known here."""
        return [self._unfinished.present(active.dream) for active in self._unfinished.all()]

    async def unfinished(self, theme_id: int | None) -> list[Dream]:
        """Return the dreams that are waiting or being drawn, oldest first."""
        found = await rows.unfinished(self._store, theme_id)
        return [self._unfinished.present(dream) for dream in found]

    async def failures(
        self, theme_id: int, known_as: Collection[Person], *, since_ms: int, limit: int = 12
    ) -> list[Dream]:
        """Return the dreams that failed since a time of all that a person is, newest first.

        Without those that were tried again, or had waited for longer than a week.
        """
        limit = max(1, min(limit, MAX_PAGE))
        of_each = [
            await rows.failed(
                self._store,
                theme_id,
                one.id,
                asked_ms=since_ms - LONGEST_WAIT_MS,
                ended_ms=since_ms,
                limit=limit,
            )
            for one in known_as
        ]
        return sorted(chain(*of_each), key=_id, reverse=True)[:limit]

    async def several(self, dream_ids: Collection[str]) -> list[Dream]:
        """Return those of the dreams that there are, oldest first, as they are at this moment."""
        found = await rows.by_ids(self._store, dream_ids)
        return [self._unfinished.present(dream) for dream in sorted(found, key=_id)]

    async def together(self, ask_id: str) -> list[Dream]:
        """Return the dreams that were asked for together."""
        found = await rows.by_ask(self._store, ask_id)
        return [self._unfinished.present(dream) for dream in found]

    async def lineage(self, dream_id: str) -> tuple[list[Dream], list[Dream]]:
        """Return a dream's ancestors, nearest first, and its children, oldest first.

        Raises:
            NotFoundError: there is no such dream.
        """
        await self.get(dream_id)
        ancestors = await rows.ancestors(self._store, dream_id)
        children = await rows.children(self._store, dream_id)
        return (
            [self._unfinished.present(dream) for dream in ancestors],
            [self._unfinished.present(dream) for dream in children],
        )

    def live(self, dream_id: str) -> Live | None:
        """Return how an unfinished dream stands, None for any other."""
        active = self._unfinished.get(dream_id)
        return None if active is None else active.live

    def preview(self, dream_id: str) -> tuple[int, bytes] | None:
        """Return an unfinished dream's newest preview: its version and a WebP picture."""
        active = self._unfinished.get(dream_id)
        if active is None or active.preview is None:
            return None
        return active.live.preview_version, active.preview

    async def wait(self, dream_id: str) -> Dream:
        """Return a dream once it is over.

        Raises:
            NotFoundError: there is no such dream.
        """
        while not (dream := await self.get(dream_id)).state.final:
            active = self._unfinished.get(dream_id)
            if active is None:  # it is being accepted, or ended, at this very moment
                await asyncio.sleep(0.05)
            else:
                await active.ended.wait()
        return dream


def _id(dream: Dream) -> str:
    return dream.id
