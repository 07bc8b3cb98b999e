"""Muon for matrices and filters, AdamW for the rest, as one optimiser.

On two CPU cores a step is dear and an orthogonalisation is cheap, so fewer and better steps win.

Source: Jordan et al. 2024, *Muon: An optimizer for hidden layers in neural networks*; the update's
size is matched to AdamW's as in Liu et al. 2025, *Muon is Scalable for LLM Training*.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from generation.models.precision import has_bfloat16

_NS = (3.4445, -4.7750, 2.0315)
_NS_STEPS = 5
_RMS = 0.2


def orthogonalised(matrix: Tensor) -> Tensor:
    """Return the nearest semi-orthogonal matrix to [m, n], about.

    Newton-Schulz, in bfloat16 where the device has it: the iteration bears the rounding.
    """
    a, b, c = _NS
    tall = matrix.shape[0] > matrix.shape[1]
    fast = has_bfloat16(matrix.device)
    x = (matrix.T if tall else matrix).to(torch.bfloat16 if fast else torch.float32)
    x = x / (x.norm() + 1e-7)
    for _ in range(_NS_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    update: Tensor = (x.T if tall else x).to(matrix.dtype)
    return update


class MuonAdamW(torch.optim.Optimizer):
    """One optimiser with a learning rate per group; groups say ``muon`` True or False."""

    def __init__(self, groups: Iterable[dict[str, object]], momentum: float = 0.95) -> None:
        defaults = {"lr": 1e-3, "muon": False, "betas": (0.9, 0.95), "weight_decay": 0.01,
                    "momentum": momentum}  # fmt: skip
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            update = self._muon if group["muon"] else self._adamw
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update(parameter, group), alpha=-group["lr"])

    def _muon(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum: float = group["momentum"]
        buffer: Tensor = state["momentum"]
        assert parameter.grad is not None
        buffer.lerp_(parameter.grad, 1 - momentum)
        mixed = parameter.grad.lerp(buffer, momentum).flatten(1)
        scale = _RMS * max(mixed.shape) ** 0.5
        update: Tensor = orthogonalised(mixed).view_as(parameter) * scale
        return update

    def _adamw(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["first"] = torch.zeros_like(parameter)
            state["second"] = torch.zeros_like(parameter)
        beta1, beta2 = group["betas"]
        assert parameter.grad is not None
        state["step"] += 1
        state["first"].lerp_(parameter.grad, 1 - beta1)
        state["second"].lerp_(parameter.grad.square(), 1 - beta2)
        count = float(state["step"])
        first = state["first"] / (1 - beta1**count)
        update: Tensor = first / ((state["second"] / (1 - beta2**count)).sqrt() + 1e-8)
        return update


def optimiser_for(
    model: nn.Module, lr: float, *, adamw: Iterable[str] = (), skip: Iterable[str] = (),
    weight_decay: float = 0.01, betas: tuple[float, float] = (0.9, 0.95),
    muon_factor: float = 4.0,
) -> MuonAdamW:  # fmt: skip
    """Return an optimiser: Muon for what has two dimensions or more, AdamW for the rest.

    Args:
        lr: AdamW's learning rate; Muon's is ``muon_factor`` times that.
        adamw: patterns of names that stay with AdamW (embeddings, first and last layers).
        skip: patterns of names that are not trained.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if any(fnmatchcase(name, pattern) for pattern in skip):
            continue
        flat = parameter.ndim < 2 or any(fnmatchcase(name, pattern) for pattern in adamw)
        (others if flat else matrices).append(parameter)
    return MuonAdamW(
        [
            {"params": matrices, "muon": True, "lr": muon_factor * lr,
             "base_lr": muon_factor * lr, "weight_decay": weight_decay},
            {"params": others, "muon": False, "lr": lr, "base_lr": lr, "betas": betas,
             "weight_decay": 0.0},
        ]
    )  # fmt: skip


def set_rate(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to a factor of its base."""
    for group in optimiser.param_groups:
        group["lr"] = group["base_lr"] * factor
