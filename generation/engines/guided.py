"""CLIP-guided diffusion: OpenAI's unconditional networks, steered by CLIP in every step.

A step asks the network for the noise in every run's picture, looks with CLIP at what the picture
would be without it, and leans the step towards the prompts. One forward pass serves both the
noise and the gradient of the guidance, which runs back through it.

Source: Katherine Crowson's CLIP-guided diffusion notebooks (2021).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from generation.clip.chance import Streams, chance_taken_back
from generation.clip.cutouts import crop_bytes, cut, plan
from generation.clip.losses import prompt_loss
from generation.clip.perceptor import Perceptor
from generation.clip.sending import send
from generation.clip.targets import Glide, Target, stack_targets, targets_at
from generation.engine import BadCheckpointError, BatchKey, EngineError, Run
from generation.engines.checkpointing import identity, pack, restore, saved_step, unpack
from generation.engines.clip_prompts import embed_glide, embed_prompts, score
from generation.engines.ddpm import Schedule, ancestral_step, ddim_step, predicted_picture, respaced
from generation.engines.exactness import deterministic_kernels, step_exact_alone
from generation.engines.notices import of_lost_words
from generation.engines.options import check_recipe, complete_settings
from generation.engines.perceptors import PerceptorSource
from generation.engines.steering import note_steer, steer_taken
from generation.imaging import decode_picture, to_pil
from generation.models.guided import PUBLISHED, GuidedUNet
from generation.protocol import EngineInfo, Job, OptionInfo, Recipe, Setting, Steer

# The version is raised whenever rounding changes too: see `clip_steered`.
_FORMAT, _VERSION = "guided-diffusion", 4
SAMPLERS = ("ddim", "ancestral")


def guided_options(perceptors: tuple[str, ...], cutouts: int) -> tuple[OptionInfo, ...]:
    """Return the settings of the engine."""
    return (
        OptionInfo(
            name="perceptor",
            help="The CLIP model that judges the picture.",
            default=perceptors[0] if perceptors else "",
            choices=perceptors,
        ),
        OptionInfo(
            name="sampler",
            help="How a step goes on: ddim, or ancestral as the networks were trained.",
            default="ddim",
            choices=SAMPLERS,
        ),
        OptionInfo(
            name="eta",
            help="With ddim: how much noise is drawn anew in each step.",
            default=0.8,
            minimum=0.0,
            maximum=1.0,
        ),
        OptionInfo(
            name="cutouts",
            help="How many random crops CLIP is shown in each step.",
            default=cutouts,
            minimum=1,
            maximum=256,
        ),
        OptionInfo(
            name="cut_pow",
            help="Above 1 favours small crops (detail), below 1 large ones (composition).",
            default=0.5,
            minimum=0.05,
            maximum=10.0,
        ),
        OptionInfo(
            name="tv_scale",
            help="How much the picture is smoothed.",
            default=150.0,
            minimum=0.0,
            maximum=10_000.0,
        ),
        OptionInfo(
            name="range_scale",
            help="How much colours are kept from burning out.",
            default=50.0,
            minimum=0.0,
            maximum=10_000.0,
        ),
        OptionInfo(
            name="clamp_grad",
            help="The most that a step is leant towards the prompt; 0 for no bound.",
            default=0.05,
            minimum=0.0,
            maximum=10.0,
        ),
    )


@dataclass(kw_only=True)
class GuidedRun(Run):
    """A picture being made of noise: `x` [3, h, w], `picture` the last estimate in −1..1."""

    x: Tensor
    picture: Tensor
    schedule: Schedule
    skipped: int
    streams: Streams
    first: tuple[Target, ...]
    glides: tuple[Glide, ...]
    settings: Mapping[str, Setting]


class GuidedDiffusionEngine:
    """See `generation.engine.Engine` for what each method promises.

    `load_network` loads a network by the model's name. `exact` makes every run an exact one.
    """

    def __init__(
        self,
        info: EngineInfo,
        load_network: Callable[[str], GuidedUNet],
        perceptors: PerceptorSource,
        *,
        device: torch.device,
        exact: bool = False,
    ) -> None:
        self._info = info
        self._load_network = load_network
        self._perceptors = perceptors
        self._device = device
        self._exact = exact
        self._networks: dict[str, tuple[GuidedUNet, Perceptor]] = {}

    @property
    def info(self) -> EngineInfo:
        """What may be asked of it."""
        return self._info

    # --- models ----------------------------------------------------------------------------

    def batch_key(self, recipe: Recipe) -> BatchKey:
        """Runs share a step if their pictures and crops have the same shapes."""
        settings = complete_settings(recipe.settings, self._info.options)
        key: BatchKey = (
            _model_key(recipe, settings),
            recipe.width,
            recipe.height,
            settings["cutouts"],
            settings["sampler"],
        )
        if recipe.exact:
            key += ("exact", recipe.seed, recipe.prompt)
        return key

    def predict_bytes(self, recipe: Recipe, runs: int) -> int:
        """Estimate what the network and CLIP keep for the gradient, with a twentieth to spare.

        The network keeps as much as 53 maps of each level's width: measured on the CPU with
        ``benchmarks.memory``, as the difference of 64 and 128 pixels.
        """
        settings = complete_settings(recipe.settings, self._info.options)
        loaded = self._networks.get(_model_key(recipe, settings))
        exact = self._exact or recipe.exact
        together = 1 if exact else runs  # exact runs are stepped one by one
        a_cutout, shared = float(60 << 20), 0.0
        if loaded:
            judge = loaded[1]
            kept = judge.kept(exact=exact)
            a_cutout = kept.a_row + crop_bytes(judge.size, together, exact=exact)
            shared = kept.once
        config = loaded[0].config if loaded else PUBLISHED[256]
        widths = sum(config.width(level) / 4**level for level in range(len(config.multipliers)))
        # Under autocast convolutions keep halves, but what is normalised stays float32.
        number = 4 if self._device.type == "cpu" else 3
        drawing = 53 * widths * number * recipe.width * recipe.height
        a_run = drawing + a_cutout * int(settings["cutouts"])
        return int(1.05 * (shared + together * a_run))

    def load(self, model: str) -> None:
        """Have a network and a perceptor ready, named by the first item of a batch key."""
        if model not in self._networks:
            name, _, judge = model.partition("+")
            network = self._load_network(name).to(self._device)
            self._networks[model] = network, self._perceptors.acquire(judge or self._judge_name())

    def unload(self, model: str) -> None:
        """Let go of both."""
        if self._networks.pop(model, None) is not None:
            self._perceptors.release(model.partition("+")[2] or self._judge_name())

    # --- a run's life ----------------------------------------------------------------------

    def begin(self, job: Job, checkpoint: bytes | None) -> GuidedRun:
        """Make a run of seeded noise, of a picture with noise, or where a checkpoint left it."""
        recipe = job.recipe
        check_recipe(recipe, self._info)
        settings = complete_settings(recipe.settings, self._info.options)
        key = _model_key(recipe, settings)
        self.load(key)
        network, judge = self._networks[key]
        if recipe.width % network.config.factor or recipe.height % network.config.factor:
            raise EngineError(f"{recipe.model} draws multiples of {network.config.factor} pixels.")
        # A start picture leaves out the first steps, in which nothing of it would be left.
        strength = max(1 / recipe.steps, min(1.0, recipe.strength)) if job.init else 1.0
        skipped = min(recipe.steps - 1, round((1 - strength) * recipe.steps))
        schedule = respaced(recipe.steps, skipped)
        streams = Streams.seeded(recipe.seed, self._device)
        shape = (3, recipe.height, recipe.width)
        x = torch.randn(shape, generator=streams.geometry).to(self._device)
        if job.init:
            start = decode_picture(job.init, recipe.width, recipe.height).to(self._device) * 2 - 1
            kept = float(schedule.alphas_bar[0])
            x = kept**0.5 * start + (1 - kept) ** 0.5 * x
        with deterministic_kernels(self._exact or recipe.exact):
            first = embed_prompts(judge, recipe, recipe.prompt)
            glides = tuple(embed_glide(judge, recipe, steer) for steer in recipe.steers)
        run = GuidedRun(
            job=job,
            recipe=recipe,
            x=x,
            picture=torch.zeros_like(x),
            schedule=schedule,
            skipped=skipped,
            streams=streams,
            first=first,
            glides=glides,
            settings=settings,
            # The steps that a start picture leaves out count as taken.
            step=skipped,
        )
        if checkpoint is not None:
            self._resume(run, checkpoint)
        run.notices = of_lost_words(recipe, judge.unread)
        return run

    def step(self, runs: Sequence[GuidedRun]) -> None:
        """Take one step of each run. Exact runs are taken one by one."""
        step_exact_alone(runs, self._is_exact, self._advance)

    def image(self, run: GuidedRun) -> Image.Image:
        """Return the picture, or before its end the last estimate of it."""
        return to_pil(_shown(run))

    def preview(self, run: GuidedRun) -> Image.Image:
        """Return `image`: it costs nothing here."""
        return self.image(run)

    def steer(self, run: GuidedRun, steer: Steer) -> None:
        """Let the prompts glide from the present step on, and note it in the run's recipe."""
        taken = steer_taken(run, steer)
        judge = self._loaded(run)[1]
        with deterministic_kernels(self._is_exact(run)):
            run.glides = (*run.glides, embed_glide(judge, run.recipe, taken))
        note_steer(run, taken)
        run.notices = of_lost_words(run.recipe, judge.unread)

    def checkpoint(self, run: GuidedRun) -> bytes:
        """Return the picture with its noise, the random streams and the step."""
        return pack(_state(run), step=run.step, **identity(_FORMAT, _VERSION, run.recipe))

    # --- one step --------------------------------------------------------------------------

    def _advance(self, runs: Sequence[GuidedRun]) -> None:
        with chance_taken_back([run.streams for run in runs]):  # whoever catches it tries again
            self._denoise(runs)
        for run in runs:
            if run.error is None and run.step >= run.recipe.last_step:
                judge = self._loaded(run)[1]
                run.score = score(judge, run.recipe, _shown(run).clamp(0, 1))

    def _denoise(self, runs: Sequence[GuidedRun]) -> None:
        network, _ = self._loaded(runs[0])
        places = [run.schedule.at(run.step - run.skipped) for run in runs]
        times, kept, following = (
            send(column, self._device) for column in zip(*places, strict=True)
        )
        alpha_bar, then = (each[:, None, None, None] for each in (kept, following))
        x = torch.stack([run.x for run in runs]).requires_grad_()
        with torch.autocast(self._device.type, torch.bfloat16, self._device.type != "cpu"):
            noise, variances = network(x, times)
        picture = predicted_picture(x, noise, alpha_bar)
        part = (1 - alpha_bar).sqrt()
        seen = picture * part + x * (1 - part)
        loss = self._guidance(runs, seen) + _weights(runs, "tv_scale", seen) * total_variation(seen)
        loss = loss + _weights(runs, "range_scale", seen) * out_of_range(picture)
        (gradient,) = torch.autograd.grad(loss.sum(), x)
        with torch.no_grad():
            push = _bounded(-gradient, _weights(runs, "clamp_grad", x))
            chance = torch.stack(
                [
                    torch.randn(run.x.shape, generator=run.streams.noise, device=self._device)
                    for run in runs
                ]
            )
            x, noise = x.detach(), noise.detach()
            if runs[0].settings["sampler"] == "ancestral":
                reached = ancestral_step(
                    x, noise, chance, alpha_bar, then, variances.detach(), push
                )
                leant = picture.detach()
            else:
                noise = noise - part * push
                eta = _weights(runs, "eta", x)[:, None, None, None]
                reached = ddim_step(x, noise, chance, alpha_bar, then, eta)
                leant = predicted_picture(x, noise, alpha_bar)
            sound = reached.flatten(1).isfinite().all(dim=1) & loss.isfinite()
            told, sounds = torch.stack([loss, sound.to(loss.dtype)]).tolist()
        rows = zip(runs, reached, leant, told, sounds, strict=True)
        for run, after, estimate, value, is_sound in rows:
            if not is_sound:
                run.error = EngineError(
                    f"The picture fell apart at step {run.step}: it is not made of numbers any "
                    "more. Try less guidance or another seed."
                )
                continue
            run.x, run.picture, run.loss = after.clone(), estimate.clone(), value
            run.step += 1

    def _guidance(self, runs: Sequence[GuidedRun], pictures: Tensor) -> Tensor:
        """Say how far the runs' crops are from their prompts, times their guidance: [runs]."""
        judge = self._loaded(runs[0])[1]
        count = int(runs[0].settings["cutouts"])
        height, width = pictures.shape[2:]
        plans = [
            plan(
                "classic",
                run.streams,
                count=count,
                size=judge.size,
                width=width,
                height=height,
                cut_pow=float(run.settings["cut_pow"]),
            )
            for run in runs
        ]
        crops = cut(
            "classic",
            pictures / 2 + 0.5,
            plans,
            [run.streams for run in runs],
            judge.size,
            deterministic=torch.are_deterministic_algorithms_enabled(),
        )
        embeddings = judge.encode_image(crops.flatten(0, 1)).view(len(runs), count, -1)
        present = [targets_at(run.step, run.first, run.glides) for run in runs]
        towards, weights, stops = stack_targets(present)
        scale = send([self._scale(run.recipe) for run in runs], pictures.device)
        return scale * prompt_loss(embeddings, towards, _shares(weights), stops)

    # --- smaller parts ---------------------------------------------------------------------

    def _scale(self, recipe: Recipe) -> float:
        wanted = self._info.guidance if recipe.guidance is None else recipe.guidance
        return wanted or 0.0

    def _loaded(self, run: GuidedRun) -> tuple[GuidedUNet, Perceptor]:
        return self._networks[_model_key(run.recipe, run.settings)]

    def _judge_name(self) -> str:
        return next(str(each.default) for each in self._info.options if each.name == "perceptor")

    def _is_exact(self, run: GuidedRun) -> bool:
        return self._exact or run.recipe.exact

    def _resume(self, run: GuidedRun, checkpoint: bytes) -> None:
        tensors, fields = unpack(checkpoint, **identity(_FORMAT, _VERSION, run.recipe))
        saved = restore(tensors, _state(run))
        run.x, run.picture = saved["x"], saved["picture"]
        run.step = saved_step(fields)
        try:
            run.streams.restore(saved["geometry"].cpu(), saved["noise"].cpu())
        except RuntimeError as error:
            raise BadCheckpointError("The saved state of this dream is damaged.") from error


def total_variation(pictures: Tensor) -> Tensor:
    """Return the mean squared difference of neighbours: [n] of [n, 3, h, w]."""
    padded = F.pad(pictures, (0, 1, 0, 1), mode="replicate")
    across = padded[..., :-1, 1:] - padded[..., :-1, :-1]
    down = padded[..., 1:, :-1] - padded[..., :-1, :-1]
    return (across.square() + down.square()).mean(dim=(1, 2, 3))


def out_of_range(pictures: Tensor) -> Tensor:
    """Return the mean square of what lies outside of −1..1: [n] of [n, 3, h, w]."""
    return (pictures - pictures.clamp(-1, 1)).square().mean(dim=(1, 2, 3))


def _bounded(gradient: Tensor, most: Tensor) -> Tensor:
    """Shrink each run's gradient to a root mean square of `most` [runs]; 0 bounds nothing."""
    size = gradient.square().mean(dim=(1, 2, 3)).sqrt()
    shrunk = torch.minimum(size, most) / size.clamp(min=1e-12)
    factor = torch.where(most > 0, shrunk, torch.ones_like(size))
    return gradient * factor[:, None, None, None]


def _shares(weights: Tensor) -> Tensor:
    """Return weights [runs, prompts] so that guidance means the same however many there are.

    Those of what is wanted, or of what is not, count together 1, and the others no more. The
    notebooks divide by the sum, which all but vanishes where a negative weight is as large as the
    positive one, and the picture is torn.
    """
    wanted, unwanted = (each.clamp(min=0).sum(dim=1) for each in (weights, -weights))
    return weights / torch.maximum(wanted, unwanted).clamp(min=1e-3)[:, None]


def _weights(runs: Sequence[GuidedRun], name: str, like: Tensor) -> Tensor:
    return send([float(run.settings[name]) for run in runs], like.device, like.dtype)


def _shown(run: GuidedRun) -> Tensor:
    """Return the picture in 0..1; before its end, what it would be without the noise."""
    return (run.picture if run.step < run.recipe.steps else run.x) / 2 + 0.5


def _model_key(recipe: Recipe, settings: Mapping[str, Setting]) -> str:
    return f"{recipe.model}+{settings['perceptor']}"


def _state(run: GuidedRun) -> dict[str, Tensor]:
    geometry, noise = run.streams.state()
    return {"x": run.x, "picture": run.picture, "geometry": geometry, "noise": noise}
