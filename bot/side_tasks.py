"""Work on the side that somebody looks after: no task is lost, no error goes unseen.

What goes on for as long as the process does (`keep`) and what is done again and again (`every`)
has one rule for whatever fails (`bot.unforeseen`). Then it goes on, after a pause. Only who cancels
it ends it: a cancellation that comes out of something it waited for is an error like others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from bot.errors import RequestError
from bot.monitoring import metrics
from bot.unforeseen import FORESEEN, Errors

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0

_ASIDE = metrics.UNFORESEEN.labels("aside")  # what is done once, and nobody waits for


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
        return self.spawn(_kept(work, trouble, Errors(name, log), pause_s, longest_s), name)

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
        errors = Errors(name, log)
        again_s = pause_s if again_s is None else again_s
        self.spawn(_again(pause_s, work, trouble, errors, after_s, again_s), name)

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


async def _kept(
    work: Callable[[], Awaitable[None]],
    trouble: str,
    errors: Errors,
    pause_s: float,
    longest_s: float,
) -> None:
    failures = 0
    while True:
        begun_s = time.monotonic()
        try:
            await work()
            return
        except (Exception, asyncio.CancelledError) as error:
            if _is_ended(error):
                raise
            if time.monotonic() - begun_s > longest_s:
                failures = 0
                errors.over()
            errors.tell(error, trouble)
        await asyncio.sleep(min(longest_s, pause_s * 2.0 ** min(failures, 20)))
        failures += 1


async def _again(
    pause_s: float,
    work: Callable[[], Awaitable[object]],
    trouble: str,
    errors: Errors,
    after_s: float,
    again_s: float,
) -> None:
    await asyncio.sleep(after_s)
    while True:
        next_s = pause_s
        try:
            await work()
            errors.over()
        except (Exception, asyncio.CancelledError) as error:
            if _is_ended(error):
                raise
            errors.tell(error, trouble)
            next_s = again_s
        await asyncio.sleep(next_s)


def _is_ended(error: BaseException) -> bool:
    """Whether it is this task that somebody cancelled, and not what it waited for."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _log(task: asyncio.Task[Any]) -> None:
    if task.cancelled() or (error := task.exception()) is None:
        return
    if isinstance(error, RequestError):  # somebody's mistake, not ours
        return
    log.error("Something on the side failed", exc_info=error)
    if not isinstance(error, FORESEEN):
        _ASIDE.inc()
