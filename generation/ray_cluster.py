"""Ray, as `generation.fleet` uses it: nodes, and actors that stay where they are put.

Ray places and runs the processes. It does not notice a frozen one, and what is to be drawn is no
business of its: so nothing is restarted or tried again by it (`max_restarts=0`).

Source: https://docs.ray.io/en/latest/ray-core/actors.html and
https://docs.ray.io/en/latest/ray-core/scheduling/index.html
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from generation.engine import EngineError
from generation.fleet import Node
from generation.planning import Plan
from generation.protocol import Failed
from generation.remote_worker import RemoteWorker
from generation.settings import Settings
from generation.workers import WorkerLostError

_log = logging.getLogger(__name__)

NAMESPACE = "dreamstream"
_OBJECTS_BYTES = 512 * 1024**2
"""What a cluster of this machine's own keeps for messages that are under way."""
_CALLS = 64
NOT_INSTALLED = (
    'scheduler.workers = "ray" needs Ray, which is not installed. Install it with '
    "pip install 'dreamstream[cluster]', or set scheduler.workers to \"local\"."
)


class RayWorker(RemoteWorker):
    """The actor's class: a worker with a process to itself."""

    def __init__(self, engines: str, settings: str) -> None:
        super().__init__(engines, settings)
        self.own_process()


class RayActor:
    """An actor, with what can go wrong with it as `WorkerLostError`."""

    def __init__(self, ray: Any, actor: Any, name: str) -> None:
        self._ray = ray
        self._actor = actor
        self._name = name

    async def status(self) -> str:
        """Return what it is at; answered once it is placed."""
        return str(await self._call("status"))

    async def open(self) -> bytes:
        """Make the engines."""
        return bytes(await self._call("open"))

    async def plan(self, job: bytes) -> Plan | Failed:
        """Plan a job."""
        found: Plan | Failed = await self._call("plan", job)
        return found

    async def order(self, order: bytes) -> None:
        """Begin to carry out an order."""
        await self._call("order", order)

    async def note(self, note: bytes) -> None:
        """Take in a note."""
        await self._call("note", note)

    async def hear(self) -> bytes:
        """Return its news."""
        return bytes(await self._call("hear"))

    async def kill(self) -> None:
        """End its process; one that is frozen, too."""
        with contextlib.suppress(Exception):  # it is dead already, or the cluster is gone
            await asyncio.to_thread(self._ray.kill, self._actor, no_restart=True)

    async def _call(self, method: str, *arguments: object) -> Any:
        errors = self._ray.exceptions
        try:
            return await getattr(self._actor, method).remote(*arguments)
        except errors.RayTaskError as error:
            _log.exception("%s: %s failed", self._name, method)
            raise WorkerLostError(
                f"{self._name} failed: {error.cause!r}.", outside=False
            ) from error
        except (errors.RayError, OSError) as error:
            # Ray does not say what a process died of, so it may have been killed.
            _log.info("%s: %s", self._name, error)
            raise WorkerLostError(
                f"{self._name} died, or cannot be reached.", outside=True
            ) from error


class RayCluster:
    """A Ray cluster: the one at `Settings.ray_address`, or one of this machine's own."""

    def __init__(self, engines: str, settings: Settings) -> None:
        self._engines = engines
        self._settings = settings
        self._ray: Any = None

    async def connect(self) -> None:
        """Reach the cluster, or start one."""
        await asyncio.to_thread(self._connect)

    async def nodes(self) -> list[Node]:
        """Return the nodes that are alive."""
        try:
            found = await asyncio.to_thread(self._ray.nodes)
        except Exception as error:
            raise EngineError("The Ray cluster cannot be reached any more.") from error
        return [
            Node(node["NodeID"], node["NodeManagerAddress"], *self._places(node["Resources"]))
            for node in found
            if node["Alive"]
        ]

    def _places(self, resources: Mapping[str, float]) -> tuple[int, int]:
        """Return how many workers a node has place for, and how many processors each takes."""
        if self._settings.device != "cpu":
            return int(resources.get("GPU", 0)), 0
        cpus = int(resources.get("CPU", 0))
        each = self._settings.threads or cpus
        return (cpus // each, each) if each else (0, 0)

    async def start(self, node: Node, name: str) -> RayActor:
        """Start an actor on a node."""
        return await asyncio.to_thread(self._start, node, name)

    def _start(self, node: Node, name: str) -> RayActor:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        on_cpu = self._settings.device == "cpu"
        options = {"num_cpus": node.cpus} if on_cpu else {"num_cpus": 0, "num_gpus": 1}
        actor = (
            self._ray.remote(RayWorker)
            .options(
                **options,
                name=name,
                namespace=NAMESPACE,
                max_restarts=0,
                max_task_retries=0,
                max_concurrency=_CALLS,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
            )
            .remote(self._engines, msgspec.json.encode(self._settings).decode())
        )
        return RayActor(self._ray, actor, name)

    async def close(self) -> None:
        """Let go of the cluster; one of this machine's own ends."""
        await asyncio.to_thread(self._close)

    def _connect(self) -> None:
        try:
            import ray
        except ImportError as error:
            raise EngineError(NOT_INSTALLED) from error
        self._ray = ray
        address = self._settings.ray_address
        options: dict[str, Any] = {"address": address}
        if not address:
            options = {
                "address": "local",
                "include_dashboard": False,
                "object_store_memory": _OBJECTS_BYTES,
            }
        try:
            # What an actor logs comes with its news, not by way of Ray.
            ray.init(
                namespace=NAMESPACE,
                log_to_driver=False,
                logging_level=logging.WARNING,
                **options,
            )
        except Exception as error:
            _log.exception("Ray cannot be reached")
            if not address:
                raise EngineError("Ray could not be started; the log has the details.") from error
            raise EngineError(
                f"There is no Ray cluster at {address} that takes us in. Start it, and see that "
                "its version and its token are this machine's."
            ) from error

    def _close(self) -> None:
        if self._ray is not None:
            self._ray.shutdown()
