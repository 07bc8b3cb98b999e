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


def orthogonalised(matrices: Tensor) -> Tensor:
    """Return the nearest semi-orthogonal matrices to [..., m, n], about.

    Newton-Schulz, in bfloat16 where the device has it: the iteration bears the rounding.
    """
    a, b, c = _NS
    fast = has_bfloat16(matrices.device)
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).to(torch.bfloat16 if fast else torch.float32)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(_NS_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    update: Tensor = (x.mT if tall else x).to(matrices.dtype)
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
            parameters = [one for one in group["params"] if one.grad is not None]
            for parameter in parameters:
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
            update(parameters, group)

    def _muon(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        # Matrices of one shape go through the iteration together: a GPU would spend most of the
        # time starting small products.
        alike: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = {}
        momentum: float = group["momentum"]
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            buffer: Tensor = state["momentum"]
            assert parameter.grad is not None
            buffer.lerp_(parameter.grad, 1 - momentum)
            mixed = parameter.grad.lerp(buffer, momentum).flatten(1)
            alike.setdefault(mixed.shape, []).append((parameter, mixed))
        for shape, pairs in alike.items():
            updates = orthogonalised(torch.stack([mixed for _, mixed in pairs]))
            alpha = -group["lr"] * _RMS * max(shape) ** 0.5
            for (parameter, _), update in zip(pairs, updates, strict=True):
                parameter.add_(update.view_as(parameter), alpha=alpha)

    def _adamw(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["step"] = torch.zeros(())
                state["first"] = torch.zeros_like(parameter)
                state["second"] = torch.zeros_like(parameter)
            assert parameter.grad is not None
            state["step"] += 1
            state["first"].lerp_(parameter.grad, 1 - beta1)
            state["second"].lerp_(parameter.grad.square(), 1 - beta2)
            count = float(state["step"])
            first = state["first"] / (1 - beta1**count)
            update = first / ((state["second"] / (1 - beta2**count)).sqrt() + 1e-8)
            parameter.add_(update, alpha=-group["lr"])


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
