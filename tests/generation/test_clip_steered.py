"""The CLIP-steered engine: a run is its own recipe's alone, goes on where it was, and can glide."""

from __future__ import annotations

import hashlib
import io
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from PIL import Image

from generation.clip.perceptor import Perceptor
from generation.engine import BadCheckpointError, EngineError
from generation.engines import clip_steered
from generation.engines.clip_run import ClipRun
from generation.engines.clip_steered import ClipSteeredEngine
from generation.models.vqgan import VQGAN
from generation.protocol import Steer
from tests.generation import tiny

MODELS = ("fourier", "vqgan")
STRANGERS = itertools.count(100)


def pixels(engine: ClipSteeredEngine, run: ClipRun) -> torch.Tensor:
    canvas = engine._canvases[str(engine.batch_key(run.recipe)[0])]
    with torch.no_grad():
        drawn = canvas.draw(
            {name: value[None] for name, value in run.start.parameters.items()},
            {name: value[None] for name, value in run.start.constants.items()},
            run.recipe.width,
            run.recipe.height,
        )
    return drawn[0]


def finish(engine: ClipSteeredEngine, run: ClipRun) -> bytes:
    while not run.done:
        engine.step([run])
    assert run.error is None
    return engine.image(run).tobytes()


def picture(colour: str = "orange", size: tuple[int, int] = (50, 40)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("model", MODELS)
def test_a_dream_is_drawn_to_its_end(model: str) -> None:
    engine = tiny.engine(model)
    run = engine.begin(tiny.job(model, steps=6, width=48, height=32), None)
    first = engine.preview(run).tobytes()
    assert engine.image(run).size == (48, 32)
    finish(engine, run)
    assert run.step == 6 and run.score is not None and -1 <= run.score <= 1
    assert run.loss is not None
    assert engine.image(run).tobytes() != first


@pytest.mark.parametrize("model", [*MODELS, "siren", "strokes", "biggan", "dvae"])
def test_a_preview_shows_what_the_picture_is(model: str) -> None:
    """And not what was judged by chance, or beside the average that is shown."""
    engine = tiny.engine(model)
    run = engine.begin(tiny.job(model, steps=12), None)
    for _ in range(8):
        engine.step([run])
    before = engine.image(run)
    engine.step([run])
    seen = engine.preview(run)
    if model in ("biggan", "dvae"):
        assert seen.tobytes() == engine.image(run).tobytes()
    else:  # what that step drew, which costs nothing
        assert run.shown_step == run.step - 1
        apart = np.abs(np.asarray(before, np.int16) - np.asarray(seen, np.int16))
        assert apart.max() <= 1


@pytest.mark.parametrize("model", MODELS)
def test_the_loss_falls(model: str) -> None:
    engine = tiny.engine(model)
    run = engine.begin(tiny.job(model, steps=40, settings={"cutouts": 8}), None)
    losses = []
    while not run.done:
        engine.step([run])
        assert run.loss is not None
        losses.append(run.loss)
    assert sum(losses[-5:]) < sum(losses[:5])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", ["classic", "augmented", "pooled"])
def test_the_same_recipe_gives_the_same_pixels(model: str, kind: str) -> None:
    job = tiny.job(model, steps=5, settings={"cutout_kind": kind})
    first, second = tiny.engine(model), tiny.engine(model)
    assert finish(first, first.begin(job, None)) == finish(second, second.begin(job, None))


@pytest.mark.parametrize("model", MODELS)
def test_company_changes_no_more_than_the_last_digits(model: str) -> None:
    engine = tiny.engine(model)
    alone = engine.begin(tiny.job(model, seed=1, steps=20), None)
    among = engine.begin(tiny.job(model, seed=1, steps=20), None)
    strangers = [stranger(engine, model) for _ in range(2)]
    for step in range(10):
        engine.step([alone])
        if step in (3, 6):
            strangers.append(stranger(engine, model))
        if step == 5:
            del strangers[0]
        engine.step([*strangers[:1], among, *strangers[1:]])
        assert tiny.difference(pixels(engine, alone), pixels(engine, among)) < 1e-4


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("exact", [True, False])
def test_in_exact_mode_company_changes_nothing(model: str, exact: bool) -> None:
    """Be it the recipe or the engine that asks for it."""
    engine = tiny.engine(model, exact=not exact)
    alone = engine.begin(tiny.job(model, seed=1, steps=8, exact=exact), None)
    among = engine.begin(tiny.job(model, seed=1, steps=8, exact=exact), None)
    strangers = [stranger(engine, model, exact=exact) for _ in range(2)]
    engine.steer(strangers[0], Steer(0, "a blue whale", 2))
    for step in range(8):
        if step == 3:
            strangers.append(stranger(engine, model, exact=exact))
        if step == 5:
            del strangers[0]
        engine.step([alone])
        engine.step([*strangers[:1], among, *strangers[1:]])
    assert torch.equal(pixels(engine, alone), pixels(engine, among))
    assert engine.image(alone).tobytes() == engine.image(among).tobytes()


@pytest.mark.parametrize("exact", [True, False])
def test_what_an_exact_dream_aims_at_starts_from_and_scores_is_exact(
    exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags: list[bool] = []

    def noting(*names: str) -> None:
        for owner, name in zip((Perceptor, VQGAN, clip_steered), names, strict=True):
            act = getattr(owner, name)

            def noted(*args: Any, act: Any = act, **kwargs: Any) -> Any:
                flags.append(torch.are_deterministic_algorithms_enabled())
                return act(*args, **kwargs)

            monkeypatch.setattr(owner, name, noted)

    noting("look", "encode", "embed_glide")
    engine, data = tiny.engine(), picture()
    job = tiny.job(init=data, exact=exact)
    named = hashlib.sha256(data).hexdigest()
    job = replace(job, recipe=replace(job.recipe, picture_sha256s=(named,)))
    run = engine.begin(job, None)
    engine.steer(run, Steer(1, "a blue whale", 2))
    engine.score(run)
    assert flags == [exact] * 4


def test_what_was_saved_with_other_arithmetic_is_not_gone_on_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = tiny.engine()
    with monkeypatch.context() as older:
        older.setattr(clip_steered, "_VERSION", clip_steered._VERSION - 1)
        saved = engine.checkpoint(engine.begin(tiny.job(), None))
    with pytest.raises(BadCheckpointError, match="version"):
        engine.begin(tiny.job(), saved)


def test_exact_recipes_never_share_a_batch_key() -> None:
    engine = tiny.engine()
    plain = [engine.batch_key(tiny.job(seed=seed).recipe) for seed in (1, 2)]
    exact = [engine.batch_key(tiny.job(seed=seed, exact=True).recipe) for seed in (1, 2)]
    assert plain[0] == plain[1]
    assert len({*plain, *exact}) == 3


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("with_init", [False, True])
def test_a_checkpoint_goes_on_to_the_same_picture(model: str, with_init: bool) -> None:
    job = tiny.job(
        model,
        steps=8,
        init=picture() if with_init else None,
        settings={"cutout_kind": "augmented"},
        steers=(Steer(2, "a blue whale", 4),),
    )
    engine = tiny.engine(model)
    run = engine.begin(job, None)
    for _ in range(4):
        engine.step([run])
    saved = engine.checkpoint(run)
    expected = finish(engine, run)
    other = tiny.engine(model)
    resumed = other.begin(job, saved)
    assert resumed.step == 4
    assert finish(other, resumed) == expected


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"\xff" * len(data),
        lambda data: data.replace(b'"clip-steered', b'"blip-steered'),
        lambda data: data.replace(b"parameters.z", b"parameters.y"),
    ],
)
def test_a_damaged_checkpoint_is_refused(damage: object) -> None:
    engine = tiny.engine()
    data = engine.checkpoint(engine.begin(tiny.job(), None))
    with pytest.raises(BadCheckpointError):
        engine.begin(tiny.job(), damage(data))  # type: ignore[operator]


def test_a_checkpoint_of_another_size_is_refused() -> None:
    engine = tiny.engine()
    data = engine.checkpoint(engine.begin(tiny.job(), None))
    with pytest.raises(BadCheckpointError, match="width"):
        engine.begin(tiny.job(width=48), data)


@pytest.mark.parametrize("model", MODELS)
def test_a_run_that_falls_apart_takes_nobody_with_it(model: str) -> None:
    engine = tiny.engine(model)
    runs = [engine.begin(tiny.job(model, seed=seed), None) for seed in (1, 2, 3)]
    healthy = [engine.begin(tiny.job(model, seed=seed), None) for seed in (1, 2, 3)]
    for name, value in runs[1].start.parameters.items():
        runs[1].start.parameters[name] = torch.full_like(value, float("nan"))
    for _ in range(3):
        engine.step([run for run in runs if not run.done])
        engine.step(healthy)
    assert runs[1].error is not None and "not a number" in str(runs[1].error)
    assert runs[1].done and runs[1].step == 0
    for row in (0, 2):
        assert runs[row].error is None and runs[row].step == 3
        assert tiny.difference(pixels(engine, runs[row]), pixels(engine, healthy[row])) < 1e-4


def test_a_step_that_fails_leaves_chance_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tiny.engine()
    undisturbed, disturbed = (engine.begin(tiny.job(steps=3), None) for _ in range(2))
    engine.step([disturbed])
    with monkeypatch.context() as patch:
        patch.setattr(
            "generation.engines.clip_loss.prompt_loss",
            lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("full")),
        )
        with pytest.raises(torch.OutOfMemoryError):
            engine.step([disturbed])
    assert finish(engine, disturbed) == finish(engine, undisturbed)


@pytest.mark.parametrize("glide_steps", [0, 4])
def test_a_steer_changes_the_picture_and_its_recipe_repeats_it(glide_steps: int) -> None:
    engine = tiny.engine()
    run = engine.begin(tiny.job(steps=9), None)
    unsteered = finish(engine, engine.begin(tiny.job(steps=9), None))
    for _ in range(3):
        engine.step([run])
    engine.steer(run, Steer(0, "a blue whale | night:0.5", glide_steps))
    assert run.recipe.steers == (Steer(3, "a blue whale | night:0.5", glide_steps),)
    steered = finish(engine, run)
    assert steered != unsteered
    job = tiny.job(steps=9, steers=run.recipe.steers)
    assert finish(engine, engine.begin(job, None)) == steered


def test_a_finished_run_cannot_be_steered() -> None:
    engine = tiny.engine()
    run = engine.begin(tiny.job(steps=1), None)
    finish(engine, run)
    with pytest.raises(EngineError, match="finished"):
        engine.steer(run, Steer(1, "more"))


@pytest.mark.parametrize("model", MODELS)
def test_a_start_picture_is_where_it_starts(model: str) -> None:
    engine = tiny.engine(model)
    run = engine.begin(tiny.job(model, init=picture("teal")), None)
    plain = engine.begin(tiny.job(model), None)
    if model == "fourier":
        expected = torch.tensor([0.0, 128 / 255, 128 / 255]).view(3, 1, 1).clamp(1e-3, 1 - 1e-3)
        assert tiny.difference(pixels(engine, run), expected) < 0.01
    assert tiny.difference(pixels(engine, run), pixels(engine, plain)) > 0.05


@pytest.mark.parametrize("model", MODELS)
def test_clouds_are_another_seeded_start_and_do_not_hold_on(model: str) -> None:
    engine = tiny.engine(model)
    cloudy, again, other, plain = (
        engine.begin(tiny.job(model, seed=seed, settings={"start": start}), None)
        for seed, start in ((1, "clouds"), (1, "clouds"), (2, "clouds"), (1, "chance"))
    )
    assert not cloudy.start.anchor
    assert torch.equal(pixels(engine, cloudy), pixels(engine, again))
    for run in (other, plain):
        assert tiny.difference(pixels(engine, cloudy), pixels(engine, run)) > 0.01
    engine.step([cloudy, plain, other])
    assert [run.step for run in (cloudy, plain, other)] == [1, 1, 1]


def test_a_strong_pull_keeps_the_start_picture() -> None:
    engine = tiny.engine("fourier")
    away = {}
    for weight in (0.0, 100.0):
        job = tiny.job(
            "fourier", steps=10, init=picture(), strength=0.0, settings={"init_weight": weight}
        )
        run = engine.begin(job, None)
        before = pixels(engine, run)
        finish(engine, run)
        away[weight] = float((pixels(engine, run) - before).abs().mean())
    assert away[100.0] < away[0.0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"prompt": " | :2"}, "nothing to draw"),
        ({"prompt": ""}, "nothing to draw"),
        ({"width": 13}, "sides"),
        ({"width": 34}, "multiples"),
        ({"steps": 0}, "steps"),
        ({"settings": {"cutouts": 0}}, "cutouts is a number"),
        ({"settings": {"cutouts": 2.5}}, "whole"),
        ({"settings": {"colour": 1}}, "no setting called colour"),
        ({"settings": {"cutout_kind": "round"}}, "one of classic"),
        ({"init": b"not a picture"}, "cannot be read"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_a_sentence(
    changes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(EngineError, match=sentence):
        tiny.engine().begin(tiny.job(**changes), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("prompt", ["🦊" * 40, "a" * 10_000, "\x00\x07 fox\n\r\t", "狐 | ψ:2"])
def test_strange_prompts_draw(prompt: str) -> None:
    engine = tiny.engine("fourier")
    finish(engine, engine.begin(tiny.job("fourier", prompt=prompt, steps=1), None))


def test_negative_words_push_away() -> None:
    engine = tiny.engine()
    run = engine.begin(tiny.job(negative="text, watermark"), None)
    assert [target.weight for target in run.aims[0].first] == [1.0, pytest.approx(-0.3)]


def test_loading_twice_and_unloading_is_harmless() -> None:
    engine = tiny.engine()
    key = str(engine.batch_key(tiny.job().recipe)[0])
    assert key == "vqgan"
    engine.unload(key)
    engine.load(key)
    engine.load(key)
    assert engine.predict_bytes(tiny.job().recipe, 2) > engine.predict_bytes(tiny.job().recipe, 1)
    engine.unload(key)
    engine.unload(key)


def test_a_model_with_each_perceptor_is_loaded_and_unloaded_by_its_key() -> None:
    engine = tiny.engine()
    engine._info = replace(
        engine.info,
        options=tuple(
            replace(option, choices=("tiny", "other")) if option.name == "perceptor" else option
            for option in engine.info.options
        ),
    )
    plain = tiny.job()
    other = tiny.job(settings={"perceptor": "other"})
    keys = [str(engine.batch_key(job.recipe)[0]) for job in (plain, other)]
    assert keys == ["vqgan", "vqgan+other"]
    engine.load(keys[1])
    before = dict(engine._canvases)
    engine.begin(other, None)
    assert engine._canvases == before, "all that it needs was loaded by its key"
    engine.unload(keys[1])
    assert not engine._canvases
    assert not engine._panels


def stranger(engine: ClipSteeredEngine, model: str, *, exact: bool = False) -> ClipRun:
    seed = next(STRANGERS)
    prompt = f"stranger {seed} | night:-0.5 | oil:2"
    return engine.begin(tiny.job(model, seed=seed, prompt=prompt, steps=30, exact=exact), None)
