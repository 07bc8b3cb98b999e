"""Whether the product is ready: whether somebody who asks now gets a picture, and is shown it.

Alive is something else: the event loop answers at all. What is not ready may become so by itself
(the drawing process starts anew, Discord comes back), so nothing is to be restarted for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from bot.drawing import Drawer
from bot.errors import DreamstreamError
from bot.files import write_atomic
from bot.library import Library
from bot.store import Store

KEPT_S = 5.0
PATIENCE_S = 3.0
_TRIAL = ".health"

Check = Callable[[], Awaitable[str]]
"""Returns what is wrong, as a sentence without anybody's words or secrets; empty where all is well.

It may raise a `DreamstreamError` instead."""


@dataclass(frozen=True)
class Readiness:
    """What is wrong with each part, empty where nothing is."""

    troubles: Mapping[str, str] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.troubles.values())

    @property
    def parts(self) -> dict[str, bool]:
        """Whether each part is ready: what strangers may be told."""
        return {name: not trouble for name, trouble in self.troubles.items()}


class Health:
    """Asks each part. What was found holds for `KEPT_S`, however often it is asked."""

    def __init__(
        self, checks: Mapping[str, Check], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._checks = dict(checks)
        self._clock = clock
        self._asking = asyncio.Lock()
        self._found: Readiness | None = None
        self._found_s = 0.0

    async def readiness(self) -> Readiness:
        """Return how it stands. Takes `PATIENCE_S` at the most."""
        async with self._asking:
            if self._found is None or self._clock() - self._found_s >= KEPT_S:
                troubles = await asyncio.gather(*map(_trouble, self._checks.values()))
                self._found = Readiness(dict(zip(self._checks, troubles, strict=True)))
                self._found_s = self._clock()
            return self._found


def database(store: Store) -> Check:
    """Return whether a transaction can be begun and committed."""

    async def check() -> str:
        async with store.write():
            return ""

    return check


def library(kept: Library) -> Check:
    """Return whether a file can be written among the pictures, and there is room for more."""

    def write() -> None:
        path = kept.root / _TRIAL
        write_atomic(path, b"a trial")
        path.unlink(missing_ok=True)

    async def check() -> str:
        await kept.run(write)
        return kept.refusing or ""

    return check


def drawing(drawer: Drawer) -> Check:
    """Return whether there is a scheduler process, and it draws."""

    async def check() -> str:
        if drawer.paused is not None:
            return drawer.paused
        return "" if drawer.up else "The drawing process is not up yet."

    return check


def said(trouble: Callable[[], str]) -> Check:
    """Return a check of what something says of itself."""

    async def check() -> str:
        return trouble()

    return check


async def _trouble(check: Check) -> str:
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await check()
    except TimeoutError:
        return f"This took longer than {PATIENCE_S:g} seconds."
    except DreamstreamError as error:
        return str(error)
