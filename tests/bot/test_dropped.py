"""One of several workers is lost: its dreams are handed over again, and who ended it is found."""

from __future__ import annotations

from pathlib import Path

from bot.model import DreamState
from generation.protocol import Checkpoint, Dropped
from tests.bot.drawer import Services, request, services, until


async def drop(s: Services, *dream_ids: str, suspects: tuple[str, ...] = (), **how: bool) -> None:
    for dream_id in dream_ids:
        s.drawer.jobs.pop(dream_id, None)
    dropped = Dropped(job_ids=dream_ids, suspects=suspects, reason="It died.", **how)
    await s.dreams.on_message(dropped)


async def test_what_a_lost_worker_had_is_handed_over_with_its_checkpoint(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        lost, other, elsewhere = [(await s.dreams.ask(request()))[0] for _ in range(3)]
        for dream in (lost, other, elsewhere):
            await s.begin(dream.id, step=10)
        await s.dreams.on_message(Checkpoint(lost.id, 12, b"step 12", 3.5))
        await drop(s, lost.id, other.id, suspects=(lost.id, other.id))
        again = await s.job(lost.id)
        assert (again.checkpoint, again.step, again.gpu_s) == (b"step 12", 12, 3.5)
        assert (again.attempt, again.fell_at) == (1, 10), "from here on it is drawn alone"
        assert (await s.job(other.id)).checkpoint is None
        live = s.dreams.live(elsewhere.id)
        assert live is not None
        assert live.state is DreamState.DRAWING, "another worker has that"
        assert [job.id for job in s.drawer.submitted].count(elsewhere.id) == 1
        for dream in (lost, other, elsewhere):
            await s.draw(dream.id)
            assert (await s.dreams.wait(dream.id)).state is DreamState.DONE


async def test_who_ends_two_workers_alone_is_given_up(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (poison,) = await s.dreams.ask(request())
        for _ in range(2):
            await s.begin(poison.id)
            await drop(s, poison.id, suspects=(poison.id,))
        failed = await s.dreams.wait(poison.id)
        assert failed.state is DreamState.FAILED
        assert failed.attempt == 2
        assert poison.id not in s.drawer.jobs, "and is not handed over a third time"


async def test_workers_that_may_have_been_killed_accuse_nobody_so_soon(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        for _ in range(3):
            await s.begin(dream.id, 20)
            await drop(s, dream.id, suspects=(dream.id,), outside=True)
            assert (await s.job(dream.id)).attempt == 1
        await s.begin(dream.id, 20)
        await drop(s, dream.id, suspects=(dream.id,), outside=True)
        assert (await s.dreams.wait(dream.id)).state is DreamState.FAILED


async def test_what_has_ended_is_not_handed_over_again(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        await s.draw(dream.id)
        await s.dreams.wait(dream.id)
        s.drawer.jobs.clear()
        await drop(s, dream.id, "never heard of", suspects=(dream.id,))
        (later,) = await s.dreams.ask(request())
        await until(lambda: later.id in s.drawer.jobs)
        assert set(s.drawer.jobs) == {later.id}
