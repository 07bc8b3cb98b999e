"""A worker by itself, with a clock that moves only in steps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any

import msgspec
import pytest
from PIL import Image

from generation.assignment import Assignment, Report
from generation.device import is_out_of_memory
from generation.films import Film
from generation.planning import plan
from generation.previews import Encoder, Pace, png, webp
from generation.protocol import (
    Activity,
    Cancel,
    Checkpoint,
    Failed,
    Finished,
    Job,
    Progress,
    Recipe,
    Refused,
    Started,
    Steer,
    Steered,
    SteerJob,
    ToBot,
)
from generation.settings import Settings, parse
from generation.worker import OVERTAKEN, Worker
from tests.fakes.engine import FakeEngine, FakeRun, OutOfMemoryError, job, recipe

MODEL = ("fake", "plain")


class FakeDevice:
    """A device that measures nothing."""

    name = "fake"
    capacity_bytes: int | None = None
    freed = 0

    def synchronize(self) -> None: ...

    def used_bytes(self) -> int:
        return 0

    def peak_bytes(self) -> int:
        return 0

    def free(self) -> None:
        self.freed += 1


class CountingDevice(FakeDevice):
    """Counts memory as torch does: the most in use since it was last asked."""

    def __init__(self) -> None:
        self.peak = 0

    def peak_bytes(self) -> int:
        peak, self.peak = self.peak, 0
        return peak


class Heavy(FakeEngine):
    """Takes 1,000 bytes for a run in a step, and 9,000 for loading or looking."""

    device: CountingDevice

    def load(self, model: str) -> None:
        super().load(model)
        self.take(9_000)

    def step(self, runs: Sequence[FakeRun]) -> None:
        self.take(1_000 * len(runs))
        super().step(runs)

    def take(self, count: int) -> None:
        self.device.peak = max(self.device.peak, count)


class Bench:
    """A worker, what it said, and the clock."""

    def __init__(
        self,
        engine: FakeEngine | None = None,
        device: FakeDevice | None = None,
        **settings: Any,
    ) -> None:
        self.now = 0.0
        self.engine = engine or FakeEngine()
        self.engine.sleep = self.sleep
        self.device = device or FakeDevice()
        self.said: list[ToBot] = []
        self.worker = Worker(
            {"fake": self.engine},
            self.device,
            self.said.append,
            Settings(**settings),
            clock=lambda: self.now,
        )

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def advance(
        self, *jobs: Job, steps: int = 1, held: tuple[str, ...] = (), **changes: Any
    ) -> Report:
        assignment = Assignment(
            model=MODEL,
            job_ids=(*held, *(one.id for one in jobs)),
            jobs=jobs,
            steps=steps,
            quantum_s=0.5,
            step_limit_s=30.0,
        )
        report = self.worker.advance(replace(assignment, **changes))
        self.worker._encoder.finish()
        return report

    def heard(self, kind: type[ToBot]) -> list[Any]:
        return [message for message in self.said if isinstance(message, kind)]


def timed(step_s: float = 0.1, **settings: Any) -> dict[str, Any]:
    return {"step_s": step_s, **settings}


def test_it_loads_begins_steps_and_reports() -> None:
    bench = Bench()
    report = bench.advance(job("d1", settings=timed()), job("d2", settings=timed()), steps=3)
    assert report.steps == {"d1": 3, "d2": 3}
    assert [runs for runs, _ in report.step_times] == [2, 2, 2]
    assert report.seconds == pytest.approx(0.3)
    assert report.load_s == 0.0
    assert report.ended == ()
    assert [m.job_id for m in bench.heard(Started)] == ["d1", "d2"]
    assert bench.advance(held=("d1",)).load_s is None, "it is loaded once"


def test_only_steps_that_went_well_tell_what_a_step_takes() -> None:
    engine = Heavy()
    engine.device = CountingDevice()
    bench = Bench(engine, engine.device)
    assert bench.advance(job("d1")).peak_bytes == 1_000, "without loading"
    engine.take(9_000)  # by a look
    assert bench.advance(held=("d1",)).peak_bytes == 1_000
    narrow = [job(f"d{nth}", settings={"oom_over": 2}) for nth in range(2, 6)]
    report = bench.advance(*narrow)
    assert report.fault is not None and report.fault.out_of_memory
    assert report.peak_bytes == 0
    assert bench.advance(*narrow[:2]).peak_bytes == 2_000
    late = job("late", settings={"raise_at": 1})
    report = bench.advance(late, steps=2)
    assert report.step_times and report.peak_bytes == 0, "it failed in the end"


class Weighed(FakeEngine):
    """Knows what a step takes only once its model is loaded."""

    def predict_bytes(self, recipe: Recipe, runs: int) -> int:
        return runs * (100 if recipe.model in self.loaded else 1_000)


def test_what_a_step_takes_is_estimated_anew_once_the_model_is_loaded() -> None:
    bench = Bench(Weighed(), max_batch=3)
    first = job("d1")
    planned = plan({"fake": bench.engine}, first, 3, exact=False)
    assert planned.peaks == (1_000, 2_000, 3_000)
    report = bench.advance(first)
    assert report.peaks == {"d1": (100, 200, 300)}
    told = msgspec.msgpack.decode(msgspec.msgpack.encode(report), type=Report)
    assert told.peaks == report.peaks, "a worker elsewhere says so, too"
    assert bench.advance(job("d2"), held=("d1",)).peaks == {"d2": (100, 200, 300)}


def test_a_steer_that_comes_after_a_newer_one_is_refused() -> None:
    bench = Bench()
    bench.advance(job("d1"))
    for number, prompt in ((2, "second"), (1, "first"), (3, "third")):
        bench.worker.post(SteerJob("d1", prompt, number=number))
        bench.advance(held=("d1",))
    assert [told.reason for told in bench.heard(Refused)] == [OVERTAKEN]
    taken = [(told.steer.prompt, told.number) for told in bench.heard(Steered)]
    assert taken == [("second", 2), ("third", 3)]


def test_what_a_step_takes_is_estimated_anew_once_a_run_is_steered() -> None:
    class Gliding(FakeEngine):
        def predict_bytes(self, recipe: Recipe, runs: int) -> int:
            return runs * (100 + len(recipe.steers))

    bench = Bench(Gliding(), max_batch=2)
    assert bench.advance(job("d1"), job("d2")).peaks["d2"] == (100, 200)
    bench.worker.post(SteerJob("d2", "the sea", 5))
    assert bench.advance(held=("d1",)).peaks == {"d2": (101, 202)}


def test_what_cannot_be_estimated_once_it_is_loaded_is_drawn_all_the_same() -> None:
    class Mistaken(Weighed):
        def predict_bytes(self, recipe: Recipe, runs: int) -> int:
            raise ZeroDivisionError

    report = Bench(Mistaken()).advance(job("d1"), job("d2"))
    assert report.fault is None
    assert (report.peaks, report.steps) == ({}, {"d1": 1, "d2": 1})


def test_a_run_that_ends_leaves_the_batch() -> None:
    bench = Bench()
    report = bench.advance(job("d1", steps=2), job("d2", steps=5), steps=4)
    assert report.ended == ("d1",)
    assert [runs for runs, _ in report.step_times] == [2, 2, 1, 1]
    [finished] = bench.heard(Finished)
    assert finished.job_id == "d1"
    assert finished.score == 0.5


def test_it_stops_when_steps_take_far_longer_than_thought() -> None:
    bench = Bench()
    report = bench.advance(job("d1", settings=timed(0.4)), steps=100)
    assert len(report.step_times) == 3


def test_the_first_preview_comes_with_the_first_step_and_then_at_a_bounded_rate() -> None:
    bench = Bench(preview_s=1.0)
    bench.advance(job("d1", steps=40, settings=timed(0.125)), steps=10, quantum_s=5.0)
    for _ in range(2):
        bench.advance(held=("d1",), steps=10, quantum_s=5.0)
    shown = [m.step for m in bench.heard(Progress) if m.preview is not None]
    assert shown == [1, 9, 17, 25]
    told = [m.step for m in bench.heard(Progress)]
    assert told == sorted(told), "progress never goes back"


def test_a_turn_without_a_preview_still_tells_how_far_it_is() -> None:
    bench = Bench(preview_s=100.0)
    bench.advance(job("d1", steps=40), steps=2)
    bench.advance(held=("d1",), steps=2)
    assert [(m.step, m.preview is None) for m in bench.heard(Progress)] == [(1, False), (4, True)]


def test_what_is_costly_is_done_less_often() -> None:
    pace = Pace(1.0, eager=True)
    assert pace.due("d1", 5.0)
    pace.done("d1", 5.0, took_s=0.5)
    assert not pace.due("d1", 9.9)
    assert pace.due("d1", 10.0)
    assert not Pace(1.0, eager=False).due("d1", 0.0)


def test_checkpoints_come_every_few_seconds_and_when_suspended() -> None:
    bench = Bench(checkpoint_s=1.0)
    bench.advance(job("d1", steps=100, settings=timed(0.125)), steps=8, quantum_s=5.0)
    bench.advance(held=("d1",), steps=4)
    assert [m.step for m in bench.heard(Checkpoint)] == [9]
    bench.advance(job("d2"), suspend=("d1",))
    assert [(m.job_id, m.step) for m in bench.heard(Checkpoint)] == [("d1", 9), ("d1", 12)]
    assert bench.advance(held=("d1",)).steps == {}, "what was let go is not held"


def test_everything_running_is_saved_at_the_end() -> None:
    bench = Bench()
    bench.advance(job("d1"), job("d2"))
    bench.worker.checkpoint_all()
    assert {m.job_id for m in bench.heard(Checkpoint)} == {"d1", "d2"}


def test_told_to_stop_it_takes_no_further_step() -> None:
    bench = Bench()
    bench.engine.sleep = lambda seconds: bench.worker.stop()
    assert bench.advance(job("d1", settings=timed()), steps=5).steps == {"d1": 1}


def test_it_says_what_it_is_at_and_for_how_long_it_may() -> None:
    bench = Bench(load_limit_s=77.0)
    seen = []
    bench.engine.sleep = lambda seconds: seen.append(bench.worker.doing)
    load = bench.engine.load

    def loading(model: str) -> None:
        seen.append(bench.worker.doing)
        load(model)

    bench.engine.load = loading  # type: ignore[method-assign]
    assert bench.worker.doing.activity is Activity.IDLE
    bench.advance(job("d1", settings=timed()))
    assert [(doing.activity, doing.limit_s, doing.job_ids) for doing in seen] == [
        (Activity.LOAD, 77.0, ("d1",)),
        (Activity.STEP, 30.0, ("d1",)),
    ]
    assert bench.worker.doing.activity is Activity.IDLE


def test_what_is_cancelled_after_its_turn_is_held_no_longer() -> None:
    bench = Bench()
    bench.advance(job("d1", settings=timed()), job("d2", settings=timed()), steps=2)
    posts = Cancel("d1"), Cancel("not begun"), Cancel("d2")
    for message in posts[:2]:
        bench.worker.post(message)
    bench.worker.drop_cancelled()
    assert set(bench.worker._runs) == {"d2"}
    report = bench.advance(job("not begun", settings=timed()), steps=2)
    assert report.ended == ("not begun",), "who cancels before the run is begun is heard, too"
    bench.worker.post(posts[2])
    bench.worker.drop_cancelled()
    assert not bench.worker._runs


def test_what_is_cancelled_is_held_for_no_mail_that_came_before() -> None:
    bench = Bench()
    bench.advance(job("d1", settings=timed()), job("d2", settings=timed()), steps=2)
    for message in (
        SteerJob("d2", "a blue whale"),
        Cancel("not begun"),
        SteerJob("d1", "a red whale"),
        Cancel("d1"),
        SteerJob("d1", "too late"),
        SteerJob("d2", "a green whale"),
    ):
        bench.worker.post(message)
    bench.worker.drop_cancelled()
    assert set(bench.worker._runs) == {"d2"}
    report = bench.advance(job("not begun", settings=timed()), held=("d2",), steps=2)
    assert (report.ended, report.steps) == (("not begun",), {"d2": 4})
    steered = [(m.job_id, m.steer.prompt) for m in bench.heard(Steered)]
    assert steered == [("d2", "a blue whale"), ("d2", "a green whale")]
    assert [stray.prompt for stray in report.strays] == ["too late"]


def test_cancels_and_steers_are_met_between_steps() -> None:
    bench = Bench()
    posts: list[Callable[[], None]] = [
        lambda: bench.worker.post(SteerJob("d1", "a blue whale", 2)),
        lambda: bench.worker.post(Cancel("d2")),
        lambda: bench.worker.post(SteerJob("d2", "too late")),
        lambda: bench.worker.post(SteerJob("d1", " ")),
    ]
    bench.engine.sleep = lambda seconds: posts.pop(0)() if posts else None
    jobs = job("d1", settings=timed()), job("d2", settings=timed())
    report = bench.advance(*jobs, steps=6)
    assert report.steps == {"d1": 6}
    assert report.ended == ("d2",)
    [steered] = bench.heard(Steered)
    assert (steered.steer.step, steered.steer.glide_steps) == (1, 2)
    assert [m.job_id for m in bench.heard(Refused)] == ["d1"]
    assert report.strays == (SteerJob("d2", "too late"),)


def test_what_is_in_the_mail_outlasts_a_steer_that_memory_runs_out_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    bench.advance(job("d1", settings=timed()), job("d2", settings=timed()), steps=1)

    def full(_run: FakeRun, _steer: Steer) -> None:
        raise OutOfMemoryError

    monkeypatch.setattr(bench.engine, "steer", full)
    bench.worker.post(SteerJob("d1", "a blue whale"))
    bench.worker.post(Cancel("d2"))
    report = bench.advance(held=("d1",), steps=1)
    bench.worker.drop_cancelled()
    assert bench.worker._runs == {}, "the one is given back, the other is cancelled"
    assert [stray.prompt for stray in report.strays] == ["a blue whale"]


def test_steers_that_waited_are_taken_at_the_beginning() -> None:
    bench = Bench()
    bench.advance(job("d1"), steers=(SteerJob("d1", "a blue whale"),))
    [steered] = bench.heard(Steered)
    assert steered.steer.step == 0


def test_one_runs_error_is_its_own() -> None:
    bench = Bench()
    jobs = job("d1"), job("d2", settings={"error_at": 1}), job("d3", settings={"show": "raise"})
    report = bench.advance(*jobs, steps=30)
    assert report.fault is None
    assert set(report.ended) == {"d1", "d2", "d3"}
    reasons = {m.job_id: m.reason for m in bench.heard(Failed)}
    assert reasons["d2"] == "The loss is not a number."
    assert "log" in reasons["d3"]
    assert [m.job_id for m in bench.heard(Finished)] == ["d1"]


@pytest.mark.parametrize(("mood", "memory"), [({"oom_over": 1}, True), ({"raise_at": 0}, False)])
def test_a_fault_in_the_step_gives_all_its_runs_back(mood: dict[str, Any], memory: bool) -> None:
    bench = Bench()
    report = bench.advance(job("d1", settings=mood), job("d2"))
    assert report.fault is not None
    assert report.fault.out_of_memory is memory
    assert report.steps == {"d1": 0, "d2": 0}
    assert bench.device.freed == 1
    assert bench.worker._runs == {}


def test_memory_running_out_at_the_very_end_is_worth_another_try() -> None:
    bench = Bench()
    bench.advance(job("d1", steps=1, settings={"show": "oom"}))
    [failed] = bench.heard(Failed)
    assert failed.retry


def test_a_model_that_is_not_here_fails_its_jobs_with_the_reason() -> None:
    bench = Bench()
    report = bench.advance(job("d1", model="absent"), model=("fake", "absent"))
    assert report.fault is None
    assert report.ended == ("d1",)
    assert bench.heard(Failed)[0].reason == "The weights of absent are not here."


def test_a_damaged_checkpoint_begins_anew() -> None:
    bench = Bench()
    bench.advance(job("d1", checkpoint=b"\x00"))
    assert bench.heard(Started)[0].step == 0


def test_models_are_let_go() -> None:
    bench = Bench()
    bench.advance(job("d1"))
    bench.advance(
        job("d2", model="other"), model=("fake", "other"), suspend=("d1",), unload=(MODEL,)
    )
    assert bench.engine.loaded == ["other"]


def test_a_finished_picture_carries_no_metadata() -> None:
    picture = Image.new("RGBA", (8, 8))
    picture.info["secret"] = "hush"
    assert b"hush" not in png(picture)


def test_previews_are_small() -> None:
    assert Image.open(BytesIO(webp(Image.new("RGB", (1000, 500)), 100))).size == (100, 50)


def test_a_picture_that_cannot_be_encoded_fails_its_job() -> None:
    said: list[ToBot] = []
    encoder = Encoder(said.append, 64)
    encoder.finished("d1", recipe(), None, Image.new("RGB", (0, 0)))
    encoder.flush()
    assert isinstance(said[0], Failed)


def test_nobodys_preview_waits_for_anothers_film(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[ToBot] = []
    encoder = Encoder(said.append, 64)
    may_end = threading.Event()

    def slow(*_: object) -> None:
        assert may_end.wait(10)

    monkeypatch.setattr(Film, "encode", slow)
    filmed = recipe(film=True)
    encoder.finished("d1", filmed, None, Image.new("RGB", (8, 8)), film=Film.of(filmed))
    encoder.progress(Progress(job_id="d2", step=1, steps=5, ends_in_s=1.0), None)
    encoder.flush()
    assert [type(message) for message in said] == [Progress]
    may_end.set()
    encoder.finish()
    assert [type(message) for message in said] == [Progress, Finished]


def test_running_out_of_memory_is_known_by_name() -> None:
    class OutOfMemoryError(RuntimeError):
        pass

    assert is_out_of_memory(OutOfMemoryError())
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("out of memory"))


def test_settings_that_are_wrong_say_which() -> None:
    assert parse('{"max_batch": 3}').limits.max_batch == 3
    with pytest.raises(ValueError, match="quantum"):
        parse('{"quantum": 1}')


class Bounding(FakeEngine):
    """Lets no glide be longer than three steps."""

    def steer(self, run: FakeRun, steer: Steer) -> None:
        super().steer(run, msgspec.structs.replace(steer, glide_steps=min(3, steer.glide_steps)))


def test_a_steer_that_an_engine_bounds_is_told_as_it_was_taken_and_is_there_once() -> None:
    bench = Bench(Bounding())
    bench.advance(job("d1"), steers=(SteerJob("d1", "a blue whale", 50_000),), steps=100)
    [steered] = bench.heard(Steered)
    assert steered.steer == Steer(0, "a blue whale", 3)
    [finished] = bench.heard(Finished)
    assert finished.recipe.steers == (steered.steer,)


class Talkative(FakeEngine):
    """Has something to say of a recipe until it is steered."""

    def begin(self, job: Job, checkpoint: bytes | None) -> FakeRun:
        run = super().begin(job, checkpoint)
        run.notices = ("Too long.",)
        return run

    def steer(self, run: FakeRun, steer: Steer) -> None:
        super().steer(run, steer)
        run.notices = ()


def test_it_says_how_a_recipe_is_read_at_the_beginning_and_after_a_steer() -> None:
    bench = Bench(Talkative())
    bench.advance(job("d1"), steers=(SteerJob("d1", "a blue whale"),))
    notices = [m.notices for m in bench.said if isinstance(m, Started | Steered)]
    assert notices == [("Too long.",), ()]
