"""A cluster in this process: real remote workers with the fake engine, which can be made to die.

What an actor's thread is in the middle of cannot be ended here; it is only not heard any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from generation.fleet import Node
from generation.planning import Plan
from generation.protocol import Failed
from generation.remote_worker import RemoteWorker
from generation.settings import Settings
from generation.workers import WorkerLostError

T = TypeVar("T")


class FakeActor:
    """A remote worker that is a call away, and can be killed or frozen."""

    def __init__(self, node: Node, name: str, engines: str, settings: Settings) -> None:
        self.node = node
        self.name = name
        self.worker = RemoteWorker(engines, msgspec.json.encode(settings).decode())
        self.dead = asyncio.Event()
        self.frozen = False

    async def open(self) -> bytes:
        return await self._call(self.worker.open)

    async def plan(self, job: bytes) -> Plan | Failed:
        return await self._call(lambda: self.worker.plan(job))

    async def order(self, order: bytes) -> None:
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
    """Nodes come and go as a test says. `engines` says what makes each one's engines."""

    def __init__(self, settings: Settings, *places: int) -> None:
        self.settings = settings
        self.engines = "tests.fakes.engine:build_engines"
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
        self.actors.append(FakeActor(node, name, self.engines, self.settings))
        return self.actors[-1]

    async def close(self) -> None:
        for actor in self.actors:
            await actor.kill()
