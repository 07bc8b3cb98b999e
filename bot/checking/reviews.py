"""Looking again at what nobody could look at in time, and what moderators say of a verdict."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

import aiosqlite

from bot.checking.model import Check, Decision, Verdict
from bot.checking.service import FILMS, Found, PictureChecks
from bot.dreams import Dreams
from bot.errors import (
    DreamstreamError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    OutOfReachError,
)
from bot.ids import now_ms
from bot.library import Library
from bot.model import Act, Dream
from bot.rights import NOT_A_MODERATOR, Actor, may_look_behind, moderates
from bot.sentences import say
from bot.side_tasks import SideTasks
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
        self._tasks = SideTasks()
        self._watchers: list[Callable[[str], None]] = []
        self._after = ""  # the last dream of the page that was looked at; none, after the last page

    def on_change(self, watcher: Callable[[str], None]) -> None:
        """Call `watcher` with a dream's id after it has come to be shown, or shown uncovered."""
        self._watchers.append(watcher)

    def no_more(self, watcher: Callable[[str], None]) -> None:
        """Call a watcher no more; one that is not known changes nothing."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    def start(self) -> None:
        """Begin to look at what is left."""
        trouble = "Pictures that were not checked in time are left for now"
        self._tasks.every(self._pause_s, self.look_again, trouble, name="picture-reviews")

    async def stop(self) -> None:
        """Look at no more; the rest is looked at after the next start."""
        await self._tasks.stop()

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
        """Have a picture shown that is covered or kept from the wall, or say that it rightly is.

        Raises:
            ForbiddenError: the actor does not moderate where it was asked for.
            InvalidRequestError: it is neither.
            DiskError, StoreError: nothing can be kept at present.
        """
        if not moderates(dream, actor):
            raise ForbiddenError(NOT_A_MODERATOR)
        if dream.behind is None:
            check = await picture_checks.by_id(self._store, dream.id)
            if check is None or not check.off_wall:
                raise InvalidRequestError("dream", _NOT_COVERED)
        at_ms = now_ms()
        async with self._store.write() as connection:
            if decision is Decision.RELEASED and not await _show(connection, dream.id):
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
            await self._shown(dream.id)

    # --- looking again -----------------------------------------------------------------------

    async def look_again(self) -> int:
        """Look at pictures that nobody could look at in time; return how many have a verdict now.

        Where nobody can look at present, no try is counted, and the rest is left for later. Nor is
        it of a picture that cannot be had; those behind it are looked at, and then it again.
        One call looks at a page of them, and the next goes on behind it.

        Raises:
            DiskError, StoreError: nothing can be kept at present, or a picture not be had.
        """
        count = 0
        missed: OutOfReachError | None = None
        page = await picture_checks.unchecked(self._store, MAX_TRIES, _PAGE, self._after)
        for check in page:
            try:
                seen = await self._look(check)
            except OutOfReachError as error:
                missed = missed or error
                continue
            verdict = seen.verdict
            if verdict is Verdict.UNCHECKED and not seen.its_own:
                break
            async with self._store.write() as connection:
                still = await picture_checks.found(
                    connection, check.dream_id, verdict, seen.nsfw, seen.second, now_ms()
                )
                clear = still and verdict is Verdict.CLEAR
                shown = clear and await _show(connection, check.dream_id)
            count += verdict is not Verdict.UNCHECKED
            if shown:
                await self._shown(check.dream_id)
        else:
            self._after = page[-1].dream_id if len(page) == _PAGE else ""
        if missed is not None:
            raise missed
        return count

    async def _look(self, check: Check) -> Found:
        """Look at all of a dream that would be shown."""
        sha256 = check.original_sha256
        try:
            dream = await self._dreams.existing(check.dream_id)
            if sha256 is None and dream.image is not None:
                sha256 = dream.image.sha256  # it is not covered, but kept from the wall
            found = [(await self._library.read(sha256 or ""), "image/png")]
            found += [
                (await self._library.read_file(file), file.media_type)
                for file in await picture_checks.files(self._store, check.dream_id)
                if file.media_type in FILMS
            ]
        except NotFoundError:  # it has just been deleted, or its file is lost
            return Found(Verdict.UNCHECKED, its_own=True)
        return await self._checks.look(found, check.dream_id)

    async def _shown(self, dream_id: str) -> None:
        for watcher in self._watchers:
            watcher(dream_id)
        with suppress(DreamstreamError):  # at the next start
            await self._dreams.remove_files()


async def _show(connection: aiosqlite.Connection, dream_id: str) -> bool:
    """Take away what the check has put between a dream and who sees it; say whether it did."""
    uncovered = await picture_checks.uncover(connection, dream_id)
    return await picture_checks.put_on_wall(connection, dream_id) or uncovered
