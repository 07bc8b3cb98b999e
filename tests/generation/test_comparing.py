"""Along what two ways to compute a network are compared."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from generation.models.comparing import direction, ran


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_a_picture_is_compared_at_every_scale(scale: int) -> None:
    along = direction(torch.empty(2, 3, 32, 48))
    means = F.avg_pool2d(along, scale)
    finer = means - F.interpolate(F.avg_pool2d(means, 2), scale_factor=2)
    assert finer.square().mean() > 0.1 * along.square().mean() / 5


@pytest.mark.parametrize("shape", [(4,), (3, 5), (1, 1, 1, 1), (1, 3, 1, 7), (1, 2, 3, 8, 8)])
def test_anything_is_compared_along_something(shape: tuple[int, ...]) -> None:
    along = direction(torch.empty(shape))
    assert along.shape == shape
    assert along.isfinite().all()
    if along.numel() > 1:
        assert along.norm() > 0.5


def test_it_is_the_same_direction_each_time() -> None:
    x = torch.ones(1, 3, 16, 16, requires_grad=True)
    _, gradient = ran(lambda picture: 2 * picture, x)
    assert torch.equal(gradient, 2 * direction(x.detach()))
