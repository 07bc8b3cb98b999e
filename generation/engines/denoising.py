"""What all engines have in common that take latents from noise to a picture.

Runs at different steps, prompts and guidance share one network call: a row for each prompt of
each run, and one for what it is guided away from. Prompts are composed at the prediction, each
with its weight, and a steer glides there too. Sources: Ho & Salimans, Classifier-Free Diffusion
Guidance (2022); Liu et al., Compositional Visual Generation with Composable Diffusion Models
(2022).

Where there is a mask, each step puts the start picture back, with the noise of its level, where
it must not be redrawn (Lugmayr et al., RePaint, 2022, equation 8, without resampling).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from generation.engine import BatchKey, Between, EngineError, Run
from generation.engines.blending import mixed_in, slerp
from generation.engines.checkpointing import identity, pack, restore, saved_step, unpack
from generation.engines.conditions import Condition, mixed, shared_out, unwanted
from generation.engines.exactness import deterministic_kernels, step_exact_alone
from generation.engines.notices import ReadsSoFar, of_lost_words
from generation.engines.one_model import OneModelEngine
from generation.engines.options import check_recipe, complete_settings
from generation.engines.steering import note_steer, steer_taken
from generation.imaging import decode_mask, decode_picture, to_pil
from generation.prompts import Prompt, parse, plain_text
from generation.protocol import Job, OptionInfo, Recipe, Setting, Steer

_FORMAT = "diffusion"
# Raised with the format, whenever a step is computed otherwise, and whenever starter-diffusion is
# trained on: what one model began another cannot go on with, and the recipe would not give that
# picture again.
_VERSION = 10
# Up to this many pixels a preview is decoded; above, each latent becomes a pixel of it.
_DECODED_PREVIEW_PIXELS = 256 * 256


class LatentModel(Protocol):
    """What every model is asked for, however it takes noise away."""

    @property
    def latent_channels(self) -> int:
        """How many channels latents have."""
        ...

    @property
    def factor(self) -> int:
        """How many pixels a latent is wide."""
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
class Start:
    """The picture a run starts from: its latents [c, h, w], and the mask where there is one.

    `hole` [1, h, w] is 1 for latents that are redrawn, and `mask` [1, H, W] for pixels;
    `picture` [3, H, W] is in 0..1.
    """

    latents: Tensor
    picture: Tensor
    mask: Tensor | None = None
    hole: Tensor | None = None


@dataclass(kw_only=True)
class DenoisingRun(Run):
    """A picture that is being denoised.

    `prompts` holds the first prompt's conditions and then one list for each steer; `away`, alike,
    what guidance leads away from. `denoised` is what the last step expected the picture to become,
    `noise` what it was mixed from.
    """

    latents: Tensor
    denoised: Tensor
    noise: Tensor
    start: Start | None
    guidance: float
    prompts: tuple[tuple[Condition, ...], ...] = ()
    away: tuple[tuple[Condition, ...], ...] = ()


M = TypeVar("M", bound=LatentModel)
R = TypeVar("R", bound=DenoisingRun)


class DenoisingEngine(OneModelEngine[M], ABC, Generic[M, R]):
    """See `generation.engine.Engine` for what each method promises.

    `load_model` loads a model by name. `exact` makes every run an exact one.
    """

    # --- what kinds differ in --------------------------------------------------------------

    @abstractmethod
    def _begun(self, job: Job, model: M, noise: Tensor, start: Start | None) -> R:
        """Return a run at its first noise level, without prompts."""

    @abstractmethod
    def _advance(self, runs: Sequence[R]) -> None:
        """Take one step of each run."""

    @abstractmethod
    def _condition(self, model: M, text: str, weight: float) -> Condition:
        """Encode a text alone, so that it is always the same."""

    @abstractmethod
    def _state(self, run: R) -> dict[str, Tensor]:
        """Return what a checkpoint keeps."""

    @abstractmethod
    def _take_state(self, run: R, state: dict[str, Tensor]) -> None:
        """Put back what `_state` returned."""

    # --- models ----------------------------------------------------------------------------

    def batch_key(self, recipe: Recipe) -> BatchKey:
        """Runs share a step if model and size are the same."""
        key: BatchKey = (recipe.model, recipe.width, recipe.height, *self._shared(recipe))
        if recipe.exact:
            key += ("exact", recipe.seed, recipe.prompt)
        return key

    def _shared(self, recipe: Recipe) -> BatchKey:
        """Return what else must be the same."""
        return ()

    def _let_go(self, model: M) -> None:
        model.close()

    # --- a run's life ----------------------------------------------------------------------

    def check(self, recipe: Recipe) -> None:
        """Refuse prompts without words to draw, and what no engine draws."""
        check_recipe(recipe, self._info)
        self._settings(recipe)
        _wanted(recipe.prompt)

    def begin(self, job: Job, checkpoint: bytes | None) -> R:
        """Make a run of seeded noise, mixed into a picture's latents if it starts from one."""
        prompt = job.recipe.prompt
        return self.begin_between(job, Between(prompt, prompt, (0, 0), 0.0), checkpoint)

    @torch.no_grad()
    def begin_between(self, job: Job, between: Between, checkpoint: bytes | None) -> R:
        """Make a run of a place between two prompts and two of the seed's noises.

        Noise goes along the arc: on the straight line it would be too faint half-way. What the
        prompts say to the network is mixed. Source: Karpathy's stablediffusionwalk and the
        diffusers community's ``interpolate_stable_diffusion`` (2022).
        """
        recipe = job.recipe
        self.check(recipe)
        self.load(recipe.model)
        model = self._models[recipe.model]
        noise = self._noise_between(model, recipe, between)
        run = self._begun(job, model, noise, self._start(model, job))
        said = self._said(model, between.prompt)
        away = self._led_from(model, recipe, between.prompt)
        if between.part > 0:
            said = mixed(said, self._said(model, between.onward), between.part)
            away = mixed(away, self._led_from(model, recipe, between.onward), between.part)
        run.prompts, run.away = (said,), (away,)
        for steer in recipe.steers:
            self._turn(run, steer)
        if checkpoint is not None:
            saved, fields = unpack(checkpoint, **identity(_FORMAT, _VERSION, recipe))
            self._take_state(run, restore(saved, self._state(run)))
            run.step = saved_step(fields)
        run.notices = self._notices(run)
        return run

    @torch.no_grad()
    def step(self, runs: Sequence[R]) -> None:
        """Take each run to its next noise level. Exact runs are taken one by one."""
        step_exact_alone(runs, self._is_exact, self._advance)

    @torch.no_grad()
    def image(self, run: R) -> Image.Image:
        """Decode the expected picture; of a finished run that is the picture."""
        return to_pil(self._drawn(run))

    @torch.no_grad()
    def preview(self, run: R) -> Image.Image:
        """Show what the picture is expected to become."""
        if run.recipe.width * run.recipe.height <= _DECODED_PREVIEW_PIXELS:
            return self.image(run)
        model = self._models[run.recipe.model]
        return to_pil(model.preview(run.denoised[None])[0])

    @torch.no_grad()
    def steer(self, run: R, steer: Steer) -> None:
        """Let the prompts glide from the present step on, and note it in the run's recipe."""
        taken = steer_taken(run, steer)
        self._turn(run, taken)
        note_steer(run, taken)
        run.notices = self._notices(run)

    def checkpoint(self, run: R) -> bytes:
        """Return the state and the step."""
        return pack(self._state(run), step=run.step, **identity(_FORMAT, _VERSION, run.recipe))

    # --- one step --------------------------------------------------------------------------

    def _take(self, runs: Sequence[R], latents: Tensor, denoised: Tensor) -> list[R]:
        """Give runs their next latents and expected pictures; return those that are sound.

        A run that is not made of numbers any more gets an error; the others go on.
        """
        sound = latents.flatten(1).isfinite().all(dim=1).tolist()
        taken = []
        for row, (run, is_sound) in enumerate(zip(runs, sound, strict=True)):
            if not is_sound:
                run.error = EngineError(
                    f"The picture fell apart at step {run.step}: it is not made of numbers any "
                    "more. Try less guidance or another seed."
                )
                continue
            run.latents, run.denoised = latents[row].clone(), denoised[row].clone()
            run.step += 1
            taken.append(run)
        for run in taken:
            if run.done:
                run.score = self._score(run)
        return taken

    # --- smaller parts ---------------------------------------------------------------------

    def _settings(self, recipe: Recipe) -> dict[str, Setting]:
        return complete_settings(recipe.settings, self._info.options)

    def _notices(self, run: R) -> tuple[str, ...]:
        model: object = self._models[run.recipe.model]
        return of_lost_words(run.recipe, model.unread) if isinstance(model, ReadsSoFar) else ()

    def _guidance(self, recipe: Recipe) -> float:
        default = self._info.guidance if self._info.guidance is not None else 1.0
        wanted = default if recipe.guidance is None else recipe.guidance
        return max(0.0, min(self._info.max_guidance, wanted))

    def _noise(self, model: M, recipe: Recipe, chance: torch.Generator) -> Tensor:
        """Draw noise on the CPU, so that every device starts alike."""
        shape = (model.latent_channels, recipe.height // model.factor, recipe.width // model.factor)
        return torch.randn(shape, generator=chance).to(self._device)

    def _noise_between(self, model: M, recipe: Recipe, between: Between) -> Tensor:
        """Return the noise of a place; the seed's noises follow each other from one generator."""
        chance = seeded(recipe)
        drawn = [self._noise(model, recipe, chance) for _ in range(max(between.noises) + 1)]
        one, other = (drawn[place] for place in between.noises)
        return one if between.noises[0] == between.noises[1] else slerp(one, other, between.part)

    def _said(self, model: M, text: str) -> tuple[Condition, ...]:
        return self._conditions(model, _wanted(text))

    def _led_from(self, model: M, recipe: Recipe, text: str) -> tuple[Condition, ...]:
        return self._conditions(model, unwanted(text, recipe.negative))

    def _start(self, model: M, job: Job) -> Start | None:
        recipe, settings = job.recipe, self._settings(job.recipe)
        surround = float(settings["surround"])
        blend = float(settings["blend"])
        other = mixed_in(job, blend)
        if job.init is None:
            if job.mask is not None:
                raise EngineError("A mask says where a picture is redrawn. Give that picture, too.")
            if surround:
                raise EngineError("What is to be drawn around? Give a picture to start from.")
            return None
        width, height = recipe.width, recipe.height
        margins = [_margin(side, surround, model.factor) for side in (width, height)]
        inner = (width - 2 * margins[0], height - 2 * margins[1])
        picture = _framed(decode_picture(job.init, *inner), margins, "reflect").to(self._device)
        latents = model.encode(picture[None])[0]
        if other is not None:
            if job.mask is not None or surround:
                raise EngineError("Pictures are blended whole. Leave out the mask and “surround”.")
            mixed = decode_picture(other, width, height).to(self._device)
            latents = slerp(latents, model.encode(mixed[None])[0], blend)
        if job.mask is None and not surround:
            return Start(latents, picture)
        mask = torch.zeros(1, inner[1], inner[0])
        if job.mask is not None:
            mask = decode_mask(job.mask, *inner, job.init)
        mask = _framed(mask, margins, "ones").to(self._device)
        # A latent is redrawn if any of its pixels is; which pixels are, is decided in the end.
        return Start(latents, picture, mask, F.max_pool2d(mask, model.factor))

    def _conditions(self, model: M, prompts: Sequence[Prompt]) -> tuple[Condition, ...]:
        """Encode each prompt alone; weights sum to 1."""
        return tuple(
            self._condition(model, prompt.text, weight) for prompt, weight in shared_out(prompts)
        )

    def _turn(self, run: R, steer: Steer) -> None:
        """Give a run what a steer says, to draw and to keep away from."""
        model = self._models[run.recipe.model]
        wanted = [prompt for prompt in parse(steer.prompt) if prompt.weight > 0]
        if not wanted:
            raise EngineError("The new prompt says nothing to draw. Write a few words.")
        said = self._conditions(model, wanted)
        away = self._led_from(model, run.recipe, steer.prompt)
        run.prompts, run.away = (*run.prompts, said), (*run.away, away)

    def _drawn(self, run: R) -> Tensor:
        with deterministic_kernels(self._is_exact(run)):
            drawn = self._models[run.recipe.model].decode(run.denoised[None])[0].clamp(0, 1)
        start = run.start
        if start is None or start.mask is None:
            return drawn
        return start.mask * drawn + (1 - start.mask) * start.picture

    def _score(self, run: R) -> float | None:
        """Return the finished picture's cosine with what was asked for last."""
        asked = run.recipe.steers[-1].prompt if run.recipe.steers else run.recipe.prompt
        return self._models[run.recipe.model].score(self._drawn(run), plain_text(asked))


def _wanted(text: str) -> list[Prompt]:
    wanted = [prompt for prompt in parse(text) if prompt.weight > 0]
    if not wanted:
        raise EngineError("The prompt says nothing to draw. Write a few words.")
    return wanted


def surround_option() -> OptionInfo:
    """Return the setting that draws more around a start picture."""
    return OptionInfo(
        name="surround",
        help="How much of the width and height is drawn anew around the start picture, which "
        "then stands smaller in the middle. A strength near 1 suits it.",
        default=0.0,
        minimum=0.0,
        maximum=0.6,
    )


def _margin(side: int, surround: float, factor: int) -> int:
    """Return how many pixels stand on either side: whole latents, and less than is mirrored.

    What is to be drawn around is one latent at least, or nothing at all would be drawn.
    """
    if not surround:
        return 0
    return min(max(1, round(side * surround / 2 / factor)), (side - 1) // 3 // factor) * factor


def _framed(picture: Tensor, margins: Sequence[int], fill: str) -> Tensor:
    """Return a picture [c, h, w] with margins at its sides, and above and below."""
    across, down = margins
    if not (across or down):
        return picture
    around = (across, across, down, down)
    if fill == "ones":
        return F.pad(picture, around, value=1.0)
    return F.pad(picture[None], around, mode="reflect")[0]


def seeded(recipe: Recipe) -> torch.Generator:
    """Return the CPU's generator at a recipe's seed."""
    return torch.Generator().manual_seed(recipe.seed & (2**63 - 1))
