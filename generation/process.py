"""The scheduler process: the loop between the socket, the scheduler and the workers.

The main thread does input and output, and decides; a worker draws in a thread of its own, or
elsewhere. So the process answers, and beats, while a step runs. It keeps nothing that must not be
lost: when the socket closes, the bot is gone, and so are we.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import os
import time
from collections import deque
from collections.abc import Callable

import msgspec

from generation.engine import EngineError
from generation.figures import Counting
from generation.offers import Offers, together
from generation.protocol import (
    PROTOCOL_VERSION,
    Activity,
    Beat,
    Cancel,
    CannotStart,
    Embed,
    Embedded,
    Failed,
    Finished,
    Hello,
    Place,
    Progress,
    ProtocolError,
    Queue,
    Shutdown,
    SteerJob,
    Submit,
    ToBot,
    Weights,
    Welcome,
    WorkerInfo,
    Workers,
    encode,
    read_for_scheduler,
)
from generation.scheduler import Scheduler
from generation.service import Service
from generation.settings import Settings
from generation.wishes import Wishes
from generation.workers import Tell, WorkerHandle, WorkerLostError, WorkerPool, wait_within

_log = logging.getLogger(__name__)

EXIT_OK, EXIT_ERROR, EXIT_REFUSED, EXIT_VERSION = 0, 1, 3, 4

_QUEUE_S, _SOON_S, _LOOK_S = 2.0, 0.25, 1.0
_NOT_LOOKED = "What looks at pictures was lost in the middle of it. Try again in a moment."
_TOO_LARGE = "The finished picture is too large to be kept. Try a smaller size."
_CLOGGED_BYTES = 8 * 1024 * 1024
"""With so much unsent, previews are left out until the bot has caught up."""


class SchedulerProcess:
    """One connection's life. `run` returns the process's exit status.

    `hire` makes the pool of workers; it is given where what they say goes.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        hire: Callable[[Tell], WorkerPool],
        settings: Settings,
        secret: str = "",
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._settings = settings
        self._secret = secret
        self._pool = hire(self._from_worker)
        self._handles: dict[str, WorkerHandle] = {}
        self._offers = Offers()
        self._scheduler = Scheduler(settings.limits)
        self._service = Service(
            self._scheduler, self._offers.engines, self._send, self._post, self._take_look
        )
        self._wishes = Wishes(self._service, self._pool.plan, self._send, self._stir)
        self._looks: deque[Embed] = deque()
        self._counting = Counting()
        self._began = time.monotonic()
        self._welcomed = False
        self._stopping = asyncio.Event()
        self._work = asyncio.Event()
        self._stirred = asyncio.Event()

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
            self._welcome()
            await self._writer.drain()
            return EXIT_VERSION
        tasks = {
            asyncio.create_task(self._beats()),
            asyncio.create_task(self._reads()),
            serving := asyncio.create_task(self._serve()),
        }
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        try:
            if serving.done():
                return serving.result()
            _log.info("the bot is gone")
            return EXIT_OK
        finally:
            self._wishes.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._pool.close(), self._settings.shutdown_s)

    def stop(self) -> None:
        """Checkpoint all that runs, send it, and end."""
        self._stopping.set()
        self._work.set()
        for handle in self._handles.values():
            handle.stop()

    # --- drawing ---------------------------------------------------------------------------

    async def _serve(self) -> int:
        why_not = ""
        try:
            async with asyncio.TaskGroup() as group:
                endless = [
                    group.create_task(self._queues()),
                    group.create_task(self._hire(group)),
                ]
                await self._stopping.wait()
                for task in endless:
                    task.cancel()
                # The group waits until the workers have saved what they were at.
        except* EngineError as errors:
            why_not = str(errors.exceptions[0])
        if why_not:
            self._send(CannotStart(why_not))
        await self._close()
        return EXIT_ERROR if why_not else EXIT_OK

    async def _hire(self, group: asyncio.TaskGroup) -> None:
        async for handle in self._pool.workers():
            able = self._offers.add(handle.offer)
            self._handles[handle.name] = handle
            self._scheduler.add_worker(
                handle.name, handle.offer.capacity_bytes, able if handle.node else None
            )
            if handle.node and (lacking := self._offers.lacking(able)):
                _log.warning("%s has not got %s", handle.name, ", ".join(lacking))
            self._say_who_draws()
            group.create_task(self._drive(handle))

    async def _drive(self, handle: WorkerHandle) -> None:
        """Keep a worker busy until it leaves, or this process ends."""
        suspects: tuple[str, ...] = ()
        reason, outside = f"{handle.name} leaves.", False
        try:
            await self._prewarm(handle)
            while not self._stopping.is_set() and not handle.draining:
                await self._look(handle)
                handle.check()  # nothing is chosen for who is gone
                assignment = self._scheduler.choose(handle.name, time.monotonic())
                if assignment is None:
                    if self._nth_look(handle) is None:
                        self._work.clear()
                        await wait_within(self._work, _LOOK_S)
                    continue
                # Before it begins: should it be the process's last, the bot knows what did it.
                if handle.doing is not None:
                    self._beat(assignment.job_ids)
                begun = asyncio.Event()
                try:
                    report = await handle.advance(assignment, begun.set)
                except WorkerLostError:
                    # What was never begun cannot have been what took it.
                    suspects = assignment.job_ids if begun.is_set() else ()
                    raise
                predicted_bytes = self._scheduler.predicted_bytes(handle.name)
                self._counting.add(assignment.model[0], report, predicted_bytes)
                ended, failed = self._scheduler.report(handle.name, report, time.monotonic())
                self._service.account(ended, failed, report.strays)
                if ended or failed:
                    self._stirred.set()
                if assignment.suspend:
                    self._work.set()  # another may go on with these
            await handle.checkpoint_all()
        except WorkerLostError as lost:
            reason, outside = str(lost), lost.outside
        if not self._stopping.is_set():
            await self._lose(handle, reason, suspects, outside=outside)

    async def _lose(
        self, handle: WorkerHandle, reason: str, suspects: tuple[str, ...], *, outside: bool
    ) -> None:
        _log.warning("%s In its last step: %s.", reason, ", ".join(suspects) or "nothing")
        del self._handles[handle.name]
        self._service.lose(handle.name, reason, suspects, outside=outside)
        self._say_who_draws()
        self._work.set()
        self._stirred.set()
        await handle.close()

    async def _look(self, handle: WorkerHandle) -> None:
        """Have it look at what somebody waits for, if it can; but once between assignments."""
        nth = self._nth_look(handle)
        if nth is None:
            return
        ask = self._looks[nth]
        del self._looks[nth]
        try:
            await handle.look(ask)
        except WorkerLostError:
            self._send(Embedded(id=ask.id, reason=_NOT_LOOKED))
            raise

    def _nth_look(self, handle: WorkerHandle) -> int | None:
        """Return the place of the first ask that is this worker's to answer.

        It is where it has the perceptor, or nobody has: then it says so.
        """
        for nth, ask in enumerate(self._looks):
            able = [
                name
                for name, other in self._handles.items()
                if ask.perceptor in other.offer.perceptors
            ]
            if not able or handle.name in able:
                return nth
        return None

    async def _close(self) -> None:
        """Have what was said sent, within reason."""
        with contextlib.suppress(TimeoutError, OSError):
            await asyncio.wait_for(self._writer.drain(), self._settings.shutdown_s)
        self._writer.close()
        with contextlib.suppress(TimeoutError, OSError):
            await asyncio.wait_for(self._writer.wait_closed(), self._settings.shutdown_s)

    async def _prewarm(self, handle: WorkerHandle) -> None:
        """Load the model that is wanted first, unless something is wanted already."""
        wanted = self._settings.prewarm
        if wanted == "default":
            found = [
                f"{engine.name}/{model.name}"
                for engine in handle.offer.engines
                for model in engine.models
                if model.available
            ]
            wanted = found[0] if found else ""
        if not wanted or self._scheduler.tickets():
            return
        engine, _, model = wanted.partition("/")
        key = (engine, model)
        try:
            load_s, size = await handle.prewarm(key)
        except WorkerLostError:
            raise
        except Exception:
            _log.exception("%s could not be loaded ahead", wanted)
        else:
            self._scheduler.residency(handle.name).loaded(key, time.monotonic(), load_s, size)
            self._counting.loaded(engine, load_s)

    def _from_worker(self, worker: str, message: ToBot) -> None:
        if worker in self._handles:
            self._service.tell(worker, message)

    def _post(self, worker: str, message: Cancel | SteerJob) -> None:
        self._handles[worker].post(message)

    def _take_look(self, ask: Embed) -> None:
        self._looks.append(ask)
        self._work.set()

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
            match message:
                case Shutdown():
                    self.stop()
                case Submit() | Cancel() | SteerJob() if self._welcomed:
                    self._wishes.take(message)
                case Embed() | Weights() if self._welcomed:
                    self._service.take(message)
                case _:
                    _log.warning("a %s came out of turn", type(message).__name__)

    def _stir(self) -> None:
        self._work.set()
        self._stirred.set()

    # --- telling the bot -------------------------------------------------------------------

    def _send(self, message: ToBot) -> None:
        clogged = self._writer.transport.get_write_buffer_size() > _CLOGGED_BYTES
        if clogged and isinstance(message, Progress):
            message = msgspec.structs.replace(message, preview=None)
        try:
            frame = encode(message)
        except ProtocolError as error:
            about = getattr(message, "job_id", "")
            kind = type(message).__name__
            _log.error(
                "%sa %s cannot be sent: %s", f"dream {about}: " if about else "", kind, error
            )
            if isinstance(message, Finished):
                self._send(_smaller(message))
        else:
            self._writer.write(frame)

    def _say_who_draws(self) -> None:
        if not self._welcomed:
            self._welcomed = True
            self._welcome()
            return
        self._send(
            Workers(
                device=self._devices(),
                engines=tuple(self._offers.engines.values()),
                perceptors=self._offers.perceptors,
                workers=self._who(),
            )
        )

    def _welcome(self) -> None:
        self._send(
            Welcome(
                version=PROTOCOL_VERSION,
                pid=os.getpid(),
                device=self._devices(),
                engines=tuple(self._offers.engines.values()),
                perceptors=self._offers.perceptors,
                workers=self._who(),
            )
        )

    def _devices(self) -> str:
        return together(handle.offer.device for handle in self._handles.values())

    def _who(self) -> tuple[WorkerInfo, ...]:
        return tuple(
            WorkerInfo(name=name, device=handle.offer.device, node=handle.node)
            for name, handle in self._handles.items()
        )

    def _beat(self, job_ids: tuple[str, ...] = ()) -> None:
        """Say what this process is at. What workers elsewhere are at cannot take it with them."""
        now = time.monotonic()
        beat = Beat(activity=Activity.IDLE, busy_s=0.0, limit_s=0.0)
        if not self._welcomed:
            beat = Beat(
                activity=Activity.LOAD,
                busy_s=now - self._began,
                limit_s=self._settings.load_limit_s,
            )
        for handle in self._handles.values():
            if (doing := handle.doing) is not None:
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
            if (figures := self._counting.take()) is not None:
                self._send(figures)
            await asyncio.sleep(self._settings.beat_s)

    async def _queues(self) -> None:
        """Send every waiting job's place when it changed, soon; and its times, now and then."""
        sent: tuple[Place, ...] = ()
        while True:
            await wait_within(self._stirred, _QUEUE_S)
            await asyncio.sleep(_SOON_S)
            self._stirred.clear()
            began = time.monotonic()
            places = self._service.places()
            if places != sent:
                self._send(Queue(places))
                sent = places
            # With thousands waiting, looking ahead must not take the machine from drawing.
            await asyncio.sleep(20 * (time.monotonic() - began))


def _smaller(finished: Finished) -> Finished | Failed:
    """Return how a job ends that was too large to be sent: the picture counts more than files."""
    if finished.attachments:
        return msgspec.structs.replace(finished, attachments=())
    return Failed(job_id=finished.job_id, reason=_TOO_LARGE)
