"""Follow the feed from a position on: whatever happens is taken, one event after the other.

An event whose taking fails is taken once more, for as long as what fails can be foreseen: the disk
is full, the database is locked. What fails by a mistake of ours may fail for ever. So it is taken
`TRIES` times and then left out, since all that comes after it waits, and counted: what it told is
lost. This module does not know what is done with an event.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from bot.feed import Feed
from bot.model import Live, StreamEvent
from bot.monitoring import metrics
from bot.unforeseen import FORESEEN

log = logging.getLogger(__name__)

TRIES = 3


class Following:
    """What happens in all themes; `position` is the last event that was taken, or left out."""

    def __init__(
        self,
        feed: Feed,
        take: Callable[[StreamEvent], Awaitable[None]],
        moved: Callable[[Live], None] | None = None,
    ) -> None:
        """`take` is called with every event after `position`, `moved` with how dreams stand."""
        self.position = 0
        self._feed = feed
        self._take = take
        self._moved = moved
        self._failing = (0, 0)  # which event, and how often by a mistake of ours

    async def run(self) -> None:
        """Follow without end. Begun again after an error, it goes on where it was."""
        while True:
            async with self._feed.listen(None, after=self.position) as updates:
                async for update in updates:
                    if isinstance(update, StreamEvent):
                        await self._event(update)
                    elif self._moved is not None:
                        self._moved(update)

    async def _event(self, event: StreamEvent) -> None:
        try:
            await self._take(event)
        except FORESEEN:
            raise
        except Exception:
            failing, times = self._failing
            times = times + 1 if failing == event.id else 1
            self._failing = event.id, times
            if times < TRIES:
                raise
            metrics.EVENTS_LEFT_OUT.inc()
            log.exception("Event %d is left out: it cannot be taken", event.id)
        self.position = event.id
