"""Who carries out assignments: the seam between the scheduler process and its workers.

The scheduler process knows a `WorkerPool`, which yields a `WorkerHandle` for each worker as it
comes up. Here is the pool of one, a thread of the process itself; `generation.fleet` has the one
whose workers are elsewhere. What crosses the seam are plain values.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar

import msgspec

from generation.assignment import Assignment, Report
from generation.device import Device
from generation.device import find as find_device
from generation.engine import Engine, EngineError
from generation.planning import Plan, plan
from generation.protocol import Cancel, Embed, EngineInfo, Job, SteerJob, ToBot
from generation.residency import ModelKey
from generation.settings import Settings
from generation.worker import Doing, Worker

_log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
Engines = dict[str, Engine[Any]]
BuildEngines = Callable[..., Engines]
Tell = Callable[[str, ToBot], None]
"""Takes what a worker, by its name, has to say to the bot. Called in the event loop."""

LOCAL = "local"
"""The name of the one worker that is a call away."""
CANNOT_START = "What draws could not be started; the log has the details."


async def wait_within(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, so long at most.

    Not by `asyncio.wait_for`: before Python 3.12 that loses a cancellation that comes together with
    the event, and whoever waits for the cancelled task waits for ever.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


class WorkerLostError(Exception):
    """A worker died, hung or froze, and is gone. The text says which, as a sentence.

    `outside` says that it may have been killed by somebody.
    """

    def __init__(self, reason: str, *, outside: bool) -> None:
        super().__init__(reason)
        self.outside = outside


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker can draw with. `capacity_bytes` is None where it is not known."""

    device: str
    capacity_bytes: int | None
    engines: tuple[EngineInfo, ...]
    perceptors: tuple[str, ...]


class WorkerHandle(Protocol):
    """One worker, wherever it is. Its coroutines are awaited one at a time.

    Each may raise `WorkerLostError`, and nothing of that worker is heard afterwards.
    """

    @property
    def name(self) -> str:
        """A name that no other worker has or had."""
        ...

    @property
    def node(self) -> str:
        """Where it is, if elsewhere."""
        ...

    @property
    def offer(self) -> Offer:
        """What it can draw with."""
        ...

    @property
    def draining(self) -> bool:
        """Whether it is to be given nothing more: it leaves."""
        ...

    @property
    def doing(self) -> Doing | None:
        """What it is at, where that is what this process is at; None of a worker elsewhere."""
        ...

    def check(self) -> None:
        """Raise `WorkerLostError` if it is gone."""
        ...

    async def advance(self, assignment: Assignment, begun: Callable[[], object]) -> Report:
        """Carry out an assignment; call `begun` as soon as it is known to have been taken on."""
        ...

    async def prewarm(self, model: ModelKey) -> tuple[float, int]:
        """Load a model ahead; return the seconds and bytes it took.

        Raises:
            EngineError: it cannot be had.
        """
        ...

    async def look(self, ask: Embed) -> None:
        """Answer an ask for vectors."""
        ...

    async def checkpoint_all(self) -> None:
        """Save every run; what was to be sent has been when this returns."""
        ...

    def post(self, message: Cancel | SteerJob) -> None:
        """Have a run cancelled or steered before its next step."""
        ...

    def stop(self) -> None:
        """Have `advance` return after the present step."""
        ...

    async def close(self) -> None:
        """Let it go, for good."""
        ...


class WorkerPool(Protocol):
    """The workers there are."""

    def workers(self) -> AsyncIterator[WorkerHandle]:
        """Yield each worker as it comes up, for as long as more may come.

        Raises:
            EngineError: there is none, nor is one to be expected; the sentence says what to do.
        """
        ...

    async def plan(self, job: Job) -> Plan:
        """Plan a job; waits while there is no worker that could say.

        Raises:
            EngineError: it cannot be drawn.
        """
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


def builder(name: str) -> BuildEngines:
    """Return the function ``module:function`` that makes engines; imported when it is called."""

    def build(**options: object) -> Engines:
        module, _, function = name.partition(":")
        engines: Engines = getattr(importlib.import_module(module), function)(**options)
        return engines

    return build


def build_worker(
    build: BuildEngines, settings: Settings, emit: Callable[[ToBot], None]
) -> tuple[Worker, Engines, Device]:
    """Make the engines of this process and the worker that draws with them. Takes seconds.

    Raises:
        EngineError: they cannot be made; the sentence says what to do.
    """
    try:
        engines = build(**settings.for_engines)
        if any(engine.info.journeys for engine in engines.values()):
            # Imports torch, as whatever made such engines has done.
            from generation.engines.journeys import with_journeys

            engines = with_journeys(engines)
        device = find_device(settings.device, settings.threads)
        return Worker(engines, device, emit, settings), engines, device
    except EngineError:
        raise
    except Exception as error:
        _log.exception("the engines could not be made")
        raise EngineError(CANNOT_START) from error


def offer_of(worker: Worker, engines: Engines, device: Device, settings: Settings) -> Offer:
    """Return what a worker can draw with."""
    return Offer(
        device=device.name,
        capacity_bytes=settings.memory_bytes or device.capacity_bytes,
        engines=tuple(engine.info for engine in engines.values()),
        perceptors=worker.perceptors,
    )


def post_to(worker: Worker, thread: ThreadPoolExecutor, message: Cancel | SteerJob) -> None:
    """Have a run cancelled or steered; what is cancelled is let go of even between turns."""
    worker.post(message)
    if isinstance(message, Cancel):
        thread.submit(worker.drop_cancelled)


class LocalWorker:
    """The worker that draws in a thread of this process."""

    node = ""
    draining = False

    def __init__(self, worker: Worker, offer: Offer, thread: ThreadPoolExecutor) -> None:
        self.name = LOCAL
        self.offer = offer
        self._worker = worker
        self._thread = thread
        self.stop = worker.stop

    @property
    def doing(self) -> Doing:
        """What it is at."""
        return self._worker.doing

    def check(self) -> None:
        """Do nothing: were it gone, so were this process."""

    def post(self, message: Cancel | SteerJob) -> None:
        """Have a run cancelled or steered."""
        post_to(self._worker, self._thread, message)

    async def advance(self, assignment: Assignment, begun: Callable[[], object]) -> Report:
        """Carry out an assignment."""
        begun()
        return await self._call(self._worker.advance, assignment)

    async def prewarm(self, model: ModelKey) -> tuple[float, int]:
        """Load a model ahead."""
        return await self._call(self._worker.prewarm, model)

    async def look(self, ask: Embed) -> None:
        """Answer an ask for vectors."""
        await self._call(self._worker.look, ask)

    async def checkpoint_all(self) -> None:
        """Save every run."""
        await self._call(self._worker.checkpoint_all)
        await asyncio.sleep(0)  # what the threads emitted is already on the loop's list

    async def close(self) -> None:
        """Do nothing: it ends with the process."""

    async def _call(self, function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, partial(function, *args, **named)
        )


class LocalPool:
    """The pool of one."""

    def __init__(self, build: BuildEngines, settings: Settings, tell: Tell) -> None:
        self._build = build
        self._settings = settings
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        # Everything that touches an engine's weights or runs happens in this one thread.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="worker")
        self._engines: Engines = {}

    async def workers(self) -> AsyncIterator[WorkerHandle]:
        """Yield the one worker."""

        def emit(message: ToBot) -> None:
            self._loop.call_soon_threadsafe(self._tell, LOCAL, message)

        worker, self._engines, device = await self._loop.run_in_executor(
            self._thread, build_worker, self._build, self._settings, emit
        )
        offer = offer_of(worker, self._engines, device, self._settings)
        yield LocalWorker(worker, offer, self._thread)

    async def plan(self, job: Job) -> Plan:
        """Plan a job."""
        return plan(self._engines, job, self._settings.max_batch, exact=self._settings.exact)

    async def close(self) -> None:
        """Do nothing: the thread ends with the process."""
