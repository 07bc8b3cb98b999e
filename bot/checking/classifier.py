"""The process that looks at pictures, kept alive: started on first need, and anew when it dies.

It looks at one thing at a time, in the order in which it is asked, each within a limit. What kills
it, or takes too long, is not looked at; so that the same picture cannot do that for ever, who asks
counts (`bot.checking.reviews`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

import bot
from bot import last_resort
from bot.checking.wire import LENGTH, MAX_BYTES, Look, Looked, Ready, framed

log = logging.getLogger(__name__)

LIMIT_S = 10.0
"""How long looking at one picture may take, without the wait for others."""
PATIENCE_S = 20.0
"""How long who asks waits in all."""
START_S = 60.0
MAX_WAITING = 200
_PAUSES_S = (0.5, 5.0, 30.0, 120.0)
_NOT_INSTALLED_S = 600.0
_MOST_LOST = 3
_COMMAND = (sys.executable, "-m", "bot.checking.worker")
_ROOT = str(Path(bot.__file__).resolve().parent.parent)
_SECRETS = ("TOKEN", "SECRET", "KEY", "PASSWORD")

T = TypeVar("T", Ready, Looked)


class NotCheckedError(Exception):
    """Nobody could look at it now; why, for the log.

    `its_own` says that the file may be why: it cannot be decoded, or who tried died of it.
    """

    def __init__(self, reason: str, *, its_own: bool = False) -> None:
        self.its_own = its_own
        super().__init__(reason)


class Classifier:
    """Looks at pictures. `stop` it in the end."""

    def __init__(
        self,
        command: Sequence[str] = _COMMAND,
        *,
        limit_s: float = LIMIT_S,
        patience_s: float = PATIENCE_S,
        pauses_s: Sequence[float] = _PAUSES_S,
    ) -> None:
        self._command = tuple(command)
        self._limit_s = limit_s
        self._patience_s = patience_s
        self._pauses_s = tuple(pauses_s)
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._deaths = 0
        self._lost = 0
        self._not_before = 0.0
        self._why_not = ""
        self._stopped = False

    @property
    def pid(self) -> int | None:
        """The process's id, None while there is none."""
        return None if self._process is None else self._process.pid

    async def score(self, data: bytes, media_type: str = "image/png") -> float:
        """Return how likely a picture, or some frame of a film, is for adults: 0 to 1.

        Raises:
            NotCheckedError: nobody could look at it in time.
        """
        if self._waiting >= MAX_WAITING:
            raise NotCheckedError("too many pictures wait to be looked at")
        wanted = asyncio.Event()
        wanted.set()
        self._waiting += 1
        task = asyncio.create_task(self._in_turn(data, media_type, wanted), name="picture-check")
        task.add_done_callback(self._looked)
        try:
            async with asyncio.timeout(self._patience_s):
                # What was asked is read to its end, or the next to ask would get this answer.
                return await asyncio.shield(task)
        except TimeoutError:
            raise NotCheckedError("it took too long") from None
        finally:
            wanted.clear()

    async def stop(self) -> None:
        """End the process, and look at nothing any more."""
        self._stopped = True
        await self._end()

    def _looked(self, task: asyncio.Task[float]) -> None:
        self._waiting -= 1
        if not task.cancelled():
            task.exception()  # who asked may have gone: then nobody else looks at it

    async def _in_turn(self, data: bytes, media_type: str, wanted: asyncio.Event) -> float:
        async with self._turn:
            if not wanted.is_set():
                raise NotCheckedError("nobody waits for it any more")
            return await self._look(data, media_type)

    async def _look(self, data: bytes, media_type: str) -> float:
        process = await self._running()
        try:
            async with asyncio.timeout(self._limit_s):
                looked = await self._ask(process, data, media_type)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, msgspec.MsgspecError) as error:
            await self._end()
            self._died()
            why = f"the process that looks at pictures died, or hung ({type(error).__name__})"
            raise NotCheckedError(why, its_own=True) from None
        self._deaths = self._lost = 0
        if looked.reason:
            raise NotCheckedError(looked.reason, its_own=True)
        return max(looked.scores, default=0.0)

    async def _ask(
        self, process: asyncio.subprocess.Process, data: bytes, media_type: str
    ) -> Looked:
        assert process.stdin is not None
        process.stdin.write(framed(Look(media_type, len(data))))
        process.stdin.write(data)  # apart: a film of many megabytes is not copied here
        await process.stdin.drain()
        return await _read(process, Looked)

    async def _running(self) -> asyncio.subprocess.Process:
        """Return the process, started where there is none.

        Raises:
            NotCheckedError: it cannot be had now.
        """
        if self._process is not None and self._process.returncode is None:
            return self._process
        if self._stopped:
            raise NotCheckedError("everything is stopping")
        if time.monotonic() < self._not_before:
            raise NotCheckedError(self._why_not)
        if self._process is not None:
            await self._end()
        try:
            self._process = await self._start()
            async with asyncio.timeout(START_S):
                ready = await _read(self._process, Ready)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, msgspec.MsgspecError) as error:
            await self._end()
            self._pause(f"the process that looks at pictures does not start: {error!r}")
            raise NotCheckedError(self._why_not) from None
        if ready.reason:
            await self._end()
            self._pause(f"pictures cannot be checked: {ready.reason}", _NOT_INSTALLED_S)
            raise NotCheckedError(self._why_not)
        return self._process

    async def _start(self) -> asyncio.subprocess.Process:
        # The bot's own secrets are none of its business.
        environment = {
            name: value
            for name, value in os.environ.items()
            if not any(word in name.upper() for word in _SECRETS)
        }
        paths = [_ROOT, *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
        environment["OMP_NUM_THREADS"] = "1"
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        last_resort.end_first(process.pid, last_resort.LOOKS)
        return process

    def _died(self) -> None:
        """Let the next be looked at by a new process at once: one file is not everybody's outage.

        Where `_MOST_LOST` in a row died of what they looked at, it is not the file.
        """
        self._lost += 1
        if self._lost >= _MOST_LOST:
            self._pause("the process that looks at pictures dies of every picture")

    def _pause(self, why: str, pause_s: float | None = None) -> None:
        """Start none for a while; longer each time, until one has looked at something."""
        if pause_s is None:
            pause_s = self._pauses_s[min(self._deaths, len(self._pauses_s) - 1)]
        self._deaths += 1
        self._not_before, self._why_not = time.monotonic() + pause_s, why
        log.warning("%s; tried again in %g s at the earliest", why, pause_s)

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        if process.stdin is not None:
            process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 5.0)


async def _read(process: asyncio.subprocess.Process, kind: type[T]) -> T:
    assert process.stdout is not None
    (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
    if length > MAX_BYTES:
        raise OSError("an answer that is too large")
    return msgspec.msgpack.decode(await process.stdout.readexactly(length), type=kind)
