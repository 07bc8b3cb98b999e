"""Diffusion with rectified flows; the starter diffusion model is one.

The noise level is a time in 0..1, and 1 is noise. Settings, prompts, masks and guidance are those
of `generation.engines.denoising`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from generation.clip.sending import send
from generation.engine import BatchKey
from generation.engines.blending import blend_option
from generation.engines.conditions import Condition, join, most_rows
from generation.engines.denoising import (
    DenoisingEngine,
    DenoisingRun,
    LatentModel,
    Start,
    surround_option,
)
from generation.engines.samplers import SAMPLERS, Velocity, flow_times, guidance_at
from generation.protocol import Job, OptionInfo, Recipe

_MOST_GUIDANCE = 30.0


class FlowModel(LatentModel, Protocol):
    """A text-to-image rectified flow on latents."""

    @property
    def dtype(self) -> torch.dtype:
        """The number format of its network, and of all else that need not be right to the digit."""
        ...

    def encode_prompt(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return token states [n, length, dim] and a mask [n, length], True where they count."""
        ...

    def velocity(self, latents: Tensor, t: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """Return noise minus picture, [n, c, h, w], for latents at times t [n]."""
        ...


@dataclass(kw_only=True)
class DiffusionRun(DenoisingRun):
    """A picture that flows; `times` [steps + 1] are its noise levels."""

    times: Tensor


def diffusion_options(
    *,
    sampler: str = "euler",
    shift: float = 1.0,
    level: float = _MOST_GUIDANCE,
    guidance_end: float = 0.0,
) -> tuple[OptionInfo, ...]:
    """Return the engine's settings, with defaults that suit a model."""
    return (
        OptionInfo(
            name="sampler",
            help="How a step goes on: euler is fast, heun more exact at twice the time.",
            default=sampler,
            choices=tuple(SAMPLERS),
        ),
        OptionInfo(
            name="shift",
            help="Above 1 spends more steps on composition, below 1 more on detail.",
            default=shift,
            minimum=0.1,
            maximum=10.0,
        ),
        OptionInfo(
            name="level_guidance",
            help="How far guidance may lead the picture's overall brightness and colour.",
            default=level,
            unsaid=_MOST_GUIDANCE,
            minimum=0.0,
            maximum=_MOST_GUIDANCE,
        ),
        OptionInfo(
            name="guidance_end",
            help="How much of the noise is left when guidance ends: above 0 details come freely.",
            default=guidance_end,
            unsaid=0.0,
            minimum=0.0,
            maximum=1.0,
        ),
        surround_option(),
        blend_option(0.5),
    )


def condition(model: FlowModel, text: str, weight: float) -> Condition:
    """Encode a text alone, so that it is always the same."""
    states, mask = model.encode_prompt([text])
    return Condition(states[0], mask[0], weight, text=text)


class DiffusionEngine(DenoisingEngine[FlowModel, DiffusionRun]):
    """Draws with flow models."""

    def predict_bytes(self, recipe: Recipe, runs: int) -> int:
        """Estimate the larger of decoding one picture and asking the network for all rows.

        Measured on the CPU with ``benchmarks.memory``, at 128 and 256 pixels with 1 to 8 runs of
        two rows each.
        """
        pixels = recipe.width * recipe.height
        level = float(self._settings(recipe)["level_guidance"])
        guidance = self._guidance(recipe)
        rows = runs * most_rows(recipe, guidance, min(guidance, level))
        return max((18 << 20) + 1300 * pixels, (16 << 20) + 90 * pixels * rows)

    def _shared(self, recipe: Recipe) -> BatchKey:
        # Samplers differ in how often they ask the network.
        return (self._settings(recipe)["sampler"],)

    def _begun(
        self, job: Job, model: FlowModel, noise: Tensor, start: Start | None
    ) -> DiffusionRun:
        recipe = job.recipe
        strength = max(0.05, min(1.0, recipe.strength)) if start is not None else 1.0
        shift = float(self._settings(recipe)["shift"])
        latents = noise
        if start is not None:
            latents = (1 - strength) * start.latents + strength * noise
        return DiffusionRun(
            job=job,
            recipe=recipe,
            latents=latents,
            denoised=latents,
            noise=noise,
            start=start,
            times=flow_times(recipe.steps, start=strength, shift=shift),
            guidance=self._guidance(recipe),
        )

    def _advance(self, runs: Sequence[DiffusionRun]) -> None:
        sampler = SAMPLERS[str(self._settings(runs[0].recipe)["sampler"])]
        now = send(torch.stack([run.times[run.step] for run in runs]), self._device)
        then = send(torch.stack([run.times[run.step + 1] for run in runs]), self._device)
        latents = torch.stack([run.latents for run in runs])
        latents, denoised = sampler(self._guided(runs), latents, now, then)
        for row, run in enumerate(runs):
            if run.start is not None and run.start.hole is not None:
                hole, known = run.start.hole, run.start.latents
                there = (1 - then[row]) * known + then[row] * run.noise
                latents[row] = hole * latents[row] + (1 - hole) * there
                denoised[row] = hole * denoised[row] + (1 - hole) * known
        self._take(runs, latents, denoised)

    def _guided(self, runs: Sequence[DiffusionRun]) -> Velocity:
        levels = [float(self._settings(run.recipe)["level_guidance"]) for run in runs]
        guidance = [self._guidance_now(run) for run in runs]
        rows = join(runs, self._device, guidance=guidance, levels=levels)
        model = self._models[runs[0].recipe.model]

        def velocity(latents: Tensor, t: Tensor) -> Tensor:
            owners = rows.owners
            answers = model.velocity(latents[owners], t[owners], rows.states, rows.mask)
            return rows.sum(answers, len(runs))

        return velocity

    def _guidance_now(self, run: DiffusionRun) -> float:
        """Return the guidance of a run's present step, which towards the end may be none.

        Who steers in mid-drawing is guided to the end: little noise may be left to follow it. What
        was said before the first step is not meant: that is how a film's stops are written.
        """
        if any(0 < steer.step <= run.step for steer in run.recipe.steers):
            return run.guidance
        end = float(self._settings(run.recipe)["guidance_end"])
        start, now = float(run.times[0]), float(run.times[run.step])
        return guidance_at(now, run.guidance, end=end, start=start)

    def _condition(self, model: FlowModel, text: str, weight: float) -> Condition:
        return condition(model, text, weight)

    def _state(self, run: DiffusionRun) -> dict[str, Tensor]:
        """Chance has no part after the first noise."""
        return {"latents": run.latents, "denoised": run.denoised}

    def _take_state(self, run: DiffusionRun, state: dict[str, Tensor]) -> None:
        run.latents, run.denoised = state["latents"], state["denoised"]
