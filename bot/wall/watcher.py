"""What is to be sent to one page that watches a stream, and in which order.

Entries of the log come one after the other, none left out; how a dream stands comes as the latest
only, and only where the page has a card for it (`bot.wall.forming`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator

from bot.model import ENDINGS, DreamState, EventKind, Live, StreamEvent
from bot.wall.forming import Forming
from bot.wall.slices import Slices

_AHEAD = 200


class Passed:
    """An entry of the log that changes nothing on this page but the last id it has."""

    def __init__(self, event_id: int) -> None:
        self.event_id = event_id


class Watcher:
    """What is to be sent to one page, and which cards it has."""

    def __init__(self, only: str | None, forming: Forming) -> None:
        self.ready = asyncio.Event()
        self._only = only
        self._forming = forming
        self._coming: deque[StreamEvent | Passed | str] = deque()
        self._room = asyncio.Event()
        self._standing: dict[str, Live] = {}
        self._versions: dict[str, int] = {}
        self._hidden = 0

    @property
    def restless(self) -> bool:
        """Whether something stands otherwise than the page shows it."""
        return bool(self._standing) or self._forming.hidden != self._hidden

    def send_all_cards(self) -> None:
        """Send every card: the page may lack those that came into view while it was away."""
        self._coming.extend(self._forming.cards)
        self._hidden = -1
        self.ready.set()

    async def read(self, updates: AsyncIterator[StreamEvent | Live], slices: Slices) -> None:
        """Sort what comes, until it ends; waits where the browser does not keep up."""
        async for update in updates:
            await slices.rest()
            # Also on the page of one dream others are shown: those it came of, and that came of it.
            deletes = isinstance(update, StreamEvent) and update.kind is EventKind.DELETED
            if self._only is not None and update.dream_id not in (self._only, None) and not deletes:
                continue
            if isinstance(update, Live):
                self._note(update)
            else:
                entry = self._follow(update)
                if entry is None:
                    continue
                self._coming.append(entry)
                if update.kind in ENDINGS and update.dream_id is not None:
                    following = self._forming.end(update.dream_id)
                    if following is not None:
                        self._coming.append(following)
            self.ready.set()
            while len(self._coming) >= _AHEAD:
                self._room.clear()
                await self._room.wait()

    def take(self) -> StreamEvent | Passed | str | None:
        """Return the next entry of the log, or dream whose card is to be sent."""
        if not self._coming:
            return None
        self._room.set()
        return self._coming.popleft()

    def take_standing(self) -> Iterator[tuple[Live, bool]]:
        """Return how dreams stand, and whether each has a new preview."""
        standing, self._standing = self._standing, {}
        for dream_id, live in standing.items():
            yield live, live.preview_version != self._versions.get(dream_id, 0)
            self._versions[dream_id] = live.preview_version

    def hidden_if_changed(self) -> int | None:
        """Return how many dreams have no card, where the page says another number."""
        if self._forming.hidden == self._hidden:
            return None
        self._hidden = self._forming.hidden
        return self._hidden

    def _note(self, live: Live) -> None:
        if self._only is None and live.dream_id not in self._forming.cards:
            if live.state is not DreamState.DRAWING or not self._forming.begin(live.dream_id):
                return
            self._coming.append(live.dream_id)
        self._standing[live.dream_id] = live

    def _follow(self, event: StreamEvent) -> StreamEvent | Passed | None:
        if event.kind is EventKind.ASKED and event.payload.get("published") is False:
            return None  # nobody here is to learn that there is one
        if event.dream_id is None:
            return event
        if event.kind in ENDINGS:
            self._standing.pop(event.dream_id, None)
            self._versions.pop(event.dream_id, None)
        elif event.kind is EventKind.ASKED and self._only is None:
            person_id = "" if event.person is None else event.person.id
            if not self._forming.add(event.dream_id, person_id):
                return Passed(event.id)
        return event
