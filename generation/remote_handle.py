"""A worker that is elsewhere, as the scheduler process has it: orders out, news in.

It is lost when it dies, when nothing is heard of it for a while (it is frozen, or its node is cut
off), or when what it is at takes longer than it may. Then it is killed, and nothing of it is heard
any more: what it still did is done again elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import msgspec

from generation.assignment import Assignment, Report
from generation.engine import EngineError
from generation.planning import Plan
from generation.protocol import Cancel, Embed, Failed, Job, LogLine, SteerJob
from generation.remote_worker import (
    Advance,
    Done,
    Heard,
    Look,
    Note,
    Opened,
    Order,
    Prewarm,
    SaveAll,
    Stop,
)
from generation.residency import ModelKey
from generation.settings import Settings
from generation.workers import Offer, Tell, WorkerLostError

_log = logging.getLogger(__name__)

_LATE_S = 1.0
"""After a silence, so long is waited once more: it may be this process that was held up."""

_opened = msgspec.msgpack.Decoder(Opened)
_heard = msgspec.msgpack.Decoder(Heard)


class Actor(Protocol):
    """A `generation.remote_worker.RemoteWorker`, wherever it is.

    Each call may raise `WorkerLostError`.
    """

    async def status(self) -> str:
        """Return what it is at, as soon as it is a process: it may wait for a place until then."""
        ...

    async def open(self) -> bytes:
        """Make the engines; return an `Opened`."""
        ...

    async def plan(self, job: bytes) -> Plan | Failed:
        """Plan a `Job`, or say why it cannot be drawn."""
        ...

    async def order(self, order: bytes) -> None:
        """Begin to carry out an `Order`."""
        ...

    async def note(self, note: bytes) -> None:
        """Take in a `Note`."""
        ...

    async def hear(self) -> bytes:
        """Return a `Heard`."""
        ...

    async def kill(self) -> None:
        """End its process, in whatever state it is. Never raises."""
        ...


async def open_actor(actor: Actor, node: str) -> Offer:
    """Have an actor make its engines; return what it offers. Takes seconds.

    Raises:
        EngineError: it cannot, or is of another version; the sentence says what to do.
        WorkerLostError: it died of it.
    """
    opened = _opened.decode(await actor.open())
    if opened.version != Opened().version:
        raise EngineError(
            f"Another version of Dreamstream is installed on {node}. Install the bot's there."
        )
    if opened.offer is None:
        raise EngineError(f"{node}: {opened.error}")
    return opened.offer


class RemoteHandle:
    """See `generation.workers.WorkerHandle`, which this is."""

    doing = None

    def __init__(
        self, name: str, node: str, actor: Actor, offer: Offer, tell: Tell, settings: Settings
    ) -> None:
        self.name = name
        self.node = node
        self.offer = offer
        self.draining = False
        self._actor = actor
        self._tell = tell
        self._silence_s = settings.silence_s
        self._lost: WorkerLostError | None = None
        self._gone = asyncio.Event()
        self._pending: asyncio.Future[Done] | None = None
        self._notes: asyncio.Queue[Note] = asyncio.Queue()
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._pass_on())]

    # --- orders ----------------------------------------------------------------------------

    def check(self) -> None:
        """Raise `WorkerLostError` if it is gone."""
        if self._lost is not None:
            raise self._lost

    async def advance(self, assignment: Assignment, begun: Callable[[], object]) -> Report:
        """Carry out an assignment."""
        done = await self._do(Advance(assignment), begun)
        if done.report is None:
            self.lose(WorkerLostError(f"{self.name} failed: {done.error}", outside=False))
            self.check()
        assert done.report is not None
        return done.report

    async def prewarm(self, model: ModelKey) -> tuple[float, int]:
        """Load a model ahead."""
        done = await self._do(Prewarm(model))
        if done.error:
            raise EngineError(done.error)
        return done.load_s, done.model_bytes

    async def look(self, ask: Embed) -> None:
        """Answer an ask for vectors."""
        await self._do(Look(ask))

    async def checkpoint_all(self) -> None:
        """Save every run."""
        await self._do(SaveAll())

    def post(self, message: Cancel | SteerJob) -> None:
        """Have a run cancelled or steered."""
        self._notes.put_nowait(message)

    def stop(self) -> None:
        """Have `advance` return after the present step."""
        self._notes.put_nowait(Stop())

    async def plan(self, job: Job) -> Plan | Failed:
        """Have it plan a job."""
        bare = msgspec.structs.replace(job, pictures={}, checkpoint=None)
        return await self._actor.plan(msgspec.msgpack.encode(bare))

    async def close(self) -> None:
        """Let it go, for good."""
        self.lose(WorkerLostError(f"{self.name} was let go.", outside=False))
        for task in self._tasks:
            task.cancel()
        await self._actor.kill()

    async def gone(self) -> None:
        """Wait until it is lost, or let go."""
        await self._gone.wait()

    def lose(self, lost: WorkerLostError) -> None:
        """Count it as gone."""
        if self._lost is None:
            self._lost = lost
            self._gone.set()
        if self._pending is not None and not self._pending.done():
            self._pending.set_exception(self._lost)

    async def _do(self, order: Order, begun: Callable[[], object] = lambda: None) -> Done:
        self.check()
        pending: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._pending = pending
        try:
            await self._or_lost(self._actor.order(msgspec.msgpack.encode(order)))
            begun()
            return await pending
        finally:
            self._pending = None
            if pending.done() and not pending.cancelled():
                pending.exception()  # it may have been lost before it was waited for

    async def _or_lost(self, call: Coroutine[Any, Any, None]) -> None:
        """Await a call; where that fails, or the worker is lost meanwhile, raise that it is."""
        calling, gone = asyncio.create_task(call), asyncio.create_task(self._gone.wait())
        try:
            await asyncio.wait({calling, gone}, return_when=asyncio.FIRST_COMPLETED)
            if calling.done() and (error := calling.exception()) is not None:
                self.lose(self._as_lost(error))
            self.check()
        finally:
            calling.cancel()
            gone.cancel()

    async def _pass_on(self) -> None:
        """Hand on cancels and steers, one after the other: their order counts."""
        while True:
            note = await self._notes.get()
            with contextlib.suppress(WorkerLostError):
                await self._or_lost(self._actor.note(msgspec.msgpack.encode(note)))

    # --- news ------------------------------------------------------------------------------

    async def _listen(self) -> None:
        try:
            while self._lost is None:
                self._take_in(await self._hear())
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.lose(self._as_lost(error))

    async def _hear(self) -> Heard:
        hearing = asyncio.create_task(self._actor.hear())
        try:
            for patience_s in (self._silence_s, _LATE_S):
                done, _ = await asyncio.wait({hearing}, timeout=patience_s)
                if done:
                    return _heard.decode(hearing.result())
        finally:
            hearing.cancel()
        raise WorkerLostError(
            f"{self.name} gave no sign of life for {self._silence_s:g} seconds.", outside=False
        )

    def _take_in(self, heard: Heard) -> None:
        for line in heard.lines:
            self._log(line)
        for message in heard.said:
            self._tell(self.name, message)
        self.draining = heard.draining
        if heard.done is not None and self._pending is not None and not self._pending.done():
            self._pending.set_result(heard.done)
        if heard.busy_s > heard.limit_s > 0 and heard.done is None:
            raise WorkerLostError(
                f"{self.name} hung: {heard.activity} took over {heard.limit_s:g} seconds.",
                outside=False,
            )

    def _log(self, line: LogLine) -> None:
        """Write a line of its log into this process's own, which goes to the bot's."""
        told = msgspec.structs.replace(line, message=f"{self.name}: {line.message}")
        print(msgspec.json.encode(told).decode(), file=sys.stderr, flush=True)

    def _as_lost(self, error: BaseException) -> WorkerLostError:
        if isinstance(error, WorkerLostError):
            return error
        _log.error("%s cannot be understood", self.name, exc_info=error)
        return WorkerLostError(f"{self.name} cannot be understood.", outside=False)
