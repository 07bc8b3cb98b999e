"""Work on the side that somebody looks after: no task is lost, no error goes unseen."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from bot.errors import DreamstreamError, RequestError

log = logging.getLogger(__name__)

T = TypeVar("T")


class SideTasks:
    """Tasks that run until they are done, or until `stop`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        """Begin something that nobody waits for; an error of it is logged."""
        task = self._begin(work, name)
        task.add_done_callback(_log)
        return task

    def every(
        self,
        pause_s: float,
        work: Callable[[], Awaitable[object]],
        trouble: str,
        *,
        after_s: float = 0.0,
        name: str | None = None,
    ) -> None:
        """Do something again and again: first in `after_s`, then `pause_s` after each end of it.

        What fails is logged behind `trouble` and done again in its turn, also what fails by a
        mistake of ours: that must not be the end of whatever is looked after.
        """
        self.spawn(_again(pause_s, work, trouble, after_s), name)

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


async def _again(
    pause_s: float, work: Callable[[], Awaitable[object]], trouble: str, after_s: float
) -> None:
    await asyncio.sleep(after_s)
    while True:
        try:
            await work()
        except (DreamstreamError, OSError) as error:
            log.warning("%s: %s", trouble, error)
        except Exception:
            log.exception("%s", trouble)
        await asyncio.sleep(pause_s)


def _log(task: asyncio.Task[Any]) -> None:
    if task.cancelled() or (error := task.exception()) is None:
        return
    if not isinstance(error, RequestError):  # somebody's mistake, not ours
        log.error("Something on the side failed", exc_info=error)
