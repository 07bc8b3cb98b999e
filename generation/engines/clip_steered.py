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
from PIL import Image
from torch import Tensor

from generation.canvases.adam import adam_step
from generation.canvases.base import Canvas, Start, Tensors
from generation.clip.cutouts import KINDS, Streams, cut, plan
from generation.clip.losses import prompt_loss
from generation.clip.perceptor import Perceptor
from generation.clip.targets import Glide, Target, stack_targets, targets, targets_at
from generation.engine import BadCheckpointError, BatchKey, EngineError, Run
from generation.engines.checkpointing import pack, restore, unpack
from generation.engines.exactness import deterministic_kernels
from generation.engines.options import check_recipe, complete_settings
from generation.engines.steering import note_steer, steer_taken
from generation.imaging import decode_picture, to_pil
from generation.prompts import Prompt, parse
from generation.protocol import EngineInfo, Job, OptionInfo, Recipe, Steer

_FORMAT = "clip-steered"
_VERSION = 1
# Of CLIPDraw: what the negative prompts weigh beside the prompt.
_NEGATIVE_WEIGHT = 0.3


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
    """A picture that is being optimised. Tensors have no axis of runs."""

    start: Start
    mean: Tensors
    square: Tensors
    streams: Streams
    first: tuple[Target, ...]
    glides: tuple[Glide, ...]
    learning_rate: float
    cut_pow: float
    pull: float
    # The last picture that was drawn, and before which step.
    shown: Tensor | None = None
    shown_step: int = -1


def clip_options(
    perceptors: tuple[str, ...], *, cutouts: int, kind: str, learning_rate: float
) -> tuple[OptionInfo, ...]:
    """Return the settings that every canvas has, with defaults that suit one of them."""
    return (
        OptionInfo(
            name="perceptor",
            help="The CLIP model that judges the picture.",
            default=perceptors[0] if perceptors else "",
            choices=perceptors,
        ),
        OptionInfo(
            name="cutouts",
            help="How many random crops CLIP is shown in each step. More is steadier and slower.",
            default=cutouts,
            minimum=1,
            maximum=256,
        ),
        OptionInfo(
            name="cutout_kind",
            help="How crops are made: plain squares, squares turned and recoloured, or the whole "
            "picture pooled and distorted.",
            default=kind,
            choices=KINDS,
        ),
        OptionInfo(
            name="cut_pow",
            help="Above 1 favours small crops (detail), below 1 large ones (composition).",
            default=1.0,
            minimum=0.05,
            maximum=10.0,
        ),
        OptionInfo(
            name="learning_rate",
            help="How far each step goes. Large is wild, small is gentle.",
            default=learning_rate,
            minimum=0.0001,
            maximum=2.0,
        ),
        OptionInfo(
            name="init_weight",
            help="How strongly the picture it starts from holds on, most at first. "
            "The less strength, the more of it counts.",
            default=1.0,
            minimum=0.0,
            maximum=100.0,
        ),
    )


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

    # --- models ----------------------------------------------------------------------------

    def batch_key(self, recipe: Recipe) -> BatchKey:
        """Runs share a step if their pictures and crops have the same shapes."""
        settings = complete_settings(recipe.settings, self._info.options)
        key: BatchKey = (
            self._model_key(recipe.model, str(settings["perceptor"])),
            recipe.width,
            recipe.height,
            settings["cutout_kind"],
            settings["cutouts"],
        )
        if recipe.exact:
            key += ("exact", recipe.seed, recipe.prompt)
        return key

    def predict_bytes(self, recipe: Recipe, runs: int) -> int:
        """Estimate the canvas's and the perceptor's activations, with a quarter to spare."""
        settings = complete_settings(recipe.settings, self._info.options)
        key = self._model_key(recipe.model, str(settings["perceptor"]))
        canvas, judge = self._canvases.get(key), self._judges.get(key)
        pixels = recipe.width * recipe.height
        drawing = canvas.predict_bytes(recipe.width, recipe.height) if canvas else 30_000 * pixels
        per_cutout = judge.predict_bytes() if judge else 60 << 20
        return int(1.25 * runs * (drawing + per_cutout * int(settings["cutouts"])))

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
        settings = complete_settings(recipe.settings, self._info.options)
        key = self._model_key(recipe.model, str(settings["perceptor"]))
        self.load(key)
        canvas, judge = self._canvases[key], self._judges[key]
        if recipe.width % canvas.multiple or recipe.height % canvas.multiple:
            raise EngineError(
                f"{recipe.model} draws sides that are multiples of {canvas.multiple} pixels."
            )
        first = _targets(judge, recipe, recipe.prompt)
        picture = decode_picture(job.init, recipe.width, recipe.height) if job.init else None
        streams = Streams.seeded(recipe.seed, self._device)
        start = canvas.start(recipe.width, recipe.height, streams.geometry, picture)
        run = ClipRun(
            job=job,
            recipe=recipe,
            start=start,
            mean={name: torch.zeros_like(value) for name, value in start.parameters.items()},
            square={name: torch.zeros_like(value) for name, value in start.parameters.items()},
            streams=streams,
            first=first,
            glides=tuple(_glide(judge, recipe, steer) for steer in recipe.steers),
            learning_rate=float(settings["learning_rate"]),
            cut_pow=float(settings["cut_pow"]),
            pull=float(settings["init_weight"]) * (1 - recipe.strength),
        )
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

    def steer(self, run: ClipRun, steer: Steer) -> None:
        """Let the prompts glide from the present step on, and note it in the run's recipe."""
        taken = steer_taken(run, steer)
        run.glides = (*run.glides, _glide(self._judge(run), run.recipe, taken))
        note_steer(run, taken)

    def checkpoint(self, run: ClipRun) -> bytes:
        """Return parameters, optimiser state, random streams and the step."""
        return pack(_state(run), step=run.step, **self._identity(run.recipe))

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

    def _iterate(self, runs: Sequence[ClipRun]) -> None:
        recipe = runs[0].recipe
        canvas = self._canvases[self._key(runs[0])]
        parameters = {
            name: torch.stack([run.start.parameters[name] for run in runs]).requires_grad_()
            for name in runs[0].start.parameters
        }
        constants = {
            name: torch.stack([run.start.constants[name] for run in runs])
            for name in runs[0].start.constants
        }
        pictures = canvas.draw(parameters, constants, recipe.width, recipe.height)
        loss = self._prompt_loss(runs, pictures) + self._pull(runs, canvas, parameters, pictures)
        gradients = dict(
            zip(parameters, torch.autograd.grad(loss.sum(), list(parameters.values())), strict=True)
        )
        with torch.no_grad():
            sound = loss.isfinite()
            for gradient in gradients.values():
                sound &= gradient.flatten(1).isfinite().all(dim=1)
            self._apply(runs, canvas, parameters, gradients, sound)
        for run, picture, value, is_sound in zip(
            runs, pictures.detach(), loss.tolist(), sound.tolist(), strict=True
        ):
            if not is_sound:
                run.error = EngineError(
                    f"The picture fell apart at step {run.step}: its loss is not a number. "
                    "Try a lower learning rate or another seed."
                )
                continue
            run.shown, run.shown_step = picture, run.step
            run.loss = value
            run.step += 1
            if run.step >= run.recipe.steps:
                run.score = self._score(run)

    def _prompt_loss(self, runs: Sequence[ClipRun], pictures: Tensor) -> Tensor:
        judge = self._judge(runs[0])
        settings = complete_settings(runs[0].recipe.settings, self._info.options)
        kind, count = str(settings["cutout_kind"]), int(settings["cutouts"])
        height, width = pictures.shape[2:]
        plans = [
            plan(
                kind,
                run.streams,
                count=count,
                size=judge.size,
                width=width,
                height=height,
                cut_pow=run.cut_pow,
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
        return prompt_loss(embeddings, *stack_targets(present))

    def _pull(
        self,
        runs: Sequence[ClipRun],
        canvas: Canvas,
        parameters: Tensors,
        pictures: Tensor,
    ) -> Tensor:
        """Hold runs to the pictures they started from: weight · distance / (2·step + 1)."""
        pulled = [row for row, run in enumerate(runs) if run.start.anchor and run.pull > 0]
        total = pictures.new_zeros(len(runs))
        if not pulled:
            return total
        rows = torch.tensor(pulled, device=pictures.device)
        anchors = {
            name: torch.stack([runs[row].start.anchor[name] for row in pulled])
            for name in runs[pulled[0]].start.anchor
        }
        weights = pictures.new_tensor([runs[row].pull / (2 * runs[row].step + 1) for row in pulled])
        chosen = {name: value[rows] for name, value in parameters.items()}
        distance = canvas.pull(chosen, pictures[rows], anchors)
        return total.index_add(0, rows, weights * distance)

    def _apply(
        self,
        runs: Sequence[ClipRun],
        canvas: Canvas,
        parameters: Tensors,
        gradients: Tensors,
        sound: Tensor,
    ) -> None:
        """Take Adam's step, and give every sound run its new tensors."""
        settings = canvas.optimiser
        rates = torch.tensor([run.learning_rate for run in runs], device=sound.device)
        steps = torch.tensor([run.step + 1 for run in runs], device=sound.device)
        values = {name: value.detach().clone() for name, value in parameters.items()}
        means = {name: torch.stack([run.mean[name] for run in runs]) for name in values}
        squares = {name: torch.stack([run.square[name] for run in runs]) for name in values}
        for name, value in values.items():
            adam_step(
                value,
                gradients[name],
                means[name],
                squares[name],
                step=steps,
                learning_rate=rates,
                betas=settings.betas,
                eps=settings.eps,
            )
        canvas.clamp(values)
        for row, (run, is_sound) in enumerate(zip(runs, sound.tolist(), strict=True)):
            if is_sound:
                run.start = replace(run.start, parameters=_row(values, row))
                run.mean, run.square = _row(means, row), _row(squares, row)

    # --- smaller parts ---------------------------------------------------------------------

    def _key(self, run: ClipRun) -> str:
        return str(self.batch_key(run.recipe)[0])

    def _default_judge(self) -> str:
        return next(str(each.default) for each in self._info.options if each.name == "perceptor")

    def _model_key(self, model: str, judge: str) -> str:
        return model if judge == self._default_judge() else f"{model}+{judge}"

    def _model_and_judge(self, key: str) -> tuple[str, str]:
        model, _, judge = key.partition("+")
        return model, judge or self._default_judge()

    def _judge(self, run: ClipRun) -> Perceptor:
        return self._judges[self._key(run)]

    def _is_exact(self, run: ClipRun) -> bool:
        return self._exact or run.recipe.exact

    @torch.no_grad()
    def _drawn(self, run: ClipRun) -> Tensor:
        if run.shown is None or run.shown_step != run.step:
            with deterministic_kernels(self._is_exact(run)):
                canvas = self._canvases[self._key(run)]
                parameters = {name: value[None] for name, value in run.start.parameters.items()}
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

    def _identity(self, recipe: Recipe) -> dict[str, int | str]:
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "engine": recipe.engine,
            "model": recipe.model,
            "width": recipe.width,
            "height": recipe.height,
        }

    def _resume(self, run: ClipRun, checkpoint: bytes) -> None:
        saved, fields = unpack(checkpoint, **self._identity(run.recipe))
        state = restore(saved, _state(run))
        step = fields.get("step")
        if not isinstance(step, int) or step < 0:
            raise BadCheckpointError("The saved state of this dream does not tell its step.")
        run.step = step
        run.start = Start(
            _part(state, "parameters"), _part(state, "constants"), _part(state, "anchor")
        )
        run.mean, run.square = _part(state, "mean"), _part(state, "square")
        try:
            run.streams.geometry.set_state(saved["random.geometry"])
            run.streams.noise.set_state(saved["random.noise"])
        except RuntimeError as error:
            raise BadCheckpointError("The saved state of this dream is damaged.") from error


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
        "mean": run.mean,
        "square": run.square,
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


def _row(tensors: Tensors, row: int) -> Tensors:
    # A view would keep the whole batch's memory alive while the run waits.
    return {name: tensor[row].clone() for name, tensor in tensors.items()}
