"""The bundles of parties: made in the background, kept, and never telling more than may be told.

Where something that a bundle tells may be told no more (a dream or words were deleted, somebody is
not to be named), it is withdrawn, and made again without that: for a deleted dream at once, for all
else when it is next looked at, which every start does.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar

from bot import logs
from bot.errors import (
    DiskError,
    DreamstreamError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    RequestError,
)
from bot.feed import Feed
from bot.following import Following
from bot.library import Library
from bot.model import EventKind, StreamEvent
from bot.parties.acting import LEADERS, leads
from bot.parties.model import Party
from bot.parties.service import Parties
from bot.publish.building import bundle
from bot.publish.model import Bundle, Told
from bot.publish.shelf import Shelf
from bot.publish.story import of_party, told_by
from bot.rights import Actor
from bot.sentences import say
from bot.side_tasks import SideTasks
from bot.unforeseen import Errors

log = logging.getLogger(__name__)

FOLDER = "bundles"
CHECK_S = 10.0
"""For how long a bundle that was looked at is taken to tell only what may be told."""
_NOT_ALLOWED = "Only the host and the facilitators of the party can publish it."
_NOTHING = "There is nothing to publish: no picture of this party may be shown elsewhere."
_NONE = "There is no bundle of this party."
_BROKEN = "The bundle could not be made. The log says why."


P = ParamSpec("P")
T = TypeVar("T")


class Publishing:
    """Makes parties' bundles and keeps them. `start` before the fronts open, `stop` after."""

    def __init__(self, parties: Parties, library: Library, feed: Feed) -> None:
        self._parties = parties
        self._library = library
        self._feed = feed
        self._following = Following(feed, self._happened)
        self._shelf = Shelf(library.root / FOLDER)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="publishing")
        self._tasks = SideTasks()
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._telling: set[str] = set()  # made, and about to be told
        self._kept: dict[str, Bundle] = {}
        self._troubles: dict[str, str] = {}
        self._checked: dict[str, float] = {}
        self._looking: dict[str, asyncio.Lock] = {}
        self._marking = asyncio.Lock()  # that one is wanted and that it is made change together
        self._stopping = threading.Event()
        self._errors = Errors("bundles", log)

    async def start(self) -> None:
        """Take up what an earlier process left, and look after what is told from now on.

        What may be told no more since it was made is found in the background: nobody is shown a
        bundle that was not looked at in this process.
        """
        after = await self._feed.last_id()
        self._kept, wanted = await self._run(self._shelf.read)
        for party_id in wanted:
            self._begin(party_id)
        self._following.position = after
        trouble = "It is not seen which bundles there are to be"
        self._tasks.keep(self._look_at_all, trouble, name="bundles-look")
        trouble = "It is not seen which pictures of bundles are deleted"
        self._tasks.keep(self._following.run, trouble, name="bundles-watch")

    async def stop(self) -> None:
        """Leave what is not done to the next start."""
        self._stopping.set()
        await self._tasks.stop()
        await asyncio.to_thread(self._thread.shutdown)

    async def bundle_of(self, party_id: str) -> Bundle | None:
        """Return a party's bundle; None where there is none, or none that may be shown."""
        if party_id not in self._kept:
            return None
        # A page of many pictures asks for each: the first of them looks, the others wait for it.
        async with self._looking.setdefault(party_id, asyncio.Lock()):
            if time.monotonic() - self._checked.get(party_id, -CHECK_S) >= CHECK_S:
                await self._check(party_id)
        return self._kept.get(party_id)

    def making(self, party_id: str) -> bool:
        """Say whether a party's bundle is being made."""
        return party_id in self._under_way and party_id not in self._telling

    def trouble(self, party_id: str) -> str:
        """Return why the newest bundle could not be made, as a sentence; empty if it could."""
        return self._troubles.get(party_id, "")

    async def check(self, party_id: str, actor: Actor) -> None:
        """See that somebody may have a party's bundle made, and that there is something to tell.

        Raises:
            NotFoundError: there is no such party.
            ForbiddenError: the actor does not lead it.
            InvalidRequestError: nothing of it may be shown elsewhere.
        """
        party = await self._parties.get(party_id)
        member = await self._parties.member(party, actor.person.id)
        leader = member is not None and not member.removed and member.role in LEADERS
        if not leader and not leads(party, actor):
            raise ForbiddenError(say(_NOT_ALLOWED))
        if not (await self._parties.record(party)).nodes:
            raise InvalidRequestError("party", say(_NOTHING))

    async def make(self, party_id: str, actor: Actor) -> None:
        """Have a party's bundle made, or made anew. It goes on in the background, and after a stop.

        Raises:
            As `check` does; DiskError: that it was asked for cannot be kept.
        """
        await self.check(party_id, actor)
        await self._order(party_id)

    def changed(self, dream_id: str) -> None:
        """Make the bundles anew that tell of a dream, since it shows another picture now.

        Until then they are shown as they are: what they have of it is a cover. What is being made
        may have either, and is made once more.
        """
        told = {one for one, kept in self._kept.items() if dream_id in kept.told.dream_ids}
        for party_id in told | {*self._under_way}:
            self._tasks.spawn(self._anew(party_id))

    async def _anew(self, party_id: str) -> None:
        try:
            await self._order(party_id)
        except DreamstreamError as error:
            log.warning("The bundle of party %s still has a cover: %s", party_id, error)

    async def wait(self, party_id: str) -> Bundle:
        """Return a party's bundle once nothing more is being made of it.

        Raises:
            NotFoundError: there is none; the sentence says why, where that is known.
        """
        while True:
            while (task := self._under_way.get(party_id)) is not None:
                await asyncio.shield(task)
            made = await self.bundle_of(party_id)
            if party_id in self._under_way:  # it told too much, and is made again
                continue
            if made is None:
                raise NotFoundError(self.trouble(party_id) or say(_NONE))
            return made

    async def _order(self, party_id: str) -> None:
        async with self._marking:
            self._library.check_space()
            # Not behind what is being made, of this party or another: that takes minutes.
            await asyncio.to_thread(self._shelf.want, party_id)
            self._begin(party_id)

    def _begin(self, party_id: str) -> None:
        if party_id in self._under_way:
            self._again.add(party_id)
        else:
            self._under_way[party_id] = self._tasks.spawn(self._make(party_id))

    async def _make(self, party_id: str) -> None:
        """Make a bundle, once more where it was asked for or had to be withdrawn meanwhile."""
        try:
            while True:
                self._again.discard(party_id)
                self._telling.discard(party_id)
                self._troubles.pop(party_id, None)
                try:
                    with logs.about(party=party_id):
                        await self._make_once(await self._parties.get(party_id))
                except (RequestError, DiskError) as error:
                    self._troubles[party_id] = error.sentence
                    log.warning("No bundle of party %s: %s", party_id, error)
                except Exception as error:
                    self._troubles[party_id] = _BROKEN
                    self._errors.tell(error, "No bundle of party %s", party_id)
                if party_id in self._again:
                    continue
                # Before it is done with: what dies in between is made, and told, once more.
                self._telling.add(party_id)
                with suppress(DreamstreamError):
                    await self._parties.tell_bundled(party_id)
                async with self._marking:
                    if party_id not in self._again:
                        with suppress(DiskError):
                            await asyncio.to_thread(self._shelf.done_with, party_id)
                        del self._under_way[party_id]
                        break
        except BaseException:
            self._under_way.pop(party_id, None)
            raise
        finally:
            self._telling.discard(party_id)

    async def _make_once(self, party: Party) -> None:
        record = await self._parties.record(party)
        if not record.nodes:
            raise InvalidRequestError("party", say(_NOTHING))
        story = of_party(record)
        version = secrets.token_hex(8)
        folder = self._shelf.folder(party.id, version)
        try:
            made = await self._run(
                bundle, story, self._library, folder, whole=True, stopped=self._stopping.is_set
            )
            # It took its time: what may be told no more since then must not be in it.
            now = told_by(await self._parties.record(party))
            if not made.told.within(now):
                self._again.add(party.id)
                return
            await self._run(self._shelf.keep, party.id, version, made)
            self._kept[party.id] = made
            await self._check(party.id)
        finally:
            before = self._kept.get(party.id)
            kept = "" if before is None else before.folder.name
            await asyncio.shield(self._run(self._shelf.clear, party.id, kept))

    async def _check(self, party_id: str) -> None:
        """Withdraw a bundle that tells what may be told no more; have another one made."""
        kept = self._kept.get(party_id)
        if kept is None:
            return
        try:
            record = await self._parties.record(await self._parties.get(party_id))
            allowed = told_by(record)
        except NotFoundError:
            allowed = Told()
        self._checked[party_id] = time.monotonic()
        if not kept.told.within(allowed) and self._kept.get(party_id) is kept:
            await self._withdraw(party_id)

    async def _withdraw(self, party_id: str) -> None:
        gone = self._kept.pop(party_id)  # nobody sees it from here on, whatever its files do
        async with self._marking:
            with suppress(DiskError):
                await asyncio.to_thread(self._shelf.want, party_id)
            self._begin(party_id)
        await asyncio.to_thread(shutil.rmtree, gone.folder, ignore_errors=True)

    async def _look_at_all(self) -> None:
        """Look at all bundles, and make those that a crash kept from being asked for.

        Coming to the last stage asks for one, of which a process may die before it is noted.
        """
        for party_id in [*self._kept]:
            with suppress(DreamstreamError):  # who asks for it looks again
                await self.bundle_of(party_id)
        for party in await self._parties.published():
            kept = self._kept.get(party.id)
            if kept is None or kept.made_ms < party.stage_started_ms:
                with suppress(DreamstreamError):
                    if (await self._parties.record(party)).nodes:
                        await self._order(party.id)

    async def _happened(self, event: StreamEvent) -> None:
        """Withdraw the bundles that tell of a dream which is deleted."""
        if event.kind is not EventKind.DELETED:
            return
        for party_id, kept in list(self._kept.items()):
            if event.dream_id in kept.told.dream_ids and party_id in self._kept:
                await self._withdraw(party_id)

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: work(*args, **kwargs))
