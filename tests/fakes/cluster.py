"""A cluster in this process: real remote workers with the fake engine, which can be made to die.

What an actor's thread is in the middle of cannot be ended here; it is only not heard any more.

`Bot` is the other end of a scheduler process's socket, whatever cluster that has.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any, TypeVar

import msgspec
from PIL import Image

from generation.fleet import Node
from generation.planning import Plan
from generation.protocol import (
    Checkpoint,
    Dropped,
    Failed,
    Finished,
    Job,
    Submit,
    ToBot,
    ToScheduler,
    Welcome,
    WorkerInfo,
    Workers,
    encode,
    read_for_bot,
)
from generation.remote_worker import Advance, Order, RemoteWorker
from generation.settings import Settings
from generation.workers import WorkerLostError
from tests.fakes.engine import expected_colour, job

PATIENCE_S = 30.0
T = TypeVar("T")


class FakeActor:
    """A remote worker that is a call away, and can be killed or frozen."""

    def __init__(self, node: Node, name: str, engines: str, settings: Settings) -> None:
        self.node = node
        self.name = name
        self.worker = RemoteWorker(engines, msgspec.json.encode(settings).decode())
        self.dead = asyncio.Event()
        self.placed = True
        self.frozen = False
        self.deaf = False
        self.given: set[str] = set()
        """The dreams that it was ever told to step."""
        self.unheard = asyncio.Event()
        """Set when an order did not reach it, since it is deaf."""

    async def status(self) -> str:
        if not self.placed:
            await self._call(self.dead.wait)
        return await self._call(self.worker.status)

    async def open(self) -> bytes:
        return await self._call(self.worker.open)

    async def plan(self, job: bytes) -> Plan | Failed:
        return await self._call(lambda: self.worker.plan(job))

    async def order(self, order: bytes) -> None:
        if self.deaf:
            self.unheard.set()
            await self._call(self.dead.wait)
        match msgspec.msgpack.decode(order, type=Order):
            case Advance(assignment=assignment):
                self.given.update(assignment.job_ids)
        await self._call(lambda: self.worker.order(order))

    async def note(self, note: bytes) -> None:
        await self._call(lambda: self.worker.note(note))

    async def hear(self) -> bytes:
        return await self._call(self.worker.hear)

    async def kill(self) -> None:
        self.dead.set()
        if self.worker._worker is not None:
            self.worker._worker.stop()

    async def _call(self, method: Callable[[], Awaitable[T]]) -> T:
        call = asyncio.ensure_future(method())
        dead = asyncio.ensure_future(self.dead.wait())
        try:
            await asyncio.wait({call, dead}, return_when=asyncio.FIRST_COMPLETED)
            if self.frozen:
                await dead
            if dead.done():
                raise WorkerLostError(f"{self.name} died.", outside=True)
            return call.result()
        finally:
            call.cancel()
            dead.cancel()


class FakeCluster:
    """Nodes come and go as a test says.

    `engines` says what makes each one's engines, `engines_of` what makes those of a node's address,
    and `full` which nodes others have taken.
    """

    def __init__(self, settings: Settings, *places: int) -> None:
        self.settings = settings
        self.engines = "tests.fakes.engine:build_engines"
        self.engines_of: dict[str, str] = {}
        self.full: set[str] = set()
        self.actors: list[FakeActor] = []
        self.there = [Node(f"{nth}" * 12, f"node{nth}", n, 1) for nth, n in enumerate(places)]

    @property
    def alive(self) -> list[FakeActor]:
        """The actors that have not been killed, the oldest first."""
        return [actor for actor in self.actors if not actor.dead.is_set()]

    async def connect(self) -> None: ...

    async def nodes(self) -> list[Node]:
        return list(self.there)

    async def start(self, node: Node, name: str) -> FakeActor:
        engines = self.engines_of.get(node.address, self.engines)
        self.actors.append(FakeActor(node, name, engines, self.settings))
        self.actors[-1].placed = node.address not in self.full
        return self.actors[-1]

    async def close(self) -> None:
        for actor in self.actors:
            await actor.kill()


class Bot:
    """The other end of the socket. It hands over again what is dropped, as the real one does."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.writer = writer
        self.patience_s = patience_s
        self.heard: list[ToBot] = []
        self.jobs: dict[str, Job] = {}
        self.news = asyncio.Event()
        self.reading = asyncio.create_task(self._read(reader))

    def send(self, *messages: ToScheduler) -> None:
        for message in messages:
            if isinstance(message, Submit):
                self.jobs[message.job.id] = message.job
            self.writer.write(encode(message))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                message = await read_for_bot(reader)
                self.heard.append(message)
                match message:
                    case Checkpoint() if message.job_id in self.jobs:
                        known = self.jobs[message.job_id]
                        self.jobs[message.job_id] = msgspec.structs.replace(
                            known,
                            checkpoint=message.data,
                            step=message.step,
                            gpu_s=message.gpu_s,
                        )
                    case Dropped():
                        for job_id in message.job_ids:
                            fell = int(job_id in message.suspects)
                            known = self.jobs[job_id]
                            again = msgspec.structs.replace(known, attempt=known.attempt + fell)
                            self.send(Submit(again))
                self.news.set()

    def all(self, kind: type[T]) -> list[T]:
        return [message for message in self.heard if isinstance(message, kind)]

    @property
    def workers(self) -> tuple[WorkerInfo, ...]:
        """Who draws, as was said last."""
        said: list[Welcome | Workers] = [*self.all(Welcome), *self.all(Workers)]
        return said[-1].workers if said else ()

    async def until(self, happened: Callable[[], Any]) -> None:
        async with asyncio.timeout(self.patience_s):
            while not happened():
                self.news.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.news.wait(), 0.05)

    async def hear(self, kind: type[T], job_id: str) -> T:
        def found() -> list[T]:
            return [one for one in self.all(kind) if getattr(one, "job_id", None) == job_id]

        await self.until(found)
        return found()[-1]

    async def all_drawn(self, *job_ids: str) -> None:
        """Wait until these are drawn: each once, to its end, and as it would have been alone."""
        await self.until(lambda: {one.job_id for one in self.all(Finished)} >= {*job_ids})
        await asyncio.sleep(0.05)
        ends = [one for one in self.all(Finished) if one.job_id in job_ids]
        assert sorted(one.job_id for one in ends) == sorted(job_ids)
        assert not self.all(Failed)
        for end in ends:
            pixel = Image.open(BytesIO(end.png)).convert("RGB").getpixel((0, 0))
            assert pixel == expected_colour(self.jobs[end.job_id].recipe)


def dream(job_id: str, person: str = "ann", steps: int = 200, **changes: Any) -> Submit:
    settings = {"step_s": 0.003, **changes.pop("settings", {})}
    return Submit(job(job_id, person, steps=steps, settings=settings, **changes))
