"""The formulas of CLIP steering, against float64 and what autograd must find."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from generation.clip.losses import (
    clamp_with_grad,
    prompt_loss,
    replace_grad,
    spherical_distance,
)


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=random, dtype=torch.float64), dim=-1)


def test_spherical_distance_is_half_the_squared_angle() -> None:
    x, y = unit(50, 16), unit(50, 16, seed=1)
    angle = (x * y).sum(dim=-1).acos()
    assert torch.allclose(spherical_distance(x, y), angle**2 / 2, atol=1e-12)
    assert torch.allclose(
        spherical_distance(x.float(), y.float()).double(), angle**2 / 2, atol=1e-5
    )


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_spherical_distance_has_a_gradient_at_equal_and_opposite_vectors(sign: float) -> None:
    x = unit(1, 8).float().requires_grad_()
    distance = spherical_distance(x, sign * x.detach())
    (gradient,) = torch.autograd.grad(distance.sum(), x)
    assert gradient.isfinite().all()
    assert float(distance.detach()) == pytest.approx(0 if sign > 0 else math.pi**2 / 2, abs=0.01)


def test_replace_grad_shows_one_and_follows_the_other() -> None:
    shown = torch.tensor([1.0, 2.0], requires_grad=True)
    followed = torch.tensor([5.0], requires_grad=True)
    result = replace_grad(shown, followed)
    assert result.tolist() == [1.0, 2.0]
    given = torch.tensor([10.0, 1.0])
    (gradient,) = torch.autograd.grad(result, followed, given, retain_graph=True)
    assert gradient.tolist() == [11.0]
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(result, shown, given)


def test_clamp_with_grad_lets_back_in_and_not_further_out() -> None:
    x = torch.tensor([-0.5, 0.5, 1.5], requires_grad=True)
    inward, outward = torch.tensor([-1.0, 1.0, 1.0]), torch.tensor([1.0, 1.0, -1.0])
    clamped = clamp_with_grad(x, 0, 1)
    assert clamped.tolist() == [0.0, 0.5, 1.0]
    # Descent goes against the gradient: +1 at 1.5 leads back, −1 leads further out.
    (gradient,) = torch.autograd.grad(clamped, x, inward)
    assert gradient.tolist() == inward.tolist()
    (gradient,) = torch.autograd.grad(clamp_with_grad(x, 0, 1), x, outward)
    assert gradient.tolist() == [0.0, 1.0, 0.0]


def test_prompt_loss_is_the_formula_for_each_run() -> None:
    crops, targets = unit(2, 5, 8), unit(2, 3, 8, seed=1)
    weights = torch.tensor([[2.0, -0.5, 0.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
    stops = torch.full((2, 3), -math.inf, dtype=torch.float64)
    expected = [
        sum(
            abs(w)
            * sum(
                math.copysign(1, w) * math.acos(float(crop @ target)) ** 2 / 2 for crop in crops[r]
            )
            / 5
            for w, target in zip(weights[r].tolist(), targets[r], strict=True)
            if w
        )
        for r in range(2)
    ]
    found = prompt_loss(crops, targets, weights, stops)
    assert found.tolist() == pytest.approx(expected, abs=1e-9)


def test_a_prompt_under_its_stop_pulls_no_more() -> None:
    crops = unit(1, 4, 8).requires_grad_()
    targets, weights = unit(1, 1, 8, seed=2), torch.ones(1, 1, dtype=torch.float64)
    for stop, pulls in ((-math.inf, True), (100.0, False)):
        loss = prompt_loss(crops, targets, weights, torch.full((1, 1), stop).double())
        (gradient,) = torch.autograd.grad(loss.sum(), crops)
        assert bool(gradient.abs().sum() > 0) is pulls
        assert float(loss.detach()) == pytest.approx(
            float(spherical_distance(crops, targets).mean().detach())
        )


def test_a_negative_weight_pushes_away() -> None:
    crops = unit(1, 1, 8).requires_grad_()
    targets = unit(1, 1, 8, seed=3)
    loss = prompt_loss(crops, targets, -torch.ones(1, 1).double(), torch.full((1, 1), -math.inf))
    (gradient,) = torch.autograd.grad(loss.sum(), crops)
    moved = F.normalize(crops.detach() - 0.01 * gradient, dim=-1)
    assert spherical_distance(moved, targets) > spherical_distance(crops.detach(), targets)
