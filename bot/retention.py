"""Make room by age and by size: the oldest dreams go, never what somebody still needs.

What may go is decided by `bot.store.retention`. It goes like anything that is deleted
(`bot.removal`): a tombstone stays, and the stream says so; but its messages in Discord stay as they
are, for nobody took the picture back. A little at a time, so that nobody waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.checkpoints import Checkpoints
from bot.errors import DreamstreamError
from bot.ids import now_ms
from bot.library import Library
from bot.removal import Removal
from bot.side_tasks import SideTasks
from bot.store import Store
from bot.store import retention as rows
from bot.store.retention import Bounds, Candidate
from bot.trusted_time import DAY_MS, is_sure_of_the_time
from bot.unforeseen import Errors

log = logging.getLogger(__name__)

YOUNGEST_MS = DAY_MS
"""What ended within a day never goes, however little room there is."""
A_TURN = 20
_LOOK_S = 600.0
_PAUSE_S = 1.0


@dataclass(frozen=True)
class RetentionRules:
    """What is to be kept: so many days, so many bytes (0: all); and what people like, always."""

    keep_days: float = 0.0
    keep_bytes: int = 0
    keep_favourites: bool = True

    @property
    def any(self) -> bool:
        """Whether anything is ever to go."""
        return self.keep_days > 0 or self.keep_bytes > 0


class Retention:
    """Looks now and then whether something is to go."""

    def __init__(
        self,
        store: Store,
        library: Library,
        checkpoints: Checkpoints,
        rules: RetentionRules,
        *,
        look_s: float = _LOOK_S,
        pause_s: float = _PAUSE_S,
    ) -> None:
        self._store = store
        self._library = library
        self._checkpoints = checkpoints
        self._rules = rules
        self._look_s = look_s
        self._pause_s = pause_s
        self._removal = Removal(store, library)
        self._tasks = SideTasks()
        self._errors = Errors("retention", log)

    def start(self) -> None:
        """Begin to look, if anything is ever to go."""
        if self._rules.any:
            trouble = "Nothing went to make room"
            self._tasks.every(self._look_s, self._look, trouble, name="retention")

    async def stop(self) -> None:
        """Leave the rest to the next start."""
        await self._tasks.stop()
        await self._removal.stop()

    async def due(self) -> AsyncIterator[tuple[Candidate, Bounds]]:
        """Yield what is to go, the oldest first: by age, and then by size.

        By size those go first that nobody likes, and favourites only where they are not kept.

        Raises:
            StoreError: the database is damaged.
        """
        bundles = await self._library.run(published_parties, self._library.root)
        rules, now, freed, old = self._rules, now_ms(), 0, set()
        # Before anything goes: what goes by age may be gone when it is asked what goes by size.
        total = await rows.total_bytes(self._store) if rules.keep_bytes > 0 else 0
        if rules.keep_days > 0:
            before_ms = min(now - int(rules.keep_days * DAY_MS), now - YOUNGEST_MS)
            bounds = Bounds(before_ms, bundles, rules.keep_favourites)
            async for one in rows.candidates(self._store, bounds):
                freed += one.bytes
                old.add(one.dream_id)
                yield one, bounds
        if rules.keep_bytes <= 0:
            return
        excess = total - freed - rules.keep_bytes
        if excess <= 0:  # a page may take a while, and most often nothing is due
            return
        for favourites in (True,) if rules.keep_favourites else (True, False):
            bounds = Bounds(now - YOUNGEST_MS, bundles, favourites, sized=True)
            async for one in rows.candidates(self._store, bounds):
                if excess <= 0:
                    return
                if one.dream_id not in old:
                    old.add(one.dream_id)
                    excess -= one.bytes
                    yield one, bounds

    async def is_sure_of_the_time(self) -> bool:
        """Note that it is looked now, and say whether the clock may be believed.

        Raises:
            DiskError, StoreError: nothing can be written at present.
        """
        return await is_sure_of_the_time(self._store)

    async def turns(self) -> AsyncIterator[int]:
        """Let what is due go, up to `A_TURN` dreams at a time; yield how many each time.

        How much room there is then is looked at anew each time: what goes with a dream is only
        known once it has gone.

        Raises:
            DiskError, StoreError: nothing can be written at present.
        """
        chosen = []
        async for one in self.due():
            chosen.append(one)
            if len(chosen) == A_TURN:
                yield await self._turn(chosen)
                if one[1].sized and await rows.total_bytes(self._store) <= self._rules.keep_bytes:
                    return
                chosen = []
        if chosen:
            yield await self._turn(chosen)

    async def _turn(self, chosen: Sequence[tuple[Candidate, Bounds]]) -> int:
        gone = 0
        for candidate, bounds in chosen:
            try:
                gone += await self._let_go(candidate, bounds)
            except DreamstreamError:
                raise
            except Exception as error:  # the others are not to wait for it
                self._errors.tell(error, "Retention: dream %s stays", candidate.dream_id)
        if gone:
            await self._removal.remove_files()
            log.info("Retention: %d dreams went to make room", gone)
        return gone

    async def _let_go(self, candidate: Candidate, bounds: Bounds) -> bool:
        # Before, so that a crash leaves none.
        await self._library.run(self._checkpoints.delete, candidate.dream_id)
        return await self._removal.retire(
            candidate.dream_id,
            candidate.theme_id,
            lambda connection: rows.may_go_now(connection, candidate.dream_id, bounds),
        )

    async def _look(self) -> None:
        if await self.is_sure_of_the_time():
            async for _ in self.turns():
                await asyncio.sleep(self._pause_s)


def published_parties(library: Path) -> set[str]:
    """Return the ids of the parties that have a bundle, or are to get one. Blocks."""
    bundles = library / "bundles"
    return {
        path.parent.name for name in ("bundle.json", "wanted") for path in bundles.glob(f"*/{name}")
    }
