"""Write down how dreams end: once each, together with the stream's event.

A picture is safe in the library before the database says that its dream is done. The database
guards the rest: of two ends of one dream the first counts and the second changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import aiosqlite

from bot.active import Active
from bot.checking.model import Judged
from bot.disk import TROUBLE, DiskWatch
from bot.ids import now_ms
from bot.library import Library
from bot.model import Act, Dream, DreamState, EventKind, File, Image, Person
from bot.store import Store, events, images, moderation, people, picture_checks
from bot.store import dream_states as rows
from bot.unforeseen import Errors
from generation.protocol import MAX_FILE_BYTES, MAX_FILES, Attachment, Finished

log = logging.getLogger(__name__)

MAX_HELD_BYTES = 64 * 1024 * 1024

FILE_TYPES = {"video/mp4": "mp4", "image/svg+xml": "svg", "image/webp": "webp", "image/gif": "gif"}
"""What is kept besides pictures, and how their names end."""

UNFORESEEN = "Something went wrong that nobody foresaw."
"""What is said of a dream that ended so; what it was is in the log alone."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""Between attempts to write down an end that fails for a cause that nobody foresaw."""

_KINDS = {DreamState.FAILED: EventKind.FAILED, DreamState.CANCELLED: EventKind.CANCELLED}

Judge = Callable[[Dream, Finished], Awaitable[Judged | None]]
"""Says what is to become of a finished picture, before anybody sees it; None where nothing is."""


class Ended(NamedTuple):
    """How a dream has ended, and whether that was written down now: it may have ended before."""

    state: DreamState
    first: bool


class Endings:
    """The one place that ends dreams. Who `judge`s pictures is asked once for each."""

    def __init__(self, store: Store, library: Library, disk: DiskWatch) -> None:
        self._store = store
        self._library = library
        self._disk = disk
        self._errors = Errors("endings", log)
        self._held_bytes = 0
        self.judge: Judge | None = None

    async def done(
        self, dream: Dream, finished: Finished, licence: str, judged: Judged | None = None
    ) -> Ended:
        """Keep the picture, then end the dream with it, if it has not ended before.

        Where it was `judged` to be covered, the dream ends with the cover, and the picture is
        kept behind it.

        Raises:
            BadPictureError: what was drawn is not a whole PNG.
            DiskError: the disk is full, or may not be written. The dream has not ended.
        """
        image = await self._library.keep(
            finished.png, finished.recipe, prompt=dream.prompt, licence=licence
        )
        named = False
        held = [image.sha256]
        shown = image
        try:
            if judged is not None and judged.cover is not None:
                shown = await self._library.keep(
                    judged.cover, finished.recipe, prompt=dream.prompt, licence=licence
                )
                held.append(shown.sha256)
            files = []
            for attachment in _sound(dream.id, finished.attachments):
                files.append(await self._library.keep_file(attachment))
                held.append(files[-1].sha256)
            ended = await self._write_done(dream, finished, image, shown, files, judged)
            named = ended.first
        finally:
            for sha256 in held:
                await self._library.let_go(sha256, named=named)
        self._disk.succeeded()
        return ended

    async def _write_done(
        self,
        dream: Dream,
        finished: Finished,
        original: Image,
        image: Image,
        files: Sequence[File],
        judged: Judged | None,
    ) -> Ended:
        """End a dream with `image`, which is its `original` picture or the cover of that."""
        at_ms = now_ms()
        async with self._store.write() as connection:
            for one in (original, image):
                await images.insert(connection, one, at_ms)
            first = await rows.to_done(
                connection,
                dream.id,
                finished.recipe,
                image,
                gpu_s=finished.gpu_s,
                score=finished.score,
                reason=dream.reason,
                now_ms=at_ms,
            )
            if first:
                await rows.add_files(connection, dream.id, files)
                if judged is not None:
                    covered = None if original == image else original
                    await picture_checks.put(connection, dream, judged, covered, at_ms)
                await events.append(
                    connection,
                    EventKind.DONE,
                    dream.theme_id,
                    at_ms,
                    dream_id=dream.id,
                    person_id=dream.person.id,
                    payload={"sha256": image.sha256, "width": image.width, "height": image.height},
                )
            else:
                for one in (original, image):
                    await images.forget_unnamed(connection, one.sha256)
            return await _ended(connection, dream, DreamState.DONE, first)

    async def done_surely(
        self, active: Active, finished: Finished, licence: str, tell: Callable[[str], None]
    ) -> DreamState | None:
        """Do as `done` does, and wait for the disk as long as it takes; return how it has ended.

        None where too many pictures wait in memory already: then it must be drawn again, unless
        somebody has ended it meanwhile.

        Raises:
            BadPictureError: what was drawn is not a whole PNG.
        """
        held_bytes = len(finished.png) + sum(len(file.data) for file in finished.attachments)
        self._held_bytes += held_bytes
        try:
            judged = None if self.judge is None else await self.judge(active.dream, finished)
            while not active.ended.is_set():
                try:
                    return (await self.done(active.dream, finished, licence, judged)).state
                except TROUBLE as error:
                    self._disk.report(error)
                    tell(f"Drawn, but not kept yet. {error}")
                if self._held_bytes > MAX_HELD_BYTES:
                    break
                await self._disk.well()
            return None
        finally:
            self._held_bytes -= held_bytes

    async def without_picture(
        self, dream: Dream, state: DreamState, reason: str = "", person: Person | None = None
    ) -> Ended:
        """End a dream that failed or was cancelled, if it has not ended before.

        Raises:
            DiskError: the disk is full, or may not be written. The dream has not ended.
        """
        at_ms = now_ms()
        who = person or dream.person
        payload: dict[str, Any] = {"reason": reason} if reason else {}
        async with self._store.write() as connection:
            first = await rows.to_ended(connection, dream.id, state, reason, at_ms)
            if first:
                await people.upsert(connection, who, at_ms)
                await events.append(
                    connection,
                    _KINDS[state],
                    dream.theme_id,
                    at_ms,
                    dream_id=dream.id,
                    person_id=who.id,
                    payload=payload,
                )
                if who.id != dream.person.id and dream.guild_id is not None:
                    await moderation.append(
                        connection,
                        Act.CANCELLED,
                        dream.guild_id,
                        who,
                        at_ms,
                        person=dream.person,
                        dream_id=dream.id,
                        channel_id=dream.channel_id,
                    )
            return await _ended(connection, dream, state, first)

    async def without_picture_surely(
        self, dream: Dream, state: DreamState, reason: str = ""
    ) -> Ended:
        """Do as `without_picture` does, however often it fails, and whatever for.

        What fails for a cause that nobody foresaw may fail for the words it is to be written with,
        so that from then on it is written with words of our own.
        """
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return await self.without_picture(dream, state, reason)
            except TROUBLE as error:
                self._disk.report(error)
                await self._disk.well()
            except Exception as error:  # a mistake must not leave the dream without an end
                self._errors.tell(error, "Dream %s cannot be ended; trying again", dream.id)
                reason = UNFORESEEN
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


async def _ended(
    connection: aiosqlite.Connection, dream: Dream, state: DreamState, first: bool
) -> Ended:
    return Ended(state if first else await rows.state_of(connection, dream.id), first)


def _sound(dream_id: str, attachments: Sequence[Attachment]) -> list[Attachment]:
    """Return what is kept besides the picture: few, of known kinds, with plain names."""
    found: dict[str, Attachment] = {}
    for attachment in attachments[:MAX_FILES]:
        known = FILE_TYPES.get(attachment.media_type)
        if known is None or not re.fullmatch(rf"[a-z0-9-]{{1,40}}\.{known}", attachment.name):
            log.warning("Dream %s: %r is not kept", dream_id, attachment.name)
        elif 0 < len(attachment.data) <= MAX_FILE_BYTES:
            found[attachment.name] = attachment
        else:
            log.warning("Dream %s: %s is too large", dream_id, attachment.name)
    return list(found.values())
