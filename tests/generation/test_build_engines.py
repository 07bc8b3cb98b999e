"""What this machine offers: honest about what is here, and the starter models draw."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from generation import starter
from generation.engine import Engine, EngineError, Run
from generation.engines import build_engines, builders
from generation.engines.diffusion import DiffusionEngine
from generation.engines.forms import form_default
from generation.engines.options import complete_settings
from generation.engines.perceptors import SharedPerceptors
from generation.models.library import Library
from generation.protocol import Job, OptionInfo, Recipe, Setting, Steer
from tests.generation.test_forms import Flows

complete = pytest.mark.skipif(
    starter.available() != {"clip", "vqgan", "diffusion", "upscaler"},
    reason="the starter models are not in this checkout",
)


def test_importing_the_engines_costs_nothing() -> None:
    code = "import sys, generation.engines; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@complete
def test_engines_come_in_order_of_preference_with_sound_infos(tmp_path: Path) -> None:
    engines = build_engines(models_dir=str(tmp_path))
    assert list(engines)[:3] == ["diffusion", "vqgan-clip", "fourier-clip"]
    assert "upscale" in engines
    for name, engine in engines.items():
        info = engine.info
        assert info.name == name and info.title
        first = next(model.name for model in info.models if model.available)
        recipe = Recipe(engine=name, model=first, prompt="x", width=64, height=64, steps=1, seed=1)
        assert engine.batch_key(recipe)[0] == first
        assert all(model.available or model.missing for model in info.models)
        assert info.min_side <= info.default_width <= info.max_side
        assert info.default_width * info.default_height <= info.max_pixels
        assert info.default_width % info.size_multiple == 0
        assert info.default_steps <= info.max_steps
        assert complete_settings(info.defaults, info.options) == info.defaults
        for option in info.options:  # each is one of its own values
            unsaid = info.defaults | {option.name: option.if_unsaid}
            assert complete_settings(unsaid, info.options) == unsaid


@pytest.mark.parametrize("default", [1, 1.0])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_no_setting_is_without_end(default: float, value: float) -> None:
    option = OptionInfo(name="count", help="", default=default)
    with pytest.raises(EngineError, match="count is a"):
        complete_settings({"count": value}, (option,))


@complete
def test_recipes_from_before_an_option_mean_what_they_did(tmp_path: Path) -> None:
    engines = build_engines(device="cpu", models_dir=tmp_path)
    later: dict[str, Setting] = {"guidance_end": 0.0, "level_guidance": 30.0, "form": 0.0}
    changed = 0
    for name in ("diffusion", "vqgan-clip", "fourier-clip", "siren-clip", "strokes-clip"):
        info = engines[name].info
        old = {option: value for option, value in info.defaults.items() if option not in later}
        meant = {option: later.get(option, value) for option, value in info.defaults.items()}
        assert complete_settings(old, info.options) == meant
        changed += sum(info.defaults[option] != meant[option] for option in meant)
    assert changed == 2 + 4  # or nothing of this would be seen


def test_an_unknown_device_is_said_in_a_sentence() -> None:
    for device in ("banana", "cuda:99"):
        with pytest.raises(EngineError, match=f"no device called {device}"):
            build_engines(device=device)


def test_compiled_code_is_kept_where_that_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    name = "TORCHINDUCTOR_CACHE_DIR"
    monkeypatch.setenv(name, "")
    monkeypatch.delenv(name)
    (tmp_path / "file").touch()
    builders._keep_compiled(tmp_path / "file" / "compiled")
    assert name not in os.environ and "cannot be kept" in caplog.text
    builders._keep_compiled(tmp_path / "data" / "compiled")
    assert os.environ[name] == str(tmp_path / "data" / "compiled")
    # What the administrator set stays.
    builders._keep_compiled(tmp_path / "other")
    assert os.environ[name] == str(tmp_path / "data" / "compiled")


def test_without_any_model_there_is_no_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starter, "available", set)
    monkeypatch.setattr("generation.models.classifiers.PACKAGE", "not_installed_here")
    assert build_engines(device="cpu", models_dir=tmp_path) == {}
    perceptors = SharedPerceptors(Library(tmp_path), torch.device("cpu"))
    with pytest.raises(EngineError, match="no CLIP"):
        perceptors.acquire("")


@complete
def test_a_perceptor_is_loaded_once_and_freed_by_the_last(tmp_path: Path) -> None:
    perceptors = SharedPerceptors(Library(tmp_path, ["starter-clip"]), torch.device("cpu"))
    first, second = perceptors.acquire("starter-clip"), perceptors.acquire("starter-clip")
    assert first is second
    perceptors.release("starter-clip")
    assert perceptors.acquire("starter-clip") is first
    perceptors.release("starter-clip")
    perceptors.release("starter-clip")
    assert perceptors.acquire("starter-clip") is not first


@complete
@pytest.mark.parametrize(
    "name", ["diffusion", "vqgan-clip", "fourier-clip", "siren-clip", "strokes-clip"]
)
def test_the_starter_models_draw_steer_and_resume(name: str, tmp_path: Path) -> None:
    engine = build_engines(device="cpu", models_dir=tmp_path)[name]
    job = _job(engine, engine.info.defaults)
    recipe = job.recipe
    engine.load(str(engine.batch_key(recipe)[0]))
    run: Run = engine.begin(job, None)
    other: Run = engine.begin(job, None)
    engine.step([run, other])
    engine.steer(run, Steer(1, "a blue whale", 2))
    saved = engine.checkpoint(run)
    while not run.done:
        engine.step([run])
    assert run.error is None and run.score is not None
    assert engine.preview(run).width > 0 and engine.image(run).size == (64, 64)
    again = engine.begin(Job(id="1", recipe=run.recipe, stream="s", person="p"), saved)
    while not again.done:
        engine.step([again])
    assert engine.image(again).tobytes() == engine.image(run).tobytes()
    assert engine.predict_bytes(recipe, 16) > engine.predict_bytes(recipe, 1) > 0
    engine.unload(str(engine.batch_key(recipe)[0]))


@complete
def test_the_flow_is_loaded_once_for_all_that_ask_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    load = starter.load_flow

    def counting(device: torch.device) -> object:
        loaded.append(device)
        return load(device)

    monkeypatch.setattr(starter, "load_flow", counting)
    engines = build_engines(device="cpu", models_dir=tmp_path, precision="fp32")
    diffusion = engines["diffusion"]
    assert isinstance(diffusion, DiffusionEngine)
    diffusion.load("starter-diffusion")
    for name in ("vqgan-clip", "fourier-clip"):
        engines[name].begin(_job(engines[name], {"form": 1.0}), None)
    assert len(loaded) == 1
    assert diffusion._models["starter-diffusion"].dtype == torch.float32
    for name, model in (
        ("vqgan-clip", "starter-vqgan"),
        ("diffusion", "starter-diffusion"),
        ("fourier-clip", "fourier"),
    ):
        engines[name].unload(model)
    diffusion.load("starter-diffusion")
    assert len(loaded) == 2


@complete
def test_form_is_offered_by_all_that_need_nothing_but_what_ships(tmp_path: Path) -> None:
    engines = build_engines(device="cpu", models_dir=tmp_path)
    formed = {
        name: option.default
        for name, engine in engines.items()
        for option in engine.info.options
        if option.name == "form"
    }
    names = ("vqgan-clip", "fourier-clip", "siren-clip", "strokes-clip")
    assert formed == dict.fromkeys(names, 1.0)


def test_by_default_a_form_is_asked_for_where_the_starter_clip_judges() -> None:
    flows = Flows()
    assert form_default(("starter-clip", "ViT-B-32"), flows) == 1.0
    assert form_default(("ViT-B-32", "starter-clip"), flows) == 0.0
    assert form_default(("starter-clip",), None) is None


@complete
def test_with_a_damaged_flow_form_0_still_draws_and_others_are_told_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(device: torch.device) -> object:
        raise OSError("cut short")

    monkeypatch.setattr(starter, "load_flow", damaged)
    engine = build_engines(device="cpu", models_dir=tmp_path)["vqgan-clip"]
    with pytest.raises(EngineError, match=r"diffusion model is damaged\..* With form 0, CLIP"):
        engine.begin(_job(engine, {"form": 1.0}), None)
    run: Run = engine.begin(_job(engine, {"form": 0.0}), None)
    engine.step([run])
    assert run.error is None and run.step == 1


def _job(engine: Engine[Any], settings: dict[str, Setting]) -> Job:
    model = next(model.name for model in engine.info.models if model.available)
    recipe = Recipe(
        engine=engine.info.name,
        model=model,
        prompt="a red fox",
        width=64,
        height=64,
        steps=4,
        seed=1,
        settings=settings,
    )
    return Job(id="1", recipe=recipe, stream="s", person="p")
