"""The Fourier canvas against its formulas, batched Adam against torch's, targets that glide."""

from __future__ import annotations

import itertools
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from generation.canvases import fourier
from generation.canvases.adam import adam_step
from generation.canvases.fourier import FourierCanvas, spectrum_scale
from generation.clip.targets import Glide, Target, blend, glide_part, slerp, targets_at
from generation.protocol import Steer
from tests.generation import tiny


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- Fourier ---------------------------------------------------------------------------------


def test_the_spectrum_falls_with_frequency() -> None:
    scale = spectrum_scale(16, 24)
    assert scale.shape == (16, 13)
    root = (16 * 24) ** 0.5
    assert float(scale[0, 0]) == pytest.approx(root * (24 / 4) ** 1.5)  # the floor of f
    assert float(scale[3, 12]) == pytest.approx(root / ((3 / 16) ** 2 + 0.5**2) ** 0.75)
    assert torch.equal(scale[1:], scale[1:].flip(0))


@pytest.mark.parametrize(("width", "height"), [(32, 32), (48, 20), (33, 17)])
def test_a_picture_comes_back_from_its_spectrum(width: int, height: int) -> None:
    canvas = FourierCanvas(tiny.CPU)
    picture = 0.05 + 0.9 * torch.rand(3, height, width, generator=seeded())
    start = canvas.start(width, height, seeded(), picture)
    drawn = canvas.draw(
        {"spectrum": start.parameters["spectrum"][None]},
        {"contrast": start.constants["contrast"][None]},
        width,
        height,
    )
    assert tiny.difference(drawn[0], picture) < 1e-3


def test_whatever_sizes_are_drawn_few_of_their_scales_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[weakref.ref[Tensor]] = []

    def noted(height: int, width: int) -> Tensor:
        scale = spectrum_scale(height, width)
        made.append(weakref.ref(scale))
        return scale

    monkeypatch.setattr(fourier, "spectrum_scale", noted)
    canvas = FourierCanvas(tiny.CPU)
    for width in (*range(8, 108), 107, 107):
        start = canvas.start(width, 8, seeded(), None)
        canvas.draw({"spectrum": start.parameters["spectrum"][None]},
                    {"contrast": start.constants["contrast"][None]}, width, 8)  # fmt: skip
    assert len(made) == 100
    assert sum(each() is not None for each in made) <= 16
    del canvas
    assert not any(each() is not None for each in made)


def test_a_start_by_chance_has_the_usual_contrast() -> None:
    canvas = FourierCanvas(tiny.CPU)
    starts = [canvas.start(40, 24, seeded(seed), None) for seed in (1, 2)]
    parameters = {"spectrum": torch.stack([start.parameters["spectrum"] for start in starts])}
    constants = {"contrast": torch.stack([start.constants["contrast"] for start in starts])}
    drawn = canvas.draw(parameters, constants, 40, 24)
    assert drawn.shape == (2, 3, 24, 40)
    plain = torch.einsum("ij,rjhw->rihw", torch.linalg.inv(canvas._colours), drawn.logit())
    assert plain.flatten(1).std(dim=1).tolist() == pytest.approx([1.1, 1.1], abs=1e-3)
    doubled = canvas.draw({"spectrum": 2 * parameters["spectrum"]}, constants, 40, 24)
    assert tiny.difference(doubled, drawn) < 1e-5


# --- Adam ------------------------------------------------------------------------------------


def test_batched_adam_is_torchs_for_each_run_at_its_own_step() -> None:
    rates, late = (0.1, 0.02, 0.5), (0, 3, 7)  # each run joins the batch at another step
    gradients = torch.randn(20, 3, 4, 5, generator=seeded())
    start = torch.randn(3, 4, 5, generator=seeded(1))
    references = []
    for run in range(3):
        parameter = start[run].clone().requires_grad_()
        adam = torch.optim.Adam([parameter], lr=rates[run], betas=(0.8, 0.99), eps=1e-8)
        for step in range(late[run], 20):
            parameter.grad = gradients[step, run]
            adam.step()
        references.append(parameter.detach())
    value, mean, square = start.clone(), torch.zeros(3, 4, 5), torch.zeros(3, 4, 5)
    for step in range(20):
        rows = [run for run in range(3) if step >= late[run]]
        batch: list[Tensor] = [each[rows] for each in (value, mean, square)]
        adam_step(
            batch[0],
            gradients[step, rows],
            batch[1],
            batch[2],
            step=torch.tensor([step - late[run] + 1 for run in rows]),
            learning_rate=torch.tensor([rates[run] for run in rows]),
            betas=(0.8, 0.99),
            eps=1e-8,
        )
        value[rows], mean[rows], square[rows] = batch
    assert tiny.difference(value, torch.stack(references)) < 1e-5


# --- targets ---------------------------------------------------------------------------------


def unit(seed: int) -> Tensor:
    return F.normalize(torch.randn(8, generator=seeded(seed)), dim=0)


def test_slerp_keeps_to_the_sphere_at_an_even_pace() -> None:
    a, b = unit(1), unit(2)
    path = [slerp(a, b, part / 10) for part in range(11)]
    angles = [float((x * y).sum().clamp(-1, 1).acos()) for x, y in itertools.pairwise(path)]
    assert all(float(x.norm()) == pytest.approx(1) for x in path)
    assert angles == pytest.approx([angles[0]] * 10, abs=1e-3)
    assert torch.allclose(path[0], a, atol=1e-6) and torch.allclose(path[-1], b, atol=1e-6)
    assert slerp(a, a, 0.5).isfinite().all() and slerp(a, -a, 0.3).isfinite().all()


@pytest.mark.parametrize(
    ("steer", "parts"),
    [
        (Steer(2, "x", 0), [0, 0, 1, 1, 1, 1]),
        (Steer(2, "x", 1), [0, 0, 1, 1, 1, 1]),
        (Steer(1, "x", 4), [0, 0.25, 0.5, 0.75, 1, 1]),
    ],
)
def test_a_glide_takes_the_steps_it_was_given(steer: Steer, parts: list[float]) -> None:
    assert [glide_part(steer, step) for step in range(6)] == parts


def test_targets_turn_into_their_partners_and_others_fade() -> None:
    old = (Target(unit(1), 1.0, 0.1), Target(unit(2), -1.0, 0.2))
    new = (Target(unit(3), 3.0, 0.3), Target(unit(4), 1.0, 0.4), Target(unit(5), 2.0, 0.5))
    found = blend(old, new, 0.25)
    assert [(target.weight, target.stop) for target in found] == [
        (1.5, 0.1),
        (-0.75, 0.2),
        (0.25, 0.4),
        (0.5, 0.5),
    ]
    assert torch.equal(found[0].embedding, slerp(unit(1), unit(3), 0.25))
    assert blend(old, new, 1.0) == new


def test_steers_follow_each_other() -> None:
    a, b, c = ((Target(unit(seed), 1.0, 0.0),) for seed in (1, 2, 3))
    glides = [Glide(Steer(2, "b", 2), b), Glide(Steer(6, "c", 0), c)]
    assert targets_at(1, a, glides) == a
    assert targets_at(4, a, glides) == b
    assert targets_at(6, a, glides) == c
