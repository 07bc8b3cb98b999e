"""The pool whose workers are elsewhere: one actor for each place that a cluster has for one.

It looks every other second which nodes there are. A free place gets a worker, a node that has left
takes its workers with it, and a worker that was lost is replaced, after a pause that grows where it
happens again and again on one node. Who is told to drain is not replaced while its node stays.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from generation.engine import EngineError
from generation.planning import Plan, UnplannedError
from generation.protocol import Job
from generation.remote_handle import Actor, RemoteHandle, open_actor
from generation.settings import Settings
from generation.workers import Tell, WorkerLostError, wait_within

_log = logging.getLogger(__name__)

POLL_S = 2.0
BACK_OFF_S = (0.2, 1.0, 5.0, 15.0, 60.0)
"""The pauses after the first, second, … loss on one node within `WINDOW_S`."""
WINDOW_S = 300.0
PLACE_S = 60.0
"""A place that has not become a process within this is taken by another user of the cluster."""
_PLAN_S = 3.0
_MOST_ASKED = 16
"""So many plans are asked for at once; an actor's places for calls are for its news too."""
NO_GPU = (
    "The cluster has no GPU. Add a node that has one, or let processors draw: "
    'scheduler.device = "cpu".'
)
NO_CPU = "The cluster has no node with processors to draw with. Add one."


@dataclass(frozen=True)
class Node:
    """A machine of the cluster, and how many workers it has place for, each with so many `cpus`."""

    id: str
    address: str
    places: int
    cpus: int = 0


class Cluster(Protocol):
    """Where actors run."""

    async def connect(self) -> None:
        """Reach it. Takes seconds.

        Raises:
            EngineError: it cannot be reached; the sentence says what to do.
        """
        ...

    async def nodes(self) -> list[Node]:
        """Return the nodes that are alive.

        Raises:
            EngineError: it cannot be reached any more.
        """
        ...

    async def start(self, node: Node, name: str) -> Actor:
        """Start an actor on a node; it may come up only after a while."""
        ...

    async def close(self) -> None:
        """Let go of it. Its actors end."""
        ...


class Fleet:
    """See `generation.workers.WorkerPool`, which this is."""

    def __init__(self, cluster: Cluster, settings: Settings, tell: Tell) -> None:
        self._cluster = cluster
        self._settings = settings
        self._tell = tell
        self._nodes: dict[str, Node] = {}
        self._taken: dict[str, str] = {}
        """The node of each worker, by its name, that is or comes up."""
        self._handles: dict[str, RemoteHandle] = {}
        self._risen: asyncio.Queue[RemoteHandle] = asyncio.Queue()
        self._changed = asyncio.Event()
        """Set, and replaced, when a worker comes up."""
        self._asking = asyncio.Semaphore(_MOST_ASKED)
        self._drained: Counter[str] = Counter()
        self._falls: dict[str, deque[float]] = {}
        self._offered: set[tuple[str, str]] = set()
        self._why_none = ""
        self._alone_since = time.monotonic()
        self._tasks: set[asyncio.Task[None]] = set()

    async def workers(self) -> AsyncIterator[RemoteHandle]:
        """Yield each worker as it comes up."""
        await self._cluster.connect()
        self._alone_since = time.monotonic()
        tending = self._spawn(self._tend())
        while True:
            rising = asyncio.create_task(self._risen.get())
            try:
                await asyncio.wait({rising, tending}, return_when=asyncio.FIRST_COMPLETED)
                if not rising.done():
                    await tending  # it only ends by an error
                yield rising.result()
            finally:
                rising.cancel()

    async def plan(self, job: Job) -> Plan:
        """Have a worker plan a job that it could draw itself; waits while there is none.

        Jobs are planned beside each other, so one whose model has left with its node holds up none.
        """
        wanted = job.recipe.engine, job.recipe.model
        while True:
            # Taken before anybody is asked: who comes up meanwhile is not missed.
            changed = self._changed
            able = [handle for handle in self._handles.values() if wanted in _models(handle)]
            for handle in able:
                try:
                    async with self._asking, asyncio.timeout(_PLAN_S):
                        found = await handle.plan(job)
                except (TimeoutError, WorkerLostError):
                    continue
                if isinstance(found, Plan):
                    return found
                raise UnplannedError(found.reason, found.detail)
            if self._handles and wanted not in self._offered:
                raise EngineError(
                    f"No machine that draws has the model “{wanted[1]}” of the engine "
                    f"“{wanted[0]}”."
                )
            if able:
                await wait_within(changed, POLL_S)  # one of them may only have been slow
            else:
                await changed.wait()

    async def close(self) -> None:
        """Let go of everything."""
        for task in self._tasks:
            task.cancel()
        await self._cluster.close()

    # --- who there is ----------------------------------------------------------------------

    async def _tend(self) -> None:
        while True:
            self._see(await self._cluster.nodes())
            # Where workers were lost, or found no place, is tried after where none were.
            for node in sorted(self._nodes.values(), key=self._falls_on):
                for _ in range(self._wanted(node)):
                    name = f"{node.address}/{node.id[:6]}/{secrets.token_hex(3)}"
                    self._taken[name] = node.id
                    self._spawn(self._raise(node, name))
            if self._handles:
                self._alone_since = time.monotonic()
            alone_s = time.monotonic() - self._alone_since
            if alone_s > self._settings.alone_limit_s and (self._why_none or not self._taken):
                nothing = NO_CPU if self._settings.device == "cpu" else NO_GPU
                raise EngineError(self._why_none or nothing)
            await asyncio.sleep(POLL_S)

    def _see(self, nodes: list[Node]) -> None:
        """Take in which nodes there are."""
        for node in nodes:
            if node.id not in self._nodes:
                _log.info("the node %s is there, with %d places", node.address, node.places)
        self._nodes = {node.id: node for node in nodes}
        for name, handle in self._handles.items():
            if self._taken[name] not in self._nodes:
                handle.lose(WorkerLostError(f"The node of {name} has left.", outside=True))
        for of_nodes in (self._drained, self._falls):
            for node_id in [known for known in of_nodes if known not in self._nodes]:
                del of_nodes[node_id]

    def _wanted(self, node: Node) -> int:
        """Return how many workers to start on a node now."""
        falls = self._falls.get(node.id, deque())
        now = time.monotonic()
        while falls and falls[0] < now - WINDOW_S:
            falls.popleft()
        if falls and now < falls[-1] + BACK_OFF_S[min(len(falls), len(BACK_OFF_S)) - 1]:
            return 0
        here = list(self._taken.values()).count(node.id)
        free = node.places - self._drained[node.id] - here
        if self._settings.most_workers:
            free = min(free, self._settings.most_workers - len(self._taken))
        return max(0, free)

    def _falls_on(self, node: Node) -> int:
        return len(self._falls.get(node.id, ()))

    async def _placed(self, actor: Actor, node: Node) -> None:
        """Wait until an actor has its place: a node counts all its GPUs, others' too."""
        try:
            await asyncio.wait_for(actor.status(), PLACE_S)
        except TimeoutError as error:
            raise EngineError(
                f"All of {node.address} is taken by other users of the cluster. Free a place, or "
                "add a node."
            ) from error

    async def _raise(self, node: Node, name: str) -> None:
        """Bring a worker up, and see it through to its end."""
        actor: Actor | None = None
        fell = True
        try:
            actor = await self._cluster.start(node, name)
            await self._placed(actor, node)
            opening = open_actor(actor, node.address)
            offer = await asyncio.wait_for(opening, self._settings.load_limit_s)
            handle = RemoteHandle(name, node.address, actor, offer, self._tell, self._settings)
            self._handles[name] = handle
            self._offered |= _models(handle)
            self._why_none = ""
            self._changed.set()
            self._changed = asyncio.Event()
            self._risen.put_nowait(handle)
            await handle.gone()
            if handle.draining:
                self._drained[node.id] += 1
                fell = False
        except Exception as error:
            told = isinstance(error, EngineError | WorkerLostError)
            self._why_none = str(error) if told else f"No worker comes up on {node.address}."
            _log.warning("%s: no worker comes up", node.address, exc_info=error)
        finally:
            self._handles.pop(name, None)
            if fell:
                self._falls.setdefault(node.id, deque()).append(time.monotonic())
            if actor is not None:
                await actor.kill()
            del self._taken[name]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _models(handle: RemoteHandle) -> set[tuple[str, str]]:
    return {
        (engine.name, model.name)
        for engine in handle.offer.engines
        for model in engine.models
        if model.available
    }
