"""Samplers for networks trained on betas: plain functions from one noise level to the next.

Latents are ``x = picture + σ·noise``. A step has asked the network once, and what that expects
the picture to be is `denoised`; all else is arithmetic of one run, so runs with different samplers
share the network's call. `chance` is standard normal noise of the latents' shape.

In these terms diffusers' unit-variance latents are ``x / √(1 + σ²)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log

from torch import Tensor


@dataclass(frozen=True)
class Place:
    """Where a run stands: its level and the next, and what the last step left.

    `skip` and `out` are a consistency model's boundary scalings.
    """

    sigma: float
    sigma_next: float
    sigma_before: float | None = None
    denoised_before: Tensor | None = None
    skip: float = 0.0
    out: float = 1.0


Sampler = Callable[[Tensor, Tensor, Place, Callable[[], Tensor]], Tensor]
"""Latents, the expected picture, the place and what draws chance: to the next latents."""


def euler(x: Tensor, denoised: Tensor, at: Place, _chance: Callable[[], Tensor]) -> Tensor:
    """Go in a straight line towards the expected picture.

    With unit-variance latents this is DDIM's step without noise, too. Sources: Karras et al.
    (2022), algorithm 1 without its correction; Song et al., Denoising Diffusion Implicit Models
    (2021), equation 12 with η = 0.
    """
    return x + (x - denoised) / at.sigma * (at.sigma_next - at.sigma)


def euler_ancestral(x: Tensor, denoised: Tensor, at: Place, chance: Callable[[], Tensor]) -> Tensor:
    """Go below the next level, and up to it with fresh noise.

    Source: Song et al. (2021), equation 12 with η = 1, in the terms of Karras et al. (2022); as
    in k-diffusion's ``sample_euler_ancestral``.
    """
    after, now = at.sigma_next**2, at.sigma**2
    up = (after * (now - after) / now) ** 0.5
    down = max(after - up**2, 0.0) ** 0.5
    x = x + (x - denoised) / at.sigma * (down - at.sigma)
    return x + up * chance() if up > 0 else x


def dpm_plus_plus_2m(
    x: Tensor, denoised: Tensor, at: Place, _chance: Callable[[], Tensor]
) -> Tensor:
    """Carry on the change since the last step's expectation, in the logarithm of sigma.

    The first step has nothing to carry on and the last goes to no noise: both are of first order.
    Source: Lu et al., DPM-Solver++ (2022), algorithm 2.
    """
    if at.sigma_next == 0:
        return denoised
    if at.denoised_before is not None and at.sigma_before is not None:
        step = log(at.sigma / at.sigma_next)
        before = log(at.sigma_before / at.sigma)
        denoised = denoised + step / (2 * before) * (denoised - at.denoised_before)
    kept = at.sigma_next / at.sigma
    return kept * x + (1 - kept) * denoised


def consistency(x: Tensor, denoised: Tensor, at: Place, chance: Callable[[], Tensor]) -> Tensor:
    """Jump to the picture, and back up to the next level with fresh noise.

    Source: Luo et al., Latent Consistency Models (2023), algorithm 3.
    """
    picture: Tensor = at.out * denoised + at.skip * x / (1 + at.sigma**2) ** 0.5
    return picture + at.sigma_next * chance() if at.sigma_next > 0 else picture


def boundary(timestep: float, scaling: float, sigma_data: float = 0.5) -> tuple[float, float]:
    """Return how much a consistency model keeps of what it sees, and of what it says.

    Source: Luo et al. (2023), section 4.1.
    """
    scaled = timestep * scaling
    whole = scaled**2 + sigma_data**2
    return sigma_data**2 / whole, scaled / whole**0.5


SAMPLERS: dict[str, Sampler] = {
    "dpm++2m": dpm_plus_plus_2m,
    "euler": euler,
    "euler ancestral": euler_ancestral,
    "ddim": euler,
    "lcm": consistency,
}
