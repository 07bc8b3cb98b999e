"""What the rules of a server refused, in its log of decisions; and how long that log is kept.

What moderators do is written in the transaction that does it. A refusal changes nothing, so it is
written a moment later, and one that a crash swallows has done no harm. Somebody who tries the same
over and over makes one entry a minute, which says how often. No entry has the words that were
refused: they were not taken, and so are nowhere.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum

from bot.errors import DreamstreamError
from bot.ids import now_ms
from bot.model import Act, Person
from bot.side_tasks import SideTasks
from bot.store import Store, moderation, people
from bot.store.forgetting import NOBODY
from bot.trusted_time import is_sure_of_the_time

log = logging.getLogger(__name__)

RULES = Person("local:rules", "The rules")
"""Who refuses what is not judged by a person."""
LEAST_DAYS = 30
DAY_MS = 24 * 3600 * 1000
_GATHER_S = 0.25
_SAME_S = 60.0
_LONGEST_S = 5.0
_MOST = 1000
_PURGE_S = 6 * 3600.0
_PAGE = 1000

_Key = tuple[int, int | None, str, str]


class Why(StrEnum):
    """What was refused for."""

    BLOCKED_WORD = "blocked_word"
    ADULT_WORD = "adult_word"
    BLOCKED = "blocked"
    CLOSED = "closed"
    ROLE = "role"
    LIMIT = "limit"
    UPLOAD = "upload"


Refused = Callable[[Person, int | None, int | None, Why], None]
"""Is called with whoever was refused something, in which server and channel, and for what."""


class Audit:
    """Writes refusals, and forgets what is old, from `start` to `stop`."""

    def __init__(self, store: Store, kept_days: float, *, same_s: float = _SAME_S) -> None:
        """Entries older than `kept_days` go, none with 0; the same is written once in `same_s`."""
        self._store = store
        self._kept_days = kept_days
        self._same_s = same_s
        self._pending: dict[_Key, int] = {}
        self._names: dict[str, str] = {}  # of whom something is pending, by their ids
        self._written: dict[_Key, float] = {}
        self._wake = asyncio.Event()
        self._tasks = SideTasks()

    def start(self) -> None:
        """Begin to write."""
        trouble = "Refusals are not in the log yet"
        self._tasks.keep(self._keep_writing, trouble, name="audit", longest_s=_LONGEST_S)
        trouble = "Old entries of the moderation log are still there"
        self._tasks.every(_PURGE_S, self.forget_old, trouble, name="audit-old")

    async def stop(self) -> None:
        """Write what is left, and no more."""
        await self._tasks.stop()
        self._written.clear()
        with suppress(DreamstreamError):
            await self.write()

    def refused(
        self, person: Person, guild_id: int | None, channel_id: int | None, why: Why
    ) -> None:
        """Note that somebody was refused something in a server. Returns at once."""
        if guild_id is None:
            return
        key = (guild_id, channel_id, person.id, why.value)
        if key in self._pending or len(self._pending) < _MOST:
            self._pending[key] = self._pending.get(key, 0) + 1
            self._names[person.id] = person.name
            self._wake.set()

    def forgotten(self, person_id: str) -> None:
        """Keep no name of somebody who wants to be forgotten. What they were refused stays."""
        self._names.pop(person_id, None)

    async def write(self) -> None:
        """Write what was noted, but for what was written of late.

        Raises:
            DiskError, StoreError: nothing can be kept at present; it is noted still.
        """
        now = time.monotonic()
        self._written = {key: at for key, at in self._written.items() if now - at < self._same_s}
        due = {key: count for key, count in self._pending.items() if key not in self._written}
        if not due:
            return
        async with self._store.write() as connection:
            at_ms = now_ms()
            await people.known(connection, RULES, at_ms)
            for (guild_id, channel_id, person_id, why), count in due.items():
                person = Person(person_id, self._names.get(person_id, NOBODY))
                await people.known(connection, person, at_ms)
                detail = {"why": why} | ({"times": count} if count > 1 else {})
                await moderation.append(
                    connection,
                    Act.REFUSED,
                    guild_id,
                    RULES,
                    at_ms,
                    person=person,
                    channel_id=channel_id,
                    detail=detail,
                )
        for key, count in due.items():
            self._written[key] = now
            left = self._pending.pop(key, 0) - count
            if left > 0:
                self._pending[key] = left
        still = {person_id for _, _, person_id, _ in self._pending}
        self._names = {one: name for one, name in self._names.items() if one in still}

    async def forget_old(self) -> int:
        """Remove the entries that are older than they are kept; return how many.

        None, while the clock may be wrong: one that is a year ahead would empty the log.

        Raises:
            DiskError, StoreError: nothing can be written at present.
        """
        if self._kept_days <= 0 or not await is_sure_of_the_time(self._store):
            return 0
        before_ms = now_ms() - round(max(self._kept_days, LEAST_DAYS) * DAY_MS)
        count = 0
        while True:
            async with self._store.write() as connection:
                gone = await moderation.forget_before(connection, before_ms, _PAGE)
            count += gone
            if gone < _PAGE:
                break
        if count:
            log.info("%d old entries of the moderation log were removed", count)
        return count

    async def _keep_writing(self) -> None:
        while True:
            if self._pending:
                await asyncio.sleep(_GATHER_S)
                await self.write()
            if self._pending:  # written of late
                await asyncio.sleep(min(self._same_s, _LONGEST_S))
            else:
                self._wake.clear()
                await self._wake.wait()
