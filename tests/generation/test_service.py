"""A service with the scheduler and a worker, in one thread."""

from __future__ import annotations

import pytest

from generation.assignment import Assignment, Report
from generation.planning import plan
from generation.protocol import (
    Cancel,
    Dropped,
    Finished,
    Progress,
    Refused,
    Setting,
    Steer,
    Steered,
    SteerJob,
    ToBot,
)
from generation.scheduler import Scheduler
from generation.service import Service
from generation.settings import Settings
from generation.worker import OVERTAKEN, Worker
from tests.fakes.engine import FakeEngine, FakeRun, OutOfMemoryError, job

MODEL_BYTES = 300_000
CAPACITY_BYTES = 600_000
"""Room for one model and a step of one run, not for two models."""


class FullDevice:
    """A device on which each loaded model takes its room."""

    name = "fake"
    capacity_bytes: int | None = CAPACITY_BYTES

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine

    def synchronize(self) -> None: ...

    def used_bytes(self) -> int:
        return MODEL_BYTES * len(self._engine.loaded)

    def peak_bytes(self) -> int:
        return 0

    def free(self) -> None: ...


def test_what_is_loaded_is_what_the_batch_key_names() -> None:
    engine = FakeEngine()
    said: list[ToBot] = []
    scheduler = Scheduler()
    scheduler.add_worker("w", CAPACITY_BYTES)
    worker = Worker({"fake": engine}, FullDevice(engine), lambda message: None, Settings())
    service = Service(
        scheduler, {"fake": engine.info}, said.append, lambda _, what: worker.post(what)
    )

    def draw(job_id: str, **settings: Setting) -> None:
        wanted = job(job_id, settings=settings, steps=3)
        service.submit(wanted, plan({"fake": engine}, wanted, 8, exact=False))
        while assignment := scheduler.choose("w", 0.0):
            service.account(*scheduler.report("w", worker.advance(assignment), 0.0), ())
        assert not scheduler.tickets()

    draw("d1", judge="sharp")
    assert engine.loaded == ["plain+sharp"]
    assert scheduler.residency("w").models() == (("fake", "plain+sharp"),)
    draw("d2")
    assert engine.loaded == ["plain"]
    assert not [message for message in said if not isinstance(message, Finished)]


class Whole:
    """A service with a scheduler and a worker that has room for one model."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.said: list[ToBot] = []
        self.scheduler = Scheduler()
        self.scheduler.add_worker("w", CAPACITY_BYTES)
        self.worker = Worker(
            {"fake": self.engine},
            FullDevice(self.engine),
            lambda message: self.service.tell("w", message),
            Settings(),
        )
        self.service = Service(
            self.scheduler,
            {"fake": self.engine.info},
            self.said.append,
            lambda _, what: self.worker.post(what),
        )
        self.now = 0.0

    def submit(self, job_id: str, **settings: Setting) -> None:
        wanted = job(job_id, job_id, steps=100_000, settings=settings)
        self.service.submit(wanted, plan({"fake": self.engine}, wanted, 8, exact=False))

    def turn(self) -> Assignment:
        """Carry out an assignment; each model has stayed its time."""
        self.now += 100.0
        assignment = self.scheduler.choose("w", self.now)
        assert assignment is not None
        report = self.worker.advance(assignment)
        self.service.account(*self.scheduler.report("w", report, self.now), report.strays)
        return assignment

    def turn_of(self, job_id: str) -> None:
        for _ in range(20):
            if job_id in self.turn().job_ids:
                return
        raise AssertionError(f"{job_id} is not drawn")

    def steer_in_load(self, awaited: str, *steers: SteerJob) -> None:
        """Have these come in while a model is loaded."""
        load = self.engine.load

        def loading(model: str) -> None:
            if model == awaited:
                for steer in steers:
                    self.service.take(steer)
                self.engine.load = load  # type: ignore[method-assign]
            load(model)

        self.engine.load = loading  # type: ignore[method-assign]

    def steered(self) -> list[str]:
        """What was said of steers: their prompts, and of what was refused its reason."""
        return [
            message.steer.prompt if isinstance(message, Steered) else message.reason
            for message in self.said
            if isinstance(message, Steered | Refused)
        ]


def test_a_steer_that_comes_while_its_run_is_suspended_waits_for_it() -> None:
    whole = Whole()
    whole.submit("d1")
    whole.turn()
    whole.submit("d2", judge="sharp")
    whole.steer_in_load("plain+sharp", SteerJob("d1", "a blue fox"))
    assert whole.turn().suspend == ("d1",)
    assert whole.steered() == []
    whole.turn_of("d1")
    assert whole.steered() == ["a blue fox"]


def test_steers_are_taken_in_their_order_whatever_way_they_come() -> None:
    whole = Whole()
    whole.submit("d1")
    whole.turn()
    whole.submit("d2", judge="sharp")
    whole.steer_in_load("plain+sharp", SteerJob("d1", "first"))
    whole.turn()
    whole.service.take(SteerJob("d1", "second"))
    whole.steer_in_load("plain", SteerJob("d1", "third"))
    whole.turn_of("d1")
    assert whole.steered() == ["first", "second", "third"]


@pytest.mark.parametrize("method", ["load", "step"])
def test_steers_outlast_a_turn_that_memory_runs_out_in(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Whole()
    whole.submit("d1")
    whole.turn()
    whole.submit("d2", judge="sharp")
    whole.turn()
    whole.service.take(SteerJob("d1", "first"))
    works = getattr(whole.engine, method)

    def fails_once(what: str | list[FakeRun]) -> None:
        if what == "plain" or (isinstance(what, list) and what[0].job.id == "d1"):
            monkeypatch.setattr(whole.engine, method, works)
            whole.service.take(SteerJob("d1", "second"))
            raise OutOfMemoryError
        works(what)

    monkeypatch.setattr(whole.engine, method, fails_once)
    whole.turn_of("d1")
    whole.turn_of("d1")
    assert whole.steered() == ["first", "second"]


def test_a_steer_that_a_worker_gives_back_of_what_is_over_is_refused() -> None:
    whole = Whole()
    whole.submit("d1")
    whole.turn()
    whole.service.take(Cancel("d1"))
    whole.service.account([], [], [SteerJob("d1", "too late")])
    assert whole.steered() == ["This dream is over and can no longer be steered."]


class Bench:
    """A service whose worker is played by the test."""

    def __init__(self) -> None:
        self.engines = {"fake": FakeEngine()}
        self.said: list[ToBot] = []
        self.scheduler = Scheduler()
        self.scheduler.add_worker("w")
        infos = {"fake": self.engines["fake"].info}
        self.service = Service(self.scheduler, infos, self.said.append, lambda *_: None)

    def submit(self, *job_ids: str) -> None:
        for job_id in job_ids:
            wanted = job(job_id, person=job_id)
            self.service.submit(wanted, plan(self.engines, wanted, 8, exact=False))

    def step(self, *ended: str, seconds: float = 1.0) -> Assignment:
        assignment = self.scheduler.choose("w", 0.0)
        assert assignment is not None
        report = Report(seconds, dict.fromkeys(assignment.job_ids, 5), ended=ended)
        self.service.account(*self.scheduler.report("w", report, 0.0), report.strays)
        return assignment

    def picture(self, job_id: str) -> Finished:
        return Finished(job_id=job_id, recipe=job(job_id).recipe, png=b"", gpu_s=0.0)


def test_of_a_lost_worker_all_goes_back_but_what_it_had_finished() -> None:
    bench = Bench()
    bench.submit("encoding", "arrived", "stepping", "suspended")
    bench.step("encoding")
    under_way = bench.scheduler.choose("w", 0.0)
    assert under_way is not None
    bench.service.tell("w", bench.picture("arrived"))  # before the report that says so
    assert not [message for message in bench.said if isinstance(message, Finished)]
    bench.service.lose("w", "It died.", under_way.job_ids, outside=True)
    (arrived,) = [message for message in bench.said if isinstance(message, Finished)]
    assert arrived.job_id == "arrived"
    (dropped,) = [message for message in bench.said if isinstance(message, Dropped)]
    assert set(dropped.job_ids) == {"encoding", "stepping", "suspended"}
    assert set(dropped.suspects) == set(under_way.job_ids) - {"arrived"}
    assert not bench.scheduler.tickets()
    bench.scheduler.add_worker("v")
    bench.submit("encoding")
    again = bench.scheduler.choose("v", 0.0)
    assert again is not None, "it is taken again, though it had ended"


def test_a_picture_that_was_dropped_is_not_shown_when_it_comes_late() -> None:
    bench = Bench()
    bench.submit("d1")
    bench.step("d1")
    bench.service.lose("w", "It died.")
    bench.said.clear()
    bench.service.tell("w", bench.picture("d1"))
    assert bench.said == []


def test_late_previews_of_the_worker_before_are_left_out() -> None:
    bench = Bench()
    bench.submit("d1")
    bench.step()
    late = Progress(job_id="d1", step=4, steps=20, ends_in_s=0.0)
    bench.service.tell("v", late)
    assert bench.said == []
    bench.service.tell("w", late)
    assert bench.said == [late]


def test_a_steer_between_a_loss_and_the_next_submit_is_not_refused() -> None:
    bench = Bench()
    bench.submit("d1", "d2")
    bench.step()
    bench.service.lose("w", "It died.")
    bench.said.clear()
    bench.service.take(SteerJob("d1", "a blue fox"))
    assert bench.said == [], "the dream is not over: the bot hands both over again"
    bench.submit("d1")
    bench.service.take(Cancel("d1"))
    bench.service.take(Cancel("d2"))
    bench.said.clear()
    bench.service.take(SteerJob("d1", "a blue fox"))
    bench.service.take(SteerJob("d2", "a blue fox"))
    refused = [message for message in bench.said if isinstance(message, Refused)]
    assert [one.job_id for one in refused] == ["d1", "d2"]


def test_a_steer_that_went_to_where_the_run_was_does_not_overtake_a_newer_one() -> None:
    bench = Bench()
    posted: list[tuple[str, Cancel | SteerJob]] = []
    bench.service._post = lambda *what: posted.append(what)
    bench.scheduler.add_worker("v")
    bench.submit("d1")
    bench.step()
    bench.service.take(SteerJob("d1", "first"))
    ticket = bench.scheduler.ticket("d1")
    assert ticket is not None
    ticket.worker = "v"
    bench.service.take(SteerJob("d1", "second"))
    bench.service.take(SteerJob("d1", "third"))
    (_, first), (_, second), (_, third) = posted
    assert [to for to, _ in posted] == ["w", "v", "v"]
    assert isinstance(first, SteerJob) and isinstance(second, SteerJob)
    assert isinstance(third, SteerJob)
    taken = Steered("d1", Steer(5, "second"), number=second.number)
    bench.service.tell("v", taken)
    ticket.worker = None
    bench.said.clear()
    bench.service.account([], [], [first, third])
    assert bench.said == [Refused("d1", OVERTAKEN)]
    assert ticket.steers == [third], "which nobody has taken"
