"""The CLIP-steered engine: a canvas is optimised until CLIP finds the prompt in its picture.

One class serves every canvas (`generation.canvases`). A step is one iteration of Adam: draw the
pictures of all runs, show CLIP random crops of them, and follow the gradient of how far these
are from the prompts. All runs of a step are one batch; each has its own parameters, optimiser
state, random streams and prompts.

Source: the VQGAN+CLIP notebooks of Katherine Crowson and Ryan Murdock (2021).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby

import torch
from PIL import Image
from torch import Tensor

from generation.canvases.adam import adam_step
from generation.canvases.base import Canvas, Start, Tensors
from generation.canvases.clouds import clouds
from generation.clip.chance import Streams, chance_taken_back
from generation.clip.cutouts import crop_bytes
from generation.clip.perceptor import Perceptor
from generation.clip.sending import send
from generation.engine import BatchKey, EngineError, Eyes
from generation.engines.blending import mixed_in
from generation.engines.checkpointing import identity, pack, saved_step, unpack
from generation.engines.clip_growth import carry_over, moments_since, resample, size_at
from generation.engines.clip_loss import steering_loss
from generation.engines.clip_options import ClipSettings
from generation.engines.clip_prompts import embed_glide, embed_pictures, embed_prompts, score
from generation.engines.clip_run import (
    Aim,
    ClipRun,
    resume,
    row_of,
    stack,
    state_of,
    zeros,
)
from generation.engines.diffusion import FlowModel
from generation.engines.exactness import deterministic_kernels, step_exact_alone
from generation.engines.forms import (
    FlowSource,
    Form,
    form_loss,
    form_of,
    predicted_bytes,
    steered,
)
from generation.engines.notices import of_lost_words
from generation.engines.options import check_recipe
from generation.engines.perceptors import PerceptorSource
from generation.engines.steering import note_steer, steer_taken
from generation.imaging import decode_picture, to_pil
from generation.protocol import Attachment, EngineInfo, Job, Recipe, Steer

_FORMAT = "clip-steered"
# Raised with the format, whenever the arithmetic of a step changes its rounding, and whenever
# starter-clip or starter-diffusion is trained on: an exact dream that goes on with what is new is
# no longer what its recipe gives.
_VERSION = 9
# How many of a run's tries are looked at together; fixed, so that their rounding is.
_TRIES_TOGETHER = 4
# A picture is there so many times: as drawn, what was clamped of it, its halvings, and so on.
_PICTURES = 5
# Unlike a dash or a dot, it is in no model's name.
_AND = "+"


class ClipSteeredEngine:
    """Draws with one canvas family; see `generation.engine.Engine` for what each method promises.

    `make_canvas` loads a canvas by the model's name. `exact` makes every run an exact one. `flows`
    has the flow model that an engine with the option ``form`` asks.
    """

    def __init__(
        self,
        info: EngineInfo,
        make_canvas: Callable[[str], Canvas],
        perceptors: PerceptorSource,
        *,
        device: torch.device,
        exact: bool = False,
        flows: FlowSource | None = None,
    ) -> None:
        self._info = info
        self._flows = flows
        self._flow: FlowModel | None = None  # from the first run that asks it on
        self._make_canvas = make_canvas
        self._perceptors = perceptors
        self._device = device
        self._exact = exact
        self._canvases: dict[str, Canvas] = {}
        self._panels: dict[str, tuple[Perceptor, ...]] = {}

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
            settings.symmetry,
            settings.tiling,
            settings.sides,
            settings.asks_flow,
            *settings.own.items(),
        )
        if recipe.exact:
            key += ("exact", recipe.seed, recipe.prompt)
        return key

    def predict_bytes(self, recipe: Recipe, runs: int) -> int:
        """Estimate the canvas's and the perceptors' activations, with a twentieth to spare."""
        settings = ClipSettings.of(recipe, self._info)
        key = self._model_key(recipe.model, settings)
        canvas, panel = self._canvases.get(key), self._panels.get(key)
        exact = self._exact or recipe.exact
        together = 1 if exact else runs  # exact runs are stepped one by one
        width, height = recipe.width, recipe.height
        drawing, shared = 30_000 * width * height, 0.0
        if canvas:
            canvas = canvas.tiled(settings.tiling) if settings.tiling != "none" else canvas
            drawing = canvas.predict_bytes(width, height, settings.own, exact=exact)
            drawing += _PICTURES * 3 * 4 * width * height
            shared = canvas.predict_shared_bytes(exact=exact)
        per_cutout = len(settings.perceptors) * float(60 << 20)
        if panel:
            kept = [judge.kept(exact=exact) for judge in panel]
            crops = (crop_bytes(judge.size, together, exact=exact) for judge in panel)
            per_cutout = sum(each.a_row for each in kept) + sum(crops)
            shared += sum(each.once for each in kept)
        looking = 0
        if self._flows is not None and settings.asks_flow:
            number = self._flow.dtype if self._flow is not None and not exact else torch.float32
            looking = predicted_bytes(recipe, together, number)
        a_run = drawing + per_cutout * settings.cutouts
        return int(1.05 * (shared + together * a_run + looking))

    def load(self, model: str) -> None:
        """Have a canvas and its perceptors ready, named by the first item of a batch key.

        A model's plain name means: with the default perceptor.
        """
        if model in self._canvases:
            return
        name, judges = self._parts(model)
        canvas = self._make_canvas(name)
        panel: list[Perceptor] = []
        with ExitStack() as undo:
            for judge in judges:
                panel.append(self._perceptors.acquire(judge))
                undo.callback(self._perceptors.release, judge)
            undo.pop_all()
        self._panels[model] = tuple(panel)
        self._canvases[model] = canvas

    def unload(self, model: str) -> None:
        """Let go of them."""
        if self._canvases.pop(model, None) is not None:
            del self._panels[model]
            for judge in self._parts(model)[1]:
                self._perceptors.release(judge)
        if self._flow is not None and not self._canvases:
            self._flow.close()
            self._flow = None

    # --- a run's life ----------------------------------------------------------------------

    def begin(self, job: Job, checkpoint: bytes | None) -> ClipRun:
        """Make a run: seeded parameters, or those of a picture, or those of a checkpoint."""
        recipe = job.recipe
        check_recipe(recipe, self._info)
        settings = ClipSettings.of(recipe, self._info)
        key = self._model_key(recipe.model, settings)
        self.load(key)
        canvas = self._canvases[key]
        if recipe.width % canvas.multiple or recipe.height % canvas.multiple:
            raise EngineError(
                f"{recipe.model} draws sides that are multiples of {canvas.multiple} pixels."
            )
        step, saved = 0, None
        if checkpoint is not None:
            saved, said = unpack(checkpoint, **identity(_FORMAT, _VERSION, recipe))
            step = saved_step(said)
        size = size_at(recipe, settings, self._info, canvas, step)
        streams = Streams.seeded(recipe.seed, self._device)
        # Pictures that it aims at, or starts from, go through networks.
        with deterministic_kernels(self._exact or recipe.exact):
            aims = tuple(_aim(judge, job, settings) for judge in self._panels[key])
            form = self._form_of(recipe) if settings.asks_flow else None
            start = _start(job, settings, canvas, streams.geometry, size)
        run = ClipRun(
            job=job,
            recipe=recipe,
            size=size,
            start=start,
            exp_avg=zeros(start.parameters),
            exp_avg_sq=zeros(start.parameters),
            average={},
            streams=streams,
            aims=aims,
            settings=settings,
            form=form,
        )
        if settings.tries > 1 and not job.init and saved is None:
            self._choose_start(run)
        if canvas.optimiser.average:
            run.average = {name: value.clone() for name, value in run.start.parameters.items()}
        if saved is not None:
            resume(run, saved)
            run.step = step
        run.notices = self._notices(run)
        return run

    def step(self, runs: Sequence[ClipRun]) -> None:
        """Take one iteration of each run. Exact runs are taken one by one."""
        step_exact_alone(runs, self._is_exact, self._advance_by_size)

    def image(self, run: ClipRun) -> Image.Image:
        """Draw the run's picture as it is now."""
        return to_pil(self._drawn(run))

    def score(self, run: ClipRun) -> float | None:
        """Return what the perceptor of the largest share makes of the picture as it is now."""
        judge, placed = self._panel(run)[0], run.settings.panorama
        with deterministic_kernels(self._is_exact(run)):
            return score(judge, run.recipe, self._drawn(run), placed=placed)

    def preview(self, run: ClipRun) -> Image.Image:
        """Return the picture that the last step drew anyway, where `image` would draw alike."""
        return to_pil(run.shown) if run.shown is not None else self.image(run)

    def attachments(self, run: ClipRun) -> tuple[Attachment, ...]:
        """Return what there is of a run besides its picture: a drawing of lines as SVG."""
        canvas, recipe = self._canvas(run), run.recipe
        parameters = run.average or run.start.parameters
        svg = canvas.svg(parameters, run.start.constants, recipe.width, recipe.height)
        if svg is None:
            return ()
        data = svg.encode()
        return (Attachment(name="drawing.svg", media_type="image/svg+xml", data=data),)

    def steer(self, run: ClipRun, steer: Steer) -> None:
        """Let the prompts glide from the present step on, and note it in the run's recipe."""
        taken = steer_taken(run, steer)
        placed = run.settings.panorama
        with deterministic_kernels(self._is_exact(run)):
            run.aims = tuple(
                replace(
                    aim,
                    glides=(
                        *aim.glides,
                        embed_glide(judge, run.recipe, taken, placed=placed, pictures=aim.pictures),
                    ),
                )
                for judge, aim in zip(self._panel(run), run.aims, strict=True)
            )
            if self._flow is not None and run.form is not None:
                run.form = steered(self._flow, run.form, run.recipe, taken)
        note_steer(run, taken)
        run.notices = self._notices(run)

    def checkpoint(self, run: ClipRun) -> bytes:
        """Return parameters, optimiser state, random streams and the step."""
        return pack(state_of(run), step=run.step, **identity(_FORMAT, _VERSION, run.recipe))

    def _notices(self, run: ClipRun) -> tuple[str, ...]:
        # Of several, the one that counts most.
        judge = self._panel(run)[0]
        return of_lost_words(run.recipe, judge.unread, placed=run.settings.panorama)

    # --- one step --------------------------------------------------------------------------

    def _advance_by_size(self, runs: Sequence[ClipRun]) -> None:
        # Runs that grow may stand at different sizes.
        for _, alike in groupby(sorted(runs, key=_size_of), key=_size_of):
            self._advance(list(alike))

    def _advance(self, runs: Sequence[ClipRun]) -> None:
        with chance_taken_back([run.streams for run in runs]):  # whoever catches it tries again
            self._iterate(runs)
        for run in runs:
            if run.error is None:
                self._fit_to_schedule(run)
            if run.done and run.error is None:
                run.score = self.score(run)

    def _fit_to_schedule(self, run: ClipRun) -> None:
        """Carry a run on to the size of its next step.

        Invariant: between steps a run has the size that its step number says.
        """
        size = size_at(run.recipe, run.settings, self._info, self._canvas(run), run.step)
        if size != run.size:
            with deterministic_kernels(self._is_exact(run)):
                carry_over(run, self._canvas(run), self._painted(run), size)

    def _iterate(self, runs: Sequence[ClipRun]) -> None:
        """Compute all runs' next states, then hand them out: nothing fails half-way."""
        width, height = runs[0].size
        canvas = self._canvas(runs[0])
        parameters = {
            name: value.requires_grad_()
            for name, value in stack([run.start.parameters for run in runs]).items()
        }
        chances = [canvas.chance(width, height, run.streams.noise) for run in runs]
        constants = stack(
            [run.start.constants | chance for run, chance in zip(runs, chances, strict=True)]
        )
        pictures = canvas.draw(parameters, constants, width, height)
        loss = steering_loss(runs, self._panel(runs[0]), pictures)
        loss = loss + _pull(runs, canvas, parameters, pictures)
        loss = loss + canvas.penalty(parameters, constants)
        if self._flow is not None and runs[0].settings.asks_flow:
            loss = loss + form_loss(runs, self._flow, pictures)
        values = torch.autograd.grad(loss.sum(), list(parameters.values()))
        gradients = dict(zip(parameters, values, strict=True))
        with torch.no_grad():
            sound = loss.isfinite()
            for gradient in gradients.values():
                sound &= gradient.flatten(1).isfinite().all(dim=1)
            states = _adam(runs, self._info, canvas, parameters, gradients)
        # The only time that a step waits for the device.
        losses, sounds = torch.stack([loss.detach(), sound.to(loss.dtype)]).tolist()
        rows = zip(runs, states, pictures.detach(), losses, sounds, strict=True)
        for run, state, picture, value, is_sound in rows:
            if not is_sound:
                run.error = EngineError(
                    f"The picture fell apart at step {run.step}: its loss is not a number. "
                    "Try a lower learning rate or another seed."
                )
                continue
            run.start, run.exp_avg, run.exp_avg_sq, run.average = state
            # What is judged by chance, or beside an average, is not what is shown.
            run.shown = None if run.average or any(chances) else picture
            run.shown_step = run.step
            run.loss = value
            run.step += 1

    # --- smaller parts ---------------------------------------------------------------------

    def _canvas(self, run: ClipRun) -> Canvas:
        canvas = self._canvases[self._model_key(run.recipe.model, run.settings)]
        tiling = run.settings.tiling
        return canvas if tiling == "none" else canvas.tiled(tiling)

    def _panel(self, run: ClipRun) -> tuple[Perceptor, ...]:
        return self._panels[self._model_key(run.recipe.model, run.settings)]

    def _form_of(self, recipe: Recipe) -> Form | None:
        """Return what a run's words say to the flow, which only those need that ask it."""
        if self._flows is None:
            return None
        if self._flow is None:
            # Not in what `load` is measured to take: no key says whether a run asks for a form. Its
            # weights and its VQGAN's are 35 MB: the part of the memory that is never given out has
            # room for them, and where peaks are measured, they are in those of its steps.
            try:
                self._flow = self._flows.acquire()
            except EngineError as error:
                raise EngineError(f"{error} With form 0, CLIP draws without it.") from error
        return form_of(self._flow, recipe)

    def _default_judge(self) -> str:
        return next(str(each.default) for each in self._info.options if each.name == "perceptor")

    def _model_key(self, model: str, settings: ClipSettings) -> str:
        judges = [name for name, _ in settings.perceptors]
        asked = [] if judges == [self._default_judge()] else judges
        return _AND.join([model, *asked])

    def _parts(self, key: str) -> tuple[str, list[str]]:
        """Return the model of a key, and its perceptors."""
        model, *judges = key.split(_AND)
        return model, judges or [self._default_judge()]

    def _is_exact(self, run: ClipRun) -> bool:
        return self._exact or run.recipe.exact

    @torch.no_grad()
    def _choose_start(self, run: ClipRun) -> None:
        """Make as many random starts as the run has tries, and keep the one of least loss.

        Source: nshepperd's StyleGAN+CLIP notebook.
        """
        canvas = self._canvas(run)
        starts = [run.start]
        losses: list[float] = []
        with deterministic_kernels(self._is_exact(run)):
            while len(starts) < run.settings.tries:
                random = run.streams.geometry
                starts.append(_start(run.job, run.settings, canvas, random, run.size))
            for first in range(0, len(starts), _TRIES_TOGETHER):
                some = starts[first : first + _TRIES_TOGETHER]
                parameters = stack([start.parameters for start in some])
                constants = stack([start.constants for start in some])
                pictures = canvas.draw(parameters, constants, *run.size)
                losses += steering_loss([run] * len(some), self._panel(run), pictures).tolist()
        run.start = starts[losses.index(min(losses))]

    def _drawn(self, run: ClipRun) -> Tensor:
        """Draw the picture in the size of its recipe."""
        picture, recipe = self._painted(run), run.recipe
        if run.size == (recipe.width, recipe.height):
            return picture
        return resample(picture, recipe.width, recipe.height)

    @torch.no_grad()
    def _painted(self, run: ClipRun) -> Tensor:
        """Draw the picture in its present size."""
        if run.shown is None or run.shown_step != run.step:
            with deterministic_kernels(self._is_exact(run)):
                latest = run.average or run.start.parameters
                parameters = {name: value[None] for name, value in latest.items()}
                constants = {name: value[None] for name, value in run.start.constants.items()}
                (run.shown,) = self._canvas(run).draw(parameters, constants, *run.size)
                run.shown_step = run.step
        return run.shown


def _size_of(run: ClipRun) -> tuple[int, int]:
    return run.size


def _adam(
    runs: Sequence[ClipRun],
    info: EngineInfo,
    canvas: Canvas,
    parameters: Tensors,
    gradients: Tensors,
) -> list[tuple[Start, Tensors, Tensors, Tensors]]:
    """Take Adam's step for all runs; return each one's new start, moments and average."""
    device = next(iter(parameters.values())).device
    optimiser = canvas.optimiser
    counts = [run.step + 1 - moments_since(run, info, canvas) for run in runs]
    steps = send(counts, device, torch.int64)
    values = {name: value.detach().clone() for name, value in parameters.items()}
    exp_avg = stack([run.exp_avg for run in runs])
    exp_avg_sq = stack([run.exp_avg_sq for run in runs])
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
            learning_rate=send(rates, device),
            betas=optimiser.betas,
            eps=optimiser.eps,
            weight_decay=optimiser.weight_decay,
        )
    canvas.clamp(values)
    average = stack([run.average for run in runs])
    decay = optimiser.average
    for name, value in average.items():
        # With the start, as many states as `steps` and one more are in it.
        if optimiser.unbiased:
            weight = ((1 - decay) / (1 - decay ** (steps.double() + 1))).to(value.dtype)
        else:
            weight = send([1 - decay], device, value.dtype)
        value.lerp_(values[name], weight.reshape((-1,) + (1,) * (value.dim() - 1)))
    return [
        (
            replace(run.start, parameters=row_of(values, row)),
            row_of(exp_avg, row),
            row_of(exp_avg_sq, row),
            row_of(average, row),
        )
        for row, run in enumerate(runs)
    ]


def _pull(runs: Sequence[ClipRun], canvas: Canvas, parameters: Tensors, pictures: Tensor) -> Tensor:
    """Hold runs to the pictures they started from, less and less."""
    pulled = [row for row, run in enumerate(runs) if run.start.anchor]
    total = pictures.new_zeros(len(runs))
    if not pulled:
        return total
    rows = send(pulled, pictures.device, torch.int64)
    anchors = stack([runs[row].start.anchor for row in pulled])
    weights = send([_pull_weight(runs[row]) for row in pulled], pictures.device)
    chosen = {name: value[rows] for name, value in parameters.items()}
    distance = canvas.pull(chosen, pictures[rows], anchors)
    return total.index_add(0, rows, weights * distance)


def _pull_weight(run: ClipRun) -> float:
    return run.settings.init_weight * (1 - run.recipe.strength) / (2 * run.step + 1)


def _start(
    job: Job,
    settings: ClipSettings,
    canvas: Canvas,
    random: torch.Generator,
    size: tuple[int, int],
) -> Start:
    """Start from the job's picture, or from clouds without holding on to them, or by chance."""
    width, height = size
    if job.init:
        picture = decode_picture(job.init, width, height)
        if (other := mixed_in(job, settings.blend)) is not None:
            picture = torch.lerp(picture, decode_picture(other, width, height), settings.blend)
        return canvas.start(width, height, random, picture, settings.own)
    if settings.start == "clouds":
        picture = clouds(width, height, random, settings.tiling)
        begun = canvas.start(width, height, random, picture, settings.own)
        return replace(begun, anchor={})
    return canvas.start(width, height, random, None, settings.own)


def _aim(judge: Perceptor, job: Job, settings: ClipSettings) -> Aim:
    """Embed all that a run is to be drawn towards, as one perceptor sees it."""
    recipe, placed = job.recipe, settings.panorama
    pictures = tuple(embed_pictures(judge, job))
    first = embed_prompts(judge, recipe, recipe.prompt, placed=placed, pictures=pictures)
    glides = tuple(
        embed_glide(judge, recipe, steer, placed=placed, pictures=pictures)
        for steer in recipe.steers
    )
    return Aim(first, glides, pictures)
