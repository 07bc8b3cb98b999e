"""Over a real Ray cluster of several processes: killed, frozen, joined, drained and cut off.

Takes a minute or two and needs the extra ``cluster``, so it runs with DREAMSTREAM_SLOW_TESTS=1.
What the scheduler makes of all this is in tests/generation/test_fleet.py, without Ray.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from generation.protocol import Cancel, Checkpoint, Dropped, Hello, Shutdown, Started
from tests.fakes.cluster import Bot, dream

pytestmark = [
    pytest.mark.skipif(
        not os.environ.get("DREAMSTREAM_SLOW_TESTS"), reason="slow: DREAMSTREAM_SLOW_TESTS=1"
    ),
    pytest.mark.skipif(find_spec("ray") is None, reason="the extra “cluster” is not installed"),
]

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 240.0
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
OBJECTS = "--object-store-memory=100000000"


class Cluster:
    """A head without processors, and nodes of one each, all on this machine."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free, socket.socket() as other:
            free.bind(("127.0.0.1", 0))
            other.bind(("127.0.0.1", 0))
            self.port, self.client_port = free.getsockname()[1], other.getsockname()[1]
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }
        self.folder = folder
        self.nodes: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a node and wait until it is up: on a busy machine Ray gives up in half a minute."""
        for _ in range(4):
            path = self.folder / f"{len(self.nodes)}.log"
            with path.open("wb") as log:
                node = subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env=self.environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self.nodes.append(node)
            while node.poll() is None:
                if b"Ray runtime started" in path.read_bytes():
                    return node
                time.sleep(0.2)
        raise AssertionError(path.read_text(encoding="utf-8")[-2000:])

    def start_head(self) -> None:
        more = ["--include-dashboard=false", "--disable-usage-stats", OBJECTS]
        client = f"--ray-client-server-port={self.client_port}"
        head = f"--port={self.port}", client, "--num-cpus=0"
        self._start(*RAY, "start", "--head", "--block", *head, *more)

    def join(self, *has: str) -> subprocess.Popen[bytes]:
        join = "join", "--address", self.address, "--", *has, OBJECTS
        return self._start(sys.executable, "-m", "generation.ray_command", *join)

    def command(self, *arguments: str) -> str:
        module = [sys.executable, "-m", "generation.ray_command", "--address", self.address]
        done = subprocess.run(
            [*module, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def stop(self) -> None:
        # Ray's own processes are in sessions of their own: each names its cluster's port.
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for node in self.nodes:
            node.kill()
            node.wait()

    def processes(self, named: str = "") -> list[int]:
        """The processes of this cluster, those with a word in their command line, oldest first."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (folder / "cmdline").read_bytes().decode("utf-8", "replace")
                if f":{self.port}" in command and named in command and "pytest" not in command:
                    found.append(int(folder.name))
        return sorted(found)


@pytest.fixture
def ray_cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    cluster.start_head()
    try:
        yield cluster
    finally:
        cluster.stop()


@asynccontextmanager
async def scheduler(cluster: Cluster, **changes: float | str) -> AsyncIterator[Bot]:
    settings = {
        "workers": "ray",
        "ray_address": cluster.address,
        "device": "cpu",
        "threads": 1,
        "quantum_s": 0.2,
        "checkpoint_s": 0.3,
        "beat_s": 0.5,
        "prewarm": "",
        "silence_s": 8,
        "alone_limit_s": PATIENCE_S,
    }
    ours, theirs = socket.socketpair()
    with theirs:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "generation",
            "--fd",
            str(theirs.fileno()),
            "--engines",
            "tests.fakes.engine:build_engines",
            "--settings",
            json.dumps(settings | changes),
            pass_fds=(theirs.fileno(),),
            cwd=ROOT,
            env=cluster.environment,
            start_new_session=True,
        )
    reader, writer = await asyncio.open_connection(sock=ours)
    bot = Bot(reader, writer, PATIENCE_S)
    try:
        bot.send(Hello())
        yield bot
        bot.send(Shutdown())
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
    finally:
        writer.close()
        if process.returncode is None:
            process.kill()
        await process.wait()
        await bot.reading


def actor_pids(cluster: Cluster) -> list[int]:
    """The processes of the workers: children of this cluster's raylets."""
    raylets = set(cluster.processes("raylet/raylet"))
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            name = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if name.startswith(b"ray::RayWorker") and parent in raylets:
                found.append(int(folder.name))
    return sorted(found)


async def begun(bot: Bot, *job_ids: str) -> None:
    await bot.until(lambda: {one.job_id for one in bot.all(Checkpoint)} >= {*job_ids})


async def both_again(bot: Bot) -> None:
    """Wait until a worker that was lost has been replaced."""
    await bot.until(lambda: len(bot.workers) == 1)
    await bot.until(lambda: len(bot.workers) == 2)


async def test_whatever_dies_no_dream_is_lost(ray_cluster: Cluster) -> None:
    ray_cluster.join("--num-cpus=1")
    ray_cluster.join("--num-cpus=1")
    async with scheduler(ray_cluster) as bot:
        await bot.until(lambda: len(bot.workers) == 2)
        wanted = [f"d{nth}" for nth in range(4)]
        slow = {"step_s": 0.02}
        bot.send(
            *(
                dream(name, f"p{nth}", steps=1500, width=8 * (nth + 1), settings=slow)
                for nth, name in enumerate(wanted)
            )
        )
        await begun(bot, *wanted)

        os.kill(actor_pids(ray_cluster)[0], signal.SIGKILL)
        await bot.until(lambda: len(bot.all(Dropped)) == 1)
        assert bot.all(Dropped)[0].outside
        await both_again(bot)

        os.kill(actor_pids(ray_cluster)[0], signal.SIGSTOP)
        await bot.until(lambda: len(bot.all(Dropped)) == 2)
        assert "no sign of life" in bot.all(Dropped)[1].reason
        await both_again(bot)

        os.kill(ray_cluster.processes("raylet/raylet")[-1], signal.SIGKILL)
        await bot.until(lambda: len(bot.all(Dropped)) == 3)

        await bot.all_drawn(*wanted)
        assert [one for one in bot.all(Started) if one.step > 0], "from checkpoints"


async def test_nodes_come_and_go(ray_cluster: Cluster) -> None:
    # As far as Ray knows, these have a GPU each; the fake engine needs none.
    gpu = "--num-cpus=0", "--num-gpus=1"
    ray_cluster.join(*gpu)
    async with scheduler(ray_cluster, checkpoint_s=600, device="auto", threads=0) as bot:
        await bot.until(lambda: len(bot.workers) == 1)
        bot.send(
            *(dream(f"d{nth}", f"p{nth}", steps=50_000, width=8 * (nth + 1)) for nth in range(2))
        )
        await bot.until(lambda: len(bot.all(Started)) == 2)

        second = await asyncio.to_thread(ray_cluster.join, *gpu)
        await bot.until(lambda: len(bot.workers) == 2)
        await bot.until(lambda: len(bot.all(Started)) == 3)
        assert bot.all(Started)[-1].step > 0, "it took over a run, where that was"
        listed = await asyncio.to_thread(ray_cluster.command, "list")
        assert len(listed.splitlines()) == 2
        assert "CPU" in listed

        second.terminate()
        await bot.until(lambda: len(bot.workers) == 1)
        (dropped,) = bot.all(Dropped)
        assert (len(dropped.job_ids), dropped.suspects) == (1, ())
        saved = [one for one in bot.all(Checkpoint) if one.job_id == dropped.job_ids[0]]
        await bot.until(lambda: len(bot.all(Started)) == 4)
        assert bot.all(Started)[-1].step == saved[-1].step > 0
        assert await asyncio.to_thread(second.wait, PATIENCE_S) == 0

        (last,) = bot.workers
        said = await asyncio.to_thread(ray_cluster.command, "drain", last.name)
        assert "left" in said
        await bot.until(lambda: not bot.workers)
        await asyncio.to_thread(ray_cluster.join, *gpu)
        await bot.until(lambda: len(bot.workers) == 1)
        await bot.until(lambda: len(bot.all(Started)) == 6)
        bot.send(Cancel("d0"), Cancel("d1"))
