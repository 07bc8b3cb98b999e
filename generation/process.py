"""The scheduler process: the loop between the socket, the scheduler and the worker.

The main thread does input and output, and decides; the worker draws in a thread of its own. So
the process answers, and beats, while a step runs. It keeps nothing that must not be lost: when
the socket closes, the bot is gone, and so are we.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from generation import device as devices
from generation.engine import BatchKey, Engine, EngineError
from generation.protocol import (
    PROTOCOL_VERSION,
    Activity,
    Beat,
    Cancel,
    Cancelled,
    Checkpoint,
    Failed,
    Finished,
    Hello,
    Job,
    Place,
    Progress,
    ProtocolError,
    Queue,
    Recipe,
    Refused,
    Shutdown,
    Steer,
    Steered,
    SteerJob,
    Submit,
    ToBot,
    ToScheduler,
    Weights,
    Welcome,
    encode,
    read_for_scheduler,
)
from generation.scheduler import Scheduler
from generation.settings import Settings
from generation.worker import Worker

_log = logging.getLogger(__name__)

Engines = dict[str, Engine[Any]]
BuildEngines = Callable[..., Engines]

EXIT_OK, EXIT_ERROR, EXIT_REFUSED, EXIT_VERSION = 0, 1, 3, 4
LOCAL = "local"
"""The name of the one worker that is a call away."""

_QUEUE_S, _SOON_S = 2.0, 0.25
_CLOGGED_BYTES = 8 * 1024 * 1024
"""With so much unsent, previews are left out until the bot has caught up."""


class SchedulerProcess:
    """One connection's life. `run` returns the process's exit status."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        build: BuildEngines,
        settings: Settings,
        secret: str = "",
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._build = build
        self._settings = settings
        self._secret = secret
        self._loop = asyncio.get_running_loop()
        # Everything that touches an engine's weights or runs happens in this one thread.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="worker")
        self._scheduler = Scheduler(settings.limits)
        self._engines: Engines = {}
        self._worker: Worker | None = None
        self._began = time.monotonic()
        self._stopping = False
        self._work = asyncio.Event()
        self._stirred = asyncio.Event()
        self._ends_at: dict[str, float] = {}
        # A finished picture and what was charged for it come by different ways, either first.
        self._pictures: dict[str, Finished] = {}
        self._charged_s: dict[str, float] = {}

    async def run(self) -> int:
        """Shake hands, then serve until told to stop, or left alone."""
        try:
            hello = await read_for_scheduler(self._reader)
        except (ProtocolError, asyncio.IncompleteReadError, OSError) as error:
            _log.error("no greeting came: %s", error)
            return EXIT_ERROR
        if not isinstance(hello, Hello) or not hmac.compare_digest(hello.secret, self._secret):
            _log.error("refused: who speaks does not know the secret")
            return EXIT_REFUSED
        if hello.version != PROTOCOL_VERSION:
            self._welcome("")
            await self._writer.drain()
            return EXIT_VERSION
        tasks = {
            asyncio.create_task(self._beats()),
            asyncio.create_task(self._reads()),
            serving := asyncio.create_task(self._serve()),
        }
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            return serving.result()
        _log.info("the bot is gone")
        return EXIT_OK

    def stop(self) -> None:
        """Checkpoint all that runs, send it, and end."""
        self._stopping = True
        self._work.set()
        if self._worker is not None:
            self._worker.stop()

    # --- drawing ---------------------------------------------------------------------------

    async def _serve(self) -> int:
        try:
            worker = await self._loop.run_in_executor(self._thread, self._make_worker)
        except Exception:
            _log.exception("the engines could not be made")
            return EXIT_ERROR
        self._worker = worker
        if self._stopping:
            return EXIT_OK
        queues = asyncio.create_task(self._queues())
        await self._prewarm(worker)
        while not self._stopping:
            assignment = self._scheduler.choose(LOCAL, time.monotonic())
            if assignment is None:
                self._work.clear()
                await self._work.wait()
                continue
            # Before it begins: should it be the process's last, the bot knows what did it.
            self._beat(assignment.job_ids)
            report = await self._loop.run_in_executor(self._thread, worker.advance, assignment)
            ended, failed = self._scheduler.report(LOCAL, report, time.monotonic())
            for ticket in ended:
                self._charged_s[ticket.job.id] = ticket.gpu_s
                self._send_finished(ticket.job.id)
            for failure in failed:
                self._send(failure)
            if ended or failed:
                self._stirred.set()
        queues.cancel()
        await self._loop.run_in_executor(self._thread, worker.checkpoint_all)
        await asyncio.sleep(0)  # what the threads emitted is already on the loop's list
        await self._writer.drain()
        self._writer.close()
        await self._writer.wait_closed()
        return EXIT_OK

    def _make_worker(self) -> Worker:
        settings = self._settings
        self._engines = self._build(
            device=settings.device, models_dir=settings.models_dir, exact=settings.exact
        )
        device = devices.find(settings.device, settings.threads)
        self._scheduler.add_worker(LOCAL, settings.memory_bytes or device.capacity_bytes)

        def emit(message: ToBot) -> None:
            self._loop.call_soon_threadsafe(self._from_worker, message)

        self._loop.call_soon_threadsafe(self._welcome, device.name)
        return Worker(self._engines, device, emit, settings)

    async def _prewarm(self, worker: Worker) -> None:
        """Load the model that is wanted first, unless something is wanted already."""
        wanted = self._settings.prewarm
        if wanted == "default":
            found = [
                f"{engine.info.name}/{model.name}"
                for engine in self._engines.values()
                for model in engine.info.models
                if model.available
            ]
            wanted = found[0] if found else ""
        if not wanted or self._scheduler.tickets():
            return
        engine, _, model = wanted.partition("/")
        key = (engine, model)
        try:
            load_s, size = await self._loop.run_in_executor(self._thread, worker.load, key)
        except Exception:
            _log.exception("%s could not be loaded ahead", wanted)
        else:
            self._scheduler.residency(LOCAL).loaded(key, time.monotonic(), load_s, size)

    def _from_worker(self, message: ToBot) -> None:
        """Complete a worker's message and pass it on, unless its job is over."""
        match message:
            case Finished():
                self._pictures[message.job_id] = message
                self._send_finished(message.job_id)
            case Failed():
                known = self._scheduler.remove(message.job_id) is not None
                known |= self._charged_s.pop(message.job_id, None) is not None
                if known:
                    self._send(message)
            case Checkpoint():
                self._scheduler.checkpointed(message.job_id, message.data)
                self._send_if_known(message)
            case Progress():
                clogged = self._writer.transport.get_write_buffer_size() > _CLOGGED_BYTES
                self._send_if_known(
                    Progress(
                        job_id=message.job_id,
                        step=message.step,
                        steps=message.steps,
                        ends_in_s=self._ends_in_s(message.job_id),
                        preview=None if clogged else message.preview,
                        loss=message.loss,
                    )
                )
            case Steered() | Refused():
                self._send_if_known(message)
            case _:
                self._send(message)

    def _send_if_known(self, message: Checkpoint | Progress | Steered | Refused) -> None:
        job_id = message.job_id
        if self._scheduler.ticket(job_id) is not None or job_id in self._charged_s:
            self._send(message)

    def _send_finished(self, job_id: str) -> None:
        """Send a picture once it is both encoded and charged for."""
        if job_id in self._pictures and job_id in self._charged_s:
            picture = self._pictures.pop(job_id)
            self._send(msgspec.structs.replace(picture, gpu_s=self._charged_s.pop(job_id)))
        elif job_id in self._pictures and self._scheduler.ticket(job_id) is None:
            del self._pictures[job_id]  # cancelled while it was being encoded

    def _ends_in_s(self, job_id: str) -> float:
        return max(0.0, self._ends_at.get(job_id, 0.0) - time.monotonic())

    # --- the bot's messages ----------------------------------------------------------------

    async def _reads(self) -> None:
        while True:
            try:
                message = await read_for_scheduler(self._reader)
            except (asyncio.IncompleteReadError, OSError):
                return
            except ProtocolError as error:
                _log.error("the bot cannot be understood: %s", error)
                return
            try:
                self._take(message)
            except Exception:
                _log.exception("a %s could not be dealt with", type(message).__name__)

    def _take(self, message: ToScheduler) -> None:
        match message:
            case Submit():
                self._submit(message.job)
            case Cancel():
                self._cancel(message)
            case SteerJob():
                self._steer(message)
            case Weights():
                self._scheduler.set_weights(message.streams)
            case Shutdown():
                self.stop()
            case Hello():
                _log.warning("a second greeting")
        self._work.set()
        self._stirred.set()

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
            key, cost_key = batch_keys(engine, job, exact=self._settings.exact)
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

            self._scheduler.submit(job, key, cost_key, predict_bytes)

    def _cancel(self, cancel: Cancel) -> None:
        if cancel.job_id in self._charged_s:
            return  # it is finished; its picture is being encoded
        ticket = self._scheduler.remove(cancel.job_id)
        if ticket is not None and ticket.worker is not None and self._worker is not None:
            self._worker.post(cancel)
        self._send(Cancelled(cancel.job_id))

    def _steer(self, message: SteerJob) -> None:
        ticket = self._scheduler.ticket(message.job_id)
        if ticket is None:
            self._send(Refused(message.job_id, "This dream is over and can no longer be steered."))
            return
        recipe = ticket.job.recipe
        if not self._engines[recipe.engine].info.steerable:
            self._send(Refused(message.job_id, "This engine's dreams cannot be steered."))
        elif ticket.worker is not None and self._worker is not None:
            self._worker.post(message)
        elif ticket.shown or ticket.job.checkpoint is not None:
            ticket.steers.append(message)
        else:
            # Not begun: it simply starts with the new prompt.
            steer = Steer(0, message.prompt, message.glide_steps)
            changed = msgspec.structs.replace(recipe, steers=(*recipe.steers, steer))
            ticket.job = msgspec.structs.replace(ticket.job, recipe=changed)
            self._send(Steered(message.job_id, steer))

    # --- telling the bot -------------------------------------------------------------------

    def _send(self, message: ToBot) -> None:
        try:
            self._writer.write(encode(message))
        except ProtocolError as error:
            _log.error("a %s is too large to be sent: %s", type(message).__name__, error)

    def _welcome(self, device: str) -> None:
        self._send(
            Welcome(
                version=PROTOCOL_VERSION,
                pid=os.getpid(),
                device=device,
                engines=tuple(engine.info for engine in self._engines.values()),
            )
        )

    def _beat(self, job_ids: tuple[str, ...] = ()) -> None:
        now = time.monotonic()
        if self._worker is None:
            beat = Beat(
                activity=Activity.LOAD,
                busy_s=now - self._began,
                limit_s=self._settings.load_limit_s,
            )
        else:
            doing = self._worker.doing
            beat = Beat(
                activity=Activity.STEP if job_ids else doing.activity,
                busy_s=0.0 if job_ids else now - doing.since,
                limit_s=self._settings.load_limit_s if job_ids else doing.limit_s,
                job_ids=job_ids or doing.job_ids,
            )
        self._send(beat)

    async def _beats(self) -> None:
        while True:
            self._beat()
            await asyncio.sleep(self._settings.beat_s)

    async def _queues(self) -> None:
        """Send every waiting job's place when it changed, soon; and its times, now and then."""
        sent: tuple[Place, ...] = ()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stirred.wait(), _QUEUE_S)
            await asyncio.sleep(_SOON_S)
            self._stirred.clear()
            places = self._places()
            if places != sent:
                self._send(Queue(places))
                sent = places

    def _places(self) -> tuple[Place, ...]:
        now = time.monotonic()
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


def batch_keys(engine: Engine[Any], job: Job, *, exact: bool) -> tuple[BatchKey, BatchKey]:
    """Return with whom a job may share a step, and with what its steps' cost compares.

    An exact job shares with nobody, and yet costs what others of its kind do.
    """
    recipe: Recipe = job.recipe
    exact = exact or recipe.exact
    cost_key = (
        recipe.engine,
        recipe.model,
        exact,
        *engine.batch_key(msgspec.structs.replace(recipe, exact=False)),
    )
    if exact:
        return (*cost_key, job.id), cost_key
    return cost_key, cost_key
