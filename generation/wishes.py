"""What the bot wishes of jobs: each job's wishes in order, and no job holds up another.

Planning a job can take as long as it takes until a worker comes that has its model. Meanwhile what
else is wished of that job waits behind its plan (a steer must not overtake its submit), and all
other jobs go on. A cancel waits for nothing: it takes the plan with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from generation.engine import EngineError
from generation.planning import Plan, refusal
from generation.protocol import Cancel, Failed, Job, SteerJob, Submit
from generation.service import Service

_log = logging.getLogger(__name__)

Wish = Submit | Cancel | SteerJob

_UNPLANNED = "This dream could not be made ready; the log has the details."


class Wishes:
    """Takes wishes and hands them to the service, once they can be dealt with.

    `plan` plans a job, and may wait for as long as nobody can; `fail` takes what is told of a job
    that cannot be planned, and `stirred` is called after each wish that was dealt with.
    """

    def __init__(
        self,
        service: Service,
        plan: Callable[[Job], Awaitable[Plan]],
        fail: Callable[[Failed], None],
        stirred: Callable[[], None],
    ) -> None:
        self._service = service
        self._plan = plan
        self._fail = fail
        self._stirred = stirred
        self._planning: dict[str, asyncio.Task[None]] = {}
        # Of each job in `_planning`: what was wished of it since.
        self._behind: dict[str, deque[Wish]] = {}

    def take(self, wish: Wish) -> None:
        """Do what is wished, now or when its job is planned."""
        job_id = wish.job.id if isinstance(wish, Submit) else wish.job_id
        if isinstance(wish, Cancel):
            self._give_up(job_id)
        if job_id in self._planning:
            self._behind[job_id].append(wish)
        elif isinstance(wish, Submit):
            self._behind[job_id] = deque()
            self._planning[job_id] = asyncio.create_task(self._submit(wish.job))
        else:
            try:
                self._service.take(wish)
            except Exception:
                _log.exception("a %s could not be dealt with", type(wish).__name__)
            self._stirred()

    def close(self) -> None:
        """Plan nothing more."""
        for job_id in [*self._planning]:
            self._give_up(job_id)

    def _give_up(self, job_id: str) -> None:
        if (planning := self._planning.pop(job_id, None)) is not None:
            planning.cancel()
            del self._behind[job_id]

    async def _submit(self, job: Job) -> None:
        failed: Failed | None = None
        try:
            plan = await self._plan(job)
            if self._is_wanted(job):
                self._service.submit(job, plan)
        except EngineError as error:
            failed = refusal(job, error)
        except Exception as error:
            _log.exception("dream %s could not be planned", job.id)
            failed = Failed(job_id=job.id, reason=_UNPLANNED, detail=repr(error), retry=True)
        if not self._is_wanted(job):
            return
        if failed is not None:
            self._fail(failed)
        del self._planning[job.id]
        for wish in self._behind.pop(job.id):
            self.take(wish)
        self._stirred()

    def _is_wanted(self, job: Job) -> bool:
        """Whether the running task is still the one that is to submit the job."""
        return self._planning.get(job.id) is asyncio.current_task()
