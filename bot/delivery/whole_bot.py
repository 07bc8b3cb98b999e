"""Keep what the whole bot asks of Discord below the limit that holds for it as a whole.

Discord takes 50 requests a second of a bot, in whatever channels. Left to itself, discord.py asks
until one is refused, and then has all that wait go out together, of which all but 50 are refused
again; ten thousand refusals in ten minutes, and Discord shuts the address out (docs/scale.md).

What answers interactions does not count, and is never held up.

Source: https://docs.discord.com/developers/topics/rate-limits
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import aiohttp
from yarl import URL

MOST, WINDOW_S = 45, 1.0


class WholeBot:
    """Gives each request its turn, first come first served: `MOST` in any `WINDOW_S`."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._first = asyncio.Lock()
        self._sent_s: deque[float] = deque(maxlen=MOST)

    async def turn(self, url: URL) -> None:
        """Return when a request may be sent."""
        if not _counts(url):
            return
        async with self._first:
            if len(self._sent_s) == MOST:
                await self._sleep(max(0.0, self._sent_s[0] + WINDOW_S - self._clock()))
            self._sent_s.append(self._clock())

    async def on_request_start(
        self,
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        params: aiohttp.TraceRequestStartParams,
    ) -> None:
        """Wait for the turn of a client's request (`aiohttp.TraceConfig.on_request_start`)."""
        await self.turn(params.url)


def _counts(url: URL) -> bool:
    """Say whether a request counts for the bot: the CDN's do not, nor do answers."""
    parts = url.parts[1:]
    return parts[:1] == ("api",) and not {"interactions", "webhooks"}.intersection(parts[:3])
