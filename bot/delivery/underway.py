"""What people wait for an answer to while the bot is being stopped.

What has been acknowledged shows them “thinking” until it is answered. So the connection stays open
for as long as answers take, within reason; what takes longer is told why there is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from bot.errors import DreamstreamError
from bot.sentences import say

PATIENCE_S = 3.0
TELLING_S = 2.0

STOPPING = say(
    "Dreamstream is being stopped just now, so there is no answer. Try again in a minute; what was "
    "accepted is kept."
)


class StoppingError(DreamstreamError):
    """It could not be answered before the bot was stopped."""


class Underway:
    """The acknowledged interactions that have not been answered."""

    def __init__(self) -> None:
        self._unanswered = 0
        self._all_answered = asyncio.Event()
        self._all_answered.set()
        self._limits: set[asyncio.Timeout] = set()
        self._over = False

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """Have `stop` wait for what is done inside, the telling of what went wrong included."""
        self._unanswered += 1
        self._all_answered.clear()
        try:
            yield
        finally:
            self._unanswered -= 1
            if not self._unanswered:
                self._all_answered.set()

    @asynccontextmanager
    async def until_stop(self) -> AsyncIterator[None]:
        """Break off what is done inside once `stop` has been patient for long enough.

        Raises:
            StoppingError: it was broken off.
        """
        limit = asyncio.timeout(0.0 if self._over else None)
        try:
            async with limit:
                self._limits.add(limit)
                try:
                    yield
                finally:
                    self._limits.discard(limit)
        except TimeoutError:
            if not limit.expired():
                raise
            raise StoppingError(STOPPING) from None

    async def stop(self) -> None:
        """Wait for what is under way; tell those who would wait longer."""
        await self._answers_within(PATIENCE_S)
        self._over = True
        now_s = asyncio.get_running_loop().time()
        for limit in self._limits:
            limit.reschedule(now_s)
        await self._answers_within(TELLING_S)

    async def _answers_within(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._all_answered.wait()
