"""What there is to watch beyond one stream's newest pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from bot.errors import NotFoundError
from bot.ids import first_at, time_of
from bot.model import Dream
from bot.store import Store, dreams
from bot.store import watching as rows

MAX_PAGE = 200
DAY = timedelta(days=1)
_YEARS = range(2000, 3000)  # of which ids can tell


@dataclass(frozen=True)
class Part:
    """Some of the pictures in an order that has `total` of them."""

    total: int
    dreams: list[Dream]


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

    async def of_day(self, theme_id: int, day: date, *, offset: int, limit: int) -> Part:
        """Return some of the pictures that were asked for on a day (UTC), as they were asked for.

        `limit` is at most `MAX_PAGE`.
        """
        first, end = _bounds(day)
        total, found = await rows.between(
            self._store, theme_id, first, end, max(0, offset), max(1, min(limit, MAX_PAGE))
        )
        return Part(total, await self._in_order(found))

    async def days_beside(self, theme_id: int, day: date) -> tuple[date | None, date | None]:
        """Return the nearest days before and after one that have pictures."""
        before, after = await rows.beside(self._store, theme_id, *_bounds(day))
        return (
            day_of(time_of(before)) if before else None,
            day_of(time_of(after)) if after else None,
        )

    async def best(
        self,
        theme_id: int,
        *,
        offset: int,
        limit: int,
        since_ms: int = 0,
        until_ms: int | None = None,
    ) -> Part:
        """Return some of the pictures that people like, the most liked first, then the older.

        Of those that were asked for within the time. `limit` is at most `MAX_PAGE`.
        """
        end = dreams.PAST_EVERY_ID if until_ms is None else first_at(until_ms)
        total, found = await rows.best(
            self._store,
            theme_id,
            first_at(since_ms),
            end,
            max(0, offset),
            max(1, min(limit, MAX_PAGE)),
        )
        return Part(total, await self._in_order(found))

    async def origins(self, of: Sequence[Dream]) -> dict[str, Dream]:
        """Return what pictures came of, by their own ids: of those that came of something.

        That something is of the same theme, published and not deleted.
        """
        parent_ids = {dream.parent_id for dream in of if dream.parent_id is not None}
        found = {dream.id: dream for dream in await dreams.by_ids(self._store, parent_ids)}
        return {
            dream.id: parent
            for dream in of
            if dream.parent_id is not None
            and (parent := found.get(dream.parent_id)) is not None
            and parent.theme_id == dream.theme_id
            and parent.published
            and parent.deleted_ms is None
        }

    async def best_within(
        self, theme_id: int, since_ms: int, until_ms: int, *, channel_id: int, limit: int
    ) -> list[str]:
        """Return the ids of the most liked pictures that were asked for from a time to another.

        As they may be seen in a channel that carries the theme: what is kept to it counts there.
        """
        return await rows.best_within(
            self._store, theme_id, first_at(since_ms), first_at(until_ms), channel_id, limit
        )

    async def _in_order(self, dream_ids: Sequence[str]) -> list[Dream]:
        found = {dream.id: dream for dream in await dreams.by_ids(self._store, dream_ids)}
        return [found[dream_id] for dream_id in dream_ids if dream_id in found]


def day_of(at_ms: int) -> date:
    """Return the day that a time is in, in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).date()


def read_day(text: str) -> date:
    """Read a day as ``YYYY-MM-DD``.

    Raises:
        NotFoundError: there is no such day.
    """
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        day = date.min
    if day.year not in _YEARS:
        raise NotFoundError("There is no such day. Write one as in 2026-03-09.")
    return day


def _bounds(day: date) -> tuple[str, str]:
    """Return what sorts before every id of a day, and what sorts before those after it."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return _first_at(start), _first_at(start + DAY)


def _first_at(at: datetime) -> str:
    return first_at(int(at.timestamp()) * 1000)
