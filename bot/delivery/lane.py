"""One channel's cards on their way: sends one after the other, as fast as `Pace` allows."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from bot.delivery.pace import Pace, Urgency
from bot.delivery.whole_bot import Place, WholeBot
from bot.side_tasks import SideTasks
from bot.unforeseen import Errors

log = logging.getLogger(__name__)

Show = Callable[["Lane", int], Awaitable[None]]

RETRY_S = 15.0

# What a key stands for: cards of dreams are above 0, and have their row's id.
PARTY_KEYS = range(-(1 << 40) + 1, 0)
DIGEST_KEYS = range(-(1 << 62), -(1 << 40) + 1)
GAME_KEYS = range(-(1 << 63), -(1 << 62))
THREAD_KEYS = range(1 << 61, 1 << 62)
GUIDE_KEYS = range(1 << 62, 1 << 63)  # a channel has one: its id, above the first of them


class Lane:
    """Works while there is something to show, and rests otherwise.

    What counts for the limit of the `whole` bot waits for its place there before it is drawn up.
    """

    def __init__(
        self,
        show: Show,
        clock: Callable[[], float] = time.monotonic,
        whole: WholeBot | None = None,
    ) -> None:
        self._show = show
        self._clock = clock
        self._whole = whole
        self._place: Place | None = None
        self._pace = Pace()
        self._wake = asyncio.Event()
        self._tasks = SideTasks()
        self._errors = Errors("discord-lane", log)
        self._task: asyncio.Task[None] | None = None
        self._sending = False

    def assume_full(self) -> None:
        """Take it that all that may be sent was sent just now."""
        self._pace.assume_full(self._clock())

    def want(self, key: int, urgency: Urgency, *, posted: bool) -> None:
        """Have a card shown, in its turn."""
        self._pace.want(key, urgency, self._clock(), posted=posted)
        if self._place is not None:
            self._place.hurry(urgency)
        self._wake.set()
        if self._task is None or self._task.done():
            trouble = "The cards of a channel cannot be sent"
            self._task = self._tasks.keep(self._run, trouble, name="discord-lane")

    def sent(self, key: int, *, posted: bool) -> None:
        """Note that a card has been sent."""
        self._pace.sent(key, self._clock(), posted=posted)

    def tried(self, key: int, *, posted: bool, closed_s: float = 0.0) -> None:
        """Note an attempt that failed; Discord takes no other like it for `closed_s`."""
        self._pace.tried(key, self._clock(), posted=posted, closed_s=closed_s)

    def later(self, key: int, urgency: Urgency, delay_s: float) -> None:
        """Have a card tried again."""
        self._pace.later(key, urgency, self._clock(), delay_s)

    def hurry(self, key: int) -> None:
        """Have a card that could not be sent tried at once."""
        self._pace.hurry(key)
        self._wake.set()

    def drop(self, key: int) -> None:
        """Forget a card."""
        self._pace.drop(key)

    async def stop(self, limit_s: float) -> None:
        """Let what is being sent arrive, within reason, and send no more."""
        task, self._task = self._task, None
        if task is None:
            return
        if self._sending:
            self._pace = Pace()
            self._wake.set()
            await asyncio.wait([task], timeout=limit_s)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def _run(self) -> None:
        while True:
            key, wait_s = self._pace.next(self._clock())
            if key is not None:
                if self._whole is None:
                    await self._send(key)
                else:
                    await self._send_in_turn(self._whole, key)
            elif wait_s is None:
                return
            else:
                self._wake.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), wait_s)

    async def _send_in_turn(self, whole: WholeBot, key: int) -> None:
        """Wait for a place; then send what goes first by that time."""
        self._place = place = whole.place(self._pace.urgency(key))
        try:
            await place.reached()
            first, _ = self._pace.next(self._clock())
            if first is not None:
                with place.within():
                    await self._send(first)
        finally:
            self._place = None
            place.leave()

    async def _send(self, key: int) -> None:
        urgency = self._pace.urgency(key)
        self._pace.begin(key)
        self._sending = True
        try:
            await self._show(self, key)
        except Exception as error:  # no other card is to wait for it
            self._errors.tell(error, "A card has to wait")
            self.later(key, urgency, RETRY_S)
        finally:
            self._sending = False
