"""DeepDream: a picture is changed so that a classifier sees more of what it sees in it.

A step is one iteration of gradient ascent on how strongly chosen layers answer, of a picture
shifted by chance. It begins with the picture made small, and goes on to ever larger octaves; what
was dreamed into one is carried to the next, and the start's own detail added. Guided by a second
picture, layers are drawn to the likest of what they make of that one instead. No words are used.

Source: Mordvintsev, Olah & Tyka, Inceptionism (2015), google/deepdream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from generation.canvases.clouds import clouds
from generation.clip.sending import send
from generation.engine import BadCheckpointError, BatchKey, EngineError, Run
from generation.engines.checkpointing import identity, pack, restore, saved_step, unpack
from generation.engines.deepdream_options import (
    DreamSettings,
    chosen_layers,
    octave_at,
    octave_sizes,
)
from generation.engines.exactness import deterministic_kernels
from generation.engines.one_model import OneModelEngine
from generation.engines.options import check_recipe
from generation.imaging import decode_picture, to_pil
from generation.models.classifiers import Classifier
from generation.protocol import Job, Recipe, Steer

_FORMAT = "deepdream"
_VERSION = 1
# The longer side of a guide, and how many of a picture's features are compared with it at once.
_GUIDE = 224
_MATCHED_TOGETHER = 4096


@dataclass(kw_only=True)
class DreamRun(Run):
    """A picture that is being dreamed into.

    `base` [3, height, width] is what it started from; `picture` is of its present octave's size.
    `sizes` are the octaves' heights and widths, the smallest first. `guide` holds each layer's
    features [channels, positions] of the guiding picture, or nothing.
    """

    base: Tensor
    picture: Tensor
    sizes: tuple[tuple[int, int], ...]
    layers: tuple[str, ...]
    guide: tuple[Tensor, ...]
    random: torch.Generator
    settings: DreamSettings


class DeepDreamEngine(OneModelEngine[Classifier]):
    """Dreams with classifiers; see `generation.engine.Engine` for what each method promises.

    `load_model` loads a classifier by name. `exact` makes every run an exact one.
    """

    # --- models ----------------------------------------------------------------------------

    def batch_key(self, recipe: Recipe) -> BatchKey:
        """Runs share a step if they look into the same layers at the same sizes."""
        own = DreamSettings.of(recipe, self._info)
        key: BatchKey = (
            recipe.model, recipe.width, recipe.height,
            own.octaves, own.octave_scale, own.depth, own.layers,
        )  # fmt: skip
        if recipe.exact:
            key += ("exact", recipe.seed, recipe.prompt)
        return key

    def predict_bytes(self, recipe: Recipe, runs: int) -> int:
        """Estimate the network's activations at the full size, and as much for gradients."""
        model = self._models.get(recipe.model)
        per_pixel = model.bytes_per_pixel if model else 1200
        return 2 * per_pixel * recipe.width * recipe.height * runs

    # --- a run's life ----------------------------------------------------------------------

    def check(self, recipe: Recipe) -> None:
        """Refuse fewer steps than octaves, and what no engine draws."""
        check_recipe(recipe, self._info)
        own = DreamSettings.of(recipe, self._info)
        if recipe.steps < own.octaves:
            raise EngineError(
                f"{own.octaves} octaves need at least as many steps. Take more steps, or fewer "
                "octaves."
            )

    def begin(self, job: Job, checkpoint: bytes | None) -> DreamRun:
        """Make a run of a picture, or of what chance gives."""
        recipe = job.recipe
        self.check(recipe)
        own = DreamSettings.of(recipe, self._info)
        self.load(recipe.model)
        model = self._models[recipe.model]
        layers = chosen_layers(own, model.layers)
        random = torch.Generator().manual_seed(recipe.seed & (2**63 - 1))
        if job.init:
            base = decode_picture(job.init, recipe.width, recipe.height)
        elif own.start == "noise":
            # As TensorFlow's tutorial has it: even grey, and a little noise to dream from.
            base = 0.4 + 0.1 * torch.rand(3, recipe.height, recipe.width, generator=random)
        else:
            base = clouds(recipe.width, recipe.height, random)
        base = base.to(self._device)
        sizes = octave_sizes(recipe, own, model.smallest)
        run = DreamRun(
            job=job,
            recipe=recipe,
            base=base,
            picture=_resize(base, sizes[0]),
            sizes=sizes,
            layers=layers,
            guide=self._guide(job, model, layers),
            random=random,
            settings=own,
        )
        if checkpoint is not None:
            self._resume(run, checkpoint)
        return run

    def step(self, runs: Sequence[DreamRun]) -> None:
        """Take one iteration of each run. Runs that are at the same octave are one batch."""
        runs = [run for run in runs if not run.done]
        alone = any(self._is_exact(run) for run in runs)
        groups: dict[object, list[DreamRun]] = {}
        for run in runs:
            key = id(run) if alone else octave_at(run.recipe, run.settings, run.step)
            groups.setdefault(key, []).append(run)
        with deterministic_kernels(alone):
            for group in groups.values():
                self._advance(group)

    def image(self, run: DreamRun) -> Image.Image:
        """Return the picture as it is, enlarged while it is at a smaller octave."""
        return to_pil(_resize(run.picture, (run.recipe.height, run.recipe.width)))

    def preview(self, run: DreamRun) -> Image.Image:
        """Return the picture at its octave's size."""
        return to_pil(run.picture)

    def steer(self, run: DreamRun, steer: Steer) -> None:
        """Refuse: there are no words in it.

        Raises:
            EngineError: always.
        """
        raise EngineError("DeepDream uses no words, so it cannot be steered.")

    def checkpoint(self, run: DreamRun) -> bytes:
        """Return the picture, what it started from, and the state of chance."""
        return pack(_state(run), step=run.step, **identity(_FORMAT, _VERSION, run.recipe))

    # --- one step --------------------------------------------------------------------------

    def _advance(self, runs: Sequence[DreamRun]) -> None:
        before = [run.random.get_state() for run in runs]
        try:
            self._ascend(runs)
        except BaseException:
            # Whoever catches this may try again; chance must then fall as it would have.
            for run, state in zip(runs, before, strict=True):
                run.random.set_state(state)
            raise

    def _ascend(self, runs: Sequence[DreamRun]) -> None:
        """Compute all runs' next pictures, then hand them out: nothing fails half-way."""
        model = self._models[runs[0].recipe.model]
        shifts = [_shift(run) for run in runs]
        shifted = [
            run.picture.roll(shift, dims=(1, 2)) for run, shift in zip(runs, shifts, strict=True)
        ]
        pictures = torch.stack(shifted).requires_grad_()
        features = model.look(pictures, runs[0].layers)
        answers = torch.stack(
            [
                torch.stack([_answer(run, layer, each[row]) for layer, each in enumerate(features)])
                for row, run in enumerate(runs)
            ]
        ).sum(dim=1)
        (gradient,) = torch.autograd.grad(answers.sum(), pictures)
        strength = gradient.abs().flatten(1).mean(dim=1)
        rates = send([run.settings.step_size / 255 for run in runs], gradient.device)
        scale = rates / strength.clamp(min=1e-12)
        changed = (pictures.detach() + scale[:, None, None, None] * gradient).clamp(0, 1)
        sound = answers.isfinite() & strength.isfinite()
        told, sounds = torch.stack([answers.detach(), sound.to(answers.dtype)]).tolist()
        rows = zip(runs, shifts, changed, told, sounds, strict=True)
        for run, (down, right), picture, answer, is_sound in rows:
            if not is_sound:
                run.error = EngineError(
                    f"The picture fell apart at step {run.step}: the network's answer is not a "
                    "number. Try smaller steps or other layers."
                )
                continue
            run.picture = picture.roll((-down, -right), dims=(1, 2))
            run.loss = -answer
            run.step += 1
            # A first look ends between steps as any other run does: whoever goes on from it expects
            # the size of its next one.
            if run.step < run.recipe.steps:
                _enter_octave(run)

    # --- smaller parts ---------------------------------------------------------------------

    @torch.no_grad()
    def _guide(self, job: Job, model: Classifier, layers: Sequence[str]) -> tuple[Tensor, ...]:
        """Return what layers make of the picture that guides, if there is one."""
        if not job.recipe.picture_sha256s:
            return ()
        data = job.pictures.get(job.recipe.picture_sha256s[0])
        if data is None:
            raise EngineError("The picture to be guided by is missing. Give it again.")
        longer = max(job.recipe.width, job.recipe.height)
        width = max(model.smallest, _GUIDE * job.recipe.width // longer)
        height = max(model.smallest, _GUIDE * job.recipe.height // longer)
        guide = decode_picture(data, width, height).to(self._device)
        with deterministic_kernels(self._exact or job.recipe.exact):
            return tuple(_inside(each[0]).flatten(1) for each in model.look(guide[None], layers))

    def _resume(self, run: DreamRun, checkpoint: bytes) -> None:
        saved, fields = unpack(checkpoint, **identity(_FORMAT, _VERSION, run.recipe))
        step = saved_step(fields)
        octave = octave_at(run.recipe, run.settings, min(step, run.recipe.steps - 1))
        run.picture = _resize(run.base, run.sizes[octave])
        state = restore(saved, _state(run))
        run.step = step
        run.base, run.picture = state["base"], state["picture"]
        try:
            run.random.set_state(saved["random"])
        except RuntimeError as error:
            raise BadCheckpointError("The saved state of this dream is damaged.") from error


def _answer(run: DreamRun, layer: int, features: Tensor) -> Tensor:
    """Say how strongly a layer answers [channels, h, w], or how much like its guide."""
    if not run.guide:
        return features.square().mean()
    flat, guide = features.flatten(1), run.guide[layer]
    pieces = 1 + flat.shape[1] // _MATCHED_TOGETHER
    with torch.no_grad():
        likest = torch.cat(
            [(some.T @ guide).argmax(dim=1) for some in flat.tensor_split(pieces, dim=1)]
        )
        wanted = guide[:, likest]
    return (flat * wanted).mean()


def _inside(features: Tensor) -> Tensor:
    """Leave out what layers make of a guide's edges [channels, h, w].

    Convolutions pad with zeros there, and answer the edge of the picture itself: strongly enough to
    be the likest of many places, so that frames and grids were dreamed instead of what is shown.
    """
    edges = [max(1, side // 14) if side >= 5 else 0 for side in features.shape[1:]]
    (down, right), (height, width) = edges, features.shape[1:]
    return features[:, down : height - down, right : width - right]


def _shift(run: DreamRun) -> tuple[int, int]:
    jitter = run.settings.jitter
    down, right = torch.randint(-jitter, jitter + 1, (2,), generator=run.random).tolist()
    return down, right


def _enter_octave(run: DreamRun) -> None:
    """Where a new octave begins, carry what was dreamed to its size, onto the start's own."""
    now = octave_at(run.recipe, run.settings, run.step)
    if now == octave_at(run.recipe, run.settings, run.step - 1):
        return
    size = run.sizes[now]
    dreamed = run.picture - _resize(run.base, (run.picture.shape[1], run.picture.shape[2]))
    run.picture = (_resize(run.base, size) + _resize(dreamed, size)).clamp(0, 1)


def _resize(picture: Tensor, size: tuple[int, int]) -> Tensor:
    if picture.shape[1:] == size:
        return picture
    resized = F.interpolate(
        picture[None], size=size, mode="bilinear", antialias=True, align_corners=False
    )
    return resized[0]


def _state(run: DreamRun) -> dict[str, Tensor]:
    return {"base": run.base, "picture": run.picture, "random": run.random.get_state()}
