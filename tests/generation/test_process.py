"""The scheduler process as a process: its greeting, its ways out, its promises to a bot."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from types import SimpleNamespace
from typing import Any, TypeVar

import msgspec
import pytest
from PIL import Image

from generation.process import SchedulerProcess
from generation.protocol import (
    PROTOCOL_VERSION,
    Activity,
    Attachment,
    Beat,
    Cancel,
    Cancelled,
    Checkpoint,
    Failed,
    Finished,
    Hello,
    Job,
    Progress,
    Queue,
    Refused,
    Shutdown,
    Started,
    Steered,
    SteerJob,
    Submit,
    ToBot,
    ToScheduler,
    Welcome,
    encode,
    read_for_bot,
)
from generation.settings import Settings
from tests.fakes.engine import expected_colour, job, recipe

PATIENCE_S = 60.0
T = TypeVar("T", bound=ToBot)


@dataclass
class Peer:
    """The bot's end, by hand."""

    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, *messages: ToScheduler) -> None:
        for message in messages:
            self.writer.write(encode(message))

    async def read(self) -> ToBot:
        return await asyncio.wait_for(read_for_bot(self.reader), PATIENCE_S)

    async def until(self, kind: type[T], job_id: str | None = None) -> T:
        while True:
            message = await self.read()
            if isinstance(message, kind) and job_id in (None, getattr(message, "job_id", None)):
                return message

    async def exit_status(self) -> int:
        return await asyncio.wait_for(self.process.wait(), PATIENCE_S)


async def spawn(
    *arguments: str, fds: tuple[int, ...] = (), **environment: str
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "generation",
        "--engines",
        "tests.fakes.engine:build_engines",
        *arguments,
        pass_fds=fds,
        env={**os.environ, **environment},
    )


@asynccontextmanager
async def scheduler(greet: bool = True, **settings: bool | float | str) -> AsyncIterator[Peer]:
    ours, theirs = socket.socketpair()
    with theirs:
        text = msgspec.json.encode(settings).decode()
        process = await spawn(
            "--fd", str(theirs.fileno()), "--settings", text, fds=(theirs.fileno(),)
        )
    reader, writer = await asyncio.open_connection(sock=ours)
    peer = Peer(process, reader, writer)
    try:
        if greet:
            peer.send(Hello())
            await peer.until(Welcome)
        yield peer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        if process.returncode is None:
            process.kill()
        await process.wait()


def slow(step_s: float = 0.02, **settings: float) -> dict[str, float]:
    return {"step_s": step_s, **settings}


async def test_it_greets_and_says_what_it_offers() -> None:
    async with scheduler(greet=False) as peer:
        peer.send(Hello())
        welcome = await peer.until(Welcome)
        assert welcome.version == PROTOCOL_VERSION
        assert welcome.pid == peer.process.pid
        assert welcome.device
        assert [engine.name for engine in welcome.engines] == ["fake"]
        beat = await peer.until(Beat)
        assert beat.activity in (Activity.IDLE, Activity.LOAD)


async def test_another_version_is_told_and_left() -> None:
    async with scheduler(greet=False) as peer:
        peer.send(Hello(version=PROTOCOL_VERSION + 1))
        welcome = await peer.until(Welcome)
        assert welcome.version == PROTOCOL_VERSION
        assert await peer.exit_status() == 4


async def test_nonsense_instead_of_a_greeting_ends_it() -> None:
    async with scheduler(greet=False) as peer:
        peer.writer.write(b"\xff" * 64)
        assert await peer.exit_status() == 1


async def test_a_wrong_secret_is_refused() -> None:
    secret: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        secret.set_result(await reader.readline())
        writer.write(encode(Hello(secret="guessed")))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        port = str(server.sockets[0].getsockname()[1])
        process = await spawn("--port", port, DREAMSTREAM_SCHEDULER_SECRET="right")
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 3
        assert (await secret).strip() == b"right", "it proves itself, too"


async def test_a_job_is_drawn_with_previews_on_the_way() -> None:
    async with scheduler(preview_s=0.05) as peer:
        peer.send(Submit(job("d1", settings=slow())))
        assert (await peer.until(Started, "d1")).step == 0
        first = await peer.until(Progress, "d1")
        assert first.step == 1
        assert first.preview is not None
        assert first.preview[8:12] == b"WEBP"
        finished = await peer.until(Finished, "d1")
        assert finished.png.startswith(b"\x89PNG")
        assert finished.gpu_s > 0
        assert finished.score == 0.5
        assert finished.recipe == recipe(settings=slow())


async def test_what_was_charged_in_an_earlier_process_is_carried_on() -> None:
    async with scheduler(checkpoint_s=0.05) as peer:
        before = job("d1", settings=slow())
        peer.send(Submit(msgspec.structs.replace(before, gpu_s=100.0)))
        assert (await peer.until(Checkpoint, "d1")).gpu_s >= 100.0
        assert (await peer.until(Finished, "d1")).gpu_s > 100.0


async def test_the_parents_end_is_its_own_even_in_mid_step() -> None:
    async with scheduler() as peer:
        peer.send(Submit(job("d1", settings={"hang_at": 1})))
        await peer.until(Started)
        peer.writer.close()
        assert await peer.exit_status() == 0


@pytest.mark.parametrize("how", ["message", "signal"])
async def test_told_to_end_it_saves_what_it_was_at(how: str) -> None:
    async with scheduler(checkpoint_s=600) as peer:
        peer.send(Submit(job("d1", steps=100_000, settings=slow(0.001))))
        await peer.until(Progress)
        if how == "message":
            peer.send(Shutdown())
        else:
            peer.process.send_signal(signal.SIGTERM)
        checkpoint = await peer.until(Checkpoint, "d1")
        assert checkpoint.step > 0
        assert await peer.exit_status() == 0


async def test_an_interrupt_at_the_terminal_is_the_bots_affair() -> None:
    async with scheduler() as peer:
        peer.process.send_signal(signal.SIGINT)
        peer.send(Submit(job("d1", settings=slow())))
        await peer.until(Finished, "d1")


async def test_a_resumed_job_ends_as_if_nothing_had_been() -> None:
    long = recipe(steps=60, settings=slow(0.01))
    async with scheduler(checkpoint_s=0.05) as peer:
        peer.send(Submit(Job(id="d1", recipe=long, stream="s", person="ann")))
        while (saved := await peer.until(Checkpoint, "d1")).step < 5:
            pass
        peer.process.kill()
    async with scheduler() as peer:
        again = Job(
            id="d1", recipe=long, stream="s", person="ann", checkpoint=saved.data, attempt=1
        )
        peer.send(Submit(again))
        assert (await peer.until(Started, "d1")).step == saved.step
        finished = await peer.until(Finished, "d1")
    assert pixel(finished.png) == expected_colour(long)


async def test_a_bad_checkpoint_begins_anew() -> None:
    async with scheduler() as peer:
        peer.send(Submit(job("d1", checkpoint=b"\x00 not a checkpoint")))
        assert (await peer.until(Started, "d1")).step == 0
        await peer.until(Finished, "d1")


async def test_cancelling_ends_a_job_whatever_it_is_at() -> None:
    async with scheduler() as peer:
        # Of another kind each, so that the later ones wait or take turns.
        for nth in range(3):
            peer.send(Submit(job(f"d{nth}", steps=10_000, width=64 + 8 * nth, settings=slow())))
        await peer.until(Started, "d0")
        queue = await peer.until(Queue)
        assert [place.job_id for place in queue.waiting] == ["d1", "d2"]
        assert [place.place for place in queue.waiting] == [1, 2]
        assert queue.waiting[0].starts_in_s > 0
        peer.send(Cancel("d1"))
        await peer.until(Cancelled, "d1")
        peer.send(Cancel("d0"))
        await peer.until(Cancelled, "d0")
        await peer.until(Started, "d2")
        peer.send(Cancel("d2"), Cancel("never heard of"))
        await peer.until(Cancelled, "d2")
        await peer.until(Cancelled, "never heard of")
        peer.send(Submit(job("d9", settings=slow(0.0))))
        finished = await peer.until(Finished)
        assert finished.job_id == "d9", "what was cancelled does not finish after all"


async def test_a_steer_belongs_to_the_recipe_and_reproduces() -> None:
    async with scheduler() as peer:
        peer.send(Submit(job("d1", steps=50, settings=slow())))
        await peer.until(Progress, "d1")
        peer.send(SteerJob("d1", "a blue whale"))
        steered = await peer.until(Steered, "d1")
        assert steered.steer.step > 0
        finished = await peer.until(Finished, "d1")
        assert finished.recipe.steers == (steered.steer,)
        assert pixel(finished.png) == expected_colour(finished.recipe)
        peer.send(SteerJob("d1", "too late"))
        assert (await peer.until(Refused, "d1")).reason


async def test_a_waiting_job_is_steered_before_it_begins() -> None:
    async with scheduler() as peer:
        peer.send(Submit(job("d0", steps=50, settings=slow())))
        await peer.until(Progress, "d0")
        peer.send(Submit(job("d1", width=128)), SteerJob("d1", "a blue whale"))
        assert (await peer.until(Steered, "d1")).steer.step == 0
        finished = await peer.until(Finished, "d1")
        assert pixel(finished.png) == expected_colour(finished.recipe)
        assert pixel(finished.png) != expected_colour(recipe(width=128))


async def test_what_cannot_be_drawn_is_said_and_harms_nobody() -> None:
    async with scheduler() as peer:
        peer.send(
            Submit(job("good", "ann", steps=40, settings=slow(0.01))),
            Submit(job("nan", "bob", steps=40, settings=slow(0.01, error_at=5))),
            Submit(job("bug", "cyd", steps=40, settings=slow(0.01, raise_at=7))),
            Submit(job("engine", engine="of dreams")),
            Submit(job("model", model="absent")),
            Submit(job("begin", settings={"begin": "error"})),
            Submit(job("crash", settings={"begin": "raise"})),
            Submit(job("picture", settings={"show": "raise"})),
            Submit(job("memory", width=128, settings={"oom_over": 0})),
        )
        reasons: dict[str, str] = {}
        good: Finished | None = None
        while len(reasons) < 8 or good is None:
            message = await peer.read()
            if isinstance(message, Failed):
                reasons[message.job_id] = message.reason
            elif isinstance(message, Finished):
                assert message.job_id == "good"
                good = message
        assert reasons["nan"] == "The loss is not a number."
        assert reasons["engine"] == "There is no engine called “of dreams” here."
        assert reasons["model"] == "The weights of absent are not here."
        assert reasons["begin"] == "This cannot be drawn."
        assert "memory" in reasons["memory"]
        assert all(reason.endswith(".") for reason in reasons.values())
        assert pixel(good.png) == expected_colour(good.recipe)


async def test_two_people_advance_at_the_same_time() -> None:
    async with scheduler() as peer:
        peer.send(Submit(job("d1", "ann", steps=60, settings=slow())))
        await peer.until(Progress, "d1")
        peer.send(Submit(job("d2", "bob", steps=20, settings=slow())))
        await peer.until(Finished, "d2")
        await peer.until(Finished, "d1")


def pixel(png: bytes) -> tuple[int, int, int]:
    found = Image.open(BytesIO(png)).convert("RGB").getpixel((0, 0))
    assert isinstance(found, tuple)
    red, green, blue = found
    return int(red), int(green), int(blue)


def test_a_dream_ends_however_large_what_it_made_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    frames: list[bytes] = []
    transport = SimpleNamespace(get_write_buffer_size=lambda: 0)
    writer: Any = SimpleNamespace(transport=transport, write=frames.append)
    reader: Any = None
    pool: Any = SimpleNamespace(plan=None)
    process = SchedulerProcess(reader, writer, lambda _: pool, Settings())
    monkeypatch.setattr("generation.protocol.MAX_MESSAGE_BYTES", 10_000)
    svg = Attachment(name="a.svg", media_type="image/svg+xml", data=bytes(10_000))
    whole = Finished(job_id="d", recipe=recipe(), png=b"", gpu_s=2.0, attachments=(svg,))
    process._send(whole)
    process._send(msgspec.structs.replace(whole, png=bytes(10_000)))
    process._send(Checkpoint("d", 3, bytes(10_000)))
    bare, failed = (msgspec.msgpack.decode(frame[4:], type=ToBot) for frame in frames)
    assert bare == msgspec.structs.replace(whole, attachments=())
    assert isinstance(failed, Failed) and failed.job_id == "d" and "too large" in failed.reason
    assert "dream d: a Checkpoint cannot be sent" in caplog.text
