"""Work on the side: who hears of its errors."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bot.errors import DiskError, LimitError
from bot.limits import Limits
from bot.side_tasks import SideTasks
from tests.bot.drawer import png, request, services


async def fail(error: Exception, after_s: float = 0.0) -> None:
    await asyncio.sleep(after_s)
    raise error


async def test_what_the_caller_is_told_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    tasks = SideTasks()
    for error in (LimitError("Too many."), OSError("no")):
        with pytest.raises(type(error)):
            await tasks.finish(fail(error))
    await tasks.wait(1.0)
    await asyncio.sleep(0)
    assert caplog.records == []


async def test_what_nobody_is_told_is_logged_unless_it_is_a_refusal(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks = SideTasks()
    for error in (LimitError("Too many."), OSError("no")):
        tasks.spawn(fail(error))
        caller = asyncio.create_task(tasks.finish(fail(error, 0.01)))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
    await tasks.wait(1.0)
    await asyncio.sleep(0.01)
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["no"] * 2


async def test_a_refusal_leaves_the_log_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with services(tmp_path, limits=Limits(per_person=1)) as s:
        await s.dreams.ask(request())
        for init in (None, png()):
            with pytest.raises(LimitError):
                await s.dreams.ask(request(init=init))
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_what_is_done_again_and_again_outlives_whatever_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks, turns = SideTasks(), asyncio.Queue[int]()
    errors: list[Exception] = [DiskError("The disk is full."), OSError("no"), ValueError("ours")]

    async def work() -> None:
        turns.put_nowait(len(errors))
        if errors:
            raise errors.pop(0)

    tasks.every(0.001, work, "Nothing went", name="nothing", after_s=0.001)
    assert turns.empty(), "not before its time"
    async with asyncio.timeout(5):
        assert [await turns.get() for _ in range(5)] == [3, 2, 1, 0, 0]
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert told == [
        ("WARNING", "Nothing went: The disk is full."),
        ("WARNING", "Nothing went: no"),
        ("ERROR", "Nothing went"),
    ]
    await tasks.stop()
    while not turns.empty():
        turns.get_nowait()
    await asyncio.sleep(0.01)
    assert turns.empty()
