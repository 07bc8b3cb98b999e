"""The formulas of CLIP steering: distances, prompt losses, and two gradients with a purpose."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def spherical_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return ``2·arcsin(‖x−y‖/2)²``: half the squared angle between unit vectors.

    Shapes broadcast; the last axis holds the vectors. 0 for equal, π²/2 for opposite ones.
    Source: Katherine Crowson's VQGAN+CLIP and CLIP-guided diffusion notebooks.
    """
    # The arcsine's slope is infinite at 1, for opposite vectors.
    half_chord = ((x - y).norm(dim=-1) / 2).clamp(max=1 - 1e-6)
    distance: Tensor = 2 * half_chord.arcsin() ** 2
    return distance


class _ReplaceGrad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, shown: Tensor, followed: Tensor) -> Tensor:
        ctx.shape = followed.shape
        return shown.view_as(shown)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        return None, grad.sum_to_size(ctx.shape)


def replace_grad(shown: Tensor, followed: Tensor) -> Tensor:
    """Return `shown`, with the gradient passed on to `followed` as if that had been returned."""
    return cast(Tensor, _ReplaceGrad.apply(shown, followed))


class _ClampWithGrad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        clamped = x.clamp(low, high)
        ctx.save_for_backward(x - clamped)
        return clamped

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (outside,) = ctx.saved_tensors
        return grad * (grad * outside >= 0), None, None


def clamp_with_grad(x: Tensor, low: float, high: float) -> Tensor:
    """Clamp, keeping the gradient wherever following it does not lead further out."""
    return cast(Tensor, _ClampWithGrad.apply(x, low, high))


def prompt_loss(
    crops: Tensor,
    targets: Tensor,
    weights: Tensor,
    stops: Tensor,
    shares: Tensor | None = None,
) -> Tensor:
    """Say how far each run's crops are from its prompts.

    Per prompt ``|w| · replace_grad(d·sign(w), max(d·sign(w), stop))``, averaged over the crops
    and summed over the prompts: a prompt whose signed distance is under its stop pulls no more,
    one of negative weight pushes away. Prompts of weight 0 add exactly nothing.

    Args:
        crops: [runs, crops, dim], unit vectors.
        targets: [runs, prompts, dim], unit vectors.
        weights: [runs, prompts].
        stops: [runs, prompts], −inf for none.
        shares: [runs, crops, prompts], how much each crop counts for each prompt; 1 without.

    Returns:
        [runs].
    """
    distance = spherical_distance(crops[:, :, None], targets[:, None])
    signed = distance * weights.sign()[:, None]
    shown = replace_grad(signed, torch.maximum(signed, stops[:, None]))
    weighed = weights.abs()[:, None] * shown
    if shares is not None:
        weighed = weighed * shares
    return weighed.mean(dim=1).sum(dim=1)
