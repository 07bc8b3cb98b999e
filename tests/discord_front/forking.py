"""Starts of a program as forks of one process that has imported it: most of a start is imports.

`serve` is what that process does, `Nursery` is its other side. Each fork has the folder, the
environment, the arguments and the log it is given, and goes on as a process does whose imports have
just ended; it ends as one, too.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.program import PATIENCE_S


def serve() -> None:
    """Return in each fork that is asked for, and in no other process.

    Takes orders from stdin, one of JSON a line, and tells on stdout which process began and how
    each ended, until stdin ends. There must be no other thread.
    """
    out = os.dup(1)
    os.dup2(2, 1)
    ended, wake = os.pipe()
    for end in (ended, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    gc.collect()
    gc.freeze()  # what a fork does not write to, it shares
    rest = b""
    while True:
        ready, _, _ = select.select([0, ended], [], [])
        if ended in ready:
            os.read(ended, 4096)
            for pid, code in _reaped():
                _tell(out, {"pid": pid, "code": code})
        if 0 not in ready:
            continue
        given = os.read(0, 65536)
        if not given:
            sys.exit(0)
        *orders, rest = (rest + given).split(b"\n")
        for order in orders:
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for end in (out, ended, wake):
                    os.close(end)
                _become(json.loads(order))
                return
            _tell(out, {"pid": pid})


def _reaped() -> list[tuple[int, int]]:
    found = []
    with suppress(ChildProcessError):
        while (one := os.waitpid(-1, os.WNOHANG)) != (0, 0):
            found.append((one[0], os.waitstatus_to_exitcode(one[1])))
    return found


def _tell(out: int, told: dict[str, int]) -> None:
    os.write(out, json.dumps(told).encode() + b"\n")


def _become(order: dict[str, object]) -> None:
    """Take the folder, the environment, the arguments and the log of a process to be."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(str(order["log"]), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for source, place in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, place)
    os.close(nothing)
    os.close(log)
    os.chdir(str(order["folder"]))
    environ, arguments = order["environ"], order["arguments"]
    assert isinstance(environ, dict) and isinstance(arguments, list)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv[1:] = arguments


class Fork:
    """A process that was forked: what asyncio's `Process` is for one that was started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._lock = threading.Lock()

    async def wait(self) -> int:
        """Return its exit status once it has ended; below zero, by which signal."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if self.returncode is None:
                self._waiting.append((loop, future))
            else:
                future.set_result(None)
        await future
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it is there."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.send_signal(signal.SIGKILL)

    def end(self, code: int) -> None:
        """Tell whoever waits how it ended. For the thread that learns of it."""
        with self._lock:
            self.returncode = code
            waiting, self._waiting = self._waiting, []
        for loop, future in waiting:
            with suppress(RuntimeError):  # a loop that is closed has nobody who waits
                loop.call_soon_threadsafe(_done, future)


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Nursery:
    """The process that is forked from; it begins with the first `start`, and ends with this one."""

    def __init__(self, module: str, environ: Mapping[str, str]) -> None:
        self._begun: queue.SimpleQueue[Fork] = queue.SimpleQueue()
        self._forks: dict[int, Fork] = {}
        self._one = threading.Lock()
        self._server = subprocess.Popen(
            [sys.executable, "-m", module],
            env=dict(environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        threading.Thread(target=self._listen, daemon=True).start()
        atexit.register(self.close)

    async def start(
        self, *arguments: str, folder: Path, environ: Mapping[str, str], log: Path
    ) -> Fork:
        """Start the program in a folder; return its process."""
        order = {
            "arguments": arguments,
            "folder": str(folder),
            "environ": dict(environ),
            "log": str(log),
        }
        return await asyncio.to_thread(self._start, json.dumps(order))

    def _start(self, order: str) -> Fork:
        assert self._server.stdin is not None
        with self._one:
            self._server.stdin.write(order.encode() + b"\n")
            self._server.stdin.flush()
            return self._begun.get(timeout=PATIENCE_S)

    def close(self) -> None:
        """End it; what it has started goes on."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()

    def _listen(self) -> None:
        assert self._server.stdout is not None
        for line in self._server.stdout:
            told = json.loads(line)
            if "code" in told:
                self._forks.pop(told["pid"]).end(told["code"])
            else:
                fork = self._forks[told["pid"]] = Fork(told["pid"])
                self._begun.put(fork)
