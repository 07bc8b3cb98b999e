"""BigGAN, SIREN and the dVAE in the CLIP-steered engine: what holds for every canvas."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from generation import starter
from generation.engine import EngineError, Run
from generation.engines import build_engines
from generation.protocol import Job, Recipe, Setting, Steer
from tests.generation import tiny
from tests.generation.test_clip_steered import finish, picture, pixels

MODELS = ("siren", "biggan", "dvae")


@pytest.mark.parametrize("model", MODELS)
def test_the_loss_falls(model: str) -> None:
    engine = tiny.engine(model)
    run = engine.begin(tiny.job(model, steps=40, settings={"cutouts": 8}), None)
    losses = []
    while not run.done:
        engine.step([run])
        assert run.loss is not None
        losses.append(run.loss)
    assert run.error is None and run.score is not None
    assert sum(losses[-5:]) < sum(losses[:5])


@pytest.mark.parametrize("model", MODELS)
def test_company_changes_no_more_than_the_last_digits(model: str) -> None:
    """Strangers join, leave and are steered meanwhile."""
    engine = tiny.engine(model)
    alone, among = (engine.begin(tiny.job(model, seed=1, steps=20), None) for _ in range(2))
    strangers = [
        engine.begin(tiny.job(model, seed=seed, prompt="night:-0.5 | oil:2", steps=20), None)
        for seed in (8, 9, 10)
    ]
    for step in range(10):
        engine.step([alone])
        if step == 4:
            engine.steer(strangers[1], Steer(0, "a blue whale", 2))
        engine.step([*strangers[:1], among, *strangers[1 : 1 + step % 3]])
        assert tiny.difference(pixels(engine, alone), pixels(engine, among)) < 1e-4


@pytest.mark.parametrize("model", MODELS)
def test_in_exact_mode_company_changes_nothing(model: str) -> None:
    engine = tiny.engine(model)
    alone, among = (
        engine.begin(tiny.job(model, seed=1, steps=6, exact=True), None) for _ in range(2)
    )
    stranger = engine.begin(tiny.job(model, seed=2, steps=6, exact=True), None)
    for _ in range(6):
        engine.step([alone])
        engine.step([stranger, among])
    assert torch.equal(pixels(engine, alone), pixels(engine, among))
    assert engine.image(alone).tobytes() == engine.image(among).tobytes()


@pytest.mark.parametrize(
    ("model", "with_init"),
    [("siren", False), ("siren", True), ("dvae", False), ("dvae", True), ("biggan", False)],
)
def test_a_checkpoint_goes_on_to_the_same_picture(model: str, with_init: bool) -> None:
    job = tiny.job(
        model,
        steps=6,
        init=picture() if with_init else None,
        settings={"cutout_kind": "augmented"},
        steers=(Steer(2, "a blue whale", 2),),
    )
    engine, other = tiny.engine(model), tiny.engine(model)
    run = engine.begin(job, None)
    for _ in range(3):
        engine.step([run])
    resumed = other.begin(job, engine.checkpoint(run))
    assert resumed.step == 3
    assert finish(other, resumed) == finish(engine, run)


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
    for row in (0, 2):
        assert runs[row].error is None and runs[row].step == 3
        assert tiny.difference(pixels(engine, runs[row]), pixels(engine, healthy[row])) < 1e-4


@pytest.mark.skipif("clip" not in starter.available(), reason="starter-clip is not here")
@pytest.mark.parametrize("name", ["biggan-clip", "dvae-clip"])
def test_published_files_make_an_engine(name: str, tmp_path: Path) -> None:
    assert name not in build_engines(device="cpu", models_dir=tmp_path)
    if name == "biggan-clip":
        torch.save(tiny.biggan_weights(), tmp_path / "biggan-deep-256-pytorch_model.bin")
    else:
        for part in ("encoder", "decoder"):
            (tmp_path / "dalle-dvae").mkdir(exist_ok=True)
            weights = {
                key.removeprefix(f"{part}."): value
                for key, value in tiny.dvae_weights().items()
                if key.startswith(f"{part}.")
            }
            torch.save(weights, tmp_path / "dalle-dvae" / f"{part}.pkl")
    engine = build_engines(device="cpu", models_dir=tmp_path)[name]
    (model,) = (each.name for each in engine.info.models if each.available)
    assert all(each.available or "pull" in each.missing for each in engine.info.models)
    recipe = Recipe(
        engine=name, model=model, prompt="a red fox", width=64, height=32, steps=3, seed=1
    )
    run: Run = engine.begin(Job(id="1", recipe=recipe, stream="s", person="p"), None)
    while not run.done:
        engine.step([run])
    assert run.error is None and run.score is not None
    assert engine.image(run).size == (64, 32)


def test_biggan_shows_the_average_of_its_latents() -> None:
    engine = tiny.engine("biggan")
    run = engine.begin(tiny.job("biggan", steps=5), None)
    states = [run.start.parameters["latents"]]
    while not run.done:
        engine.step([run])
        states.append(run.start.parameters["latents"])
    weights = [0.99 ** (5 - step) for step in range(6)]
    summed = sum((w * x for w, x in zip(weights, states, strict=True)), torch.zeros(()))
    assert tiny.difference(run.average["latents"], summed / sum(weights)) < 1e-5


def test_biggan_begins_from_no_picture() -> None:
    with pytest.raises(EngineError, match="only begin by chance"):
        tiny.engine("biggan").begin(tiny.job("biggan", init=picture()), None)


def test_runs_of_other_sizes_of_network_share_no_batch() -> None:
    engine = tiny.engine("siren")
    changes: tuple[dict[str, Setting], ...] = ({}, {"units": 16}, {"units": 32}, {"layers": 4})
    keys = {engine.batch_key(tiny.job("siren", settings=settings).recipe) for settings in changes}
    assert len(keys) == 3


def test_a_larger_network_is_predicted_to_take_more_memory() -> None:
    engine = tiny.engine("siren")
    engine.load("siren")
    small, large = (
        engine.predict_bytes(tiny.job("siren", settings={"units": units}).recipe, 1)
        for units in (16, 64)
    )
    assert large > small


@pytest.mark.parametrize("model", MODELS)
def test_the_predicted_memory_holds_what_drawing_keeps_for_its_gradient(model: str) -> None:
    engine = tiny.engine(model)
    run = engine.begin(tiny.job(model, width=64, height=64), None)
    canvas = engine._canvases[model]
    parameters = {
        name: value[None].requires_grad_() for name, value in run.start.parameters.items()
    }
    chance = canvas.chance(64, 64, run.streams.noise)
    constants = {name: value[None] for name, value in (run.start.constants | chance).items()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # else it may keep itself alive

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        canvas.draw(parameters, constants, 64, 64)
    predicted = canvas.predict_bytes(64, 64, run.settings.own)
    assert 0.9 * sum(kept.values()) < predicted < 20 * sum(kept.values())


def test_crops_may_be_judged_by_their_average() -> None:
    """An engine without the setting, and one that gives it no weight, draw alike."""
    images = {}
    for averaging in (0.0, 0.3, 1.0):
        engine = tiny.engine("siren", averaging=0.3)
        job = tiny.job("siren", steps=4, settings={"averaging": averaging})
        images[averaging] = finish(engine, engine.begin(job, None))
    plain = tiny.engine("siren")
    assert images[0.0] == finish(plain, plain.begin(tiny.job("siren", steps=4), None))
    assert len(set(images.values())) == 3
