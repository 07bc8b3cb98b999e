"""Share the event loop: long work for many browsers is done in short slices."""

from __future__ import annotations

import asyncio
import time

SLICE_S = 0.002


class Slices:
    """Lets others have the event loop whenever those who share this have had it for a while."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._over = False

    async def rest(self) -> None:
        """Step aside, if it is time, until there is time again."""
        while time.monotonic() - self._since > SLICE_S:
            if not self._over:
                self._over = True
                # Ahead of all who step aside now: the next slice is one for them together.
                asyncio.get_running_loop().call_soon(self._begin)
            await asyncio.sleep(0)

    def _begin(self) -> None:
        self._since = time.monotonic()
        self._over = False
