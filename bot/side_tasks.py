"""Work on the side that somebody looks after: no task is lost, no error goes unseen.

What goes on for as long as the process does (`keep`) and what is done again and again (`every`)
has one rule for whatever fails. What could be foreseen is a line in the log. What could not is a
mistake of ours: it is in the log with its traceback, once for as long as it is the same, and
counted. Then it goes on, after a pause. Only a cancellation ends it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from bot.errors import DreamstreamError, RequestError
from bot.monitoring import metrics

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0


class SideTasks:
    """Tasks that run until they are done, or until `stop`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        """Begin something that nobody waits for; an error of it is logged."""
        task = self._begin(work, name)
        task.add_done_callback(_log)
        return task

    def keep(
        self,
        work: Callable[[], Awaitable[None]],
        trouble: str,
        *,
        name: str,
        pause_s: float = FIRST_PAUSE_S,
        longest_s: float = LONGEST_PAUSE_S,
    ) -> asyncio.Task[None]:
        """Have something go on until it returns: where it fails, it is begun again.

        `work` begins where it was, as far as its owner knows. It is begun again after `pause_s`,
        after twice that the next time, and so on up to `longest_s`; what has gone well for as long
        as that begins at `pause_s`. `trouble` says in the log what does not go on meanwhile; what
        nobody foresaw is counted under `name`, of which there are few.
        """
        return self.spawn(_kept(work, _Errors(trouble, name), pause_s, longest_s), name)

    def every(
        self,
        pause_s: float,
        work: Callable[[], Awaitable[object]],
        trouble: str,
        *,
        name: str,
        after_s: float = 0.0,
        again_s: float | None = None,
    ) -> None:
        """Do something again and again: first in `after_s`, then `pause_s` after each end of it.

        What fails is done again after `again_s`, or in its turn. `trouble` and `name` are as in
        `keep`.
        """
        errors = _Errors(trouble, name)
        again_s = pause_s if again_s is None else again_s
        self.spawn(_again(pause_s, work, errors, after_s, again_s), name)

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something to its end, even if the caller goes away meanwhile.

        The caller gets its result or its error; what nobody gets is logged.
        """
        task = self._begin(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log)
            raise

    async def wait(self, timeout_s: float) -> None:
        """Wait until all are done, or the time is over."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    async def stop(self) -> None:
        """End all that are not done."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _Errors:
    """What is said of the errors of one thing that goes on."""

    def __init__(self, trouble: str, name: str) -> None:
        self._trouble = trouble
        self._counter = metrics.UNFORESEEN.labels(name)  # at 0, before the first
        self._last: type[Exception] | None = None

    def over(self) -> None:
        """Note that it went well: the next error is a new one."""
        self._last = None

    def tell(self, error: Exception) -> None:
        """Say and count an error that is being handled."""
        if isinstance(error, (DreamstreamError, OSError)):
            log.warning("%s: %s", self._trouble, error)
            return
        self._counter.inc()
        if type(error) is self._last:
            log.error("%s, as before: %r", self._trouble, error)
        else:
            log.exception("%s", self._trouble)
        self._last = type(error)


async def _kept(
    work: Callable[[], Awaitable[None]], errors: _Errors, pause_s: float, longest_s: float
) -> None:
    failures = 0
    while True:
        begun_s = time.monotonic()
        try:
            await work()
            return
        except Exception as error:
            if time.monotonic() - begun_s > longest_s:
                failures = 0
                errors.over()
            errors.tell(error)
        await asyncio.sleep(min(longest_s, pause_s * 2.0 ** min(failures, 20)))
        failures += 1


async def _again(
    pause_s: float,
    work: Callable[[], Awaitable[object]],
    errors: _Errors,
    after_s: float,
    again_s: float,
) -> None:
    await asyncio.sleep(after_s)
    while True:
        next_s = pause_s
        try:
            await work()
            errors.over()
        except Exception as error:
            errors.tell(error)
            next_s = again_s
        await asyncio.sleep(next_s)


def _log(task: asyncio.Task[Any]) -> None:
    if task.cancelled() or (error := task.exception()) is None:
        return
    if not isinstance(error, RequestError):  # somebody's mistake, not ours
        log.error("Something on the side failed", exc_info=error)
