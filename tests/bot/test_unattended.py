"""What goes on by itself goes on after an error that nobody foresaw, wherever it is just then."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

from bot import app, side_tasks
from bot.config import Config
from bot.delivery.lane import Lane
from bot.delivery.pace import Urgency
from bot.errors import SchedulerError, StoreError
from bot.feed import Feed
from bot.following import TRIES, Following
from bot.model import EventKind, StreamEvent
from bot.monitoring.metrics import REGISTRY
from bot.scheduler_client import SchedulerClient
from bot.side_tasks import SideTasks
from bot.store import Store, events
from bot.supervisor import Supervisor
from bot.themes import Themes
from bot.unforeseen import Errors
from tests.bot.drawer import until

BOT = str(Path(app.__file__).parent)


def running(code: Any) -> list[asyncio.Task[None]]:
    """Return the tasks that are at a coroutine function's code."""
    return [task for task in asyncio.all_tasks() if code_of(task) is code]


def code_of(task: asyncio.Task[Any]) -> Any:
    """Return what a task is at, on its outside."""
    return getattr(task.get_coro(), "cr_code", None)


def kept() -> list[asyncio.Task[None]]:
    """Return all that `SideTasks.keep` looks after."""
    return running(side_tasks._kept.__code__)


def strays() -> list[str]:
    """Return what of the bot's own code goes on and is looked after by nobody."""
    ours = {side_tasks._kept.__code__, side_tasks._again.__code__}
    codes = {code_of(task) for task in asyncio.all_tasks()} - ours
    return sorted(code.co_qualname for code in codes if code and code.co_filename.startswith(BOT))


def waits_for(task: Any) -> asyncio.Future[Any] | None:
    """Return what a task, or one that it waits for, waits for in the end; None on its way on."""
    waiter: Any = task._fut_waiter
    while isinstance(waiter, asyncio.Task):
        waiter = waiter._fut_waiter  # type: ignore[attr-defined]
    # What is done already wakes the task in the loop's next turn: no error can be put there.
    return None if waiter is None or waiter.done() else waiter


async def at_rest(task: asyncio.Task[None]) -> asyncio.Future[Any]:
    """Return what a task waits for, once it waits for nothing quick, such as a thread's write."""
    waiter = None
    while waiter is None or waiter is not waits_for(task):
        waiter = waits_for(task)
        await asyncio.sleep(0.2)
    return waiter


def pauses(task: asyncio.Task[None]) -> bool:
    """Whether what a task does has failed, and is about to be begun again."""
    inner = task.get_coro().cr_await  # type: ignore[union-attr]
    return inspect.iscoroutine(inner) and inner.cr_code is asyncio.sleep.__code__


def counted(name: str) -> float:
    """Return how many errors of a task were counted."""
    return REGISTRY.get_sample_value("dreamstream_unforeseen_errors_total", {"task": name}) or 0


def left_out() -> float:
    """Return how many events were left out."""
    return REGISTRY.get_sample_value("dreamstream_events_left_out_total") or 0


async def outlives(task: asyncio.Task[None], caplog: pytest.LogCaptureFixture) -> None:
    """Raise in a task what nobody foresaw, and see that it is told, and goes on."""
    error, name = RuntimeError("nobody foresaw this"), task.get_name()
    before = counted(name)
    (await at_rest(task)).set_exception(error)

    def told() -> list[logging.LogRecord]:
        return [one for one in caplog.records if one.exc_info and one.exc_info[1] is error]

    await until(told)
    assert len(told()) == 1, name
    if pauses(task):
        assert counted(name) == before + 1
        if (pause := waits_for(task)) is not None:  # it is not waited for in a test
            pause.set_result(None)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not task.done() and not pauses(task), f"{name} is begun again"


@pytest.fixture
def no_drawing_process(monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(*_: Any) -> None:
        raise SchedulerError("There is none in this test.")

    monkeypatch.setattr(SchedulerClient, "start", start)


@pytest.mark.usefixtures("no_drawing_process")
async def test_all_that_the_program_does_by_itself_outlives_what_nobody_foresaw(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config.model_validate(
        {
            "storage": {"data_dir": str(tmp_path / "data"), "keep_days": 1.0},
            "backup": {"folder": str(tmp_path / "backups"), "every_hours": 24.0},
            "wall": {"port": 0},
        }
    )
    program = asyncio.create_task(app.run(config, None))
    try:
        await until(lambda: program.done() or running_named("tick"))
        await until(lambda: program.done() or running_named("backup"))
        with suppress(TimeoutError):  # what is done on the side once is over soon
            await until(lambda: strays() == ["run"], 10.0)
        assert not program.done()
        assert strays() == ["run"], "held by no SideTasks"
        tasks = kept()
        assert len(tasks) >= 12
        for task in tasks:
            await outlives(task, caplog)
        assert {*kept()} == {*tasks}
    finally:
        program.cancel()
        await asyncio.gather(program, return_exceptions=True)
    assert not kept() and not running(side_tasks._again.__code__)


def running_named(name: str) -> bool:
    """Whether there is a task of this name."""
    return any(task.get_name() == name for task in asyncio.all_tasks())


async def test_an_error_is_told_with_its_traceback_once(caplog: pytest.LogCaptureFixture) -> None:
    errors: list[Exception] = [
        StoreError("Locked."),
        ValueError("a"),
        ValueError("b"),
        KeyError("c"),
    ]
    tasks, before = SideTasks(), counted("told-once")

    async def work() -> None:
        if errors:
            raise errors.pop(0)

    async with asyncio.timeout(5):
        await tasks.keep(work, "It rests", name="told-once", pause_s=0.001)
    assert [
        (record.levelname, record.getMessage(), record.exc_info is not None)
        for record in caplog.records
    ] == [
        ("WARNING", "It rests: Locked.", False),
        ("ERROR", "It rests", True),
        ("ERROR", "It rests, as before: ValueError('b')", False),
        ("ERROR", "It rests", True),
    ]
    assert counted("told-once") == before + 3


async def test_what_fails_pauses_for_longer_each_time_and_can_be_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses_s: list[float] = []
    tasks, real = SideTasks(), asyncio.sleep

    async def sleep(seconds: float) -> None:
        pauses_s.append(seconds)
        await real(3600 if len(pauses_s) == 6 else 0)

    async def work() -> None:
        raise RuntimeError

    monkeypatch.setattr("bot.side_tasks.asyncio.sleep", sleep)
    task = tasks.keep(work, "It rests", name="paused", pause_s=1.0, longest_s=10.0)
    while len(pauses_s) < 6:
        await real(0)
    assert pauses_s == [1, 2, 4, 8, 10, 10]
    await tasks.stop()
    assert task.cancelled()


async def test_an_event_that_cannot_be_taken_holds_up_those_behind_it_for_a_while(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = await Store.open(tmp_path / "dreamstream.db")
    tasks, tried = SideTasks(), list[int]()
    foreseen = [StoreError("Locked."), OSError(28, "No space left on device")] * TRIES
    before = left_out()

    async def take(event: StreamEvent) -> None:
        tried.append(event.id)
        if event.id == 2:
            raise RuntimeError("nobody foresaw this")
        if event.id == 3 and foreseen:
            raise foreseen.pop()

    following = Following(Feed(store), take)
    try:
        theme_id = (await Themes(store).ensure_default()).id
        async with store.write() as connection:
            for _ in range(4 - await events.last_id(store)):
                await events.append(connection, EventKind.THEME, theme_id, 0)
        trouble = "It is not followed"
        tasks.keep(following.run, trouble, name="following", pause_s=0.001, longest_s=0.001)
        await until(lambda: following.position == 4)
    finally:
        await tasks.stop()
        await store.close()
    assert tried == [1] + [2] * TRIES + [3] * (2 * TRIES + 1) + [4]
    assert "Event 2 is left out" in caplog.text
    assert left_out() == before + 1, "what is lost is counted, once"


@pytest.mark.parametrize("how", ["keep", "every"])
async def test_a_cancellation_that_nobody_asked_of_it_is_an_error_like_others(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    tasks, turns, name = SideTasks(), asyncio.Queue[None](), f"cancelled-{how}"
    before = counted(name)

    async def work() -> None:
        turns.put_nowait(None)
        waited_for = asyncio.get_running_loop().create_future()
        if turns.qsize() == 1:
            waited_for.cancel()  # as whoever owns it may
        await waited_for

    if how == "keep":
        tasks.keep(work, "It rests", name=name, pause_s=0.001)
    else:
        tasks.every(0.001, work, "It rests", name=name)
    await until(lambda: turns.qsize() == 2)
    assert "It rests" in caplog.text and counted(name) == before + 1
    [task] = [one for one in asyncio.all_tasks() if one.get_name() == name]
    await tasks.stop()
    assert task.cancelled(), "who cancels it does end it"
    assert turns.qsize() == 2


def test_what_was_last_heard_of_long_ago_is_told_whole_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now_s = [0.0]
    monkeypatch.setattr("bot.unforeseen.time.monotonic", lambda: now_s[0])
    errors = Errors("told-again", logging.getLogger("bot.test"))

    def fail(kind: type[Exception]) -> None:
        try:
            raise kind("ours")
        except Exception as error:
            errors.tell(error, "Card %d waits", 7)

    for at_s, kind in ((0, ValueError), (60, ValueError), (9000, ValueError), (9001, OSError)):
        now_s[0] = at_s
        fail(kind)
    assert [
        (record.name, record.levelname, record.getMessage(), record.exc_info is not None)
        for record in caplog.records
    ] == [
        ("bot.test", "ERROR", "Card 7 waits", True),
        ("bot.test", "ERROR", "Card 7 waits, as before: ValueError('ours')", False),
        ("bot.test", "ERROR", "Card 7 waits", True),
        ("bot.test", "WARNING", "Card 7 waits: ours", False),
    ]
    assert counted("told-again") == 3


async def test_what_nobody_waits_for_is_counted_where_nobody_foresaw_its_error() -> None:
    tasks, before = SideTasks(), counted("aside")

    async def fail(error: Exception) -> None:
        raise error

    for error in (ValueError("ours"), StoreError("Locked."), OSError("no")):
        tasks.spawn(fail(error))
    await tasks.wait(1.0)
    await asyncio.sleep(0)
    assert counted("aside") == before + 1


async def test_a_card_that_fails_again_and_again_is_counted_and_told_whole_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("bot.delivery.lane.RETRY_S", 0.0)
    tries, before = list[int](), counted("discord-lane")

    async def show(lane: Lane, key: int) -> None:
        tries.append(key)
        if len(tries) == 4:
            lane.drop(key)
            return
        raise OSError("reset") if len(tries) == 1 else RuntimeError("nobody foresaw this")

    now_s = iter(range(0, 10**6, 60))
    lane = Lane(show, clock=lambda: float(next(now_s)))
    lane.want(1, Urgency.NEW, posted=False)
    await until(lambda: len(tries) == 4)
    await lane.stop(1.0)
    assert counted("discord-lane") == before + 2
    said = [(one.levelname, one.exc_info is not None) for one in caplog.records]
    assert said == [("WARNING", False), ("ERROR", True), ("ERROR", False)]


async def test_what_the_drawing_processs_listener_stumbles_over_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    supervisor, heard, before = Supervisor(), list[int](), counted("drawing")

    async def call(listener: Any) -> None:
        heard.append(len(heard))
        if len(heard) <= 2:
            raise RuntimeError("nobody foresaw this")

    for one in (call, call, call, None):
        supervisor._calls.put_nowait(one)
    async with asyncio.timeout(5):
        await supervisor._deliver(cast(Any, None))
    assert heard == [0, 1, 2] and counted("drawing") == before + 2
    assert [one.exc_info is not None for one in caplog.records] == [True, False]


def test_whatever_is_said_with_its_traceback_is_counted() -> None:
    folder = Path(BOT)
    found = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        if re.search(r"log\.exception\(|exc_info=", path.read_text(encoding="utf-8"))
    }
    count_it = {"unforeseen.py", "side_tasks.py", "following.py"}
    somebody_is_told = {"client.py", "delivery/interactions.py", "wall/errors.py"}
    assert found - {"logs.py"} == count_it | somebody_is_told
