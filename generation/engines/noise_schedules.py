"""Noise schedules: at which noise levels a network is asked, for networks trained on betas.

Levels are said as sigmas: how much noise stands beside the picture, ``x = picture + σ·noise``
(Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022). What the
network was trained on is that, scaled to unit variance, at one of so many timesteps. Which
timesteps a sampler takes of these differs between samplers; the ways are those of diffusers'
schedulers, so that the same seed draws what it draws elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from generation.engine import EngineError

Prediction = Literal["epsilon", "v_prediction", "sample"]
Spacing = Literal["linspace", "leading", "trailing"]
Floats = npt.NDArray[np.float64]

SCHEDULES = ("model", "trailing", "karras", "exponential")
_RHO = 7.0


@dataclass(frozen=True)
class TrainedNoise:
    """What noise a network knows, and how its publisher means it to be asked.

    `sigmas` [timesteps] rise with the timestep. `ends_clean` says whether DDIM's last step goes
    to no noise at all. `consistency_steps` are a latent consistency model's own steps.
    """

    sigmas: Floats
    prediction: Prediction = "epsilon"
    spacing: Spacing = "leading"
    offset: int = 0
    ends_clean: bool = True
    consistency_steps: int = 50
    timestep_scaling: float = 10.0

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TrainedNoise:
        """Read the ``scheduler_config.json`` of a diffusers folder.

        Raises:
            EngineError: it is of a kind that is not known here.
        """
        prediction, spacing = config.get("prediction_type"), config.get("timestep_spacing")
        if (prediction or "epsilon") not in get_args(Prediction):
            raise EngineError(f"Networks that predict “{prediction}” are not known here.")
        if (spacing or "leading") not in get_args(Spacing):
            raise EngineError(f"Timesteps spaced as “{spacing}” are not known here.")
        return cls(
            sigmas=_sigmas(config),
            prediction=cast(Prediction, prediction or "epsilon"),
            spacing=cast(Spacing, spacing or "leading"),
            offset=int(config.get("steps_offset") or 0),
            ends_clean=bool(config.get("set_alpha_to_one", True)),
            consistency_steps=int(config.get("original_inference_steps") or 50),
            timestep_scaling=float(config.get("timestep_scaling") or 10.0),
        )


@dataclass(frozen=True)
class Levels:
    """A run's way from noise to picture.

    `timesteps` [steps] are what the network is told, `sigmas` [steps + 1] what it stands at;
    `start` is the scale of the noise that a run without a picture begins with.
    """

    timesteps: Tensor
    sigmas: Tensor
    start: float


def levels(
    noise: TrainedNoise, steps: int, *, sampler: str, schedule: str = "model", strength: float = 1.0
) -> Levels:
    """Return the levels of a sampler, one of `generation.engines.sigma_samplers`.

    `schedule` may space them otherwise than the model's publisher did: evenly from the very last
    timestep on (``trailing``; Lin et al., Common Diffusion Noise Schedules and Sample Steps are
    Flawed, 2023), as Karras et al. (2022, equation 5), or evenly in the logarithm. `strength`
    matters for ``lcm`` alone, which takes all its steps from a lower level then.

    Raises:
        EngineError: there are more steps than the network has.
    """
    spacing = noise.spacing if schedule != "trailing" else "trailing"
    if sampler == "lcm":
        timesteps = _consistency_timesteps(noise, steps, strength)
    else:
        timesteps = _timesteps(len(noise.sigmas), steps, sampler, spacing, noise.offset)
    sigmas = np.interp(timesteps, np.arange(len(noise.sigmas)), noise.sigmas)
    if schedule in ("karras", "exponential") and sampler != "lcm":
        ends = noise.sigmas[[-1, 0]] if sampler == "dpm++2m" else sigmas[[0, -1]]
        sigmas = _ramp(float(ends[0]), float(ends[1]), steps, schedule)
        timesteps = _timesteps_of(sigmas, noise.sigmas)
        if sampler == "dpm++2m" and schedule == "karras":
            timesteps = timesteps.round()
    last = float(noise.sigmas[0]) if sampler == "ddim" and not noise.ends_clean else 0.0
    unit_variance = sampler not in ("euler", "euler ancestral") or spacing == "leading"
    return Levels(
        timesteps=torch.from_numpy(timesteps).float(),
        sigmas=torch.from_numpy(np.append(sigmas, last)).float(),
        start=float((sigmas[0] ** 2 + unit_variance) ** 0.5),
    )


def _sigmas(config: Mapping[str, Any]) -> Floats:
    """Return the sigmas [timesteps] that betas amount to."""
    steps = int(config.get("num_train_timesteps") or 1000)
    first = float(config.get("beta_start") or 0.0001)
    last = float(config.get("beta_end") or 0.02)
    kind = config.get("beta_schedule") or "linear"
    if config.get("trained_betas") is not None:
        betas = torch.tensor(config["trained_betas"], dtype=torch.float32)
    elif kind == "linear":
        betas = torch.linspace(first, last, steps, dtype=torch.float32)
    elif kind == "scaled_linear":
        betas = torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float32) ** 2
    else:
        raise EngineError(f"Betas that go “{kind}” are not known here.")
    kept = torch.cumprod(1 - betas, dim=0)
    if config.get("rescale_betas_zero_snr"):
        kept = _without_signal_at_last(kept)
    return cast(Floats, ((1 - kept) / kept).sqrt().double().numpy())


def _without_signal_at_last(kept: Tensor) -> Tensor:
    """Rescale so that nothing of the picture is left at the last timestep.

    Source: Lin et al. (2023), algorithm 1. What is left is not quite nothing, so that sigma stays
    a number.
    """
    roots = kept.sqrt()
    first, last = roots[0].clone(), roots[-1].clone()
    roots = (roots - last) * first / (first - last)
    rescaled = roots**2
    rescaled[-1] = 2.0**-24
    return rescaled


def _timesteps(trained: int, steps: int, sampler: str, spacing: Spacing, offset: int) -> Floats:
    """Return the timesteps [steps], falling.

    DPM++ spaces one more and leaves out the lowest, DDIM knows whole timesteps only.
    """
    if steps > trained:
        raise EngineError(f"This model has {trained} steps, so {steps} are too many.")
    if spacing == "trailing":
        every = np.arange(trained, 0, -trained / steps).round() - 1
        return cast(Floats, np.clip(every, 0, trained - 1)[:steps])
    spaced = steps + (sampler == "dpm++2m")
    if spacing == "linspace":
        rising: Floats = np.linspace(0, trained - 1, spaced).astype(np.float64)
        if not sampler.startswith("euler"):
            rising = rising.round()
    else:
        rising = np.arange(spaced, dtype=np.float64) * (trained // spaced) + offset
    return cast(Floats, np.clip(rising[::-1][:steps], 0, trained - 1))


def _consistency_timesteps(noise: TrainedNoise, steps: int, strength: float) -> Floats:
    """Return timesteps [steps], taken evenly from those that the model was distilled to.

    Source: Luo et al., Latent Consistency Models (2023).
    """
    every = len(noise.sigmas) // noise.consistency_steps
    known = np.arange(1, int(noise.consistency_steps * strength) + 1) * every - 1.0
    if steps > len(known):
        raise EngineError(
            f"With lcm and this strength there are at most {len(known)} steps, not {steps}."
        )
    taken = np.floor(np.linspace(0, len(known), steps, endpoint=False)).astype(int)
    return cast(Floats, known[::-1][taken])


def _ramp(highest: float, lowest: float, steps: int, kind: str) -> Floats:
    ramp = np.linspace(0, 1, steps)
    if kind == "karras":
        ends = highest ** (1 / _RHO), lowest ** (1 / _RHO)
        return cast(Floats, (ends[0] + ramp * (ends[1] - ends[0])) ** _RHO)
    return cast(Floats, np.exp(np.log(highest) + ramp * (np.log(lowest) - np.log(highest))))


def _timesteps_of(sigmas: Floats, trained: Floats) -> Floats:
    """Return where sigmas lie among the trained ones, by their logarithms."""
    return cast(Floats, np.interp(np.log(sigmas), np.log(trained), np.arange(len(trained))))
