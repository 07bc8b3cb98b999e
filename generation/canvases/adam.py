"""Adam over several runs at once, each at its own step."""

from __future__ import annotations

import torch
from torch import Tensor


def adam_step(
    parameter: Tensor,
    gradient: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    *,
    step: Tensor,
    learning_rate: Tensor,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float = 0.0,
) -> None:
    """Take one step in place.

    Tensors have a leading axis of runs. `step` [runs] counts this step too (the first is 1), so
    each run's bias correction is its own; `learning_rate` is [runs].
    Source: Kingma & Ba, Adam: A Method for Stochastic Optimization (2015), algorithm 1; the decay
    of Loshchilov & Hutter, Decoupled Weight Decay Regularization (2019).
    """
    beta1, beta2 = betas
    across = (-1,) + (1,) * (parameter.dim() - 1)
    counted = step.to(torch.float64)
    correction1 = (1 - beta1**counted).to(parameter.dtype).view(across)
    correction2 = (1 - beta2**counted).to(parameter.dtype).view(across)
    rate = learning_rate.to(parameter.dtype).view(across)
    if weight_decay:
        parameter.sub_(rate * weight_decay * parameter)
    exp_avg.lerp_(gradient, 1 - beta1)
    exp_avg_sq.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    parameter.sub_(rate * (exp_avg / correction1) / ((exp_avg_sq / correction2).sqrt() + eps))
