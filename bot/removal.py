"""Delete dreams for good, so that a crash at any moment leaves nothing half deleted.

First one transaction leaves a tombstone of the dream and dooms its files; from then on it is
deleted, whatever dies. Then the files are removed, each while nobody can take hold of it, so that
nothing comes to name a file that is about to go; the row that dooms it goes last. What a crash left
is removed at the next start; so goes what was kept for a dream that did not come to be, where it
could not be removed at once. This module does not know who may delete.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiosqlite

from bot.errors import DreamstreamError
from bot.ids import now_ms
from bot.library import Library
from bot.model import RETIRED, Act, Dream, EventKind, Person
from bot.rights import Actor
from bot.side_tasks import SideTasks
from bot.store import Store, events, moderation, people, portraits, tombstones
from bot.store.tombstones import Kind

log = logging.getLogger(__name__)

RETENTION = Person("local:retention", "Retention")
"""Who deletes what goes to make room."""
_AGAIN_S = 60.0
MayGo = Callable[[aiosqlite.Connection], Awaitable[bool]]


class Removal:
    """The one place that deletes dreams. `stop` it in the end."""

    def __init__(self, store: Store, library: Library, *, again_s: float = _AGAIN_S) -> None:
        """What cannot be done at once is tried again every `again_s` seconds."""
        self._store = store
        self._library = library
        self._removing = asyncio.Lock()
        # Also at a start: an earlier process may have died before its journal was emptied.
        self._words_left = True
        self._left: set[str] = set()  # what was kept for nothing, and is there still
        self._again_s = again_s
        self._again: asyncio.Task[None] | None = None
        self._tasks = SideTasks()

    async def stop(self) -> None:
        """Leave what is still in the journal to the next start."""
        self._library.no_more(self._was_left)
        await self._tasks.stop()

    async def bury(self, dream: Dream, actor: Actor) -> bool:
        """Make a tombstone of a dream that is over; say whether it was not one before.

        Raises:
            DiskError, StoreError: nothing can be written at present; it is still there.
        """
        at_ms = now_ms()
        async with self._store.write() as connection:
            await people.upsert(connection, actor.person, at_ms)
            portrait = await portraits.is_agreed_now(connection, dream.id)
            if not await tombstones.bury(connection, dream.id, actor.person.id, at_ms):
                return False
            self._words_left = True
            await events.append(
                connection,
                EventKind.DELETED,
                dream.theme_id,
                at_ms,
                dream_id=dream.id,
                person_id=actor.person.id,
            )
            own = actor.person.id == dream.person.id
            if dream.guild_id is not None and (portrait or not own):
                await moderation.append(
                    connection,
                    Act.CONSENT if own else Act.DELETED,
                    dream.guild_id,
                    actor.person,
                    at_ms,
                    person=dream.person,
                    dream_id=dream.id,
                    channel_id=dream.channel_id,
                )
        return True

    async def retire(self, dream_id: str, theme_id: int, may_go: MayGo) -> bool:
        """Make a tombstone of a dream that goes to make room; say whether it did.

        `may_go` is asked in the transaction that does it.

        Raises:
            DiskError, StoreError: nothing can be written at present; it is still there.
        """
        at_ms = now_ms()
        async with self._store.write() as connection:
            if not await may_go(connection):
                return False
            await people.upsert(connection, RETENTION, at_ms)
            if not await tombstones.bury(connection, dream_id, RETENTION.id, at_ms):
                return False
            self._words_left = True
            await events.append(
                connection,
                EventKind.DELETED,
                theme_id,
                at_ms,
                dream_id=dream_id,
                person_id=RETENTION.id,
                payload={RETIRED: True},
            )
        return True

    async def start(self) -> None:
        """Remove what an earlier process left: deleted files, and those it kept for nothing.

        From now on also what this process keeps for nothing and cannot remove at once.
        """
        self._library.on_left(self._was_left)
        self._left.update(await self._library.left_held())
        await self.remove_files()

    async def remove_files(self) -> None:
        """Remove the files of what was deleted. What cannot be is tried again, also at a start."""
        async with self._removing:
            try:
                await self._doom_left()
                for kind, sha256 in await tombstones.doomed(self._store):
                    await self._remove(kind, sha256)
                    self._words_left = True
                if self._words_left:
                    self._words_left = False
                    if not await self._store.scrub():
                        self._words_left = True
                        self._try_again()
            except DreamstreamError as error:
                self._words_left = True
                log.warning("Deleted files are still there; tried again soon: %s", error)
                self._try_again()

    def _was_left(self, sha256: str) -> None:
        self._left.add(sha256)
        self._try_again()

    async def _doom_left(self) -> None:
        """Doom what was kept for nothing: from then on that is in the database."""
        if not (left := [*self._left]):
            return
        async with self._store.write() as connection:
            for sha256 in left:
                for kind in Kind:
                    await tombstones.doom(connection, kind, sha256)
        self._left.difference_update(left)
        for sha256 in left:
            with suppress(OSError):  # then it is doomed again at the next start
                await self._library.settle(sha256)

    def _try_again(self) -> None:
        if self._again is None:
            self._again = self._tasks.spawn(self._later())

    async def _later(self) -> None:
        await asyncio.sleep(self._again_s)
        self._again = None
        await self.remove_files()

    async def _remove(self, kind: Kind, sha256: str) -> None:
        async def spared() -> bool:
            async with self._store.write() as connection:
                if named := await tombstones.is_named(connection, kind, sha256):
                    await tombstones.spare(connection, kind, sha256)
                return named

        if await self._library.discard(sha256, spared, file=kind is Kind.FILE):
            async with self._store.write() as connection:
                await tombstones.forget(connection, kind, sha256)
