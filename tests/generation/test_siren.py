"""SIREN against its formulas in float64, its fit to a picture, and Deep Daze on starter-clip."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from generation import starter
from generation.canvases.siren import SirenCanvas, evaluate, grid
from generation.engine import EngineError
from generation.engines import build_engines
from generation.protocol import MAX_MESSAGE_BYTES, Job, Recipe
from tests.generation import tiny

SMALL = {"layers": 3, "units": 16}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(*runs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.stack([run[name] for run in runs]) for name in runs[0]}


def formula(parameters: dict[str, Tensor], places: Tensor) -> Tensor:
    """Return sin(30(Wx + b)), layer after layer, of one run, in float64."""
    values = {name: value.double() for name, value in parameters.items()}
    x = torch.sin(30 * (places.double() @ values["first"].T + values["first_bias"]))
    for weight, bias in zip(values["hidden"], values["hidden_bias"], strict=True):
        x = torch.sin(30 * (x @ weight.T + bias))
    return x @ values["last"].T + values["last_bias"]


def test_drawing_and_its_gradient_equal_the_formula() -> None:
    canvas = SirenCanvas(tiny.CPU)
    runs = [canvas.start(24, 16, seeded(seed), None, SMALL).parameters for seed in (1, 2)]
    leaves = {name: value.requires_grad_() for name, value in batch(*runs).items()}
    drawn = canvas.draw(leaves, {}, 24, 16)
    assert drawn.shape == (2, 3, 16, 24)
    wanted = torch.randn(drawn.shape, generator=seeded(3))
    found = torch.autograd.grad((drawn * wanted).sum(), list(leaves.values()))
    for row, run in enumerate(runs):
        exact = {name: value.double().requires_grad_() for name, value in run.items()}
        expected = (formula(exact, grid(24, 16)).T.reshape(3, 16, 24) + 1) / 2
        assert expected.min() > 0 and expected.max() < 1, "nothing is clamped here"
        assert tiny.difference(drawn[row], expected) < 1e-5
        total = (expected * wanted[row]).sum()
        gradients = torch.autograd.grad(total, list(exact.values()))
        for ours, theirs in zip(found, gradients, strict=True):
            assert tiny.difference(ours[row], theirs) < 1e-4 * float(theirs.abs().max())


def test_the_start_is_sitzmanns() -> None:
    start = SirenCanvas(tiny.CPU).start(32, 32, seeded(), None, {"layers": 4, "units": 128})
    inner = math.sqrt(6 / 128) / 30
    for name, bound in (("first", 0.5), ("hidden", inner), ("last", inner)):
        for value in (start.parameters[name], start.parameters[f"{name}_bias"]):
            assert float(value.abs().max()) <= bound
        weight = start.parameters[name]
        assert float(weight.abs().max()) > 0.97 * bound
        assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert start.parameters["hidden"].shape == (3, 128, 128)


def test_pixels_lie_equally_far_apart_both_ways() -> None:
    places = grid(8, 4).view(4, 8, 2)
    assert places[:, 0, 0].tolist() == pytest.approx([-1, -1 / 3, 1 / 3, 1])
    across = places[0, :, 1]
    assert torch.allclose(across.diff(), torch.full((7,), 2 / 3))
    assert float(across.sum()) == pytest.approx(0, abs=1e-6)


def test_a_start_picture_is_fitted() -> None:
    canvas = SirenCanvas(tiny.CPU)
    y, x = torch.meshgrid(torch.linspace(0, 1, 32), torch.linspace(0, 1, 48), indexing="ij")
    picture = torch.stack([x, y, (x - 0.5).hypot(y - 0.5) * 1.4]).clamp(0, 1)
    start = canvas.start(48, 32, seeded(), picture, {"layers": 3, "units": 48})
    drawn = canvas.draw(batch(start.parameters), {}, 48, 32)
    error = float(canvas.pull({}, drawn, {"picture": start.anchor["picture"][None]})[0])
    assert error < 10**-2.5  # 25 dB
    again = canvas.start(48, 32, seeded(), picture, {"layers": 3, "units": 48})
    assert torch.equal(evaluate(batch(again.parameters), grid(48, 32)[None]),
                       evaluate(batch(start.parameters), grid(48, 32)[None]))  # fmt: skip


@pytest.mark.skipif("clip" not in starter.available(), reason="starter-clip is not here")
def test_the_score_rises_on_the_starter_models(tmp_path: Path) -> None:
    engine = build_engines(device="cpu", models_dir=tmp_path)["siren-clip"]
    runs = []
    for seed, prompt in enumerate(("a bowl of oranges", "the sea at night")):
        recipe = Recipe(
            engine="siren-clip",
            model="siren",
            prompt=prompt,
            width=48,
            height=48,
            steps=12,
            seed=seed,
            settings={"layers": 3, "units": 48, "learning_rate": 0.002, "cutouts": 4},
        )
        job = Job(id=str(seed), recipe=recipe, stream="s", person="p")
        runs.append((engine.begin(job, None), engine.begin(untouched(job), None)))
    while not all(run.done for run, _ in runs):
        engine.step([run for run, _ in runs])
    for run, start in runs:
        engine.step([start])
        assert run.score is not None and start.score is not None
        assert run.score > start.score + 0.05


def untouched(job: Job) -> Job:
    """Return the job with one step that leads nowhere, after which a run is scored."""
    settings = {**job.recipe.settings, "learning_rate": 0.000001}
    recipe = Recipe(
        **{
            name: getattr(job.recipe, name)
            for name in ("engine", "model", "prompt", "width", "height", "seed")
        },
        steps=1,
        settings=settings,
    )
    return Job(id=f"{job.id}-start", recipe=recipe, stream="s", person="p")


@pytest.mark.parametrize(("layers", "units"), [(39, 512), (48, 460)])
def test_the_largest_network_is_one_whose_checkpoint_can_be_sent(layers: int, units: int) -> None:
    canvas = SirenCanvas(tiny.CPU)
    start = canvas.start(8, 8, seeded(), None, {"layers": layers, "units": units})
    weights = sum(4 * value.numel() for value in start.parameters.values())
    assert 3 * weights < MAX_MESSAGE_BYTES - (8 << 20)  # Adam's moments, too, and a film's frames
    for more in ({"layers": 40, "units": 512}, {"layers": 48, "units": 480}):
        with pytest.raises(EngineError, match="too large to be saved"):
            canvas.start(8, 8, seeded(), None, more)
