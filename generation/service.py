"""What passes through the scheduler process: the bot's wishes in, the worker's messages out.

The worker does not know what a picture was charged, nor when a run should end; that is filled in
here. And a job ends once: what a worker still says of a job that is over goes no further.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from generation.costs import CostKey
from generation.engine import BatchKey, Engine, EngineError
from generation.looking import NO_EYES
from generation.protocol import (
    Cancel,
    Cancelled,
    Checkpoint,
    Embed,
    Embedded,
    Failed,
    Finished,
    Job,
    Place,
    Progress,
    Refused,
    Steer,
    Steered,
    SteerJob,
    Submit,
    ToBot,
    Weights,
)
from generation.residency import ModelKey
from generation.scheduler import Scheduler
from generation.ticket import Ticket

_log = logging.getLogger(__name__)


class Service:
    """Stands between the bot and the scheduler with its worker.

    `send` sends to the bot, `post` hands a cancel or steer to the worker that has the run, `look`
    an ask for vectors to whoever answers it.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        engines: Mapping[str, Engine[Any]],
        send: Callable[[ToBot], None],
        post: Callable[[Cancel | SteerJob], None],
        look: Callable[[Embed], None] | None = None,
        *,
        exact: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scheduler = scheduler
        self._engines = engines
        self._send = send
        self._post = post
        self._look = look
        self._exact = exact
        self._clock = clock
        self._ends_at: dict[str, float] = {}
        # A finished picture and what was charged for it come by different ways, either first.
        self._pictures: dict[str, Finished] = {}
        self._charged_s: dict[str, float] = {}

    # --- from the bot ----------------------------------------------------------------------

    def take(self, message: Submit | Cancel | SteerJob | Embed | Weights) -> None:
        """Do what the bot wishes."""
        match message:
            case Submit():
                self._submit(message.job)
            case Cancel():
                self._cancel(message)
            case SteerJob():
                self._steer(message)
            case Embed():
                if self._look is None:
                    self._send(Embedded(id=message.id, reason=NO_EYES))
                else:
                    self._look(message)
            case Weights():
                self._scheduler.set_weights(message.streams)

    def _submit(self, job: Job) -> None:
        if job.id in self._charged_s:
            return
        recipe = job.recipe
        engine = self._engines.get(recipe.engine)
        if engine is None:
            reason = f"There is no engine called “{recipe.engine}” here."
            self._send(Failed(job_id=job.id, reason=reason))
            return
        try:
            model, key, cost_key = keys(engine, job, exact=self._exact)
            engine.predict_bytes(recipe, 1)
        except EngineError as error:
            self._send(Failed(job_id=job.id, reason=str(error)))
        except Exception as error:
            _log.exception("dream %s: its recipe cannot be used", job.id)
            reason = "This recipe cannot be drawn; the log has the details."
            self._send(Failed(job_id=job.id, reason=reason, detail=repr(error)))
        else:

            def predict_bytes(runs: int) -> int:
                return engine.predict_bytes(recipe, runs)

            self._scheduler.submit(job, model, key, cost_key, predict_bytes)

    def _cancel(self, cancel: Cancel) -> None:
        if cancel.job_id in self._charged_s:
            return  # finished; only its picture is still being encoded
        ticket = self._scheduler.remove(cancel.job_id)
        if ticket is not None and ticket.worker is not None:
            self._post(cancel)
        self._send(Cancelled(cancel.job_id))

    def _steer(self, message: SteerJob) -> None:
        ticket = self._scheduler.ticket(message.job_id)
        if ticket is None:
            self._send(Refused(message.job_id, "This dream is over and can no longer be steered."))
            return
        recipe = ticket.job.recipe
        if not self._engines[recipe.engine].info.steerable:
            self._send(Refused(message.job_id, "This engine's dreams cannot be steered."))
        elif ticket.worker is not None:
            self._post(message)
        elif ticket.shown or ticket.job.checkpoint is not None:
            ticket.steers.append(message)
        else:
            # Not begun: it simply starts with the new prompt.
            steer = Steer(0, message.prompt, message.glide_steps)
            changed = msgspec.structs.replace(recipe, steers=(*recipe.steers, steer))
            ticket.job = msgspec.structs.replace(ticket.job, recipe=changed)
            self._send(Steered(message.job_id, steer))

    # --- from the worker -------------------------------------------------------------------

    def tell(self, message: ToBot) -> None:
        """Complete a worker's message and send it, unless its job is over."""
        match message:
            case Finished():
                self._pictures[message.job_id] = message
                self._finish(message.job_id)
            case Failed():
                known = self._known(message.job_id)
                self._scheduler.remove(message.job_id)
                self._charged_s.pop(message.job_id, None)
                if known:
                    self._send(message)
            case Checkpoint():
                self._scheduler.checkpointed(message.job_id, message.data)
                if self._known(message.job_id):
                    charged_s = self._charged(message.job_id)
                    self._send(msgspec.structs.replace(message, gpu_s=charged_s))
            case Progress():
                if self._known(message.job_id):
                    ends_in_s = self._ends_at.get(message.job_id, 0.0) - self._clock()
                    self._send(msgspec.structs.replace(message, ends_in_s=max(0.0, ends_in_s)))
            case Steered():
                self._steered(message)
            case Refused():
                if self._known(message.job_id):
                    self._send(message)
            case _:
                self._send(message)

    def account(self, ended: list[Ticket], failed: list[Failed]) -> None:
        """Take in what a report brought: what was charged, and what was given up."""
        for ticket in ended:
            self._charged_s[ticket.job.id] = ticket.gpu_s
            self._finish(ticket.job.id)
        for failure in failed:
            self._send(failure)
        for job_id in [j for j in self._pictures if not self._known(j)]:
            del self._pictures[job_id]  # cancelled while it was being encoded

    def _known(self, job_id: str) -> bool:
        return self._scheduler.ticket(job_id) is not None or job_id in self._charged_s

    def _charged(self, job_id: str) -> float:
        ticket = self._scheduler.ticket(job_id)
        return self._charged_s.get(job_id, 0.0) if ticket is None else ticket.gpu_s

    def _finish(self, job_id: str) -> None:
        """Send a picture once it is both encoded and charged for."""
        if job_id in self._pictures and job_id in self._charged_s:
            picture = self._pictures.pop(job_id)
            self._send(msgspec.structs.replace(picture, gpu_s=self._charged_s.pop(job_id)))
        elif not self._known(job_id):
            self._pictures.pop(job_id, None)

    def _steered(self, message: Steered) -> None:
        """Keep the steer with the job too: a resume from an older checkpoint meets it again."""
        ticket = self._scheduler.ticket(message.job_id)
        if ticket is not None:
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


def keys(engine: Engine[Any], job: Job, *, exact: bool) -> tuple[ModelKey, BatchKey, CostKey]:
    """Return what must be loaded for a job, who may share its steps, and whose cost as much.

    An exact job shares with nobody, and yet costs what others of its kind do.
    """
    recipe = job.recipe
    exact = exact or recipe.exact
    shape = engine.batch_key(msgspec.structs.replace(recipe, exact=False))
    cost_key = (recipe.engine, exact, *shape)
    model = (recipe.engine, str(shape[0]))
    return model, ((*cost_key, job.id) if exact else cost_key), cost_key
