"""Looking again at what nobody could look at in time, and what moderators say of a verdict."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from bot.checking.model import Decision, Verdict
from bot.checking.service import PictureChecks
from bot.dreams import Dreams
from bot.errors import DreamstreamError, ForbiddenError, InvalidRequestError, NotFoundError
from bot.ids import now_ms
from bot.library import Library
from bot.model import Act, Dream
from bot.rights import Actor, may_look_behind, moderates
from bot.sentences import say
from bot.store import Store, moderation, people, picture_checks

log = logging.getLogger(__name__)

MAX_TRIES = 5
_PAUSE_S = 30.0
_PAGE = 20
_NOT_THEIRS = say("Only who asked for this dream, and moderators of its server, see what is there.")
_NOT_COVERED = say("This picture is not covered.")


class Reviews:
    """What comes after the first verdict; its own work goes on from `start` to `stop`."""

    def __init__(
        self,
        store: Store,
        library: Library,
        dreams: Dreams,
        checks: PictureChecks,
        *,
        pause_s: float = _PAUSE_S,
    ) -> None:
        self._store = store
        self._library = library
        self._dreams = dreams
        self._checks = checks
        self._pause_s = pause_s
        self._task: asyncio.Task[None] | None = None
        self._watchers: list[Callable[[str], None]] = []

    def on_change(self, watcher: Callable[[str], None]) -> None:
        """Call `watcher` with a dream's id after its cover was taken away."""
        self._watchers.append(watcher)

    def no_more(self, watcher: Callable[[str], None]) -> None:
        """Call a watcher no more; one that is not known changes nothing."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    def start(self) -> None:
        """Begin to look at what is left."""
        self._task = asyncio.create_task(self._keep_looking(), name="picture-reviews")

    async def stop(self) -> None:
        """Look at no more; the rest is looked at after the next start."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def original(self, dream: Dream, actor: Actor) -> bytes:
        """Return the PNG behind a cover, for who may see it.

        Raises:
            ForbiddenError: it is covered for them.
            InvalidRequestError: it is not covered.
            NotFoundError: it is not in the library.
        """
        if dream.behind is None:
            raise InvalidRequestError("dream", _NOT_COVERED)
        if not may_look_behind(dream, actor):
            raise ForbiddenError(_NOT_THEIRS)
        return await self._library.read(dream.behind.sha256)

    async def decide(self, dream: Dream, actor: Actor, decision: Decision) -> None:
        """Have a covered picture shown, or say that it is rightly covered.

        Raises:
            ForbiddenError: the actor does not moderate where it was asked for.
            InvalidRequestError: it is not covered.
            DiskError, StoreError: nothing can be kept at present.
        """
        if not moderates(dream, actor):
            raise ForbiddenError(say("Only who moderates this server can do that."))
        if dream.behind is None:
            raise InvalidRequestError("dream", _NOT_COVERED)
        at_ms = now_ms()
        async with self._store.write() as connection:
            if decision is Decision.RELEASED and not await picture_checks.uncover(
                connection, dream.id
            ):
                raise InvalidRequestError("dream", _NOT_COVERED)
            await people.upsert(connection, actor.person, at_ms)
            await picture_checks.decide(connection, dream.id, decision, actor.person.id, at_ms)
            if dream.guild_id is not None:
                act = Act.RELEASED if decision is Decision.RELEASED else Act.CONFIRMED
                await moderation.append(
                    connection,
                    act,
                    dream.guild_id,
                    actor.person,
                    at_ms,
                    person=dream.person,
                    dream_id=dream.id,
                    channel_id=dream.channel_id,
                )
        if decision is Decision.RELEASED:
            await self._uncovered(dream.id)

    # --- looking again -----------------------------------------------------------------------

    async def _keep_looking(self) -> None:
        while True:
            try:
                await self.look_again()
            except DreamstreamError as error:
                log.warning("Pictures that were not checked in time are left for now: %s", error)
            except Exception:  # a mistake of ours must not be the end of all checks
                log.exception("Pictures that were not checked in time are left for now")
            await asyncio.sleep(self._pause_s)

    async def look_again(self) -> int:
        """Look at pictures that nobody could look at in time; return how many have a verdict now.

        Raises:
            DiskError, StoreError: nothing can be kept at present.
        """
        count = 0
        for check in await picture_checks.unchecked(self._store, MAX_TRIES, _PAGE):
            sha256 = check.original_sha256
            try:
                dream = await self._dreams.existing(check.dream_id)
                if sha256 is None and dream.image is not None:
                    sha256 = dream.image.sha256  # it stays where it is, and is not covered
                data = await self._library.read(sha256 or "")
            except NotFoundError:
                continue  # it has just been deleted
            verdict, nsfw = await self._checks.look([(data, "image/png")], check.dream_id)
            async with self._store.write() as connection:
                still = await picture_checks.found(
                    connection, check.dream_id, verdict, nsfw, now_ms()
                )
                uncovered = (
                    still
                    and verdict is Verdict.CLEAR
                    and await picture_checks.uncover(connection, check.dream_id)
                )
            count += verdict is not Verdict.UNCHECKED
            if uncovered:
                await self._uncovered(check.dream_id)
        return count

    async def _uncovered(self, dream_id: str) -> None:
        for watcher in self._watchers:
            watcher(dream_id)
        with suppress(DreamstreamError):  # at the next start
            await self._dreams.remove_files()
