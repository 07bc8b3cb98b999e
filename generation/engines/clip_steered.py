"""The CLIP-steered engine: a canvas is optimised until CLIP finds the prompt in its picture.

One class serves every canvas (`generation.canvases`). A step is one iteration of Adam: draw the
pictures of all runs, show CLIP random crops of them, and follow the gradient of how far these
are from the prompts. All runs of a step are one batch; each has its own parameters, optimiser
state, random streams and prompts.

Source: the VQGAN+CLIP notebooks of Katherine Crowson and Ryan Murdock (2021).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from generation.canvases.adam import adam_step
from generation.canvases.base import Canvas, Start, Tensors
from generation.canvases.clouds import clouds
from generation.clip.cutouts import Streams, cut, plan
from generation.clip.losses import prompt_loss
from generation.clip.perceptor import Perceptor
from generation.clip.targets import Glide, Target, stack_targets, targets, targets_at
from generation.engine import BadCheckpointError, BatchKey, EngineError, Eyes, Run
from generation.engines.checkpointing import identity, pack, restore, saved_step, unpack
from generation.engines.clip_options import ClipSettings
from generation.engines.exactness import deterministic_kernels
from generation.engines.options import check_recipe
from generation.engines.steering import note_steer, steer_taken
from generation.imaging import decode_picture, to_pil
from generation.prompts import Prompt, parse
from generation.protocol import Attachment, EngineInfo, Job, Recipe, Steer

_FORMAT = "clip-steered"
_VERSION = 1
# Of CLIPDraw: what the negative prompts weigh beside the prompt.
_NEGATIVE_WEIGHT = 0.3
# How many of a run's tries are looked at together; fixed, so that their rounding is.
_TRIES_TOGETHER = 4


class PerceptorSource(Protocol):
    """Where perceptors come from. Engines share them, so each `acquire` has its `release`."""

    @property
    def names(self) -> tuple[str, ...]:
        """Those whose weights are here, the preferred one first."""
        ...

    def acquire(self, name: str) -> Perceptor:
        """Return the perceptor, loading it if nobody has it."""
        ...

    def release(self, name: str) -> None:
        """Let go of it; the last one to do so frees it."""
        ...


@dataclass(kw_only=True)
class ClipRun(Run):
    """A picture that is being optimised. Tensors have no axis of runs.

    `average` is the moving average of the parameters where the canvas wants one, else empty.
    """

    start: Start
    exp_avg: Tensors
    exp_avg_sq: Tensors
    average: Tensors
    streams: Streams
    first: tuple[Target, ...]
    glides: tuple[Glide, ...]
    settings: ClipSettings
    # The last picture that was drawn, and before which step.
    shown: Tensor | None = None
    shown_step: int = -1


class ClipSteeredEngine:
    """Draws with one canvas family; see `generation.engine.Engine` for what each method promises.

    `make_canvas` loads a canvas by the model's name. `exact` makes every run an exact one.
    """

    def __init__(
        self,
        info: EngineInfo,
        make_canvas: Callable[[str], Canvas],
        perceptors: PerceptorSource,
        *,
        device: torch.device,
        exact: bool = False,
    ) -> None:
        self._info = info
        self._make_canvas = make_canvas
        self._perceptors = perceptors
        self._device = device
        self._exact = exact
        self._canvases: dict[str, Canvas] = {}
        self._judges: dict[str, Perceptor] = {}

    @property
    def info(self) -> EngineInfo:
        """What may be asked of it."""
        return self._info

    @property
    def eyes(self) -> Eyes | None:
        """The perceptors, for whoever only wants to look with them."""
        return self._perceptors if isinstance(self._perceptors, Eyes) else None

    # --- models ----------------------------------------------------------------------------

    def batch_key(self, recipe: Recipe) -> BatchKey:
        """Runs share a step if their pictures and crops have the same shapes."""
        settings = ClipSettings.of(recipe, self._info)
        key: BatchKey = (
            self._model_key(recipe.model, settings),
            recipe.width,
            recipe.height,
            settings.cutout_kind,
            settings.cutouts,
            *settings.own.items(),
        )
        if recipe.exact:
            key += ("exact", recipe.seed, recipe.prompt)
        return key

    def predict_bytes(self, recipe: Recipe, runs: int) -> int:
        """Estimate the canvas's and the perceptor's activations, with a quarter to spare."""
        settings = ClipSettings.of(recipe, self._info)
        key = self._model_key(recipe.model, settings)
        canvas, judge = self._canvases.get(key), self._judges.get(key)
        width, height = recipe.width, recipe.height
        drawing = 30_000 * width * height
        if canvas:
            drawing = canvas.predict_bytes(width, height, settings.own)
        per_cutout = judge.predict_bytes() if judge else 60 << 20
        return int(1.25 * runs * (drawing + per_cutout * settings.cutouts))

    def load(self, model: str) -> None:
        """Have a canvas and a perceptor ready, named by the first item of a batch key.

        A model's plain name means: with the default perceptor.
        """
        if model in self._canvases:
            return
        name, judge = self._model_and_judge(model)
        canvas = self._make_canvas(name)
        self._judges[model] = self._perceptors.acquire(judge)
        self._canvases[model] = canvas

    def unload(self, model: str) -> None:
        """Let go of both."""
        if self._canvases.pop(model, None) is not None:
            del self._judges[model]
            self._perceptors.release(self._model_and_judge(model)[1])

    # --- a run's life ----------------------------------------------------------------------

    def begin(self, job: Job, checkpoint: bytes | None) -> ClipRun:
        """Make a run: seeded parameters, or those of a picture, or those of a checkpoint."""
        recipe = job.recipe
        check_recipe(recipe, self._info)
        settings = ClipSettings.of(recipe, self._info)
        key = self._model_key(recipe.model, settings)
        self.load(key)
        canvas, judge = self._canvases[key], self._judges[key]
        if recipe.width % canvas.multiple or recipe.height % canvas.multiple:
            raise EngineError(
                f"{recipe.model} draws sides that are multiples of {canvas.multiple} pixels."
            )
        first = _targets(judge, recipe, recipe.prompt)
        streams = Streams.seeded(recipe.seed, self._device)
        start = _start(job, settings, canvas, streams.geometry)
        run = ClipRun(
            job=job,
            recipe=recipe,
            start=start,
            exp_avg=_zeros(start.parameters),
            exp_avg_sq=_zeros(start.parameters),
            average={},
            streams=streams,
            first=first,
            glides=tuple(_glide(judge, recipe, steer) for steer in recipe.steers),
            settings=settings,
        )
        if settings.tries > 1 and not job.init and checkpoint is None:
            self._choose_start(run, canvas)
        if canvas.optimiser.average:
            run.average = {name: value.clone() for name, value in run.start.parameters.items()}
        if checkpoint is not None:
            self._resume(run, checkpoint)
        return run

    def step(self, runs: Sequence[ClipRun]) -> None:
        """Take one iteration of each run. Exact runs are taken one by one."""
        runs = [run for run in runs if not run.done]
        if not any(self._is_exact(run) for run in runs):
            if runs:
                self._advance(runs)
            return
        with deterministic_kernels(True):
            for run in runs:
                self._advance([run])

    def image(self, run: ClipRun) -> Image.Image:
        """Draw the run's picture as it is now."""
        return to_pil(self._drawn(run))

    def preview(self, run: ClipRun) -> Image.Image:
        """Return the picture that the last step drew anyway."""
        return to_pil(run.shown) if run.shown is not None else self.image(run)

    def attachments(self, run: ClipRun) -> tuple[Attachment, ...]:
        """Return what there is of a run besides its picture: a drawing of lines as SVG."""
        canvas, recipe = self._canvases[self._key(run)], run.recipe
        parameters = run.average or run.start.parameters
        svg = canvas.svg(parameters, run.start.constants, recipe.width, recipe.height)
        if svg is None:
            return ()
        data = svg.encode()
        return (Attachment(name="drawing.svg", media_type="image/svg+xml", data=data),)

    def steer(self, run: ClipRun, steer: Steer) -> None:
        """Let the prompts glide from the present step on, and note it in the run's recipe."""
        taken = steer_taken(run, steer)
        run.glides = (*run.glides, _glide(self._judge(run), run.recipe, taken))
        note_steer(run, taken)

    def checkpoint(self, run: ClipRun) -> bytes:
        """Return parameters, optimiser state, random streams and the step."""
        return pack(_state(run), step=run.step, **identity(_FORMAT, _VERSION, run.recipe))

    # --- one step --------------------------------------------------------------------------

    def _advance(self, runs: Sequence[ClipRun]) -> None:
        before = [_random_state(run) for run in runs]
        try:
            self._iterate(runs)
        except BaseException:
            # Whoever catches this may try again; chance must then fall as it would have.
            for run, state in zip(runs, before, strict=True):
                run.streams.geometry.set_state(state[0])
                run.streams.noise.set_state(state[1])
            raise
        for run in runs:
            if run.done and run.error is None:
                run.score = self._score(run)

    def _iterate(self, runs: Sequence[ClipRun]) -> None:
        """Compute all runs' next states, then hand them out: nothing fails half-way."""
        recipe = runs[0].recipe
        canvas = self._canvases[self._key(runs[0])]
        parameters = {
            name: value.requires_grad_()
            for name, value in _stack([run.start.parameters for run in runs]).items()
        }
        constants = _stack(
            [
                run.start.constants | canvas.chance(recipe.width, recipe.height, run.streams.noise)
                for run in runs
            ]
        )
        pictures = canvas.draw(parameters, constants, recipe.width, recipe.height)
        loss = self._prompt_loss(runs, pictures) + self._pull(runs, canvas, parameters, pictures)
        loss = loss + canvas.penalty(parameters, constants)
        values = torch.autograd.grad(loss.sum(), list(parameters.values()))
        gradients = dict(zip(parameters, values, strict=True))
        with torch.no_grad():
            sound = loss.isfinite()
            for gradient in gradients.values():
                sound &= gradient.flatten(1).isfinite().all(dim=1)
            states = _adam(runs, canvas, parameters, gradients)
        rows = zip(runs, states, pictures.detach(), loss.tolist(), sound.tolist(), strict=True)
        for run, state, picture, value, is_sound in rows:
            if not is_sound:
                run.error = EngineError(
                    f"The picture fell apart at step {run.step}: its loss is not a number. "
                    "Try a lower learning rate or another seed."
                )
                continue
            run.start, run.exp_avg, run.exp_avg_sq, run.average = state
            run.shown, run.shown_step = picture, run.step
            run.loss = value
            run.step += 1

    def _prompt_loss(self, runs: Sequence[ClipRun], pictures: Tensor) -> Tensor:
        judge = self._judge(runs[0])
        kind, count = runs[0].settings.cutout_kind, runs[0].settings.cutouts
        height, width = pictures.shape[2:]
        plans = [
            plan(
                kind,
                run.streams,
                count=count,
                size=judge.size,
                width=width,
                height=height,
                cut_pow=run.settings.cut_pow,
            )
            for run in runs
        ]
        crops = cut(
            kind,
            pictures,
            plans,
            [run.streams for run in runs],
            judge.size,
            deterministic=torch.are_deterministic_algorithms_enabled(),
        )
        embeddings = judge.encode_image(crops.flatten(0, 1)).view(len(runs), count, -1)
        present = [targets_at(run.step, run.first, run.glides) for run in runs]
        stacked = stack_targets(present)
        loss = prompt_loss(embeddings, *stacked)
        if not any(run.settings.averaging for run in runs):
            return loss
        parts = loss.new_tensor([run.settings.averaging for run in runs])
        average = F.normalize(embeddings.mean(dim=1, keepdim=True), dim=-1)
        return torch.lerp(loss, prompt_loss(average, *stacked), parts)

    def _pull(
        self,
        runs: Sequence[ClipRun],
        canvas: Canvas,
        parameters: Tensors,
        pictures: Tensor,
    ) -> Tensor:
        """Hold runs to the pictures they started from, less and less."""
        pulled = [row for row, run in enumerate(runs) if run.start.anchor]
        total = pictures.new_zeros(len(runs))
        if not pulled:
            return total
        rows = torch.tensor(pulled, device=pictures.device)
        anchors = _stack([runs[row].start.anchor for row in pulled])
        weights = pictures.new_tensor([_pull_weight(runs[row]) for row in pulled])
        chosen = {name: value[rows] for name, value in parameters.items()}
        distance = canvas.pull(chosen, pictures[rows], anchors)
        return total.index_add(0, rows, weights * distance)

    # --- smaller parts ---------------------------------------------------------------------

    def _key(self, run: ClipRun) -> str:
        return self._model_key(run.recipe.model, run.settings)

    def _default_judge(self) -> str:
        return next(str(each.default) for each in self._info.options if each.name == "perceptor")

    def _model_key(self, model: str, settings: ClipSettings) -> str:
        judge = settings.perceptor
        return model if judge == self._default_judge() else f"{model}+{judge}"

    def _model_and_judge(self, key: str) -> tuple[str, str]:
        model, _, judge = key.partition("+")
        return model, judge or self._default_judge()

    def _judge(self, run: ClipRun) -> Perceptor:
        return self._judges[self._key(run)]

    def _is_exact(self, run: ClipRun) -> bool:
        return self._exact or run.recipe.exact

    @torch.no_grad()
    def _choose_start(self, run: ClipRun, canvas: Canvas) -> None:
        """Make as many random starts as the run has tries, and keep the one of least loss.

        Source: nshepperd's StyleGAN+CLIP notebook.
        """
        recipe = run.recipe
        starts = [run.start]
        while len(starts) < run.settings.tries:
            starts.append(_start(run.job, run.settings, canvas, run.streams.geometry))
        losses: list[float] = []
        with deterministic_kernels(self._is_exact(run)):
            for first in range(0, len(starts), _TRIES_TOGETHER):
                some = starts[first : first + _TRIES_TOGETHER]
                parameters = _stack([start.parameters for start in some])
                constants = _stack([start.constants for start in some])
                pictures = canvas.draw(parameters, constants, recipe.width, recipe.height)
                losses += self._prompt_loss([run] * len(some), pictures).tolist()
        run.start = starts[losses.index(min(losses))]

    @torch.no_grad()
    def _drawn(self, run: ClipRun) -> Tensor:
        if run.shown is None or run.shown_step != run.step:
            with deterministic_kernels(self._is_exact(run)):
                canvas = self._canvases[self._key(run)]
                latest = run.average or run.start.parameters
                parameters = {name: value[None] for name, value in latest.items()}
                constants = {name: value[None] for name, value in run.start.constants.items()}
                recipe = run.recipe
                (run.shown,) = canvas.draw(parameters, constants, recipe.width, recipe.height)
                run.shown_step = run.step
        return run.shown

    def _score(self, run: ClipRun) -> float | None:
        """Return the finished picture's cosine with what was asked for last, or None."""
        asked = run.recipe.steers[-1].prompt if run.recipe.steers else run.recipe.prompt
        wanted = [prompt for prompt in parse(asked) if prompt.weight > 0]
        if not wanted:
            return None
        cosines = self._judge(run).score(self._drawn(run), [prompt.text for prompt in wanted])
        weights = torch.tensor([prompt.weight for prompt in wanted], device=cosines.device)
        return float((cosines * weights).sum() / weights.sum())

    def _resume(self, run: ClipRun, checkpoint: bytes) -> None:
        saved, fields = unpack(checkpoint, **identity(_FORMAT, _VERSION, run.recipe))
        state = restore(saved, _state(run))
        run.step = saved_step(fields)
        run.start = Start(
            _part(state, "parameters"), _part(state, "constants"), _part(state, "anchor")
        )
        run.exp_avg, run.exp_avg_sq = _part(state, "exp_avg"), _part(state, "exp_avg_sq")
        run.average = _part(state, "average")
        try:
            run.streams.geometry.set_state(saved["random.geometry"])
            run.streams.noise.set_state(saved["random.noise"])
        except RuntimeError as error:
            raise BadCheckpointError("The saved state of this dream is damaged.") from error


def _adam(
    runs: Sequence[ClipRun], canvas: Canvas, parameters: Tensors, gradients: Tensors
) -> list[tuple[Start, Tensors, Tensors, Tensors]]:
    """Take Adam's step for all runs; return each one's new start, moments and average."""
    device = next(iter(parameters.values())).device
    optimiser = canvas.optimiser
    steps = torch.tensor([run.step + 1 for run in runs], device=device)
    values = {name: value.detach().clone() for name, value in parameters.items()}
    exp_avg = _stack([run.exp_avg for run in runs])
    exp_avg_sq = _stack([run.exp_avg_sq for run in runs])
    for name, value in values.items():
        rates = [
            run.settings.learning_rate * optimiser.factor(name, run.step / run.recipe.steps)
            for run in runs
        ]
        adam_step(
            value,
            gradients[name],
            exp_avg[name],
            exp_avg_sq[name],
            step=steps,
            learning_rate=torch.tensor(rates, device=device),
            betas=optimiser.betas,
            eps=optimiser.eps,
            weight_decay=optimiser.weight_decay,
        )
    canvas.clamp(values)
    average = _stack([run.average for run in runs])
    decay = optimiser.average
    for name, value in average.items():
        # With the start, as many states as `steps` and one more are in it.
        all_weights = 1 - decay ** (steps.double() + 1) if optimiser.unbiased else 1.0
        weight = torch.as_tensor((1 - decay) / all_weights).to(value)
        value.lerp_(values[name], weight.reshape((-1,) + (1,) * (value.dim() - 1)))
    return [
        (
            replace(run.start, parameters=_row(values, row)),
            _row(exp_avg, row),
            _row(exp_avg_sq, row),
            _row(average, row),
        )
        for row, run in enumerate(runs)
    ]


def _start(job: Job, settings: ClipSettings, canvas: Canvas, random: torch.Generator) -> Start:
    """Start from the job's picture, or from clouds without holding on to them, or by chance."""
    width, height = job.recipe.width, job.recipe.height
    if job.init:
        picture = decode_picture(job.init, width, height)
        return canvas.start(width, height, random, picture, settings.own)
    if settings.start == "clouds":
        begun = canvas.start(width, height, random, clouds(width, height, random), settings.own)
        return replace(begun, anchor={})
    return canvas.start(width, height, random, None, settings.own)


def _pull_weight(run: ClipRun) -> float:
    return run.settings.init_weight * (1 - run.recipe.strength) / (2 * run.step + 1)


def _targets(judge: Perceptor, recipe: Recipe, text: str) -> tuple[Target, ...]:
    """Embed a prompt, with the recipe's negative one.

    Raises:
        EngineError: there is nothing in it.
    """
    prompts = [prompt for prompt in parse(text) if prompt.weight != 0]
    if not prompts:
        raise EngineError("The prompt says nothing to draw. Write a few words.")
    prompts += [
        Prompt(prompt.text, -abs(prompt.weight) * _NEGATIVE_WEIGHT, prompt.stop)
        for prompt in parse(recipe.negative)
        if prompt.weight != 0
    ]
    return targets(prompts, judge.encode_text([prompt.text for prompt in prompts]))


def _glide(judge: Perceptor, recipe: Recipe, steer: Steer) -> Glide:
    return Glide(steer, _targets(judge, recipe, steer.prompt))


def _state(run: ClipRun) -> Tensors:
    """Return all tensors that decide a run's further steps, by flat names."""
    geometry, noise = _random_state(run)
    groups = {
        "parameters": run.start.parameters,
        "constants": run.start.constants,
        "anchor": run.start.anchor,
        "exp_avg": run.exp_avg,
        "exp_avg_sq": run.exp_avg_sq,
        "average": run.average,
        "random": {"geometry": geometry, "noise": noise},
    }
    return {
        f"{group}.{name}": tensor
        for group, tensors in groups.items()
        for name, tensor in tensors.items()
    }


def _random_state(run: ClipRun) -> tuple[Tensor, Tensor]:
    return run.streams.geometry.get_state(), run.streams.noise.get_state()


def _part(state: Tensors, group: str) -> Tensors:
    prefix = f"{group}."
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }


def _zeros(tensors: Tensors) -> Tensors:
    return {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}


def _stack(runs: Sequence[Tensors]) -> Tensors:
    return {name: torch.stack([tensors[name] for tensors in runs]) for name in runs[0]}


def _row(tensors: Tensors, row: int) -> Tensors:
    # A view would keep the whole batch's memory alive while the run waits.
    return {name: tensor[row].clone() for name, tensor in tensors.items()}
