"""Keeps a scheduler process alive, and is the `bot.drawing.Drawer` behind which it does so.

The process beats about once a second and says with each beat what it is at and how long that may
take. No beat for `silence_s`, or an activity past its limit: it is ended. However it ended, the
listener is told, and another is started after a pause that grows with each crash. Three crashes
in five minutes pause the intake of new dreams, and say so, until one has stayed up for a while;
one that cannot start does so at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec

from bot.drawing import DrawingListener
from bot.errors import SchedulerError
from bot.monitoring import metrics
from bot.monitoring.steps import STEPS
from bot.scheduler_client import SchedulerClient, SchedulerCommand
from bot.side_tasks import SideTasks
from bot.unforeseen import Errors
from generation.protocol import (
    PROTOCOL_VERSION,
    Activity,
    Beat,
    Cancel,
    CannotStart,
    Embed,
    Embedded,
    EngineInfo,
    Failed,
    Figures,
    Job,
    ProtocolError,
    Shutdown,
    SteerJob,
    Submit,
    ToBot,
    ToScheduler,
    Weights,
    Welcome,
    WorkerInfo,
    Workers,
)

_log = logging.getLogger(__name__)

_Call = Callable[[DrawingListener], Awaitable[None]]

_NOT_UP = "The drawing process is not up at present. Try again in a moment."
_BACKLOG = 1000
_WATCH_S = 0.25
_KILLS = (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM))
"""What no fault of the process's own raises; the kernel does, for want of memory."""


@dataclass(frozen=True)
class SupervisorOptions:
    """How patient the supervisor is.

    `back_off_s` are the pauses after the first, second, … crash within `window_s`. So many as
    `crashes_to_pause` of them pause the intake; a process up for `stable_s` ends the pause.
    """

    silence_s: float = 15.0
    back_off_s: tuple[float, ...] = (0.2, 1.0, 5.0, 15.0, 60.0)
    window_s: float = 300.0
    crashes_to_pause: int = 3
    stable_s: float = 60.0


@dataclass
class _Life:
    """What is known of the present process."""

    client: SchedulerClient
    seen: float
    welcomed: float | None = None
    beat: Beat | None = None
    # Why it must be, or was, ended by us; a sentence.
    verdict: str = ""
    # Why it says that it cannot start; a sentence.
    cannot_start: str = ""


@dataclass(frozen=True)
class _End:
    """How a process ended: `cause` in a word, `reason` in a sentence.

    `outside` says that somebody else killed it, `hopeless` that the next is likely to end the same
    way: it cannot start.
    """

    cause: str
    reason: str
    suspects: tuple[str, ...] = ()
    outside: bool = False
    hopeless: bool = False


class Supervisor:
    """A drawer that survives its scheduler process.

    Made inside a running event loop or not; `start` needs one.
    """

    def __init__(
        self,
        command: SchedulerCommand | None = None,
        options: SupervisorOptions | None = None,
    ) -> None:
        self._command = command or SchedulerCommand()
        self._options = options or SupervisorOptions()
        self._listener: DrawingListener | None = None
        self._life: _Life | None = None
        self._welcome: Welcome | None = None
        self._up = False
        self._paused: str | None = None
        # Whether the pause ends with the next `Welcome`: only that was the matter.
        self._until_up = False
        self._stopping = asyncio.Event()
        self._crashes: deque[float] = deque()
        self._weights: dict[str, float] = {}
        self._calls: asyncio.Queue[_Call | None] = asyncio.Queue()
        self._tasks = SideTasks()
        self._errors = Errors("drawing", _log)
        self._keeper: asyncio.Task[None] | None = None
        self._deliverer: asyncio.Task[None] | None = None
        self._embedding: dict[str, asyncio.Future[Embedded]] = {}
        self._embedded = 0

    # --- Drawer ----------------------------------------------------------------------------

    @property
    def up(self) -> bool:
        """Whether a scheduler process is ready."""
        return self._up

    @property
    def paused(self) -> str | None:
        """Why no new dreams are taken, as a sentence; or None."""
        return self._paused

    @property
    def device(self) -> str:
        """The device, in words; empty before the first `Welcome`."""
        return self._welcome.device if self._welcome else ""

    @property
    def engines(self) -> tuple[EngineInfo, ...]:
        """What the newest `Welcome` offered; empty before the first."""
        return self._welcome.engines if self._welcome else ()

    @property
    def workers(self) -> tuple[WorkerInfo, ...]:
        """Who draws, as the scheduler process said last; several where it has a cluster."""
        return self._welcome.workers if self._welcome else ()

    @property
    def pid(self) -> int | None:
        """The present process's id; None between two."""
        return self._life.client.pid if self._life else None

    def submit(self, job: Job) -> None:
        """Hand over a job."""
        try:
            self._send(Submit(job))
        except ProtocolError as error:
            failed = Failed(
                job_id=job.id,
                reason="The picture to start from is too large.",
                detail=str(error),
            )
            self._calls.put_nowait(_said(failed))

    async def handed_over(self) -> None:
        """Wait until most of what was handed over has left this process."""
        if self._life is not None:
            await self._life.client.sent()

    def cancel(self, job_id: str) -> None:
        """Ask for a job's end."""
        self._send(Cancel(job_id))

    def steer(self, job_id: str, prompt: str, glide_steps: int) -> None:
        """Ask for a change of a job's prompt."""
        self._send(SteerJob(job_id, prompt, glide_steps))

    def weights(self, streams: dict[str, float]) -> None:
        """Set the streams' shares. They are kept, and told to each new process."""
        self._weights = dict(streams)
        self._send(Weights(self._weights))

    @property
    def perceptors(self) -> tuple[str, ...]:
        """The models that can look at pictures, as the newest `Welcome` has them."""
        return self._welcome.perceptors if self._welcome else ()

    async def embed(
        self, perceptor: str, pictures: Sequence[bytes] = (), texts: Sequence[str] = ()
    ) -> Embedded:
        """Return the vectors of encoded pictures and of texts; see `bot.seeing.Eyes`.

        Raises:
            SchedulerError: there is no process, or it ended before it answered.
        """
        if not self._up:
            raise SchedulerError(_NOT_UP)
        self._embedded += 1
        name = f"e{self._embedded}"
        answer: asyncio.Future[Embedded] = asyncio.get_running_loop().create_future()
        self._embedding[name] = answer
        try:
            self._send(
                Embed(id=name, perceptor=perceptor, pictures=tuple(pictures), texts=tuple(texts))
            )
            return await answer
        except ProtocolError as error:
            raise SchedulerError("These pictures are too large to be looked at.") from error
        finally:
            del self._embedding[name]

    def _send(self, message: ToScheduler) -> None:
        if self._up and self._life is not None:
            self._life.client.send(message)

    # --- life ------------------------------------------------------------------------------

    async def start(self, listener: DrawingListener) -> None:
        """Begin to keep a process alive; returns before there is one."""
        self._listener = listener
        self._keeper = self._tasks.keep(
            self._keep_alive, "No drawing process can be kept", name="supervisor"
        )
        self._deliverer = self._tasks.keep(
            lambda: self._deliver(listener),
            "What the drawing process says is not heard",
            name="supervisor-deliver",
        )

    async def stop(self, drain_s: float = 10.0) -> None:
        """End the process: it may take `drain_s` seconds to save what runs, then it is killed.

        What it had said by then has been delivered when this returns.
        """
        self._stopping.set()
        keeper, deliverer = self._keeper, self._deliverer
        if keeper is None or deliverer is None:
            return
        if self._life is not None:
            self._life.client.send(Shutdown())
        await asyncio.wait({keeper}, timeout=drain_s)
        if not keeper.done():
            _log.warning("the scheduler process did not end within %g s", drain_s)
            if self._life is not None:
                self._life.client.kill()
            await asyncio.wait({keeper}, timeout=10.0)
            keeper.cancel()
        self._calls.put_nowait(None)
        await asyncio.wait({deliverer}, timeout=max(10.0, drain_s))
        deliverer.cancel()
        await asyncio.gather(keeper, deliverer, return_exceptions=True)
        self._keeper = self._deliverer = None

    async def _keep_alive(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            try:
                end = await self._live()
            except SchedulerError as error:
                end = _End("cannot_start", str(error), hopeless=True)
            except Exception as error:
                self._errors.tell(error, "the supervisor stumbled")
                end = _End("lost", f"The drawing process could not be kept: {error!r}.")
            if self._stopping.is_set():
                return
            metrics.SCHEDULER_ENDS.labels(end.cause).inc()
            _log.warning(
                "%s Suspects: %s.",
                end.reason,
                ", ".join(end.suspects) or "none",
                extra={"dreams": end.suspects},
            )
            pause_s = self._count(end, loop.time())
            self._calls.put_nowait(_down(end))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)

    def _count(self, end: _End, now: float) -> float:
        """Pause the intake if it is time to; return how long to wait before the next process."""
        self._crashes.append(now)
        while self._crashes[0] < now - self._options.window_s:
            self._crashes.popleft()
        self._until_up = end.hopeless
        if end.hopeless or len(self._crashes) >= self._options.crashes_to_pause:
            what = "cannot start" if end.hopeless else "keeps failing"
            self._paused = (
                f"No new dreams are taken for now: the drawing process {what}. "
                f"{end.reason} It is tried again by itself."
            )
            _log.error("%s", self._paused)
        nth = min(len(self._crashes), len(self._options.back_off_s))
        return self._options.back_off_s[nth - 1]

    async def _live(self) -> _End:
        """Start a process and see it through to its end."""
        client = await SchedulerClient.start(self._command)
        life = _Life(client, seen=asyncio.get_running_loop().time())
        self._life = life
        if self._stopping.is_set():
            client.send(Shutdown())
        reads = asyncio.create_task(self._read(life))
        watch = asyncio.create_task(self._watch(life))
        exits = asyncio.create_task(client.wait())
        try:
            await asyncio.wait({reads, watch, exits}, return_when=asyncio.FIRST_COMPLETED)
            self._up = False
            if not exits.done() and reads.done() and not life.verdict:
                # It closed the connection: it is on its way out by itself.
                await asyncio.wait({exits}, timeout=2.0)
            watch.cancel()
            client.kill()
            # What it had said before it ended still counts.
            await asyncio.wait({reads}, timeout=5.0)
            await asyncio.wait({exits}, timeout=10.0)
        finally:
            self._up = False
            self._life = None
            for answer in self._embedding.values():
                if not answer.done():
                    answer.set_exception(SchedulerError(_NOT_UP))
            for task in (reads, watch, exits):
                task.cancel()
            await client.close()
        return self._end_of(life)

    def _end_of(self, life: _Life) -> _End:
        code = life.client.returncode
        outside = False
        if life.verdict:
            cause, reason = "stopped", life.verdict
        elif life.cannot_start:
            return _End("cannot_start", life.cannot_start, hopeless=True)
        elif code == 0:
            # In good order, with all saved: no dream is to blame.
            return _End("left", "The drawing process ended, though nothing here had asked it to.")
        elif code is not None and code < 0:
            outside = -code in _KILLS and not life.client.ended_by_us
            cause = "killed" if outside else "signal"
            reason = f"The drawing process was ended by {_signal_name(-code)}."
        else:
            cause = "error"
            reason = f"The drawing process ended with an error (status {code})."
        busy = life.beat is not None and life.beat.activity is not Activity.IDLE
        suspects = life.beat.job_ids if life.beat is not None and busy else ()
        return _End(cause, reason, suspects, outside=outside)

    async def _read(self, life: _Life) -> None:
        """Take in what the process says, until it is gone."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                message = await life.client.read()
            except ProtocolError as error:
                life.verdict = (
                    "The drawing process is of another version than the bot, or damaged: "
                    f"{error}. Finish the upgrade and restart."
                )
                return
            life.seen = loop.time()
            match message:
                case None:
                    return
                case Beat():
                    life.beat = message
                case Welcome():
                    if message.version != PROTOCOL_VERSION:
                        life.verdict = (
                            f"The drawing process speaks version {message.version} and the bot "
                            f"version {PROTOCOL_VERSION}. Finish the upgrade and restart."
                        )
                        return
                    self._rise(life, message)
                case CannotStart():
                    life.cannot_start = message.reason
                case Workers():
                    self._change(message)
                case Figures():
                    STEPS.add(message)
                case Embedded():
                    answer = self._embedding.get(message.id)
                    if answer is not None and not answer.done():
                        answer.set_result(message)
                case _:
                    self._calls.put_nowait(_said(message))
            while self._calls.qsize() > _BACKLOG:
                # The listener is slow. That is not the process's silence.
                await asyncio.sleep(0.05)
                life.seen = loop.time()

    def _rise(self, life: _Life, welcome: Welcome) -> None:
        life.welcomed = life.seen
        self._welcome = welcome
        self._up = not self._stopping.is_set()
        # Where a driver or a container keeps a GPU away, the processor draws, and nothing fails.
        _log.info("the scheduler process is up, and draws on: %s", welcome.device)
        if self._until_up:
            self._until_up, self._paused = False, None
            self._crashes.clear()
        if self._weights:
            self._send(Weights(self._weights))
        self._calls.put_nowait(lambda listener: listener.on_up(welcome))

    def _change(self, message: Workers) -> None:
        """Take in that other workers draw from now on."""
        if self._welcome is not None:
            self._welcome = msgspec.structs.replace(
                self._welcome,
                device=message.device,
                engines=message.engines,
                perceptors=message.perceptors,
                workers=message.workers,
            )

    async def _watch(self, life: _Life) -> None:
        """Return when the process must be ended."""
        loop = asyncio.get_running_loop()
        options = self._options
        looked = loop.time()
        while True:
            await asyncio.sleep(_WATCH_S)
            now = loop.time()
            if now - looked > 1.0 + _WATCH_S:
                # It was the bot that was held up; what the process said waits to be read.
                life.seen = max(life.seen, now)
            looked = now
            beat = life.beat
            if now - life.seen > options.silence_s:
                life.verdict = (
                    f"The drawing process gave no sign of life for {options.silence_s:g} seconds."
                )
            elif beat is not None and beat.busy_s > beat.limit_s > 0:
                life.verdict = (
                    f"The drawing process hung: {beat.activity} took over {beat.limit_s:g} seconds."
                )
            if life.verdict:
                life.client.dump_traceback()
                await asyncio.sleep(0.2)
                return
            up_s = now - life.welcomed if life.welcomed is not None else 0.0
            if self._paused and up_s > options.stable_s:
                self._crashes.clear()
                self._paused = None
                _log.info("the scheduler process has stayed up; new dreams are taken again")

    async def _deliver(self, listener: DrawingListener) -> None:
        """Tell the listener, one call at a time. Its errors are its own."""
        while (call := await self._calls.get()) is not None:
            try:
                await call(listener)
            except Exception as error:
                self._errors.tell(error, "the listener failed")


def _said(message: ToBot) -> _Call:
    return lambda listener: listener.on_message(message)


def _down(end: _End) -> _Call:
    return lambda listener: listener.on_down(end.suspects, end.reason, end.outside)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
