"""The group norm with a gradient of its own gives what torch's gives."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generation.models.norm import GroupNorm

BY_OURS = "_NormedBackward"


def norm(groups: int = 4, channels: int = 16) -> GroupNorm:
    layer = GroupNorm(groups, channels, eps=1e-6)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(0.3, 1.7, channels))
        layer.bias.copy_(torch.linspace(-1, 1, channels))
    return layer.requires_grad_(False)


def maps(count: int, *, dtype: torch.dtype = torch.bfloat16, seed: int = 0) -> Tensor:
    """Maps [count, 16, 12, 10] whose channels have means and widths of their own."""
    chance = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, 16, 12, 10, generator=chance)
    shifted = drawn * torch.linspace(0.5, 3, 16).view(-1, 1, 1) + torch.arange(16).view(-1, 1, 1)
    return shifted.to(dtype).contiguous(memory_format=torch.channels_last)


def gradient(layer: Callable[[Tensor], Tensor], x: Tensor, dy: Tensor) -> tuple[Tensor, str]:
    """Return the input's gradient, and what computed it."""
    x = x.detach().requires_grad_()
    y = layer(x)
    assert y.grad_fn is not None
    (found,) = torch.autograd.grad(y, x, dy)
    return found, y.grad_fn.name()


def exact_gradient(layer: nn.GroupNorm, x: Tensor, dy: Tensor) -> Tensor:
    x = x.detach().double().requires_grad_()
    y = F.group_norm(x, layer.num_groups, layer.weight.double(), layer.bias.double(), layer.eps)
    (found,) = torch.autograd.grad(y, x, dy.double())
    return found


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("groups", [1, 4, 16])
def test_the_gradient_is_the_exact_one_but_for_rounding(count: int, groups: int) -> None:
    layer, x, dy = norm(groups), maps(count), maps(count, seed=1)

    found, by = gradient(layer, x, dy)

    exact = exact_gradient(layer, x, dy)
    assert by == BY_OURS
    assert found.dtype is torch.bfloat16
    assert found.is_contiguous(memory_format=torch.channels_last)
    # A bfloat16 has 8 bits: torch's own, which rounds once, is 0.0016 apart.
    assert (found - exact).norm() / exact.norm() < 0.006


def test_a_picture_s_gradient_does_not_depend_on_its_neighbours() -> None:
    layer, x, dy = norm(), maps(3), maps(3, seed=1)

    together, _ = gradient(layer, x, dy)

    for i in range(3):
        alone, _ = gradient(layer, x[i : i + 1], dy[i : i + 1])
        assert torch.equal(together[i : i + 1], alone)


def test_a_gradient_in_another_layout_is_taken_as_it_is_meant() -> None:
    layer, x, dy = norm(), maps(2), maps(2, seed=1)

    one, _ = gradient(layer, x, dy)
    other, by = gradient(layer, x, dy.contiguous())

    assert by == BY_OURS
    assert torch.equal(one, other)


def test_bfloat16_weights_do_as_well() -> None:
    layer, x, dy = norm().to(torch.bfloat16), maps(2), maps(2, seed=1)

    found, by = gradient(layer, x, dy)

    exact, theirs = (
        exact_gradient(layer, x, dy),
        gradient(partial(nn.GroupNorm.forward, layer), x, dy)[0],
    )
    assert by == BY_OURS
    assert (found - exact).norm() < 1.2 * (theirs - exact).norm()


def test_what_it_normalises_is_torch_s() -> None:
    layer, x = norm(), maps(2)

    assert torch.equal(layer(x.requires_grad_()), nn.GroupNorm.forward(layer, x))


def test_all_else_is_left_to_torch() -> None:
    dy = maps(1, seed=1)
    float32 = maps(1, dtype=torch.float32)
    assert gradient(norm(), float32, dy.float())[1] != BY_OURS
    assert gradient(norm(), maps(1).contiguous(), dy)[1] != BY_OURS
    learning = norm().requires_grad_(True)
    assert gradient(learning, maps(1), dy)[1] != BY_OURS
    with torch.no_grad():
        assert norm()(maps(1)).grad_fn is None
