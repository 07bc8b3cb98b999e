"""Discrete diffusion: the noise schedule, respacing, and one step of two samplers.

Pictures at a step are ``√ᾱ·x0 + √(1−ᾱ)·noise``. Everything takes a leading axis of runs, each at
a place of its own in a schedule of its own.

Source: Ho et al., "Denoising Diffusion Probabilistic Models" (2020); Nichol & Dhariwal,
"Improved DDPM" (2021) for learned variances and respacing; Song et al., "DDIM" (2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TRAINED_STEPS = 1000


def linear_alphas_bar(steps: int = TRAINED_STEPS) -> Tensor:
    """Return ᾱ [steps] of the linear schedule, in float64: how much of the picture is left."""
    scale = 1000 / steps
    betas = torch.linspace(scale * 0.0001, scale * 0.02, steps, dtype=torch.float64)
    return (1 - betas).cumprod(0)


@dataclass(frozen=True)
class Schedule:
    """The steps of one run, from noise to picture.

    times: [steps] in the trained schedule, falling. alphas_bar and next_alphas_bar: [steps], of
    the step and of the one after it (1 for the last).
    """

    times: Tensor
    alphas_bar: Tensor
    next_alphas_bar: Tensor

    def at(self, step: int) -> tuple[float, float, float]:
        """Return a step's time, ᾱ and the next step's ᾱ."""
        return (
            float(self.times[step]),
            float(self.alphas_bar[step]),
            float(self.next_alphas_bar[step]),
        )


def respaced(steps: int, skipped: int = 0) -> Schedule:
    """Return `steps` of the trained steps, evenly apart, without the first `skipped`.

    The first of all is the noisiest. With one step it is that alone.
    """
    assert 0 <= skipped < steps <= TRAINED_STEPS
    stride = (TRAINED_STEPS - 1) / max(1, steps - 1)
    rising = [round(nth * stride) for nth in range(steps)] if steps > 1 else [TRAINED_STEPS - 1]
    times = torch.tensor(rising[::-1])
    alphas_bar = linear_alphas_bar()[times]
    following = torch.cat([alphas_bar[1:], torch.ones(1, dtype=torch.float64)])
    return Schedule(times[skipped:], alphas_bar[skipped:], following[skipped:])


def predicted_picture(x: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Return the x0 that a prediction of the noise means. `alpha_bar` broadcasts."""
    return (x - (1 - alpha_bar).sqrt() * noise) / alpha_bar.sqrt()


def ddim_step(
    x: Tensor, noise: Tensor, chance: Tensor, alpha_bar: Tensor, following: Tensor, eta: Tensor
) -> Tensor:
    """Go to the next step; `eta` says how much of the noise is drawn anew (0 none, 1 as DDPM).

    Source: DDIM, equations 12 and 16.
    """
    picture = predicted_picture(x, noise, alpha_bar)
    sigma = (
        eta
        * ((1 - following) / (1 - alpha_bar)).sqrt()
        * (1 - alpha_bar / following).clamp(min=0).sqrt()
    )
    kept = (1 - following - sigma**2).clamp(min=0).sqrt() * noise
    return following.sqrt() * picture + kept + sigma * chance


def ancestral_step(
    x: Tensor,
    noise: Tensor,
    chance: Tensor,
    alpha_bar: Tensor,
    following: Tensor,
    place: Tensor,
    push: Tensor,
) -> Tensor:
    """Draw the next step from the posterior, moved by its variance times `push`.

    `place` in −1..1 says where between its two bounds the variance's logarithm lies; `push` is the
    gradient of what is wished for. The last step adds no chance.

    Source: Improved DDPM, equation 15; Dhariwal & Nichol (2021), algorithm 1.
    """
    alpha = alpha_bar / following
    beta = 1 - alpha
    posterior = beta * (1 - following) / (1 - alpha_bar)
    # The posterior's variance is 0 at the very last step; the original takes the one before.
    low = posterior.clamp(min=1e-20).log()
    part = (place + 1) / 2
    variance = (part * beta.log() + (1 - part) * low).exp()
    picture = predicted_picture(x, noise, alpha_bar)
    mean = (
        following.sqrt() * beta / (1 - alpha_bar) * picture
        + alpha.sqrt() * (1 - following) / (1 - alpha_bar) * x
    )
    last = (following >= 1).to(x.dtype)
    return mean + variance * push + (1 - last) * variance.sqrt() * chance
