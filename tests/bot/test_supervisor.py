"""The supervisor with a real scheduler process behind it, and what it does when that dies."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from bot import last_resort
from bot.drawing import Drawer
from bot.errors import SchedulerError
from bot.logs import fields_of
from bot.quarantine import Standing
from bot.scheduler_client import SchedulerClient, SchedulerCommand, _Log
from bot.supervisor import Supervisor, SupervisorOptions
from generation import logs as generation_logs
from generation import protocol
from generation.protocol import (
    Cancelled,
    Checkpoint,
    Failed,
    Finished,
    Job,
    Progress,
    Queue,
    Setting,
    Started,
    Steered,
    ToBot,
    Welcome,
)
from tests.fakes.engine import expected_colour, job, recipe

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
QUICK = SupervisorOptions(silence_s=20.0, back_off_s=(0.05,), stable_s=1.0)


class Listener:
    """Remembers all, and resubmits what is not over from its newest checkpoint, as bot.dreams."""

    def __init__(self) -> None:
        self.drawer: Drawer | None = None
        self.jobs: dict[str, Job] = {}
        self.heard: list[ToBot] = []
        self.ups: list[Welcome] = []
        self.downs: list[tuple[tuple[str, ...], str]] = []
        self.standings: dict[str, Standing] = {}
        self.steps: dict[str, int] = {}
        self.quarantined: set[str] = set()
        self.news = asyncio.Event()

    async def on_up(self, welcome: Welcome) -> None:
        assert self.drawer is not None
        self.ups.append(welcome)
        for waiting in self.jobs.values():
            self.drawer.submit(waiting)
        self.news.set()

    async def on_down(self, suspects: tuple[str, ...], reason: str, outside: bool = False) -> None:
        self.downs.append((suspects, reason))
        for job_id in suspects:
            if job_id in self.jobs:
                standing = self.standings.setdefault(job_id, Standing())
                step = self.steps.get(job_id, 0)
                if standing.fell(step, alone=len(suspects) == 1, outside=outside):
                    self.quarantined.add(job_id)
                    del self.jobs[job_id]
                else:
                    self.jobs[job_id] = msgspec.structs.replace(
                        self.jobs[job_id],
                        attempt=max(1, standing.attempt),
                        fell_at=standing.step,
                    )
        self.news.set()

    async def on_message(self, message: ToBot) -> None:
        self.heard.append(message)
        match message:
            case Started() | Progress():
                self.steps[message.job_id] = message.step
            case Checkpoint() if message.job_id in self.jobs:
                known = self.jobs[message.job_id]
                if self.standings.get(message.job_id, Standing()).passed(message.step):
                    del self.standings[message.job_id]
                    known = msgspec.structs.replace(known, attempt=0, fell_at=0)
                self.jobs[message.job_id] = msgspec.structs.replace(known, checkpoint=message.data)
            case Finished() | Failed() | Cancelled():
                self.jobs.pop(message.job_id, None)
        self.news.set()

    def ask(self, *jobs: Job) -> None:
        assert self.drawer is not None
        for wanted in jobs:
            self.jobs[wanted.id] = wanted
            self.drawer.submit(wanted)

    async def until(self, happened: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not happened():
                self.news.clear()
                await self.news.wait()

    async def hear(self, kind: type[ToBot], job_id: str, after: int = 0) -> ToBot:
        def heard() -> list[ToBot]:
            return [
                message
                for message in self.heard[after:]
                if isinstance(message, kind) and getattr(message, "job_id", None) == job_id
            ]

        await self.until(heard)
        return heard()[0]


@asynccontextmanager
async def supervised(
    options: SupervisorOptions = QUICK,
    engines: str = "tests.fakes.engine:build_engines",
    transport: str = "auto",
    listener: Listener | None = None,
    wait: bool = True,
    **settings: Setting,
) -> AsyncIterator[tuple[Supervisor, Listener]]:
    command = SchedulerCommand(
        settings={"beat_s": 0.1, **settings}, engines=engines, transport=transport
    )
    supervisor = Supervisor(command, options)
    listener = listener or Listener()
    listener.drawer = supervisor
    await supervisor.start(listener)
    try:
        if wait:
            await listener.until(lambda: listener.ups)
        yield supervisor, listener
    finally:
        await supervisor.stop(drain_s=20.0)


def gone(pid: int) -> bool:
    """Whether there is no such process, but perhaps for its grave."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def children() -> set[int]:
    found = set()
    for task in Path("/proc/self/task").iterdir():
        # A pool's thread may end between being listed and being asked.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found |= {int(pid) for pid in (task / "children").read_text(encoding="ascii").split()}
    return {pid for pid in found if not gone(pid)}


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def pid_of(supervisor: Supervisor) -> int:
    assert supervisor.pid is not None
    return supervisor.pid


def slow(step_s: float = 0.02, **settings: Setting) -> dict[str, Setting]:
    return {"step_s": step_s, **settings}


def pixel(finished: ToBot) -> tuple[int, ...]:
    assert isinstance(finished, Finished)
    found = Image.open(BytesIO(finished.png)).convert("RGB").getpixel((0, 0))
    assert isinstance(found, tuple)
    return tuple(int(part) for part in found)


async def test_it_draws_and_ends_without_leaving_anything(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    async with supervised() as (supervisor, listener):
        assert supervisor.up
        assert supervisor.device
        assert f"draws on: {supervisor.device}" in caplog.text
        assert [engine.name for engine in supervisor.engines] == ["fake"]
        listener.ask(job("d1"))
        await listener.hear(Finished, "d1")
        pid = pid_of(supervisor)
    assert gone(pid)
    assert supervisor.pid is None
    assert listener.downs == [], "being told to end is no failure"


_A_BOT = """
import socket, subprocess, sys
ours, theirs = socket.socketpair()
fd = theirs.fileno()
command = [sys.executable, "-m", "generation", "--fd", str(fd), "--engines", sys.argv[1]]
process = subprocess.Popen(command, pass_fds=[fd], start_new_session=True)
print(process.pid, flush=True)
process.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_it_ends_with_a_bot_that_is_killed_while_it_is_stopped() -> None:
    command = [sys.executable, "-c", _A_BOT, "tests.fakes.engine:build_engines"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as bot:
        assert bot.stdout is not None
        pid = int(bot.stdout.readline())
        # It has been prepared. (SIGINT says nothing: who runs in the background ignores it before.)
        until(lambda: catches(pid, signal.SIGUSR1))
        os.kill(pid, signal.SIGSTOP)
        bot.kill()
        until(lambda: gone(pid))


def catches(pid: int, number: signal.Signals) -> bool:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    [mask] = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")]
    return bool(int(mask, 16) >> number - 1 & 1)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


async def test_over_a_loopback_port_it_is_the_same() -> None:
    async with supervised(transport="tcp") as (_, listener):
        listener.ask(job("d1"))
        await listener.hear(Finished, "d1")


async def test_a_stranger_at_the_port_is_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = asyncio.create_subprocess_exec
    answers: list[bytes] = []

    async def intrude(*arguments: str, **options: object) -> asyncio.subprocess.Process:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", int(arguments[arguments.index("--port") + 1])
        )
        writer.write(b"a guess\n")
        answers.append(await reader.read())
        writer.close()
        return await real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", intrude)
    async with supervised(transport="tcp") as (supervisor, _):
        assert supervisor.up
    assert answers == [b""], "nothing is said to who does not know the secret"
    assert "did not bring the scheduler's secret" in caplog.text


async def test_killed_in_mid_job_it_goes_on_from_its_checkpoint() -> None:
    wanted = job("d1", steps=80, settings=slow())
    async with supervised(checkpoint_s=0.1) as (supervisor, listener):
        listener.ask(wanted)
        await listener.hear(Checkpoint, "d1")
        before = len(listener.heard)
        first_pid = pid_of(supervisor)
        os.kill(first_pid, signal.SIGKILL)
        started = await listener.hear(Started, "d1", before)
        finished = await listener.hear(Finished, "d1")
        assert pid_of(supervisor) != first_pid
    assert isinstance(started, Started)
    assert started.step > 0, "it did not begin anew"
    assert pixel(finished) == expected_colour(wanted.recipe)
    [(suspects, reason)] = listener.downs
    assert suspects in [("d1",), ()]  # between two steps nothing is drawn
    assert "SIGKILL" in reason


async def test_a_frozen_process_is_replaced() -> None:
    options = SupervisorOptions(silence_s=2.0, back_off_s=(0.05,))
    async with supervised(options) as (supervisor, listener):
        pid = pid_of(supervisor)
        os.kill(pid, signal.SIGSTOP)
        await listener.until(lambda: len(listener.ups) == 2)
        assert gone(pid)
        listener.ask(job("d1"))
        await listener.hear(Finished, "d1")
    assert "no sign of life" in listener.downs[0][1]


async def test_a_step_that_hangs_is_ended_at_its_deadline() -> None:
    hung = job("hung", settings={"hang_at": 3})
    async with supervised(step_limit_s=1.0, first_step_limit_s=1.0) as (_, listener):
        listener.ask(hung)
        await listener.until(lambda: listener.downs)
        assert listener.downs[0][0] == ("hung",)
        assert "hung" in listener.downs[0][1]


async def test_a_poison_job_is_found_out_and_the_others_are_drawn() -> None:
    people = ["ann", "bob", "cyd", "dan", "fay", "gus"]
    async with supervised(checkpoint_s=0.05) as (_, listener):
        listener.ask(
            *(job(f"{name}'s", name, steps=40, settings=slow(0.01)) for name in people),
            job("poison", "eve", steps=40, settings=slow(0.01, crash_at=20)),
        )
        await listener.until(lambda: not listener.jobs)
        assert listener.quarantined == {"poison"}
        drawn = {m.job_id for m in listener.heard if isinstance(m, Finished)}
        assert drawn == {f"{name}'s" for name in people}
    assert len(listener.downs[0][0]) > 1, "it had company at first"
    assert listener.downs[-1][0] == ("poison",)


async def test_a_long_dream_outlives_three_kills(caplog: pytest.LogCaptureFixture) -> None:
    async with supervised(checkpoint_s=0.1) as (supervisor, listener):
        listener.ask(job("long", steps=120, settings=slow(0.02)))
        for nth in range(3):
            await listener.until(lambda nth=nth: len(listener.ups) == nth + 1)  # type: ignore[misc]
            before = len(listener.heard)
            fell_at = listener.jobs["long"].fell_at

            def further(before: int = before, fell_at: int = fell_at) -> bool:
                return any(
                    isinstance(m, Checkpoint) and m.step > fell_at for m in listener.heard[before:]
                )

            await listener.until(further)
            os.kill(pid_of(supervisor), signal.SIGKILL)
        finished = await listener.hear(Finished, "long")
    assert pixel(finished) == expected_colour(recipe(steps=120))
    assert len(listener.downs) == 3
    # Between two steps nothing is drawn, so that nothing is suspected.
    assert {suspects for suspects, _ in listener.downs} <= {("long",), ()}
    assert not listener.quarantined


async def test_three_crashes_pause_the_intake_until_it_stays_up() -> None:
    async with supervised() as (supervisor, listener):
        for nth in range(3):
            await listener.until(lambda nth=nth: len(listener.ups) == nth + 1)  # type: ignore[misc]
            assert supervisor.paused is None
            os.kill(pid_of(supervisor), signal.SIGKILL)
        await listener.until(lambda: len(listener.downs) == 3)
        assert supervisor.paused is not None
        assert "No new dreams" in supervisor.paused
        await listener.until(lambda: len(listener.ups) == 4)
        async with asyncio.timeout(PATIENCE_S):
            while supervisor.paused is not None:  # noqa: ASYNC110 - nobody is told of it
                await asyncio.sleep(0.05)


async def test_an_end_in_good_order_that_nobody_asked_for_is_backed_off_from() -> None:
    options = SupervisorOptions(back_off_s=(0.05, 600.0))
    async with supervised(options) as (supervisor, listener):
        for nth in range(2):
            await listener.until(lambda nth=nth: len(listener.ups) == nth + 1)  # type: ignore[misc]
            os.kill(pid_of(supervisor), signal.SIGTERM)
        await listener.until(lambda: len(listener.downs) == 2)
        await asyncio.sleep(1.0)
        assert supervisor.pid is None, "the next is not started yet"
        assert len(listener.ups) == 2


@pytest.mark.parametrize(
    ("engines", "sentence"),
    [
        ("no_device", "There is no device called cuda on this machine."),
        ("broken", "What draws could not be started; the log has the details."),
    ],
)
async def test_why_the_engines_cannot_be_made_is_said_at_once(
    engines: str, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = SupervisorOptions(back_off_s=(60.0,))
    name = f"tests.fakes.engine:{engines}"
    async with supervised(options, engines=name, wait=False, device="cuda") as (s, listener):
        await listener.until(lambda: listener.downs)
        assert listener.downs == [((), sentence)]
        assert s.paused is not None
        assert sentence in s.paused
        assert not s.up
        assert s.engines == ()
    records = [r for r in caplog.records if "Error: " in (r.exc_text or r.getMessage())]
    # A sentence that says it all needs no traceback beside it; anything else is in the log.
    assert bool(records) == (engines == "broken")
    assert {record.levelname for record in records} <= {"ERROR"}
    assert any(sentence in record.getMessage() for record in caplog.records)


async def test_new_dreams_are_taken_as_soon_as_it_can_start(tmp_path: Path) -> None:
    models = tmp_path / "models"
    late = "tests.fakes.engine:late"
    options = SupervisorOptions(back_off_s=(0.05,), stable_s=600.0)
    async with supervised(options, engines=late, wait=False, models_dir=str(models)) as (s, heard):
        await heard.until(lambda: heard.downs)
        assert s.paused is not None
        models.mkdir()
        await heard.until(lambda: heard.ups)
        assert s.paused is None


def test_a_record_of_the_process_is_one_here_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    made = logging.LogRecord("generation.worker", logging.WARNING, "", 0, "a %s", ("bug",), None)
    made.exc_info = (ValueError, ValueError("in a step"), None)
    context = contextvars.copy_context()
    context.run(generation_logs.about, ("d1", "d2"))
    line = context.run(generation_logs.Formatter().format, made)
    assert "\n" not in line
    _Log().forward(line.encode())
    [record] = caplog.records
    assert (record.name, record.levelname) == ("generation.worker", "WARNING")
    assert (record.getMessage(), record.created) == ("a bug", made.created)
    assert "ValueError: in a step" in (record.exc_text or "")
    assert fields_of(record) == {"dreams": ("d1", "d2")}
    caplog.set_level("ERROR")
    _Log().forward(line.encode())
    assert caplog.records == [record]


def test_what_is_no_record_is_passed_on_line_by_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    log = _Log()
    lines = """\
 10%|# | a bar
{"log": "cut off by another thread's li
Traceback (most recent call last):
  File "there.py", line 2, in main
KeyError: 'x'
hello"""
    for line in lines.split("\n"):
        log.forward(line.encode())
    levels = [record.levelname for record in caplog.records]
    assert levels == ["INFO"] * 2 + ["ERROR"] * 3 + ["INFO"]


async def test_another_version_pauses_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.supervisor.PROTOCOL_VERSION", 99)
    options = SupervisorOptions(back_off_s=(0.01,))
    async with supervised(options, wait=False) as (supervisor, listener):
        async with asyncio.timeout(PATIENCE_S):
            while supervisor.paused is None:  # noqa: ASYNC110 - nobody is told of it
                await asyncio.sleep(0.05)
        assert "version" in supervisor.paused
        assert listener.ups == []


async def test_waiting_and_running_jobs_are_cancelled() -> None:
    async with supervised() as (supervisor, listener):
        listener.ask(
            job("d1", steps=10_000, settings=slow()),
            job("d2", steps=10_000, width=128, settings=slow()),
        )
        await listener.hear(Progress, "d1")
        await listener.until(
            lambda: any(
                isinstance(m, Queue) and [(p.job_id, p.place) for p in m.waiting] == [("d2", 1)]
                for m in listener.heard
            )
        )
        supervisor.cancel("d2")
        supervisor.cancel("d1")
        await listener.hear(Cancelled, "d2")
        await listener.hear(Cancelled, "d1")
        assert not [m for m in listener.heard if isinstance(m, Started) and m.job_id == "d2"]


async def test_a_running_job_is_steered() -> None:
    async with supervised() as (supervisor, listener):
        listener.ask(job("d1", steps=60, settings=slow()))
        await listener.hear(Progress, "d1")
        supervisor.steer("d1", "a blue whale", 3)
        await listener.hear(Steered, "d1")
        finished = await listener.hear(Finished, "d1")
    assert isinstance(finished, Finished)
    assert pixel(finished) == expected_colour(finished.recipe) != expected_colour(recipe(steps=60))


async def test_two_peoples_jobs_advance_at_the_same_time() -> None:
    async with supervised() as (_, listener):
        listener.ask(job("d1", "ann", steps=60, settings=slow()))
        await listener.hear(Progress, "d1")
        listener.ask(job("d2", "bob", steps=60, settings=slow()))
        await listener.hear(Finished, "d2")
        await listener.hear(Finished, "d1")
    order = [m for m in listener.heard if isinstance(m, Progress)]
    d2_began = next(nth for nth, m in enumerate(order) if m.job_id == "d2")
    assert any(m.job_id == "d1" for m in order[d2_began:]), "d1 went on after d2 had begun"


async def test_a_listener_that_fails_harms_only_itself(caplog: pytest.LogCaptureFixture) -> None:
    class Clumsy(Listener):
        async def on_message(self, message: ToBot) -> None:
            await super().on_message(message)
            if isinstance(message, Started):
                raise RuntimeError("the listener stumbles")

    async with supervised(listener=Clumsy()) as (_, listener):
        listener.ask(job("d1"))
        await listener.hear(Finished, "d1")
    assert "the listener stumbles" in caplog.text


async def test_large_pictures_to_start_from_do_not_hold_up_the_loop() -> None:
    async with supervised() as (_, listener):
        picture = bytes(32 * 1024 * 1024)
        listener.ask(*(job(f"d{nth}", init=picture) for nth in range(3)))
        for nth in range(3):
            await listener.hear(Finished, f"d{nth}")


async def test_a_process_that_takes_nothing_is_given_no_more() -> None:
    async with supervised() as (supervisor, listener):
        await supervisor.handed_over()
        pid = pid_of(supervisor)
        os.kill(pid, signal.SIGSTOP)
        listener.ask(job("d1", init=bytes(32 * 1024 * 1024)))
        waiting = asyncio.create_task(supervisor.handed_over())
        await asyncio.sleep(0.2)
        assert not waiting.done()
        os.kill(pid, signal.SIGKILL)
        await asyncio.wait_for(waiting, PATIENCE_S)


async def test_a_picture_too_large_to_send_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with supervised() as (_, listener):
        monkeypatch.setattr(protocol, "MAX_MESSAGE_BYTES", 1000)
        listener.ask(job("d1", init=bytes(2000)))
        failed = await listener.hear(Failed, "d1")
        assert isinstance(failed, Failed)
        assert failed.reason == "The picture to start from is too large."


async def test_stopping_saves_what_runs() -> None:
    async with supervised(checkpoint_s=600.0) as (_, listener):
        listener.ask(job("d1", steps=100_000, settings=slow(0.001)))
        await listener.hear(Progress, "d1")
    assert listener.jobs["d1"].checkpoint is not None
    assert listener.downs == []


async def test_stopping_does_not_wait_for_a_step_that_hangs() -> None:
    supervisor = Supervisor(SchedulerCommand(engines="tests.fakes.engine:build_engines"), QUICK)
    listener = Listener()
    listener.drawer = supervisor
    await supervisor.start(listener)
    await listener.until(lambda: listener.ups)
    listener.ask(job("d1", settings={"hang_at": 0}))
    await listener.hear(Started, "d1")
    pid = pid_of(supervisor)
    await supervisor.stop(drain_s=0.3)
    assert gone(pid)


async def test_stopping_before_it_is_up_leaves_nothing() -> None:
    supervisor = Supervisor(SchedulerCommand(engines="tests.fakes.engine:build_engines"), QUICK)
    await supervisor.start(Listener())
    await supervisor.stop(drain_s=20.0)
    assert supervisor.pid is None


async def test_giving_up_in_the_middle_of_the_start_leaves_nothing() -> None:
    command = SchedulerCommand(engines="tests.fakes.engine:build_engines", transport="tcp")
    before = children()
    start = asyncio.create_task(SchedulerClient.start(command))
    while children() == before:  # noqa: ASYNC110 - nobody is told of it
        await asyncio.sleep(0.001)
    start.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        client = await start
        await client.close()
    async with asyncio.timeout(PATIENCE_S):
        while children() != before:  # noqa: ASYNC110 - nobody is told of it
            await asyncio.sleep(0.01)


async def test_its_log_becomes_the_bots(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with supervised() as (_, listener):
        listener.ask(job("d1", settings={"show": "raise"}))
        await listener.hear(Failed, "d1")
    records = [r for r in caplog.records if r.name == "generation.worker"]
    assert any("dream d1" in record.getMessage() for record in records)
    assert {"ERROR"} <= {record.levelname for record in records}


async def test_the_bots_secrets_stay_with_the_bot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DREAMSTREAM_DISCORD_TOKEN", "hush")
    monkeypatch.setenv("DISCORD_TOKEN", "hush")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "hush")
    monkeypatch.setenv("DREAMSTREAM_MODELS", "/where/models/lie")
    client = await SchedulerClient.start(
        SchedulerCommand(engines="tests.fakes.engine:build_engines", transport="tcp")
    )
    try:
        while not isinstance(await client.read(), Welcome):
            pass
        environment = environment_of(client.pid)
        assert b"hush" not in environment
        assert b"DREAMSTREAM_MODELS=/where/models/lie" in environment
        if sys.platform == "linux":  # where memory runs out, it goes before the bot
            badness = int(Path(f"/proc/{client.pid}/oom_score_adj").read_text())  # noqa: ASYNC240
            assert badness >= last_resort.DRAWS
    finally:
        await client.close()


def test_the_child_is_gone_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(
            """
            import asyncio
            from bot.scheduler_client import SchedulerCommand
            from bot.supervisor import Supervisor
            from tests.fakes.engine import job

            class Listener:
                async def on_up(self, welcome):
                    supervisor.submit(job("d1", settings={"hang_at": 0}))
                async def on_down(self, suspects, reason): ...
                async def on_message(self, message):
                    print(supervisor.pid, flush=True)

            async def main():
                global supervisor
                supervisor = Supervisor(
                    SchedulerCommand(engines="tests.fakes.engine:build_engines"))
                await supervisor.start(Listener())
                await asyncio.sleep(600)

            asyncio.run(main())
            """
        ),
        encoding="utf-8",
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert not gone(child)
    finally:
        parent.kill()
        parent.communicate()
    deadline = time.monotonic() + PATIENCE_S
    while not gone(child):
        assert time.monotonic() < deadline, "an orphan is left"
        time.sleep(0.05)


# --- looking -----------------------------------------------------------------------------------


async def test_vectors_are_asked_for_and_answered() -> None:
    async with supervised() as (supervisor, _):
        assert supervisor.perceptors == ("colours", "stuck")
        answers = await asyncio.gather(
            *(supervisor.embed("colours", texts=[text]) for text in ("#ff0000", "#0000ff"))
        )
        red, blue = (answer.texts[0] for answer in answers)
        assert red != blue and len(red) == 6
        assert "nope" in (await supervisor.embed("nope", texts=["#000000"])).reason


async def test_whoever_waits_for_vectors_learns_that_the_process_died() -> None:
    async with supervised() as (supervisor, listener):
        waiting = asyncio.create_task(supervisor.embed("stuck", texts=["#000000"]))
        await asyncio.sleep(0.3)
        os.kill(pid_of(supervisor), signal.SIGKILL)
        with pytest.raises(SchedulerError, match="not up"):
            await waiting
        await listener.until(lambda: len(listener.ups) == 2)
        assert (await supervisor.embed("colours", texts=["#ff0000"])).texts
    with pytest.raises(SchedulerError):
        await supervisor.embed("colours", texts=["#ff0000"])
