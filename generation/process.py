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
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from generation.device import Device
from generation.device import find as find_device
from generation.engine import Engine, EngineError
from generation.figures import Counting
from generation.protocol import (
    PROTOCOL_VERSION,
    Activity,
    Beat,
    CannotStart,
    Embed,
    Hello,
    Place,
    Progress,
    ProtocolError,
    Queue,
    Shutdown,
    ToBot,
    Welcome,
    encode,
    read_for_scheduler,
)
from generation.scheduler import Scheduler
from generation.service import Service
from generation.settings import Settings
from generation.worker import Worker

_log = logging.getLogger(__name__)

Engines = dict[str, Engine[Any]]
BuildEngines = Callable[..., Engines]

EXIT_OK, EXIT_ERROR, EXIT_REFUSED, EXIT_VERSION = 0, 1, 3, 4
LOCAL = "local"
"""The name of the one worker that is a call away."""

_QUEUE_S, _SOON_S, _LOOK_S = 2.0, 0.25, 1.0
_CANNOT_START = "What draws could not be started; the log has the details."
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
        self._service: Service | None = None
        self._looks: deque[Embed] = deque()
        self._counting = Counting()
        self._began = time.monotonic()
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
        self._stopping.set()
        self._work.set()
        if self._worker is not None:
            self._worker.stop()

    # --- drawing ---------------------------------------------------------------------------

    async def _serve(self) -> int:
        making = self._loop.run_in_executor(self._thread, self._make_worker)
        stopped = asyncio.create_task(self._stopping.wait())
        either: set[asyncio.Future[Any]] = {making, stopped}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not making.done():
            return EXIT_OK  # there is nothing to save yet
        stopped.cancel()
        try:
            worker, device = await making
        except EngineError as error:
            return await self._cannot_start(str(error))
        except Exception:
            _log.exception("the engines could not be made")
            return await self._cannot_start(_CANNOT_START)
        self._worker = worker
        self._scheduler.add_worker(LOCAL, self._settings.memory_bytes or device.capacity_bytes)
        self._service = Service(
            self._scheduler,
            self._engines,
            self._send,
            worker.post,
            self._looks.append,
            exact=self._settings.exact,
        )
        self._welcome(device.name, worker.perceptors)
        queues = asyncio.create_task(self._queues(self._service))
        await self._prewarm(worker)
        while not self._stopping.is_set():
            if self._looks:
                # Somebody waits for it; and then an assignment, so that nothing stands still.
                ask = self._looks.popleft()
                await self._loop.run_in_executor(self._thread, worker.look, ask)
            assignment = self._scheduler.choose(LOCAL, time.monotonic())
            if assignment is None and self._looks:
                continue
            if assignment is None:
                self._work.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._work.wait(), _LOOK_S)
                continue
            # Before it begins: should it be the process's last, the bot knows what did it.
            self._beat(assignment.job_ids)
            report = await self._loop.run_in_executor(self._thread, worker.advance, assignment)
            predicted_bytes = self._scheduler.predicted_bytes(LOCAL)
            self._counting.add(assignment.model[0], report, predicted_bytes)
            ended, failed = self._scheduler.report(LOCAL, report, time.monotonic())
            self._service.account(ended, failed)
            if ended or failed:
                self._stirred.set()
        queues.cancel()
        await self._loop.run_in_executor(self._thread, worker.checkpoint_all)
        await asyncio.sleep(0)  # what the threads emitted is already on the loop's list
        await self._close()
        return EXIT_OK

    async def _close(self) -> None:
        """Have what was said sent, within reason."""
        with contextlib.suppress(TimeoutError, OSError):
            await asyncio.wait_for(self._writer.drain(), self._settings.shutdown_s)
        self._writer.close()
        with contextlib.suppress(TimeoutError, OSError):
            await asyncio.wait_for(self._writer.wait_closed(), self._settings.shutdown_s)

    async def _cannot_start(self, reason: str) -> int:
        self._send(CannotStart(reason))
        await self._close()
        return EXIT_ERROR

    def _make_worker(self) -> tuple[Worker, Device]:
        settings = self._settings
        engines = self._build(
            device=settings.device, models_dir=settings.models_dir, exact=settings.exact
        )
        if any(engine.info.journeys for engine in engines.values()):
            # Imports torch, as whatever made such engines has done.
            from generation.engines.journeys import with_journeys

            engines = with_journeys(engines)
        self._engines = engines
        device = find_device(settings.device, settings.threads)

        def emit(message: ToBot) -> None:
            self._loop.call_soon_threadsafe(self._from_worker, message)

        return Worker(self._engines, device, emit, settings), device

    def _from_worker(self, message: ToBot) -> None:
        if self._service is not None:
            self._service.tell(message)

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
            load_s, size = await self._loop.run_in_executor(self._thread, worker.prewarm, key)
        except Exception:
            _log.exception("%s could not be loaded ahead", wanted)
        else:
            self._scheduler.residency(LOCAL).loaded(key, time.monotonic(), load_s, size)

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
            if isinstance(message, Shutdown):
                self.stop()
            elif isinstance(message, Hello) or self._service is None:
                _log.warning("a %s came out of turn", type(message).__name__)
            else:
                try:
                    self._service.take(message)
                except Exception:
                    _log.exception("a %s could not be dealt with", type(message).__name__)
            self._work.set()
            self._stirred.set()

    # --- telling the bot -------------------------------------------------------------------

    def _send(self, message: ToBot) -> None:
        clogged = self._writer.transport.get_write_buffer_size() > _CLOGGED_BYTES
        if clogged and isinstance(message, Progress):
            message = msgspec.structs.replace(message, preview=None)
        try:
            self._writer.write(encode(message))
        except ProtocolError as error:
            _log.error("a %s is too large to be sent: %s", type(message).__name__, error)

    def _welcome(self, device: str, perceptors: tuple[str, ...] = ()) -> None:
        self._send(
            Welcome(
                version=PROTOCOL_VERSION,
                pid=os.getpid(),
                device=device,
                engines=tuple(engine.info for engine in self._engines.values()),
                perceptors=perceptors,
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
            if (figures := self._counting.take()) is not None:
                self._send(figures)
            await asyncio.sleep(self._settings.beat_s)

    async def _queues(self, service: Service) -> None:
        """Send every waiting job's place when it changed, soon; and its times, now and then."""
        sent: tuple[Place, ...] = ()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stirred.wait(), _QUEUE_S)
            await asyncio.sleep(_SOON_S)
            self._stirred.clear()
            began = time.monotonic()
            places = service.places()
            if places != sent:
                self._send(Queue(places))
                sent = places
            # With thousands waiting, looking ahead must not take the machine from drawing.
            await asyncio.sleep(20 * (time.monotonic() - began))
