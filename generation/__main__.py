"""``python -m generation``: the scheduler process, started by the bot and by nobody else.

It is given one end of a socketpair (``--fd``) or, where there is no such thing, a loopback port
to connect to (``--port``) and in the environment a secret to prove itself with.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import faulthandler
import logging
import os
import signal
import socket
import sys

from generation import logs
from generation.fleet import Fleet
from generation.process import EXIT_ERROR, SchedulerProcess
from generation.ray_cluster import RayCluster
from generation.settings import Settings, parse
from generation.workers import LocalPool, Tell, WorkerPool, builder

SECRET_VARIABLE = "DREAMSTREAM_SCHEDULER_SECRET"  # noqa: S105 - its name, not itself
_LIMIT_BYTES = 1024 * 1024
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h
_MUTE_S = 120.0
"""If the main thread does not come to beat for so long, the process says where it hangs and
ends by itself: the last resort where an extension holds the interpreter and the bot is gone."""


def main() -> int:
    """Read the arguments and serve; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m generation", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--fd", type=int, help="an inherited socket")
    where.add_argument("--port", type=int, help="a port on 127.0.0.1 to connect to")
    parser.add_argument("--settings", type=parse, default=Settings(), help="a JSON object")
    parser.add_argument(
        "--engines",
        default="generation.engines:build_engines",
        metavar="MODULE:FUNCTION",
        help="what makes the engines",
    )
    arguments = parser.parse_args()
    settings: Settings = arguments.settings
    secret = os.environ.pop(SECRET_VARIABLE, "")
    _prepare(settings)
    try:
        return asyncio.run(
            _serve(arguments.fd, arguments.port, arguments.engines, settings, secret)
        )
    except Exception:
        logging.getLogger("generation").exception("the scheduler process failed")
        return EXIT_ERROR


def _prepare(settings: Settings) -> None:
    """Set up what is the process's own: log, signals, threads."""
    # What libraries print must not be lost, nor be taken for anything else.
    sys.stdout = sys.stderr
    logs.begin(settings.log_level)
    _end_with_parent()
    faulthandler.enable()
    if hasattr(faulthandler, "register"):
        faulthandler.register(signal.SIGUSR1)
    # A Ctrl-C at the terminal goes to the whole group; the bot decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if settings.niceness and hasattr(os, "nice"):
        # Where both processes share the cores, a person's click goes before a step.
        os.nice(settings.niceness)
    # Threads that wait in a busy loop would starve whatever else wants the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if settings.threads > 0:
        # Before torch is imported, which reads them once.
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = str(settings.threads)


def _end_with_parent() -> None:
    """Have the kernel end this process with the bot, where the kernel can.

    It reads from its socket that the bot is gone; but not while it is stopped, and would keep the
    device until somebody lets it go on.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


async def _serve(
    fd: int | None, port: int | None, engines: str, settings: Settings, secret: str
) -> int:
    if fd is not None:
        channel = socket.socket(fileno=fd)
        reader, writer = await asyncio.open_connection(sock=channel, limit=_LIMIT_BYTES)
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=_LIMIT_BYTES)
        writer.write(secret.encode() + b"\n")

    def hire(tell: Tell) -> WorkerPool:
        if settings.workers == "ray":
            return Fleet(RayCluster(engines, settings), settings, tell)
        return LocalPool(builder(engines), settings, tell)

    process = SchedulerProcess(reader, writer, hire, settings, secret)
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError):  # Windows: there, only the socket says so
        loop.add_signal_handler(signal.SIGTERM, process.stop)
    watch = asyncio.create_task(_stay_awake())
    try:
        return await process.run()
    finally:
        watch.cancel()


async def _stay_awake() -> None:
    while True:
        faulthandler.dump_traceback_later(_MUTE_S, exit=True)
        await asyncio.sleep(1.0)


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    # Not `sys.exit`: that would wait for the worker's thread, which may be in the middle of a
    # step that never ends.
    os._exit(status)
