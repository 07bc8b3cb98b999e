"""Several workers behind one scheduler: they come, go, die, freeze and hang, and no dream is lost.

The scheduler process and the workers are the real ones, in one process; tests/cluster has the same
over Ray.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from generation import fleet, rebalancing
from generation.assignment import Assignment
from generation.fleet import Fleet, Node
from generation.process import SchedulerProcess
from generation.protocol import (
    Beat,
    Cancel,
    Cancelled,
    CannotStart,
    Checkpoint,
    Dropped,
    Embed,
    Embedded,
    Failed,
    Figures,
    Finished,
    Hello,
    Progress,
    Shutdown,
    Started,
    Steered,
    SteerJob,
    Welcome,
    Workers,
)
from generation.remote_worker import Outbox, _Lines
from generation.scheduler import Scheduler
from generation.settings import Settings
from generation.workers import wait_within
from tests.fakes.cluster import PATIENCE_S, Bot, FakeActor, FakeCluster, dream
from tests.fakes.engine import held, let_go, recipe


@asynccontextmanager
async def cluster(*places: int, **settings: Any) -> AsyncIterator[tuple[Bot, FakeCluster]]:
    quick: dict[str, Any] = {
        "beat_s": 0.05,
        "quantum_s": 0.05,
        "checkpoint_s": 0.05,
        "preview_s": 0.05,
        "prewarm": "",
    }
    made = Settings(**(quick | settings))
    nodes = FakeCluster(made, *places)
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=theirs)
    process = SchedulerProcess(reader, writer, lambda tell: Fleet(nodes, made, tell), made)
    running = asyncio.create_task(process.run())
    bot = Bot(*await asyncio.open_connection(sock=ours))
    try:
        bot.send(Hello())
        yield bot, nodes
    finally:
        bot.writer.close()
        await asyncio.wait_for(running, PATIENCE_S)
        await asyncio.wait_for(bot.reading, PATIENCE_S)


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "POLL_S", 0.05)
    monkeypatch.setattr(fleet, "BACK_OFF_S", (0.05,))
    monkeypatch.setattr(rebalancing, "MOVE_S", 0.1)


@pytest.fixture(autouse=True)
def steps_held() -> Iterator[None]:
    held.clear()
    let_go.clear()
    yield
    let_go.set()


def at_work(actor: FakeActor) -> set[str]:
    """The dreams that an actor holds."""
    worker = actor.worker._worker
    return set(worker._runs) if worker is not None else set()


async def all_held(bot: Bot, nodes: FakeCluster) -> None:
    """Wait until each actor is in a step that is held, and its order was acknowledged."""
    await bot.until(lambda: all(at_work(actor) & held for actor in nodes.actors))
    for _ in range(20):
        await asyncio.sleep(0)


async def dropped_with(bot: Bot, job_id: str) -> Dropped:
    """The first loss that took a dream with it."""

    def found() -> list[Dropped]:
        return [one for one in bot.all(Dropped) if job_id in one.job_ids]

    await bot.until(found)
    return found()[0]


async def both_up(bot: Bot, count: int = 2) -> None:
    await bot.until(lambda: len(bot.workers) == count)


async def test_a_model_that_is_loaded_ahead_of_any_dream_is_counted() -> None:
    async with cluster(1, prewarm="default") as (bot, _):
        await bot.until(lambda: bool(bot.all(Figures)))
        ((engine, seconds),) = bot.all(Figures)[0].loads
        assert engine == bot.all(Welcome)[0].engines[0].name
        assert seconds >= 0


async def test_workers_draw_beside_each_other_and_are_named_together() -> None:
    async with cluster(1, 1) as (bot, nodes):
        await both_up(bot)
        last = bot.all(Workers)[-1]
        assert last.device.startswith("2 × CPU")
        assert {worker.node for worker in last.workers} == {"node0", "node1"}
        bot.send(dream("d1", "ann", width=32), dream("d2", "bob", width=64))
        await bot.until(lambda: all(at_work(actor) for actor in nodes.actors))
        await bot.all_drawn("d1", "d2")


async def test_a_dead_workers_dreams_go_on_elsewhere() -> None:
    late = {"hold_at": 150}
    async with cluster(1, 1) as (bot, nodes):
        await both_up(bot)
        bot.send(
            *(dream(f"d{nth}", f"p{nth}", width=8 * (nth + 1), settings=late) for nth in range(4))
        )
        await all_held(bot, nodes)
        victim = nodes.actors[0]
        its = at_work(victim)
        (in_step,) = its & held
        await victim.kill()
        dropped = await dropped_with(bot, in_step)
        let_go.set()
        assert set(dropped.job_ids) <= its
        assert dropped.suspects == (in_step,)
        assert dropped.outside, "it may have been killed"
        await bot.until(lambda: len(nodes.alive) == 2)
        await bot.all_drawn(*(f"d{nth}" for nth in range(4)))
        resumed = [one for one in bot.all(Started) if one.job_id == in_step and one.step > 0]
        assert resumed, "from its checkpoint, not from the beginning"


async def test_a_dream_is_not_blamed_for_a_worker_that_never_began_it() -> None:
    async with cluster(1) as (bot, nodes):
        await both_up(bot, 1)
        nodes.actors[0].deaf = True
        bot.send(dream("d1", steps=3))
        await asyncio.wait_for(nodes.actors[0].unheard.wait(), PATIENCE_S)
        await nodes.actors[0].kill()
        dropped = await dropped_with(bot, "d1")
        assert dropped.suspects == ()
        await bot.all_drawn("d1")


async def test_a_frozen_worker_is_noticed_killed_and_replaced() -> None:
    async with cluster(1, silence_s=1.0) as (bot, nodes):
        await both_up(bot, 1)
        bot.send(dream("d1", steps=100, settings={"hold_at": 50}))
        await all_held(bot, nodes)
        nodes.actors[0].frozen = True
        dropped = await dropped_with(bot, "d1")
        let_go.set()
        assert "no sign of life" in dropped.reason
        assert dropped.suspects == ("d1",)
        assert not dropped.outside
        assert nodes.actors[0].dead.is_set()
        await bot.all_drawn("d1")
        assert len(nodes.actors) == 2


async def test_a_step_that_never_ends_takes_its_worker_only() -> None:
    limits = {"step_limit_s": 2.0, "first_step_limit_s": 2.0}
    async with cluster(1, 1, **limits) as (bot, _):
        await both_up(bot)
        bot.send(dream("calm", "ann", steps=400, width=32))
        await bot.hear(Progress, "calm")
        bot.send(dream("stuck", "bob", width=64, steps=3, settings={"hold_at": 0}))
        dropped = await dropped_with(bot, "stuck")
        let_go.set()
        assert dropped.suspects == ("stuck",)
        assert "hung" in dropped.reason
        assert not dropped.outside
        await bot.all_drawn("calm", "stuck")


async def test_a_joining_node_takes_over_what_another_has_too_much_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Measured, it would say how busy this machine is; and then nothing is worth moving.
    monkeypatch.setattr(rebalancing.Movable, "_load_s", lambda *_: 0.0)
    late = {"hold_at": 150}
    async with cluster(1, step_limit_s=60.0) as (bot, nodes):
        await both_up(bot, 1)
        first = nodes.actors[0]
        sides = {f"d{side}": side for side in (8, 16, 24, 32)}
        bot.send(
            *(
                dream(job_id, job_id, steps=300, width=side, height=8, settings=late)
                for job_id, side in sides.items()
            )
        )
        await bot.until(lambda: len(at_work(first)) == 4 and at_work(first) & held)
        nodes.there.append(Node("b" * 12, "late", 1, 1))
        await both_up(bot)  # however long that takes: none gets any further, so none ends before
        let_go.set()
        await bot.until(lambda: len(nodes.actors[1].given) >= 2)
        moved = set(nodes.actors[1].given)
        assert {*sides} > moved and not moved & at_work(first)

        def begun(job_id: str) -> list[int]:
            return [one.step for one in bot.all(Started) if one.job_id == job_id]

        await bot.until(lambda: all(len(begun(job_id)) >= 2 for job_id in moved))
        assert all(begun(job_id)[0] == 0 < begun(job_id)[1] for job_id in moved), "it went on"
        await bot.all_drawn(*sides)
        assert not bot.all(Dropped)


async def test_a_leaving_node_takes_its_workers_and_no_dream() -> None:
    async with cluster(1, 1) as (bot, nodes):
        await both_up(bot)
        bot.send(dream("d1", width=32), dream("d2", "bob"))
        await bot.until(lambda: all(at_work(actor) for actor in nodes.actors))
        nodes.there.pop()
        await bot.until(lambda: bot.all(Dropped))
        assert "left" in bot.all(Dropped)[0].reason
        await bot.all_drawn("d1", "d2")
        assert len(nodes.actors) == 2, "there is no other place"


async def test_who_drains_saves_what_it_was_at_and_is_not_replaced() -> None:
    async with cluster(1, 1, checkpoint_s=600) as (bot, nodes):
        await both_up(bot)
        bot.send(dream("d1", width=32), dream("d2", "bob"))
        await bot.until(lambda: all(at_work(actor) for actor in nodes.actors))
        await bot.until(lambda: {one.job_id for one in bot.all(Progress)} == {"d1", "d2"})
        leaving = nodes.actors[0]
        (held,) = at_work(leaving)
        await leaving.worker.drain()
        await bot.until(lambda: bot.all(Dropped))
        (dropped,) = bot.all(Dropped)
        assert dropped.job_ids == (held,)
        assert dropped.suspects == (), "nobody is to blame"
        saved = await bot.hear(Checkpoint, held)
        assert saved.step > 0
        await bot.until(lambda: len(bot.all(Started)) == 3)
        assert bot.all(Started)[-1] == Started(held, saved.step), "it goes on where it was"
        await bot.all_drawn("d1", "d2")
        assert len(nodes.actors) == 2, "its place stays empty"
        assert len(bot.all(Workers)[-1].workers) == 1


async def test_told_to_end_all_save_what_they_were_at() -> None:
    async with cluster(1, 1, checkpoint_s=600) as (bot, _):
        await both_up(bot)
        bot.send(dream("d1", width=32), dream("d2", "bob"))
        await bot.until(lambda: {one.job_id for one in bot.all(Progress)} == {"d1", "d2"})
        bot.send(Shutdown())
        await asyncio.wait_for(bot.reading, PATIENCE_S)
        assert {one.job_id for one in bot.all(Checkpoint)} == {"d1", "d2"}


@pytest.mark.parametrize("turns", range(4))
async def test_a_cancellation_together_with_what_was_waited_for_is_not_lost(turns: int) -> None:
    event = asyncio.Event()
    waiting = asyncio.create_task(wait_within(event, 60.0))
    await asyncio.sleep(0)
    event.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    asked = waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled() is asked


async def test_cancels_and_steers_find_the_worker_that_has_the_run() -> None:
    async with cluster(1, 1) as (bot, nodes):
        await both_up(bot)
        bot.send(dream("d1", steps=5000, width=32), dream("d2", "bob", steps=5000))
        await bot.until(lambda: all(at_work(actor) for actor in nodes.actors))
        for job_id in ("d1", "d2"):
            bot.send(SteerJob(job_id, "a blue fox"))
            assert (await bot.hear(Steered, job_id)).steer.prompt == "a blue fox"
        bot.send(Cancel("d1"), Cancel("d2"))
        await bot.until(lambda: not any(at_work(actor) for actor in nodes.actors))


async def test_a_look_that_takes_its_worker_is_answered() -> None:
    async with cluster(1) as (bot, nodes):
        await both_up(bot, 1)
        bot.send(Embed(id="e1", perceptor="colours", texts=("#ff0000",)))
        await bot.until(lambda: bot.all(Embedded))
        assert not bot.all(Embedded)[0].reason
        nodes.actors[0].frozen = True
        bot.send(Embed(id="e2", perceptor="colours", texts=("#ff0000",)))
        await asyncio.sleep(0.1)
        await nodes.actors[0].kill()
        await bot.until(lambda: len(bot.all(Embedded)) == 2)
        assert "Try again" in bot.all(Embedded)[1].reason
        bot.send(Embed(id="e3", perceptor="colours", texts=("#ff0000",)))
        await bot.until(lambda: len(bot.all(Embedded)) == 3)
        assert not bot.all(Embedded)[2].reason, "by the one that took its place"


async def test_who_is_idle_waits_for_the_busy_one_that_alone_can_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    choose, chosen = Scheduler.choose, itertools.count(1)

    def counted(*args: Any) -> Assignment | None:
        # Whoever asked without end would never let this loop come to any timeout of a test's.
        assert next(chosen) < 10_000
        return choose(*args)

    monkeypatch.setattr(Scheduler, "choose", counted)
    async with cluster(1, step_limit_s=60.0) as (bot, nodes):
        await both_up(bot, 1)
        bot.send(dream("d1", steps=100, settings={"hold_at": 50}))
        await all_held(bot, nodes)
        nodes.engines_of["late"] = "tests.fakes.engine:without_colours"
        nodes.there.append(Node("b" * 12, "late", 1, 1))
        await both_up(bot)
        bot.send(Embed(id="e1", perceptor="colours", texts=("#ff0000",)))
        beats = len(bot.all(Beat))
        await bot.until(lambda: len(bot.all(Beat)) > beats + 3)
        assert not bot.all(Embedded)
        let_go.set()
        await bot.until(lambda: bot.all(Embedded))
        assert not bot.all(Embedded)[0].reason
        await bot.all_drawn("d1")


@pytest.mark.parametrize(
    ("engines", "places", "sentence"),
    [
        ("build_engines", (), "no GPU"),
        ("no_device", (1,), "There is no device called auto"),
        ("broken", (1,), "could not be started"),
    ],
)
async def test_nobody_comes_up_and_it_is_said_why(
    engines: str, places: tuple[int, ...], sentence: str
) -> None:
    async with cluster(*places, alone_limit_s=0.2) as (bot, nodes):
        nodes.engines = f"tests.fakes.engine:{engines}"
        await bot.until(lambda: bot.all(CannotStart))
        assert sentence in bot.all(CannotStart)[0].reason


async def test_what_no_machine_has_is_refused_with_a_sentence() -> None:
    async with cluster(1) as (bot, _):
        await both_up(bot, 1)
        bot.send(dream("d1", model="absent"))
        failed = await bot.hear(Failed, "d1")
        assert "absent" in failed.reason


async def test_a_job_whose_model_has_left_waits_alone() -> None:
    async with cluster(1, 1) as (bot, nodes):
        nodes.engines_of["node0"] = "tests.fakes.engine:without_other"
        await both_up(bot)
        rich = nodes.there.pop()
        await both_up(bot, 1)
        bot.send(dream("parked", model="other", steps=3), SteerJob("parked", "a blue fox"))
        bot.send(dream("unwanted", model="other"), dream("d1", "bob", steps=3))
        await bot.all_drawn("d1")
        bot.send(Cancel("unwanted"))
        await bot.hear(Cancelled, "unwanted")
        assert not bot.all(Failed)
        assert not bot.all(Steered)
        nodes.there.append(rich)
        await bot.hear(Steered, "parked")
        await bot.hear(Finished, "parked")
        assert {one.job_id for one in bot.all(Started)} == {"d1", "parked"}


async def test_no_more_workers_than_are_wanted() -> None:
    async with cluster(2, 2, most_workers=3) as (bot, nodes):
        await both_up(bot, 3)
        await asyncio.sleep(0.2)
        assert len(nodes.actors) == 3


async def test_where_others_have_taken_all_another_node_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fleet, "PLACE_S", 0.1)
    async with cluster(1, 1, most_workers=1) as (bot, nodes):
        nodes.full.add("node0")
        await both_up(bot, 1)
        assert bot.workers[0].node == "node1"
        assert nodes.actors[0].dead.is_set(), "and what waits for a place is let go"


def test_a_line_that_cannot_be_written_does_no_harm(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = _Lines()
    log = logging.getLogger("tests.a_line")
    monkeypatch.setattr(log, "propagate", False)
    log.addHandler(lines)
    log.warning("%d steps", "many")
    log.warning("%d steps", 3)
    assert [line.message for line in lines.take()] == ["3 steps"]
    assert "Logging error" in capsys.readouterr().err


def test_what_is_not_fetched_is_replaced_by_what_is_newer() -> None:
    box = Outbox(lambda: None)

    def progress(job_id: str, step: int, preview: bytes | None = None) -> Progress:
        return Progress(job_id=job_id, step=step, steps=9, ends_in_s=0.0, preview=preview)

    for step in range(1, 4):
        box.put(Checkpoint("d1", step, b"%d" % step))
        box.put(progress("d1", step, b"seen" if step == 2 else None))
    box.put(Started("d2", 0))
    box.put(Failed(job_id="d3", reason="one"))
    box.put(Failed(job_id="d3", reason="two"))
    assert box.take() == (
        Checkpoint("d1", 3, b"3"),
        progress("d1", 3, b"seen"),
        Started("d2", 0),
        Failed(job_id="d3", reason="one"),
        Failed(job_id="d3", reason="two"),
    )
    assert box.take() == ()
    assert recipe().prompt
