"""Whether two ways to compute a network give the same, and the same gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def needs_gradient(x: Tensor) -> bool:
    """Whether what is computed of it now will be asked for its gradient."""
    return x.requires_grad and torch.is_grad_enabled()


def ran(forward: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, ...]:
    """Return the result, and its gradient along a direction of some signs, if x needs one."""
    if not needs_gradient(x):
        return (forward(x).detach(),)
    x = x.detach().clone().requires_grad_()
    y = forward(x)
    along = torch.arange(y.numel(), device=y.device).mul(2.3).sin().view_as(y)
    (gradient,) = torch.autograd.grad(y, x, along.to(y.dtype))
    return y.detach(), gradient


def apart_by(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> float:
    """Return the largest distance, as a part of the expected length; not a number for none."""
    parts = [
        (ours.float() - theirs.float()).norm() / theirs.float().norm().clamp(min=1e-12)
        for ours, theirs in zip(found, expected, strict=True)
    ]
    return float(torch.stack(parts).max())
