"""Samplers: plain functions that take latents from one noise level to the next.

A rectified flow mixes a picture with noise, ``x_t = (1 − t)·x_0 + t·noise``, and its network says
the velocity ``noise − x_0``; t goes from 1 to 0. Tensors have a leading axis of runs, each at its
own times. `Velocity` is the guided network: it may be asked once or more for each step.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]
"""Latents [runs, c, h, w] and times [runs] to velocities [runs, c, h, w]."""

Sampler = Callable[[Velocity, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Velocity, latents, times and next times to the next latents and the denoised estimate."""


_ROUNDING = 1e-6
"""What times that were meant to be equal may differ by."""


def guidance_at(time: float, guidance: float, *, end: float, start: float = 1.0) -> float:
    """Return the guidance at a time: none, once less than `end` of the noise of the start is left.

    Source: Kynkäänniemi et al., Applying Guidance in a Limited Interval Improves Sample and
    Distribution Quality in Diffusion Models (2024).
    """
    return min(1.0, guidance) if time < end * start - _ROUNDING else guidance


def flow_times(steps: int, *, start: float = 1.0, shift: float = 1.0) -> Tensor:
    """Return the times [steps + 1] from `start` to 0.

    `shift` above 1 spends more steps on high noise: ``t' = s·t / (1 + (s − 1)·t)``. Source: Esser
    et al., Scaling Rectified Flow Transformers (2024), section 5.3.2.
    """
    times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    times = start * shift * times / (1 + (shift - 1) * times)
    return times.float()


def euler(velocity: Velocity, latents: Tensor, t: Tensor, t_next: Tensor) -> tuple[Tensor, Tensor]:
    """Follow the velocity at t in a straight line. One network call.

    Source: Liu et al., Flow Straight and Fast (2023), section 2.1.
    """
    v = velocity(latents, t)
    return latents + _wide(t_next - t) * v, latents - _wide(t) * v


def heun(velocity: Velocity, latents: Tensor, t: Tensor, t_next: Tensor) -> tuple[Tensor, Tensor]:
    """Follow the mean of the velocities at both ends. Two network calls.

    The last step, which ends at t = 0 where networks are not trained, is Euler's.
    Source: Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models
    (2022), algorithm 1.
    """
    v = velocity(latents, t)
    ahead = latents + _wide(t_next - t) * v
    v_ahead = velocity(ahead, t_next)
    last = _wide((t_next <= 0).to(v.dtype))
    mean = last * v + (1 - last) * (v + v_ahead) / 2
    return latents + _wide(t_next - t) * mean, latents - _wide(t) * v


SAMPLERS: dict[str, Sampler] = {"euler": euler, "heun": heun}


def _wide(times: Tensor) -> Tensor:
    return times.view(-1, 1, 1, 1)
