"""One scheduler process, from its start to its end: spawning it, speaking with it, ending it.

It is started by exec, never by fork (the bot has threads and a database open), in a process group
of its own, so that whatever it starts in turn ends with it. They talk over a socketpair of which
it inherits one end, or, where there is no such thing, over a loopback port to which it must bring
a secret that is used once.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import os
import re
import secrets
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from bot import last_resort
from bot.errors import SchedulerError
from bot.side_tasks import SideTasks
from generation import protocol
from generation.protocol import Hello, LogLine, Setting, ToBot, ToScheduler, read_for_bot

_log = logging.getLogger(__name__)

_SECRET_VARIABLE = "DREAMSTREAM_SCHEDULER_SECRET"  # noqa: S105 - its name, not itself
_READ_LIMIT_BYTES = 1024 * 1024
_ROOT = str(Path(protocol.__file__).resolve().parent.parent)
_CLOGGED_BYTES = 512 * 1024 * 1024
# AWS_… are the keys of the store that the library may lie in (`bot.library_place`).
_OURS = re.compile(r"(DREAMSTREAM|DISCORD|AWS)_\w*(TOKEN|SECRET|KEY|PASSWORD)")
_TRACEBACK = re.compile(
    r"Traceback \(most recent call last\)|^(Fatal Python error|Current thread 0x|Thread 0x)"
    r"|^(During handling of the above|The above exception was the direct cause)"
)
_decoder = msgspec.json.Decoder(LogLine)


@dataclass(frozen=True)
class SchedulerCommand:
    """How to start the process.

    `settings` is what docs/scheduling.md lists, `engines` what makes the engines. `transport` is
    ``socketpair``, ``tcp``, or ``auto`` for the first of them that is to be had.
    """

    settings: Mapping[str, Setting] = field(default_factory=dict)
    engines: str = "generation.engines:build_engines"
    transport: str = "auto"
    connect_limit_s: float = 60.0


class SchedulerClient:
    """A running scheduler process and the connection to it."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._killed = False
        self._ended_by_us = False
        self._tasks = SideTasks()
        self._log_task = self._tasks.keep(
            self._forward_log, "What the drawing process logs is not heard", name="scheduler-log"
        )

    @classmethod
    async def start(cls, command: SchedulerCommand) -> SchedulerClient:
        """Start a process and greet it.

        Raises:
            SchedulerError: it cannot be started, or does not connect.
        """
        try:
            if command.transport == "tcp" or (
                command.transport == "auto" and sys.platform == "win32"
            ):
                client, secret = await cls._over_tcp(command)
            else:
                client, secret = await cls._over_socketpair(command), ""
        except OSError as error:
            raise SchedulerError(f"The drawing process cannot be started: {error}.") from error
        client.send(Hello(secret=secret))
        return client

    @classmethod
    async def _over_socketpair(cls, command: SchedulerCommand) -> SchedulerClient:
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as undo:
            undo.callback(ours.close)
            with theirs:
                process = await _spawn(command, ["--fd", str(theirs.fileno())], theirs.fileno())
            undo.callback(_kill, process)
            reader, writer = await asyncio.open_connection(sock=ours, limit=_READ_LIMIT_BYTES)
            undo.pop_all()
        return cls(process, reader, writer)

    @classmethod
    async def _over_tcp(cls, command: SchedulerCommand) -> tuple[SchedulerClient, str]:
        secret = secrets.token_hex(32)
        connected: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
        connected = asyncio.get_running_loop().create_future()

        async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            said = b""
            with contextlib.suppress(OSError, ValueError, TimeoutError):
                said = await asyncio.wait_for(reader.readline(), 10)
            if hmac.compare_digest(said.strip(), secret.encode()) and not connected.done():
                connected.set_result((reader, writer))
            else:
                _log.warning("refused a connection that did not bring the scheduler's secret")
                writer.close()

        server = await asyncio.start_server(welcome, "127.0.0.1", 0, limit=_READ_LIMIT_BYTES)
        port = server.sockets[0].getsockname()[1]
        with contextlib.ExitStack() as undo:
            undo.callback(server.close)
            process = await _spawn(command, ["--port", str(port)], secret=secret)
            undo.callback(_kill, process)
            exited = asyncio.create_task(process.wait())
            both: set[asyncio.Future[Any]] = {connected, exited}
            await asyncio.wait(
                both, timeout=command.connect_limit_s, return_when=asyncio.FIRST_COMPLETED
            )
            exited.cancel()
            if not connected.done():
                raise SchedulerError("The drawing process did not connect.")
            undo.pop_all()
            server.close()
        return cls(process, *connected.result()), secret

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it exited (below zero: by which signal); None while it runs."""
        return self._process.returncode

    @property
    def ended_by_us(self) -> bool:
        """Whether it still ran when `kill` was called."""
        return self._ended_by_us

    def send(self, message: ToScheduler) -> None:
        """Hand a message over; returns at once. What a dead process is told is lost.

        Raises:
            ProtocolError: the message is too large.
        """
        data = protocol.encode(message)
        if self._writer.is_closing():
            return
        if self._writer.transport.get_write_buffer_size() > _CLOGGED_BYTES:
            _log.error("the scheduler process reads nothing any more")
            self.kill()
            return
        self._writer.write(data)

    async def sent(self) -> None:
        """Wait until most of what was sent has left, or the process is gone."""
        with contextlib.suppress(OSError):
            await self._writer.drain()

    async def read(self) -> ToBot | None:
        """Return the next message, or None when the process is gone.

        Raises:
            ProtocolError: what it said is no message.
        """
        try:
            return await read_for_bot(self._reader)
        except (asyncio.IncompleteReadError, OSError):
            return None

    def dump_traceback(self) -> None:
        """Ask it to write where each of its threads is to its log."""
        if hasattr(signal, "SIGUSR1") and self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGUSR1)

    def kill(self) -> None:
        """End the process, and whatever it started, at once."""
        if not self._killed:
            self._killed = True
            self._ended_by_us = self.returncode is None
            _kill(self._process)

    async def wait(self) -> int:
        """Wait until the process has exited; return how."""
        return await self._process.wait()

    async def close(self) -> None:
        """End the process if it still runs, and let go of everything."""
        self.kill()
        try:
            await asyncio.wait_for(self._process.wait(), 10.0)
        except TimeoutError:
            _log.error("process %d cannot be ended: the device may be hung", self.pid)
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._log_task, 2.0)

    async def _forward_log(self) -> None:
        """Pass what it writes to stderr on to the bot's own log."""
        stream = self._process.stderr
        assert stream is not None
        rest = b""
        log = _Log()
        while chunk := await stream.read(65536):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                log.forward(line)
            if len(rest) > _READ_LIMIT_BYTES:
                log.forward(rest)
                rest = b""
        log.forward(rest)


class _Log:
    """What a scheduler process writes, line by line, on its way into the bot's own log.

    Its records come as `LogLine`. All else is what libraries print, and what the interpreter says
    of a crash: a traceback is an error.
    """

    def __init__(self) -> None:
        self._in_traceback = False

    def forward(self, line: bytes) -> None:
        """Pass a line on."""
        if line.startswith(b'{"log":'):
            try:
                self._pass_on(_decoder.decode(line))
            except msgspec.MsgspecError:
                pass  # two threads' output in one line
            else:
                self._in_traceback = False
                return
        text = line.decode("utf-8", "replace").rstrip()
        if not text:
            return
        begins = _TRACEBACK.search(text) is not None
        serious = begins or self._in_traceback
        self._pass_on(
            LogLine(
                log="generation",
                level="ERROR" if serious else "INFO",
                at_s=time.time(),
                message=text,
            )
        )
        # It ends with the first line that is not indented: the exception itself.
        self._in_traceback = begins or (self._in_traceback and text[0].isspace())

    def _pass_on(self, line: LogLine) -> None:
        log = logging.getLogger(line.log)
        level = logging.getLevelName(line.level)
        level = level if isinstance(level, int) else logging.INFO
        if not log.isEnabledFor(level):
            return
        record = log.makeRecord(line.log, level, "", 0, line.message, (), None)
        record.created, record.msecs = line.at_s, line.at_s % 1 * 1000
        record.exc_text = line.exception or None
        about = {"dream": line.dreams[0]} if len(line.dreams) == 1 else {"dreams": line.dreams}
        vars(record).update(about, process_role="scheduler")
        log.handle(record)


async def _spawn(
    command: SchedulerCommand, where: list[str], fd: int | None = None, secret: str = ""
) -> asyncio.subprocess.Process:
    # The bot's own secrets are none of its business.
    environment = {key: value for key, value in os.environ.items() if not _OURS.match(key)}
    paths = [_ROOT, *filter(None, [environment.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    if secret:
        environment[_SECRET_VARIABLE] = secret
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "generation",
        *where,
        "--engines",
        command.engines,
        "--settings",
        json.dumps(dict(command.settings)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        pass_fds=() if fd is None else (fd,),
        start_new_session=True,
    )
    last_resort.end_first(process.pid, last_resort.DRAWS)
    return process


def _kill(process: asyncio.subprocess.Process) -> None:
    if hasattr(os, "killpg"):
        # The group outlives its leader for as long as anything in it runs.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
