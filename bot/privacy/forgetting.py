"""Forget a person: all that they asked for, said, liked and were, but for tombstones.

That they want it is a row before anything goes, and done is a row once all has gone; in between
everything is deleted by the ways in which it is deleted one by one, each of which a crash can
interrupt. So it goes on at the next start from wherever it was.

What stays goes on under a pseudonym in the end (`bot.store.people`), an hour after: until then, the
limits of an hour count what was asked for. Who asks for something meanwhile has come back, and
keeps their id.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from bot.disk import TROUBLE
from bot.dreams import Dreams
from bot.errors import DreamstreamError
from bot.games.service import Games
from bot.ids import EARLIEST_MS, now_ms
from bot.model import Person
from bot.parties.service import Parties
from bot.rights import Actor
from bot.side_tasks import SideTasks
from bot.store import Store, forgetting, games, people
from bot.unforeseen import Errors
from bot.upgrade_copies import remove_copies

log = logging.getLogger(__name__)

_PAGE = 100
_AGAIN_S = 30.0
_LONGEST_S = 3600.0
PART_AFTER_S = 3600.0
_LOOK_S = 600.0


class Forgetting:
    """The one place that forgets people. `start` goes on with what was left; `stop` it."""

    def __init__(
        self,
        store: Store,
        dreams: Dreams,
        parties: Parties,
        games_service: Games,
        *,
        again_s: float = _AGAIN_S,
        part_after_s: float = PART_AFTER_S,
        look_s: float = _LOOK_S,
    ) -> None:
        """Try what fails anew after `again_s`; look every `look_s` who is to be parted."""
        self._store = store
        self._dreams = dreams
        self._parties = parties
        self._games = games_service
        self._again_s = again_s
        self._part_after_s = part_after_s
        self._errors = Errors("forgetting", log)
        self._look_s = look_s
        self._ids_left = False  # in the journal; at a start `bot.removal` empties it
        self._tasks = SideTasks()
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._watchers: list[Callable[[str], None]] = []

    def on_asked(self, watcher: Callable[[str], None]) -> None:
        """Call `watcher` with the id of everybody who wants to be forgotten, also after a start."""
        self._watchers.append(watcher)

    async def start(self) -> None:
        """Go on with what an earlier process left.

        Raises:
            StoreError: the database cannot be read.
        """
        for person, _ in await forgetting.undone(self._store):
            self._begin(person.id)
        trouble = "Who was forgotten is not parted from their id yet"
        self._tasks.every(self._look_s, self.part, trouble, name="parting")

    async def stop(self) -> None:
        """Leave the rest to the next start."""
        await self._tasks.stop()
        self._under_way.clear()

    async def forget(self, person: Person) -> None:
        """Begin to forget a person. Once this returns, they are forgotten, whatever dies.

        Raises:
            DiskError, StoreError: nothing can be written at present; nothing has begun.
        """
        at_ms = now_ms()
        async with self._store.write() as connection:
            await people.upsert(connection, person, at_ms)
            await people.set_publishes(connection, person.id, publishes=False)
            await forgetting.ask(connection, person.id, at_ms)
        self._begin(person.id)

    async def part(self) -> int:
        """Part those from their ids who were forgotten an hour ago; return how many.

        Raises:
            DiskError, StoreError: nothing can be written at present; the rest are not parted.
        """
        await self._bound()
        before_ms = now_ms() - round(1000 * self._part_after_s)
        count = 0
        try:
            for person_id in await forgetting.to_part(self._store, before_ms):
                try:
                    count += await self._part(person_id, before_ms)
                except TROUBLE:
                    raise
                except Exception as error:  # the others are not to wait for it
                    self._errors.tell(
                        error, "Somebody who was forgotten cannot be parted from their id"
                    )
        finally:
            if count:
                log.info("What stays of %d who were forgotten says no more whose it was", count)
            # Until it has been done: the next time there may be nobody to part.
            if self._ids_left:
                self._ids_left = not await self._store.scrub()
        return count

    async def _part(self, person_id: str, before_ms: int) -> bool:
        async with self._store.write() as connection:
            if not await forgetting.is_to_part(connection, person_id, before_ms):
                return False
            await forgetting.unname(connection, person_id)
            await people.part(connection, person_id)
            self._ids_left = True
        return True

    async def _bound(self) -> None:
        now = now_ms()
        if now >= EARLIEST_MS and await forgetting.any_ahead(self._store, now):
            async with self._store.write() as connection:
                await forgetting.bound(connection, now)

    async def settled(self) -> None:
        """Wait until nobody is being forgotten any more."""
        while self._under_way:
            await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def _begin(self, person_id: str) -> None:
        for watcher in self._watchers:
            watcher(person_id)
        if person_id not in self._under_way:
            task = self._tasks.keep(
                lambda: self._surely(person_id),
                "Somebody is not forgotten yet",
                name="forgetting",
                pause_s=self._again_s,
                longest_s=_LONGEST_S,
            )
            self._under_way[person_id] = task
            task.add_done_callback(lambda _: self._under_way.pop(person_id, None))

    async def _surely(self, person_id: str) -> None:
        """Do it, however long the disk does not take it, or something cannot be deleted."""
        pause_s = self._again_s
        while True:
            try:
                await self._bound()
                found = await forgetting.undone(self._store)
                asked = [at_ms for person, at_ms in found if person.id == person_id]
                if not asked:
                    return
                if await self._forget(person_id, asked[0]):
                    continue  # unless they have asked again meanwhile
                pause_s = min(2 * pause_s, _LONGEST_S)
            except TROUBLE as error:
                log.warning("Somebody is not forgotten yet: %s", error)
                pause_s = self._again_s
            await asyncio.sleep(pause_s)

    async def _forget(self, person_id: str, before_ms: int) -> bool:
        """Take all away; say whether nothing was left."""
        actor = Actor(Person(person_id, forgetting.NOBODY))
        parties = await forgetting.parties(self._store, person_id, before_ms)
        for party_id in parties:
            await _unless_gone(self._leave(party_id, actor))
        for game in await games.open_ones(self._store):
            if game.host.id == person_id:
                await _unless_gone(self._games.end(game.id, actor))
        left = await self._each(forgetting.entries, person_id, before_ms, self._withdraw(actor))
        left += await self._each(forgetting.dreams, person_id, before_ms, self._delete(actor))
        async with self._store.write() as connection:
            await forgetting.erase(connection, person_id, before_ms)
        for party_id in parties:  # so that what is published of them is made anew
            await _unless_gone(self._uncredit(party_id, actor.person))
        async with self._store.write() as connection:
            # Once more: what was done in their name meanwhile has called them by it again.
            await forgetting.erase(connection, person_id, before_ms)
        try:
            await asyncio.to_thread(remove_copies, self._store.path)
        except OSError as error:
            log.error("A copy of before an upgrade cannot be deleted: %s", error)
            left += 1
        if left:
            log.error("%d things of somebody who is forgotten could not be deleted yet", left)
        else:
            async with self._store.write() as connection:
                await forgetting.done(connection, person_id, before_ms, now_ms())
            log.info("Somebody has been forgotten")
        await self._dreams.remove_files()
        return not left

    async def _each(
        self,
        find: Callable[[Store, str, int, int], Awaitable[list[str]]],
        person_id: str,
        before_ms: int,
        take: Callable[[str], Awaitable[object]],
    ) -> int:
        """Take all away that is found; return how much cannot be, for other reasons than trouble.

        Raises:
            DiskError, StoreError: nothing can be written at present.
        """
        left: set[str] = set()
        while found := await find(self._store, person_id, before_ms, _PAGE + len(left)):
            fresh = [one for one in found if one not in left]
            if not fresh:
                break
            for one in fresh:
                left.add(one)
                try:
                    await take(one)
                    left.discard(one)
                except TROUBLE:
                    raise
                except Exception as error:  # the others are not to wait for it
                    self._errors.tell(error, "%s could not be deleted", one)
        return len(left)

    def _delete(self, actor: Actor) -> Callable[[str], Awaitable[object]]:
        return lambda dream_id: self._dreams.delete(dream_id, actor)

    def _withdraw(self, actor: Actor) -> Callable[[str], Awaitable[object]]:
        return lambda entry_id: self._games.withdraw(entry_id, actor)

    async def _leave(self, party_id: str, actor: Actor) -> None:
        await self._parties.leave(await self._parties.get(party_id), actor)

    async def _uncredit(self, party_id: str, person: Person) -> None:
        await self._parties.credit(await self._parties.get(party_id), person, credited=False)


async def _unless_gone(work: Awaitable[object]) -> None:
    """Do something that is perhaps not there to be done any more."""
    try:
        await work
    except TROUBLE:
        raise
    except DreamstreamError as error:
        log.debug("Nothing to be left: %s", error)
