"""How a canvas may want to be optimised: own rates, decay, an average, and a choice of starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec
import pytest
import torch
from torch import Tensor

from generation.canvases.adam import adam_step
from generation.canvases.base import NO_SETTINGS, CanvasDefaults, Optimiser, Rate, Start
from generation.engines.clip_options import clip_options
from generation.engines.clip_run import ClipRun
from generation.engines.clip_steered import ClipSteeredEngine
from generation.protocol import Job, Setting
from tests.generation import tiny


class Blot(CanvasDefaults):
    """One colour a run: the least that can be optimised, so that Adam can be followed by hand."""

    multiple = 1

    def __init__(self, optimiser: Optimiser) -> None:
        self.optimiser = optimiser
        self.starts: list[Tensor] = []

    def start(
        self,
        width: int,
        height: int,
        random: torch.Generator,
        picture: Tensor | None,
        settings: Mapping[str, Setting] = NO_SETTINGS,
    ) -> Start:
        colour = torch.rand(3, generator=random)
        self.starts.append(colour)
        return Start({"colour": colour, "light": torch.zeros(1)})

    def draw(
        self,
        parameters: Mapping[str, Tensor],
        constants: Mapping[str, Tensor],
        width: int,
        height: int,
    ) -> Tensor:
        shade = (parameters["colour"] + parameters["light"]).sigmoid()
        return shade[:, :, None, None].expand(-1, -1, height, width)

    def pull(
        self, parameters: Mapping[str, Tensor], pictures: Tensor, anchor: Mapping[str, Tensor]
    ) -> Tensor:
        raise AssertionError("nothing starts from a picture here")

    def clamp(self, parameters: Mapping[str, Tensor]) -> None:
        pass

    def predict_bytes(
        self,
        width: int,
        height: int,
        settings: Mapping[str, Setting] = NO_SETTINGS,
        *,
        exact: bool = False,
    ) -> int:
        return 1


def engine(canvas: Blot, *, tries: int = 1) -> ClipSteeredEngine:
    options = clip_options(
        tiny.Perceptors.names,
        cutouts=4,
        kind="classic",
        learning_rate=0.1,
        start="chance",
        starts=("chance",),
        tries=tries,
    )
    info = msgspec.structs.replace(tiny.engine().info, options=options)
    return ClipSteeredEngine(info, lambda _name: canvas, tiny.Perceptors(), device=tiny.CPU)


def job(**settings: int) -> Job:
    return tiny.job(steps=8, settings=dict(settings))


def test_a_rate_falls_when_its_part_of_the_run_is_over() -> None:
    rate = Rate(2.0, later=((0.5, 0.8), (0.75, 0.2)))
    assert [rate.at(part / 8) for part in range(9)] == [2, 2, 2, 2, 0.8, 0.8, 0.2, 0.2, 0.2]
    optimiser = Optimiser(1.0, rates={"points": rate})
    assert optimiser.factor("points", 0.6) == 0.8 and optimiser.factor("other", 0.6) == 1.0


def test_weight_decay_is_torchs_adamw() -> None:
    start = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    gradients = torch.randn(6, 2, 5, generator=torch.Generator().manual_seed(1))
    theirs = start.clone().requires_grad_()
    adamw = torch.optim.AdamW([theirs], lr=0.03, betas=(0.0, 0.999), weight_decay=0.1)
    ours, mean, square = start.clone(), torch.zeros(2, 5), torch.zeros(2, 5)
    for step, gradient in enumerate(gradients):
        theirs.grad = gradient
        adamw.step()
        adam_step(
            ours,
            gradient,
            mean,
            square,
            step=torch.full((2,), step + 1),
            learning_rate=torch.full((2,), 0.03),
            betas=(0.0, 0.999),
            eps=1e-8,
            weight_decay=0.1,
        )
    assert tiny.difference(ours, theirs) < 1e-6


def test_each_parameter_goes_at_its_own_rate() -> None:
    """Adam's first step is the learning rate long, whatever the gradient."""
    optimiser = Optimiser(0.1, rates={"light": Rate(0.5, later=((0.5, 0.0),))})
    drawing = engine(Blot(optimiser))
    run = drawing.begin(job(), None)
    before = run.start.parameters
    drawing.step([run])
    for name, length in (("colour", 0.1), ("light", 0.05)):
        moved = (run.start.parameters[name] - before[name]).abs()
        assert torch.allclose(moved, torch.full_like(moved, length), atol=1e-4)
    for _ in range(3):
        drawing.step([run])
    halfway = run.start.parameters
    drawing.step([run])
    assert torch.equal(run.start.parameters["light"], halfway["light"])
    assert not torch.equal(run.start.parameters["colour"], halfway["colour"])


def test_pictures_come_from_the_average_and_it_survives_a_checkpoint() -> None:
    canvas = Blot(Optimiser(0.5, average=0.9))
    drawing = engine(canvas)
    run, company = drawing.begin(job(), None), drawing.begin(tiny.job(seed=9, steps=8), None)
    expected = run.start.parameters["colour"].clone()
    for _ in range(4):
        drawing.step([run, company])
        expected = 0.9 * expected + 0.1 * run.start.parameters["colour"]
    assert tiny.difference(run.average["colour"], expected) < 1e-6
    assert shade(drawing, run) == pytest.approx(
        (run.average["colour"] + run.average["light"]).sigmoid().tolist(), abs=0.003
    )
    resumed = drawing.begin(job(), drawing.checkpoint(run))
    assert resumed.average.keys() == run.average.keys()
    assert all(torch.equal(resumed.average[name], run.average[name]) for name in run.average)


def test_an_unbiased_average_weighs_every_state_by_its_age_alone() -> None:
    """Which is what Big Sleep's is: the sum of the decayed, divided by the sum of the weights."""
    canvas = Blot(Optimiser(0.5, average=0.9, unbiased=True))
    drawing = engine(canvas)
    run, late = drawing.begin(job(), None), drawing.begin(tiny.job(seed=9, steps=8), None)
    states = [run.start.parameters["colour"]]
    for step in range(5):
        drawing.step([run, late] if step > 2 else [run])
        states.append(run.start.parameters["colour"])
    weights = [0.9 ** (5 - step) for step in range(6)]
    summed = sum((w * state for w, state in zip(weights, states, strict=True)), torch.zeros(3))
    assert tiny.difference(run.average["colour"], summed / sum(weights)) < 1e-6


def test_the_best_of_its_tries_is_gone_on_with() -> None:
    canvas = Blot(Optimiser(0.1))
    drawing = engine(canvas, tries=7)
    chosen = drawing.begin(job(cutouts=16), None)
    starts = list(canvas.starts)
    assert len(starts) == 7
    losses = []
    for start in starts:
        run = drawing.begin(job(cutouts=16, tries=1), None)
        run.start = replace(run.start, parameters={**run.start.parameters, "colour": start})
        drawing.step([run])
        losses.append(run.loss)
    best = starts[losses.index(min(losses))]  # type: ignore[type-var]
    assert torch.equal(chosen.start.parameters["colour"], best)
    assert torch.equal(
        drawing.begin(job(cutouts=16), None).start.parameters["colour"],
        chosen.start.parameters["colour"],
    )
    assert len(set(losses)) == 7


def shade(drawing: ClipSteeredEngine, run: ClipRun) -> list[float]:
    return [value / 255 for value in drawing.image(run).getpixel((0, 0))]  # type: ignore[union-attr]
