"""A worker in a process of its own, as an actor that is asked from elsewhere.

It takes one order at a time and carries it out in a thread, as the local worker does. All that it
has to say waits in one place, in order, to be fetched by `hear`, which is answered as soon as there
is something, and else once a beat: so the answer is its sign of life, what came of an order never
overtakes what was said before, and what nobody has fetched yet is replaced by what is newer instead
of piling up.

What goes in and out is msgpack. This module knows nothing of Ray: an actor is a class.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from generation import logs
from generation.assignment import Assignment, Report
from generation.engine import EngineError
from generation.planning import Plan, plan, refusal
from generation.protocol import (
    PROTOCOL_VERSION,
    Activity,
    Cancel,
    Checkpoint,
    Embed,
    Failed,
    Job,
    LogLine,
    Progress,
    SteerJob,
    ToBot,
)
from generation.residency import ModelKey
from generation.settings import parse
from generation.worker import Worker
from generation.workers import Engines, Offer, build_worker, builder, offer_of, post_to

_log = logging.getLogger(__name__)

MODELS_VARIABLE = "DREAMSTREAM_MODELS"
"""Where a node's models lie, if not where the bot's do."""
_MAX_LINES = 1000


class Advance(msgspec.Struct, frozen=True, tag=True):
    """Carry out an assignment."""

    assignment: Assignment


class Prewarm(msgspec.Struct, frozen=True, tag=True):
    """Load a model ahead."""

    model: ModelKey


class Look(msgspec.Struct, frozen=True, tag=True):
    """Answer an ask for vectors."""

    ask: Embed


class SaveAll(msgspec.Struct, frozen=True, tag=True):
    """Save every run, and say all that is to be said."""


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Return from what is under way after the present step."""


Order = Advance | Prewarm | Look | SaveAll
Note = Cancel | SteerJob | Stop


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker says first: what it offers, or as a sentence why it can offer nothing."""

    version: int = PROTOCOL_VERSION
    offer: Offer | None = None
    error: str = ""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an order. With an `error`, a sentence, nothing did."""

    report: Report | None = None
    load_s: float = 0.0
    model_bytes: int = 0
    error: str = ""


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is at, as in `Beat`, and what it has said and done since the last time."""

    activity: Activity
    busy_s: float
    limit_s: float
    draining: bool
    said: tuple[ToBot, ...] = ()
    lines: tuple[LogLine, ...] = ()
    done: Done | None = None


class Outbox:
    """What is yet to be fetched. `put` may be called from any thread."""

    def __init__(self, stirred: Callable[[], None]) -> None:
        self._stirred = stirred
        self._lock = threading.Lock()
        self._said: dict[object, ToBot] = {}
        self._count = 0

    def put(self, message: ToBot) -> None:
        """Keep a message; a run's progress and checkpoint take the place of older ones."""
        with self._lock:
            self._count += 1
            key: object = self._count
            if isinstance(message, Progress | Checkpoint):
                key = type(message), message.job_id
                older = self._said.pop(key, None)
                if isinstance(message, Progress) and isinstance(older, Progress):
                    preview = message.preview or older.preview
                    message = msgspec.structs.replace(message, preview=preview)
            self._said[key] = message
        self._stirred()

    def take(self) -> tuple[ToBot, ...]:
        """Return all that was kept, in order, and keep it no more."""
        with self._lock:
            said = tuple(self._said.values())
            self._said.clear()
        return said


class _Lines(logging.Handler):
    """Keeps the log's newest lines for whoever hears this worker."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logs.Formatter())
        self._lines: deque[LogLine] = deque(maxlen=_MAX_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record; never raises, as it is called wherever something is logged."""
        try:
            line = msgspec.json.decode(self.format(record), type=LogLine)
        except Exception:
            self.handleError(record)
        else:
            self._lines.append(line)

    def take(self) -> tuple[LogLine, ...]:
        """Return what was kept, and keep it no more."""
        taken = []
        while self._lines:
            taken.append(self._lines.popleft())
        return tuple(taken)


class RemoteWorker:
    """The actor. Made and called in an event loop; `engines` is ``module:function``."""

    def __init__(self, engines: str, settings: str) -> None:
        self._engines_by = engines
        # The bot's folder for what torch compiles is on the bot's machine; torch's own is on each.
        self._settings = msgspec.structs.replace(parse(settings), compiled_dir="")
        if models_dir := os.environ.get(MODELS_VARIABLE):
            self._settings = msgspec.structs.replace(self._settings, models_dir=models_dir)
        self._engines: Engines = {}
        self._worker: Worker | None = None
        self._began = time.monotonic()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="worker")
        self._lines = _Lines()
        self._news = asyncio.Event()
        self._done: Done | None = None
        self._draining = False
        self._device = ""

    async def open(self) -> bytes:
        """Make the engines; return an `Opened`."""
        loop = asyncio.get_running_loop()

        def stirred() -> None:
            loop.call_soon_threadsafe(self._news.set)

        self._outbox = Outbox(stirred)
        try:
            worker, self._engines, device = await loop.run_in_executor(
                self._thread,
                build_worker,
                builder(self._engines_by),
                self._settings,
                self._outbox.put,
            )
        except EngineError as error:
            return msgspec.msgpack.encode(Opened(error=str(error)))
        self._worker, self._device = worker, device.name
        offer = offer_of(worker, self._engines, device, self._settings)
        return msgspec.msgpack.encode(Opened(offer=offer))

    async def plan(self, job: bytes) -> Plan | Failed:
        """Plan a `Job`, of which only id and recipe need be there; or say why it cannot be drawn.

        Not as msgpack, which has no tuples: keys are compared.
        """
        wanted = msgspec.msgpack.decode(job, type=Job)
        settings = self._settings
        try:
            return plan(self._engines, wanted, settings.max_batch, exact=settings.exact)
        except EngineError as error:
            return refusal(wanted, error)

    async def order(self, order: bytes) -> None:
        """Begin to carry out an `Order`; the one before has been heard to be done."""
        decoded: Order = msgspec.msgpack.decode(order, type=Order)
        carrying = asyncio.get_running_loop().run_in_executor(
            self._thread, self._carry_out, decoded
        )
        carrying.add_done_callback(self._is_done)

    async def note(self, note: bytes) -> None:
        """Take in a `Note`, whatever is under way."""
        decoded: Note = msgspec.msgpack.decode(note, type=Note)
        assert self._worker is not None, "it was opened"
        if isinstance(decoded, Stop):
            self._worker.stop()
        else:
            post_to(self._worker, self._thread, decoded)

    async def drain(self) -> None:
        """Say that it is to be given nothing more."""
        self._draining = True
        self._news.set()

    async def status(self) -> str:
        """Return what it is at, for whoever looks after the cluster."""
        if self._worker is None:
            return "is coming up"
        doing = self._worker.doing
        runs = f", {len(doing.job_ids)} at once" if doing.job_ids else ""
        return f"{self._device}, {doing.activity}{runs}{', drains' if self._draining else ''}"

    async def hear(self) -> bytes:
        """Return a `Heard`, at once if there is news, else in a beat."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), self._settings.beat_s)
        self._news.clear()
        # What was done is taken first: all that was said before it is in the box by now.
        done, self._done = self._done, None
        assert self._worker is not None, "it was opened"
        doing = self._worker.doing
        heard = Heard(
            activity=doing.activity,
            busy_s=time.monotonic() - doing.since,
            limit_s=doing.limit_s,
            draining=self._draining,
            said=self._outbox.take(),
            lines=self._lines.take(),
            done=done,
        )
        return msgspec.msgpack.encode(heard)

    def own_process(self) -> None:
        """Set up the process for this worker alone: its log, its threads. Before `open`."""
        faulthandler.enable()
        log = logging.getLogger("generation")
        log.setLevel(self._settings.log_level.upper())
        log.addHandler(self._lines)
        if self._settings.niceness and hasattr(os, "nice"):
            os.nice(self._settings.niceness)
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        if self._settings.threads > 0:
            # Before torch is imported, which reads them once.
            for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
                os.environ[name] = str(self._settings.threads)

    def _carry_out(self, order: Order) -> Done:
        assert self._worker is not None, "it was opened"
        match order:
            case Advance():
                return Done(report=self._worker.advance(order.assignment))
            case Prewarm():
                load_s, model_bytes = self._worker.prewarm(order.model)
                return Done(load_s=load_s, model_bytes=model_bytes)
            case Look():
                self._worker.look(order.ask)
            case SaveAll():
                self._worker.checkpoint_all()
        return Done()

    def _is_done(self, carried: asyncio.Future[Done]) -> None:
        error = carried.exception()
        if error is None:
            self._done = carried.result()
        else:
            if not isinstance(error, EngineError):
                _log.error("an order could not be carried out", exc_info=error)
            self._done = Done(error=str(error) or repr(error))
        self._news.set()
