"""What passes through the scheduler process: the bot's wishes in, the workers' messages out.

A worker does not know what a picture was charged, nor when a run should end; that is filled in
here. And a job ends once: what a worker still says of a job that is over goes no further.

Of a worker that is gone, all jobs go back to the bot, which hands them over again with what only it
knows: their newest checkpoints, their steers, and how often they were in a crash.
"""

from __future__ import annotations

import logging
import time
from bisect import insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import count

import msgspec

from generation.looking import NO_EYES
from generation.planning import Plan
from generation.protocol import (
    Cancel,
    Cancelled,
    Checkpoint,
    Dropped,
    Embed,
    Embedded,
    EngineInfo,
    Failed,
    Finished,
    Job,
    Place,
    Progress,
    Refused,
    Steer,
    Steered,
    SteerJob,
    ToBot,
    Weights,
)
from generation.scheduler import Scheduler
from generation.ticket import Ticket
from generation.worker import OVERTAKEN

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Over:
    """A run that has ended, as its worker reported: what was charged, and whose it was."""

    gpu_s: float
    worker: str | None


class Service:
    """Stands between the bot and the scheduler with its workers.

    `engines` says what is offered, `send` sends to the bot, `post` hands a cancel or steer to the
    worker that has the run, `look` an ask for vectors to whoever answers it.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        engines: Mapping[str, EngineInfo],
        send: Callable[[ToBot], None],
        post: Callable[[str, Cancel | SteerJob], None],
        look: Callable[[Embed], None] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scheduler = scheduler
        self._engines = engines
        self._send = send
        self._post = post
        self._look = look
        self._clock = clock
        self._numbers = count(1)
        self._ends_at: dict[str, float] = {}
        # A finished picture and what was charged for it come by different ways, either first.
        self._pictures: dict[str, Finished] = {}
        self._over: dict[str, _Over] = {}
        # Given back with a worker, and not yet handed over again or cancelled.
        self._dropped: set[str] = set()

    # --- from the bot ----------------------------------------------------------------------

    def take(self, message: Cancel | SteerJob | Embed | Weights) -> None:
        """Do what the bot wishes."""
        match message:
            case Cancel():
                self._cancel(message)
            case SteerJob():
                self._steer(msgspec.structs.replace(message, number=next(self._numbers)))
            case Embed():
                if self._look is None:
                    self._send(Embedded(id=message.id, reason=NO_EYES))
                else:
                    self._look(message)
            case Weights():
                self._scheduler.set_weights(message.streams)

    def submit(self, job: Job, plan: Plan) -> None:
        """Take a job that is to be drawn."""
        self._dropped.discard(job.id)
        if job.id not in self._over:
            self._scheduler.submit(job, plan.model, plan.key, plan.cost_key, plan.predict_bytes)

    def _cancel(self, cancel: Cancel) -> None:
        self._dropped.discard(cancel.job_id)
        if cancel.job_id in self._over:
            return  # finished; only its picture is still being encoded
        ticket = self._scheduler.remove(cancel.job_id)
        if ticket is not None and ticket.worker is not None:
            self._post(ticket.worker, cancel)
        self._send(Cancelled(cancel.job_id))

    def _steer(self, message: SteerJob) -> None:
        ticket = self._scheduler.ticket(message.job_id)
        if message.job_id in self._dropped:
            return  # the bot sends its steers again with the job
        if ticket is None:
            self._send(Refused(message.job_id, "This dream is over and can no longer be steered."))
            return
        recipe = ticket.job.recipe
        if not self._engines[recipe.engine].steerable:
            self._send(Refused(message.job_id, "This engine's dreams cannot be steered."))
        elif message.number < ticket.steered:
            self._send(Refused(message.job_id, OVERTAKEN))
        elif ticket.worker is not None:
            self._post(ticket.worker, message)
        elif ticket.shown or ticket.job.checkpoint is not None:
            insort(ticket.steers, message, key=lambda steer: steer.number)
        else:
            # Not begun: it simply starts with the new prompt.
            steer = Steer(0, message.prompt, message.glide_steps)
            changed = msgspec.structs.replace(recipe, steers=(*recipe.steers, steer))
            ticket.job = msgspec.structs.replace(ticket.job, recipe=changed)
            self._send(Steered(message.job_id, steer))

    # --- from the workers ------------------------------------------------------------------

    def tell(self, worker: str, message: ToBot) -> None:
        """Complete a worker's message and send it, unless its job is over."""
        match message:
            case Finished():
                self._pictures[message.job_id] = message
                self._finish(message.job_id)
            case Failed():
                known = self._known(message.job_id)
                self._scheduler.remove(message.job_id)
                self._over.pop(message.job_id, None)
                if known:
                    self._send(message)
            case Checkpoint():
                self._scheduler.checkpointed(message.job_id, message.step, message.data)
                if self._known(message.job_id):
                    charged_s = self._charged(message.job_id)
                    self._send(msgspec.structs.replace(message, gpu_s=charged_s))
            case Progress():
                if self._known(message.job_id) and not self._moved(message.job_id, worker):
                    ends_in_s = self._ends_at.get(message.job_id, 0.0) - self._clock()
                    self._send(msgspec.structs.replace(message, ends_in_s=max(0.0, ends_in_s)))
            case Steered():
                self._steered(message)
            case Refused():
                if self._known(message.job_id):
                    self._send(message)
            case _:
                self._send(message)

    def account(
        self, ended: list[Ticket], failed: list[Failed], strays: Iterable[SteerJob]
    ) -> None:
        """Take in what a report brought: what was charged, and what was given up.

        `strays` are steers that came to the worker as it let go of their runs.
        """
        for ticket in ended:
            self._over[ticket.job.id] = _Over(ticket.gpu_s, ticket.worker)
            self._finish(ticket.job.id)
        for failure in failed:
            self._send(failure)
        for job_id in [j for j in self._pictures if not self._known(j)]:
            del self._pictures[job_id]  # cancelled while it was being encoded
        for steer in strays:
            self._steer(steer)

    def lose(
        self, worker: str, reason: str, suspects: tuple[str, ...] = (), *, outside: bool = False
    ) -> None:
        """Give all jobs of a worker that is gone back to the bot, but for what it had finished.

        `suspects` were in the step that it died in; see `Dropped`.
        """
        held = [ticket.job.id for ticket in self._scheduler.tickets() if ticket.worker == worker]
        self._scheduler.lose_worker(worker)
        for job_id in held:
            ticket = self._scheduler.remove(job_id)
            if ticket is not None:
                self._over[job_id] = _Over(ticket.gpu_s, worker)
                self._finish(job_id)
        # Among these are pictures that it had drawn and not yet encoded.
        lost = tuple(job_id for job_id, over in self._over.items() if over.worker == worker)
        for job_id in lost:
            del self._over[job_id]
        self._dropped.update(lost)
        blamed = tuple(job_id for job_id in suspects if job_id in lost)
        self._send(Dropped(job_ids=lost, suspects=blamed, reason=reason, outside=outside))

    def _known(self, job_id: str) -> bool:
        return self._scheduler.ticket(job_id) is not None or job_id in self._over

    def _moved(self, job_id: str, worker: str) -> bool:
        """Whether another worker has gone on with a run: then this one's previews are late."""
        ticket = self._scheduler.ticket(job_id)
        return ticket is not None and ticket.worker not in (None, worker)

    def _charged(self, job_id: str) -> float:
        ticket = self._scheduler.ticket(job_id)
        if ticket is not None:
            return ticket.gpu_s
        return self._over[job_id].gpu_s if job_id in self._over else 0.0

    def _finish(self, job_id: str) -> None:
        """Send a picture once it is both encoded and charged for."""
        if job_id in self._pictures and job_id in self._over:
            picture = self._pictures.pop(job_id)
            self._send(msgspec.structs.replace(picture, gpu_s=self._over.pop(job_id).gpu_s))
        elif not self._known(job_id):
            self._pictures.pop(job_id, None)

    def _steered(self, message: Steered) -> None:
        """Keep the steer with the job too: a resume from an older checkpoint meets it again."""
        ticket = self._scheduler.ticket(message.job_id)
        if ticket is not None:
            ticket.steered = max(ticket.steered, message.number)
            recipe = ticket.job.recipe
            if message.steer not in recipe.steers:
                recipe = msgspec.structs.replace(recipe, steers=(*recipe.steers, message.steer))
                ticket.job = msgspec.structs.replace(ticket.job, recipe=recipe)
            self._send(message)

    # --- looking ahead ---------------------------------------------------------------------

    def places(self) -> tuple[Place, ...]:
        """Estimate anew, and return every waiting job's place and times."""
        now = self._clock()
        found = self._scheduler.forecast()
        self._ends_at = {job_id: now + when.ends_in_s for job_id, when in found.items()}
        waiting = [ticket.job.id for ticket in self._scheduler.tickets() if not ticket.shown]
        waiting.sort(key=lambda job_id: found[job_id].starts_in_s)
        return tuple(
            Place(
                job_id,
                nth,
                round(found[job_id].starts_in_s, 1),
                round(found[job_id].ends_in_s, 1),
            )
            for nth, job_id in enumerate(waiting, 1)
        )
