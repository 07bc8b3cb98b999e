"""Latent diffusion with networks trained on betas: Stable Diffusion, SDXL, Turbo and LCM.

Latents are kept as ``picture + σ·noise``. Every run has its own levels, sampler, prompts, guidance
and generator; the network is asked once for all of them. A start picture leaves out the first
steps, which count as taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from generation.clip.sending import send
from generation.engine import BatchKey
from generation.engines.blending import blend_option
from generation.engines.conditions import Condition, Rows, join, most_rows
from generation.engines.controls import Control, Hint, control_of, control_options
from generation.engines.denoising import (
    DenoisingEngine,
    DenoisingRun,
    LatentModel,
    Start,
    seeded,
    surround_option,
)
from generation.engines.noise_schedules import SCHEDULES, Levels, TrainedNoise, levels
from generation.engines.notices import of_idle_negatives
from generation.engines.sigma_samplers import SAMPLERS, Place, boundary
from generation.protocol import Job, OptionInfo, Recipe, Steer


class NoiseModel(LatentModel, Protocol):
    """A text-to-image network that was trained on betas."""

    @property
    def trained(self) -> TrainedNoise:
        """The noise that it knows."""
        ...

    @property
    def knows_guidance(self) -> bool:
        """Whether guidance is something it is told, instead of asking it twice."""
        ...

    def encode_prompt(self, text: str) -> tuple[Tensor, Tensor | None]:
        """Return token states [length, dim], and the prompt as one vector where it is wanted."""
        ...

    def predict(
        self,
        latents: Tensor,
        timesteps: Tensor,
        rows: Rows,
        guidance: Tensor,
        hints: Sequence[Hint | None] = (),
    ) -> Tensor:
        """Return what it predicts, [rows, c, h, w], of unit-variance latents.

        `timesteps` and `guidance` are [rows]; `hints` has a row's sketch, or is empty where none
        has one.
        """
        ...

    def use_control(self, name: str) -> None:
        """Have a ControlNet ready.

        Raises:
            EngineError: there is none called so, or it does not fit.
        """
        ...

    def use_lora(self, name: str, scale: float) -> None:
        """Add a LoRA to its weights, so much of it, in place of the last; none with ``none``.

        Raises:
            EngineError: there is none called so, or it does not fit.
        """
        ...


@dataclass(kw_only=True)
class LatentRun(DenoisingRun):
    """A picture that is being denoised by steps of its own sampler.

    `before` is what the step before the last expected, and `remembered` whether there was one.
    """

    levels: Levels
    sampler: str
    chance: torch.Generator
    before: Tensor
    remembered: bool = False
    control: Control | None = None


def latent_options(
    *,
    sampler: str = "dpm++2m",
    schedule: str = "model",
    loras: tuple[str, ...] = (),
    controls: tuple[str, ...] = (),
) -> tuple[OptionInfo, ...]:
    """Return the engine's settings, with defaults that suit its models."""
    return (
        OptionInfo(
            name="sampler",
            help="How a step goes on. The ancestral one and lcm add fresh noise; lcm is for "
            "models made for it.",
            default=sampler,
            choices=tuple(SAMPLERS),
        ),
        OptionInfo(
            name="schedule",
            help="How noise levels are spaced: as the model's publisher did, trailing, karras or "
            "exponential. lcm has its own.",
            default=schedule,
            choices=SCHEDULES,
        ),
        OptionInfo(
            name="lora",
            help="A LoRA of the models folder, added to the model: a style or a thing it learnt.",
            default="none",
            choices=("none", *loras),
        ),
        OptionInfo(
            name="lora_scale",
            help="How much of the LoRA is added.",
            default=1.0,
            minimum=-2.0,
            maximum=2.0,
        ),
        *control_options(controls),
        surround_option(),
        blend_option(0.5),
    )


class LatentDiffusionEngine(DenoisingEngine[NoiseModel, LatentRun]):
    """Draws with networks that were trained on betas."""

    def predict_bytes(self, recipe: Recipe, runs: int) -> int:
        """Estimate the larger of decoding one picture and asking the network for all rows.

        Each prompt and what it is guided away from are a row. The decoder works in float32 and
        takes larger pictures in tiles. Measured on the CPU with ``benchmarks.memory`` on Stable
        Diffusion 1.5: 970 numbers a pixel for the decoder; for the network what its largest
        convolution works in, and by the shapes of its maps 130 numbers a pixel and row. Those of a
        ControlNet are up to 60 more. A tenth is added.
        """
        pixels = recipe.width * recipe.height
        decoder = min(pixels, 768 * 768) * 1050 * 4
        number = 4 if self._device.type == "cpu" else 2
        a_row = 145 + (60 if recipe.sketch_sha256 is not None else 0)
        model = self._models.get(recipe.model)
        told = model is not None and model.knows_guidance
        rows = runs * most_rows(recipe, 1.0 if told else self._guidance(recipe))
        network = (128 << 20) + pixels * rows * a_row * number
        return max(decoder, network)

    def _shared(self, recipe: Recipe) -> BatchKey:
        # A LoRA is part of the weights.
        return self._lora(recipe)

    def _lora(self, recipe: Recipe) -> tuple[str, float]:
        settings = self._settings(recipe)
        name = str(settings["lora"])
        return name, 0.0 if name == "none" else float(settings["lora_scale"])

    def check(self, recipe: Recipe) -> None:
        """Refuse more steps than the model has for the sampler, too."""
        super().check(recipe)
        self.load(recipe.model)
        self._levels(recipe, 1.0 if recipe.init_sha256 is None else recipe.strength)

    def _levels(self, recipe: Recipe, strength: float) -> Levels:
        settings = self._settings(recipe)
        return levels(
            self._models[recipe.model].trained,
            recipe.steps,
            sampler=str(settings["sampler"]),
            schedule=str(settings["schedule"]),
            strength=max(0.0, min(1.0, strength)),
        )

    def _begun(self, job: Job, model: NoiseModel, noise: Tensor, start: Start | None) -> LatentRun:
        recipe = job.recipe
        settings = self._settings(recipe)
        sampler = str(settings["sampler"])
        strength = max(0.0, min(1.0, recipe.strength)) if start is not None else 1.0
        way = self._levels(recipe, strength)
        skipped = 0
        if sampler != "lcm":
            skipped = min(recipe.steps - 1, recipe.steps - int(recipe.steps * strength))
        if start is None or (start.hole is not None and strength == 1):
            latents = noise * way.start
        else:
            latents = start.latents + way.sigmas[skipped] * noise
        # The generator goes on behind the noise that began the run.
        chance = seeded(recipe)
        torch.randn(noise.shape, generator=chance)
        model.use_lora(*self._lora(recipe))
        control = control_of(job, settings, self._device)
        if control is not None:
            model.use_control(control.name)
        return LatentRun(
            job=job,
            recipe=recipe,
            step=skipped,
            latents=latents,
            denoised=noise if start is None else start.latents,
            noise=noise,
            start=start,
            guidance=self._guidance(recipe),
            levels=way,
            sampler=sampler,
            chance=chance,
            before=torch.zeros_like(latents),
            control=control,
        )

    def _advance(self, runs: Sequence[LatentRun]) -> None:
        expected = self._expected(runs)
        before = [run.chance.get_state() for run in runs]
        try:
            rows = [self._followed(run, each) for run, each in zip(runs, expected, strict=True)]
        except BaseException:
            # Whoever catches this may try again; chance must then fall as it would have.
            for run, state in zip(runs, before, strict=True):
                run.chance.set_state(state)
            raise
        latents, denoised = (torch.stack(column) for column in zip(*rows, strict=True))
        for run, picture in zip(runs, expected, strict=True):
            run.before, run.remembered = picture.clone(), True
        self._take(runs, latents, denoised)

    def _expected(self, runs: Sequence[LatentRun]) -> Tensor:
        """Return the pictures' latents that the network expects, [runs, c, h, w]."""
        model = self._models[runs[0].recipe.model]
        told = model.knows_guidance
        rows = join(runs, self._device, guidance=[1.0] * len(runs) if told else None)
        latents = torch.stack([run.latents for run in runs])
        sigmas = _wide([float(run.levels.sigmas[run.step]) for run in runs], latents)
        scaled = latents / (1 + sigmas**2).sqrt()
        timesteps = send([float(run.levels.timesteps[run.step]) for run in runs], self._device)
        guidance = send([run.guidance for run in runs], self._device)
        model.use_lora(*self._lora(runs[0].recipe))
        owners = rows.owners
        hints = [
            None if run.control is None else run.control.hint(run.step, run.recipe.steps)
            for run in runs
        ]
        answers = model.predict(
            scaled[owners],
            timesteps[owners],
            rows,
            guidance[owners],
            [hints[owner] for owner in rows.owned] if any(hints) else (),
        )
        answer = rows.sum(answers, len(runs))
        if model.trained.prediction == "epsilon":
            return latents - sigmas * answer
        if model.trained.prediction == "v_prediction":
            return latents / (1 + sigmas**2) - answer * sigmas / (1 + sigmas**2).sqrt()
        return answer

    def _followed(self, run: LatentRun, expected: Tensor) -> tuple[Tensor, Tensor]:
        """Return a run's next latents, and what its picture would be: arithmetic of it alone."""
        sigmas = run.levels.sigmas
        now, then = float(sigmas[run.step]), float(sigmas[run.step + 1])
        skip, out = 0.0, 1.0
        if run.sampler == "lcm":
            scaling = self._models[run.recipe.model].trained.timestep_scaling
            skip, out = boundary(float(run.levels.timesteps[run.step]), scaling)
        at = Place(
            sigma=now,
            sigma_next=then,
            sigma_before=float(sigmas[run.step - 1]) if run.remembered else None,
            denoised_before=run.before if run.remembered else None,
            skip=skip,
            out=out,
        )
        latents = SAMPLERS[run.sampler](run.latents, expected, at, self._chance(run))
        denoised = expected
        if run.step + 1 == run.recipe.steps:
            denoised = latents / (1 + then**2) ** 0.5
        if run.start is not None and run.start.hole is not None:
            hole, known = run.start.hole, run.start.latents
            latents = hole * latents + (1 - hole) * (known + then * run.noise)
            denoised = hole * denoised + (1 - hole) * known
        return latents, denoised

    def _chance(self, run: LatentRun) -> Callable[[], Tensor]:
        def draw() -> Tensor:
            return send(torch.randn(run.latents.shape, generator=run.chance), self._device)

        return draw

    def _condition(self, model: NoiseModel, text: str, weight: float) -> Condition:
        states, pooled = model.encode_prompt(text)
        mask = torch.ones(len(states), dtype=torch.bool, device=states.device)
        return Condition(states, mask, weight, pooled, text)

    def _notices(self, run: LatentRun) -> tuple[str, ...]:
        told = super()._notices(run)
        # What is told the guidance is asked for what is wanted alone.
        if self._models[run.recipe.model].knows_guidance:
            told += of_idle_negatives(run.recipe)
        return told

    def _turn(self, run: LatentRun, steer: Steer) -> None:
        # A LoRA may change what words mean, too.
        self._models[run.recipe.model].use_lora(*self._lora(run.recipe))
        super()._turn(run, steer)

    def _state(self, run: LatentRun) -> dict[str, Tensor]:
        return {
            "latents": run.latents,
            "denoised": run.denoised,
            "before": run.before,
            "remembered": torch.tensor(run.remembered),
            "chance": run.chance.get_state(),
        }

    def _take_state(self, run: LatentRun, state: dict[str, Tensor]) -> None:
        run.latents, run.denoised, run.before = (
            state[name] for name in ("latents", "denoised", "before")
        )
        run.remembered = bool(state["remembered"])
        run.chance.set_state(state["chance"].cpu())


def _wide(numbers: list[float], like: Tensor) -> Tensor:
    return send(numbers, like.device, like.dtype).view(-1, 1, 1, 1)
