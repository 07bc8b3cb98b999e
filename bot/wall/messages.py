"""What browsers are sent of a stream's events, rendered once for all who watch."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict

from bot.errors import RequestError
from bot.model import EventKind, Live, StreamEvent
from bot.wall.connection import message
from bot.wall.once import Once
from bot.wall.rendering import Renderer
from bot.wall.services import Services
from bot.wall.slices import Slices
from bot.wall.watcher import Passed, Watcher

log = logging.getLogger(__name__)

_REMEMBERED = 2048  # more than a replay, and than all pages' cards together change at once
_Key = tuple[str | None, int | Live | None]


class Messages:
    """Entries of the log, cards and standings as server-sent events. All share `slices`."""

    def __init__(self, services: Services, renderer: Renderer, slices: Slices) -> None:
        self.slices = slices
        self._services = services
        self._renderer = renderer
        self._cursor = renderer.cursors.of
        # Entries of the log by their dream and id, cards and standings by the standing that they
        # show.
        self._made: Once[_Key, bytes] = Once(_REMEMBERED)
        self._standings: OrderedDict[tuple[Live, bool], bytes] = OrderedDict()
        # For all watchers: else each one's slice comes in the same round of the event loop.
        self._rendering = asyncio.Lock()

    def forget(self, dream_id: str | None) -> None:
        """Keep nothing that was rendered of a dream: it is deleted, or shows another picture."""
        for key in [key for key in self._made if key[0] == dream_id]:
            self._made.forget(key)

    async def render(self, coming: StreamEvent | Passed | str) -> bytes:
        """Return an entry of the log, or the card of a dream, as a message.

        Of a dream that is not published it is nothing.
        """
        if isinstance(coming, Passed):
            return message(EventKind.ASKED.value, "", self._cursor(coming.event_id))
        if isinstance(coming, StreamEvent):
            event = coming
            key = (event.dream_id, event.id)
            if event.kind is EventKind.DELETED and key not in self._made:
                self.forget(event.dream_id)
            return await self._made.get(key, lambda: self._make_message(event))
        dream_id, live = coming, self._services.dreams.live(coming)
        return await self._made.get((dream_id, live), lambda: self._make_card(dream_id, live))

    async def _make_message(self, event: StreamEvent) -> bytes:
        html = ""
        if event.dream_id is not None:
            try:
                dream = await self._services.dreams.get(event.dream_id)
                if not dream.published:
                    return b""  # nobody here is to learn that there is one
                gone = dream.deleted_ms is not None
                if gone == (event.kind is EventKind.DELETED):
                    async with self._rendering:
                        live = self._services.dreams.live(event.dream_id)
                        html = self._renderer.event(event.kind, dream, live)
                        await self.slices.rest()
            except RequestError:
                log.warning("event %d names a dream that is gone: %s", event.id, event.dream_id)
        return message(event.kind.value, html, self._cursor(event.id))

    async def _make_card(self, dream_id: str, live: Live | None) -> bytes:
        try:
            dream = await self._services.dreams.get(dream_id)
        except RequestError:
            return b""
        # It may be over by now: its end is on the way, and must not find a card made after it.
        if dream.state.final or not dream.published:
            return b""
        async with self._rendering:
            html = self._renderer.card(dream, live)
            await self.slices.rest()
        return message(EventKind.ASKED.value, html)

    async def standing(self, watcher: Watcher) -> bytes:
        """Return how a page's dreams stand; a preview is named only where it is a new one."""
        messages = []
        hidden = watcher.hidden_if_changed()
        if hidden is not None:
            messages.append(message("live", self._renderer.hidden(hidden)))
        for live, fresh in watcher.take_standing():
            messages.append(await self._standing(live, fresh))
            await self.slices.rest()
        return b"".join(messages)

    async def _standing(self, live: Live, fresh: bool) -> bytes:
        made = self._standings.get((live, fresh))
        if made is not None:
            return made
        async with self._rendering:
            made = self._standings.get((live, fresh))
            if made is None:
                made = message("live", self._renderer.live(live, fresh))
                self._standings[live, fresh] = made
                while len(self._standings) > _REMEMBERED:
                    self._standings.popitem(last=False)
                await self.slices.rest()
        return made
