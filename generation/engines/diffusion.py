"""The diffusion engine: runs at different steps, prompts and guidance share one network call.

A step takes every run of the batch from its own noise level to the next. The network is asked
once for all of them: a row for each prompt of each run, and one for what each is guided away
from. Prompts are composed at the prediction, each with its weight, and a steer glides there too.

It draws with any `FlowModel`; the starter diffusion model is one. Source of guidance: Ho &
Salimans, Classifier-Free Diffusion Guidance (2022); of composition: Liu et al., Compositional
Visual Generation with Composable Diffusion Models (2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from generation.clip.targets import glide_part
from generation.engine import BatchKey, EngineError, Run
from generation.engines.checkpointing import identity, pack, restore, saved_step, unpack
from generation.engines.exactness import deterministic_kernels
from generation.engines.options import check_recipe, complete_settings
from generation.engines.samplers import SAMPLERS, flow_times
from generation.engines.steering import note_steer, steer_taken
from generation.imaging import decode_picture, to_pil
from generation.prompts import Prompt, parse, plain_text
from generation.protocol import EngineInfo, Job, OptionInfo, Recipe, Steer

_FORMAT = "diffusion"
_VERSION = 1
# Up to this many pixels a preview is decoded; above, each latent becomes a pixel of it.
_DECODED_PREVIEW_PIXELS = 256 * 256


class FlowModel(Protocol):
    """A text-to-image rectified flow on latents. Times are in 0..1, and 1 is noise."""

    @property
    def latent_channels(self) -> int:
        """How many channels latents have."""
        ...

    @property
    def factor(self) -> int:
        """How many pixels a latent is wide."""
        ...

    def encode_prompt(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return token states [n, length, dim] and a mask [n, length], True where they count."""
        ...

    def velocity(self, latents: Tensor, t: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """Return noise minus picture, [n, c, h, w], for latents at times t [n]."""
        ...

    def encode(self, pictures: Tensor) -> Tensor:
        """Return the latents of pictures [n, 3, h·factor, w·factor] in 0..1."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Return the pictures of latents, in about 0..1."""
        ...

    def preview(self, latents: Tensor) -> Tensor:
        """Return a cheap likeness [n, 3, h, w] in about 0..1, one pixel a latent."""
        ...

    def score(self, picture: Tensor, text: str) -> float | None:
        """Return CLIP's cosine of a picture [3, h, w] with a text, or None without a CLIP."""
        ...

    def close(self) -> None:
        """Let go of what it shares with others."""
        ...


@dataclass(frozen=True)
class Condition:
    """One prompt as the network sees it: token states [length, dim], mask [length], weight."""

    states: Tensor
    mask: Tensor
    weight: float


@dataclass(kw_only=True)
class DiffusionRun(Run):
    """A picture that is being denoised.

    `prompts` holds the first prompt's conditions and then one list for each steer; `away` is what
    guidance leads away from. `times` [steps + 1] are the noise levels. `denoised` is what the
    last step expected the picture to become.
    """

    latents: Tensor
    denoised: Tensor
    times: Tensor
    guidance: float
    prompts: tuple[tuple[Condition, ...], ...]
    away: tuple[Condition, ...]


def diffusion_options(*, sampler: str = "euler", shift: float = 1.0) -> tuple[OptionInfo, ...]:
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
    )


class DiffusionEngine:
    """Draws with flow models; see `generation.engine.Engine` for what each method promises.

    `load_model` loads a model by name. `exact` makes every run an exact one.
    """

    def __init__(
        self,
        info: EngineInfo,
        load_model: Callable[[str], FlowModel],
        *,
        device: torch.device,
        exact: bool = False,
    ) -> None:
        self._info = info
        self._load_model = load_model
        self._device = device
        self._exact = exact
        self._models: dict[str, FlowModel] = {}

    @property
    def info(self) -> EngineInfo:
        """What may be asked of it."""
        return self._info

    # --- models ----------------------------------------------------------------------------

    def batch_key(self, recipe: Recipe) -> BatchKey:
        """Runs share a step if model, size and sampler are the same."""
        settings = complete_settings(recipe.settings, self._info.options)
        key: BatchKey = (recipe.model, recipe.width, recipe.height, settings["sampler"])
        if recipe.exact:
            key += ("exact", recipe.seed, recipe.prompt)
        return key

    def predict_bytes(self, recipe: Recipe, runs: int) -> int:
        """Estimate the decoder's activations of one picture and the network's of all rows."""
        pixels = recipe.width * recipe.height
        return pixels * (4096 + 1024 * runs)

    def load(self, model: str) -> None:
        """Have the model ready."""
        if model not in self._models:
            self._models[model] = self._load_model(model)

    def unload(self, model: str) -> None:
        """Let go of the model."""
        if (unloaded := self._models.pop(model, None)) is not None:
            unloaded.close()

    # --- a run's life ----------------------------------------------------------------------

    @torch.no_grad()
    def begin(self, job: Job, checkpoint: bytes | None) -> DiffusionRun:
        """Make a run of seeded noise, mixed into a picture's latents if it starts from one."""
        recipe = job.recipe
        check_recipe(recipe, self._info)
        settings = complete_settings(recipe.settings, self._info.options)
        self.load(recipe.model)
        model = self._models[recipe.model]
        strength = max(0.05, min(1.0, recipe.strength)) if job.init else 1.0
        times = flow_times(recipe.steps, start=strength, shift=float(settings["shift"]))
        latents = self._noise(model, recipe)
        if job.init:
            picture = decode_picture(job.init, recipe.width, recipe.height)
            start = model.encode(picture[None].to(self._device))[0]
            latents = (1 - strength) * start + strength * latents
        wanted = [prompt for prompt in parse(recipe.prompt) if prompt.weight > 0]
        if not wanted:
            raise EngineError("The prompt says nothing to draw. Write a few words.")
        run = DiffusionRun(
            job=job,
            recipe=recipe,
            latents=latents,
            denoised=latents,
            times=times,
            guidance=self._guidance(recipe),
            prompts=(self._conditions(model, wanted),),
            away=self._conditions(model, _unwanted(recipe)),
        )
        for steer in recipe.steers:
            run.prompts += (self._steered(run, steer),)
        if checkpoint is not None:
            self._resume(run, checkpoint)
        return run

    @torch.no_grad()
    def step(self, runs: Sequence[DiffusionRun]) -> None:
        """Take each run to its next noise level. Exact runs are taken one by one."""
        runs = [run for run in runs if not run.done]
        if not any(self._is_exact(run) for run in runs):
            if runs:
                self._advance(runs)
            return
        with deterministic_kernels(True):
            for run in runs:
                self._advance([run])

    @torch.no_grad()
    def image(self, run: DiffusionRun) -> Image.Image:
        """Decode the expected picture; of a finished run that is the picture."""
        return to_pil(self._drawn(run))

    @torch.no_grad()
    def preview(self, run: DiffusionRun) -> Image.Image:
        """Show what the picture is expected to become."""
        if run.recipe.width * run.recipe.height <= _DECODED_PREVIEW_PIXELS:
            return self.image(run)
        model = self._models[run.recipe.model]
        return to_pil(model.preview(run.denoised[None])[0])

    def steer(self, run: DiffusionRun, steer: Steer) -> None:
        """Let the prompts glide from the present step on, and note it in the run's recipe."""
        taken = steer_taken(run, steer)
        run.prompts += (self._steered(run, taken),)
        note_steer(run, taken)

    def checkpoint(self, run: DiffusionRun) -> bytes:
        """Return latents and the step; chance has no part after the first noise."""
        return pack(_state(run), step=run.step, **identity(_FORMAT, _VERSION, run.recipe))

    # --- one step --------------------------------------------------------------------------

    def _advance(self, runs: Sequence[DiffusionRun]) -> None:
        settings = complete_settings(runs[0].recipe.settings, self._info.options)
        sampler = SAMPLERS[str(settings["sampler"])]
        guided = self._guided(runs)
        now = torch.stack([run.times[run.step] for run in runs]).to(self._device)
        then = torch.stack([run.times[run.step + 1] for run in runs]).to(self._device)
        latents, denoised = sampler(guided, torch.stack([run.latents for run in runs]), now, then)
        sound = latents.flatten(1).isfinite().all(dim=1).tolist()
        for row, (run, is_sound) in enumerate(zip(runs, sound, strict=True)):
            if not is_sound:
                run.error = EngineError(
                    f"The picture fell apart at step {run.step}: it is not made of numbers any "
                    "more. Try less guidance or another seed."
                )
                continue
            run.latents, run.denoised = latents[row].clone(), denoised[row].clone()
            run.step += 1
            if run.done:
                run.score = self._score(run)

    def _guided(self, runs: Sequence[DiffusionRun]) -> Callable[[Tensor, Tensor], Tensor]:
        """Join all runs' conditions into one call of the network, and its answers by weight.

        A run's velocity is ``away + guidance · (towards − away)``, each the weighted mean over
        its conditions: one linear form over the run's rows.
        """
        rows = [_guided_rows(run) for run in runs]
        owners = torch.tensor(
            [owner for owner, conditions in enumerate(rows) for _ in conditions],
            device=self._device,
        )
        every = [condition for conditions in rows for condition in conditions]
        longest = max(len(condition.states) for condition in every)
        states = torch.stack([_pad(condition.states, longest) for condition in every])
        mask = torch.stack([_pad(condition.mask, longest) for condition in every])
        weights = states.new_tensor([condition.weight for condition in every], dtype=torch.float32)
        model = self._models[runs[0].recipe.model]

        def velocity(latents: Tensor, t: Tensor) -> Tensor:
            answers = model.velocity(latents[owners], t[owners], states, mask).float()
            weighted = answers * weights.view(-1, 1, 1, 1)
            return torch.zeros_like(latents).index_add(0, owners, weighted)

        return velocity

    # --- smaller parts ---------------------------------------------------------------------

    def _is_exact(self, run: DiffusionRun) -> bool:
        return self._exact or run.recipe.exact

    def _guidance(self, recipe: Recipe) -> float:
        default = self._info.guidance if self._info.guidance is not None else 1.0
        wanted = default if recipe.guidance is None else recipe.guidance
        return max(0.0, min(self._info.max_guidance, wanted))

    def _noise(self, model: FlowModel, recipe: Recipe) -> Tensor:
        """Draw a run's noise on the CPU, so that every device starts alike."""
        random = torch.Generator().manual_seed(recipe.seed & (2**63 - 1))
        shape = (model.latent_channels, recipe.height // model.factor, recipe.width // model.factor)
        return torch.randn(shape, generator=random).to(self._device)

    def _conditions(self, model: FlowModel, prompts: Sequence[Prompt]) -> tuple[Condition, ...]:
        """Encode each prompt alone, so that it is always the same; weights sum to 1."""
        total = sum(abs(prompt.weight) for prompt in prompts)
        conditions = []
        for prompt in prompts:
            states, mask = model.encode_prompt([prompt.text])
            conditions.append(Condition(states[0], mask[0], abs(prompt.weight) / total))
        return tuple(conditions)

    @torch.no_grad()
    def _steered(self, run: DiffusionRun, steer: Steer) -> tuple[Condition, ...]:
        wanted = [prompt for prompt in parse(steer.prompt) if prompt.weight > 0]
        if not wanted:
            raise EngineError("The new prompt says nothing to draw. Write a few words.")
        return self._conditions(self._models[run.recipe.model], wanted)

    def _drawn(self, run: DiffusionRun) -> Tensor:
        with deterministic_kernels(self._is_exact(run)):
            return self._models[run.recipe.model].decode(run.denoised[None])[0].clamp(0, 1)

    def _score(self, run: DiffusionRun) -> float | None:
        """Return the finished picture's cosine with what was asked for last."""
        asked = run.recipe.steers[-1].prompt if run.recipe.steers else run.recipe.prompt
        return self._models[run.recipe.model].score(self._drawn(run), plain_text(asked))

    def _resume(self, run: DiffusionRun, checkpoint: bytes) -> None:
        saved, fields = unpack(checkpoint, **identity(_FORMAT, _VERSION, run.recipe))
        state = restore(saved, _state(run))
        run.step = saved_step(fields)
        run.latents, run.denoised = state["latents"], state["denoised"]


def _unwanted(recipe: Recipe) -> list[Prompt]:
    """Return what to guide away from: negative words and weights, or else the empty prompt."""
    words = [prompt for prompt in parse(recipe.negative) if prompt.weight != 0]
    words += [prompt for prompt in parse(recipe.prompt) if prompt.weight < 0]
    return words or [Prompt("")]


def _guided_rows(run: DiffusionRun) -> list[Condition]:
    """Return what the network is asked in the run's present step, and each answer's weight."""
    towards = [(condition, condition.weight) for condition in run.prompts[0]]
    for steer, conditions in zip(run.recipe.steers, run.prompts[1:], strict=False):
        part = glide_part(steer, run.step)
        if part > 0:
            towards = [(condition, weight * (1 - part)) for condition, weight in towards]
            towards += [(condition, condition.weight * part) for condition in conditions]
    rows = [(condition, weight * run.guidance) for condition, weight in towards]
    rows += [(condition, condition.weight * (1 - run.guidance)) for condition in run.away]
    return [
        Condition(condition.states, condition.mask, weight)
        for condition, weight in rows
        if weight != 0
    ]


def _pad(rows: Tensor, length: int) -> Tensor:
    missing = length - len(rows)
    return F.pad(rows, (0, 0, 0, missing) if rows.dim() == 2 else (0, missing))


def _state(run: DiffusionRun) -> dict[str, Tensor]:
    return {"latents": run.latents, "denoised": run.denoised}
