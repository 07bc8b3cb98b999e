"""First looks: a run that ends early says where it stood, and its picture can be gone on with."""

from __future__ import annotations

from typing import Any, TypeVar

import pytest
from msgspec.structs import replace

from generation.engine import Engine, Run
from generation.imaging import to_pil
from generation.protocol import Checkpoint, Finished, Job, Progress, Started, Steer
from tests.fakes.engine import job
from tests.generation import test_diffusion as diffusion
from tests.generation import tiny
from tests.generation.test_worker import Bench

R = TypeVar("R", bound=Run)


def draw(engine: Engine[R], job: Job, checkpoint: bytes | None = None) -> R:
    run = engine.begin(job, checkpoint)
    while not run.done:
        engine.step([run])
    assert run.error is None
    return run


def with_recipe(job: Job, **changes: Any) -> Job:
    return replace(job, id=f"{job.id}+", recipe=replace(job.recipe, **changes))


@pytest.mark.parametrize("model", ["fourier", "vqgan"])
def test_going_on_from_a_first_look_is_drawing_in_one_go(model: str) -> None:
    engine = tiny.engine(model, exact=True)
    steers = (Steer(2, "a blue boat", 3),)
    whole = tiny.job(model, steps=8, steers=steers)
    look = draw(engine, with_recipe(whole, until_step=3))
    assert look.step == 3 and look.score is not None
    early = engine.image(look)
    assert early.size == (32, 32)
    went_on = draw(engine, whole, engine.checkpoint(look))
    at_once = draw(engine, whole)
    assert engine.image(went_on).tobytes() == engine.image(at_once).tobytes()
    assert engine.image(went_on).tobytes() != early.tobytes()


@pytest.mark.parametrize("model", ["fourier", "vqgan"])
def test_more_steps_can_be_added_where_a_step_does_not_depend_on_their_number(model: str) -> None:
    engine = tiny.engine(model, exact=True)
    assert engine.info.continues
    short, long = tiny.job(model, steps=4), tiny.job(model, steps=7)
    added = draw(engine, long, engine.checkpoint(draw(engine, short)))
    assert engine.image(added).tobytes() == engine.image(draw(engine, long)).tobytes()


def test_diffusions_first_look_is_what_the_picture_is_expected_to_become() -> None:
    engine = diffusion.engine(exact=True)
    whole = diffusion.job(steps=9)
    look = draw(engine, with_recipe(whole, until_step=4))
    assert look.score is not None, "it is a picture like any other"
    expected = engine._models["tiny"].decode(look.denoised[None])[0].clamp(0, 1)
    assert engine.image(look).tobytes() == to_pil(expected).tobytes()
    went_on = draw(engine, whole, engine.checkpoint(look))
    assert engine.image(went_on).tobytes() == engine.image(draw(engine, whole)).tobytes()
    assert not engine.info.continues, "its noise levels depend on the number of steps"


def last_words(bench: Bench, job_id: str) -> list[type]:
    about = [message for message in bench.said if getattr(message, "job_id", "") == job_id]
    return [type(message) for message in about if not isinstance(message, Progress | Started)]


@pytest.mark.parametrize("continues", [True, False])
@pytest.mark.parametrize("until_step", [4, None])
def test_the_last_checkpoint_comes_right_before_the_picture(
    continues: bool, until_step: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(checkpoint_s=1e6)
    info = replace(bench.engine.info, continues=continues)
    monkeypatch.setattr(type(bench.engine), "info", info)
    report = bench.advance(job("d", steps=6, until_step=until_step), steps=10)
    bench.worker.checkpoint_all()
    assert report.ended == ("d",)
    wanted = [Checkpoint, Finished] if continues or until_step else [Finished]
    assert last_words(bench, "d") == wanted
    if Checkpoint in wanted:
        (checkpoint,) = [m for m in bench.said if isinstance(m, Checkpoint)]
        assert checkpoint.step == (until_step or 6)


def test_a_job_goes_on_from_another_jobs_checkpoint() -> None:
    bench = Bench(checkpoint_s=1e6)
    bench.advance(job("look", steps=6, until_step=2), steps=10)
    (checkpoint,) = [m for m in bench.said if isinstance(m, Checkpoint)]
    bench.advance(job("rest", steps=6, checkpoint=checkpoint.data), steps=10)
    bench.advance(job("whole", steps=6), steps=10)
    bench.worker.checkpoint_all()
    started = {m.job_id: m.step for m in bench.said if isinstance(m, Started)}
    assert started == {"look": 0, "rest": 2, "whole": 0}
    pictures = {m.job_id: m.png for m in bench.said if isinstance(m, Finished)}
    assert pictures["rest"] == pictures["whole"] != pictures["look"]
