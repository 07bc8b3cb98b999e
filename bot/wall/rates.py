"""How often something is done from one address, for what a cookie cannot bound.

Kept in memory: who came from where is written down by nobody.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from bot.errors import LimitError

_SWEPT_AT = 1024
_MOST_KEYS = 65_536
"""Of more, what is forgotten is whoever has done nothing for longest."""


class Rates:
    """Bounds what comes from each key at `most` within any `window_s` seconds."""

    def __init__(
        self,
        most: int,
        window_s: float,
        sentence: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._window_s = window_s
        self._sentence = sentence
        self._clock = clock
        self._times: dict[str, deque[float]] = {}
        self._sweep_at = _SWEPT_AT

    def check(self, key: str) -> None:
        """Refuse where there was too much of late.

        Raises:
            LimitError: there was; it says when there is room again.
        """
        times = self._recent(key)
        if len(times) >= self._most:
            raise LimitError(self._sentence, times[0] + self._window_s - self._clock())

    def count(self, key: str) -> None:
        """Note that it was done once more."""
        if len(self._times) >= self._sweep_at:
            for other in list(self._times):
                self._recent(other)
            # Not again before there are twice as many: who comes from thousands of addresses is
            # not to cost a look at all of them each time.
            self._sweep_at = max(_SWEPT_AT, 2 * len(self._times))
        times = self._times.pop(key, None) or deque(maxlen=self._most)
        times.append(self._clock())
        self._times[key] = times
        if len(self._times) > _MOST_KEYS:
            del self._times[next(iter(self._times))]

    def take(self, key: str) -> None:
        """Refuse, or else count it.

        Raises:
            LimitError: there was too much of late.
        """
        self.check(key)
        self.count(key)

    def _recent(self, key: str) -> deque[float]:
        times = self._times.get(key)
        if times is None:
            return deque()
        since = self._clock() - self._window_s
        while times and times[0] <= since:
            times.popleft()
        if not times:
            del self._times[key]
        return times
