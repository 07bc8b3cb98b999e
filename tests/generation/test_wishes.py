"""One job's wishes stay in order, and a job that waits for its plan holds up no other."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from generation.planning import Plan
from generation.protocol import Cancel, Failed, Job, SteerJob, Submit
from generation.service import Service
from generation.wishes import Wishes
from tests.fakes.engine import job

PLAN = Plan(("fake", "plain"), ("fake",), ("fake",), (1,))


class Taken:
    """Stands for the service: what it was given, in order."""

    def __init__(self) -> None:
        self.all: list[object] = []

    def submit(self, job: Job, plan: Plan) -> None:
        assert plan is PLAN
        self.all.append(job.id)

    def take(self, message: object) -> None:
        self.all.append(message)


class Bench:
    """Wishes whose plans the test answers, each with a plan or an error."""

    def __init__(self) -> None:
        self.taken = Taken()
        self.failed: list[Failed] = []
        self.stirs = 0
        self.asked: dict[str, asyncio.Future[Plan]] = {}
        self.wishes = Wishes(
            cast(Service, self.taken), self.plan, self.failed.append, self._stirred
        )

    async def plan(self, job: Job) -> Plan:
        self.asked[job.id] = asyncio.get_running_loop().create_future()
        return await self.asked[job.id]

    def _stirred(self) -> None:
        self.stirs += 1

    async def take(self, *wishes: Any) -> None:
        for wish in wishes:
            self.wishes.take(wish)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


async def test_a_job_without_a_plan_holds_up_only_what_is_wished_of_itself() -> None:
    bench = Bench()
    steer, other = SteerJob("d1", "a blue fox"), SteerJob("d3", "a green fox")
    await bench.take(Submit(job("d1")), steer, Submit(job("d2")), other)
    assert bench.taken.all == [other]
    bench.asked["d2"].set_result(PLAN)
    await bench.settle()
    assert bench.taken.all == [other, "d2"]
    bench.asked["d1"].set_result(PLAN)
    await bench.settle()
    assert bench.taken.all == [other, "d2", "d1", steer]
    assert bench.stirs == 4


@pytest.mark.parametrize("planned", [False, True])
async def test_a_cancel_takes_the_plan_with_it(planned: bool) -> None:
    bench = Bench()
    await bench.take(Submit(job("d1")), SteerJob("d1", "a blue fox"))
    if planned:
        bench.asked["d1"].set_result(PLAN)  # in the same turn of the loop
    await bench.take(Cancel("d1"))
    assert bench.taken.all == [Cancel("d1")]
    assert not bench.failed
    await bench.take(Submit(job("d1")))
    bench.asked["d1"].set_result(PLAN)
    await bench.settle()
    assert bench.taken.all == [Cancel("d1"), "d1"], "it may be submitted again"


async def test_a_plan_that_fails_unforeseen_is_told_and_may_be_tried_again() -> None:
    bench = Bench()
    steer = SteerJob("d1", "a blue fox")
    await bench.take(Submit(job("d1")), steer)
    bench.asked["d1"].set_exception(RuntimeError("the wire is cut"))
    await bench.settle()
    (failed,) = bench.failed
    assert failed.job_id == "d1"
    assert failed.retry
    assert "the wire is cut" in failed.detail
    assert bench.taken.all == [steer], "and what was wished next is dealt with"


async def test_at_the_end_nothing_is_planned_any_more() -> None:
    bench = Bench()
    await bench.take(Submit(job("d1")))
    bench.wishes.close()
    await bench.settle()
    assert bench.asked["d1"].cancelled()
