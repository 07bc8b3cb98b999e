"""What a flow model takes a picture for: a canvas gets the form that CLIP alone does not give it.

A small CLIP tells a cat from a castle by colours and textures, and a canvas that follows its
gradient ends up with these. A text-to-image flow knows forms: what it takes a picture for, seen
through noise, is nearer to the prompt than the picture is. The canvas follows that difference
beside CLIP's loss.

Source: Poole et al., DreamFusion: Text-to-3D using 2D Diffusion (2022), whose score distillation
this is, with noise that grows less from step to step (Huang et al., DreamTime, 2023) and the
difference taken between pixels (Zhu & Zhuang, HiFA, 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from generation.clip.chance import Streams
from generation.clip.sending import send
from generation.engines.clip_options import ClipSettings
from generation.engines.clip_prompts import picture_of
from generation.engines.conditions import Condition, join, most_rows, shared_out, unwanted
from generation.engines.diffusion import FlowModel, condition
from generation.engines.exactness import in_format
from generation.prompts import Prompt, parse
from generation.protocol import Job, Recipe, Steer

# At a weight of 1, squares of differences in 0..1 count so much beside CLIP's angles.
_SCALE = 30.0
_MOST_NOISE, _LEAST_NOISE = 0.95, 0.4
# The least in the frames of a journey, once the first is there: with less they hold on to what they
# begin from while the words go on, and burn in; with much more each is another picture.
_FRAME_NOISE = 0.6
# Steps until the least noise. Counted in steps and not in parts of all: a dream may be continued.
_FALL = 80
# What a steer begins with, of the way from the least noise to the most: the picture is still seen.
_STEERED = 0.7
_GUIDANCE = 7.0
# What the flow looks at has about so many pixels, and sides that it takes.
_SEEN_PIXELS, _MULTIPLE = 128 * 128, 16


class FlowSource(Protocol):
    """Where the flow model comes from. Engines share it, and each closes what it acquired."""

    def acquire(self) -> FlowModel:
        """Return the flow, loading it if nobody has it.

        Raises:
            EngineError: it is not here, or damaged.
        """
        ...


@dataclass(frozen=True)
class Form:
    """What a run's words say to the flow: `prompts` has the first and one for each steer.

    `away`, alike, is what it is to keep away from.
    """

    prompts: tuple[tuple[Condition, ...], ...]
    away: tuple[tuple[Condition, ...], ...]


class Formed(Protocol):
    """What of a run matters here; see `generation.engines.clip_run.ClipRun`."""

    job: Job
    recipe: Recipe
    step: int
    earlier: int
    first_strength: float
    settings: ClipSettings
    streams: Streams
    form: Form | None


@dataclass(frozen=True)
class _Asked:
    """A run's present step, as `join` wants it."""

    recipe: Recipe
    step: int
    prompts: tuple[tuple[Condition, ...], ...]
    away: tuple[tuple[Condition, ...], ...]
    guidance: float = _GUIDANCE


def form_default(perceptors: Sequence[str], flows: FlowSource | None) -> float | None:
    """Return how much a flow's idea of the form counts; None where none can be asked.

    It goes by the first perceptor: the gradients of large CLIPs draw forms by themselves.
    """
    if flows is None:
        return None
    return 1.0 if perceptors[0].startswith("starter-") else 0.0


def form_of(flow: FlowModel, recipe: Recipe) -> Form | None:
    """Return what a recipe's words say to a flow; None if it has none."""
    said = _said(flow, recipe, recipe.prompt)
    if not said:
        return None
    form = Form((said,), (_led_from(flow, recipe, recipe.prompt),))
    for steer in recipe.steers:
        form = steered(flow, form, recipe, steer)
    return form


def steered(flow: FlowModel, form: Form, recipe: Recipe, steer: Steer) -> Form:
    """Return a form that glides on; one without words keeps the words that there were."""
    said = _said(flow, recipe, steer.prompt) or form.prompts[-1]
    away = _led_from(flow, recipe, steer.prompt)
    return Form((*form.prompts, said), (*form.away, away))


def form_loss(runs: Sequence[Formed], flow: FlowModel, pictures: Tensor) -> Tensor:
    """Say how far pictures are from what the flow expects them to become.

    Args:
        runs: of one size; those without a form get 0.
        flow: the model of their forms.
        pictures: [runs, 3, height, width] in 0..1; gradients pass to them.

    Returns:
        [runs].
    """
    total = pictures.new_zeros(len(runs))
    asked = [
        (row, _Asked(run.recipe, run.step, run.form.prompts, run.form.away))
        for row, run in enumerate(runs)
        if run.form is not None
    ]
    if not asked:
        return total
    rows = send([row for row, _ in asked], pictures.device, torch.int64)
    chosen = [runs[row] for row, _ in asked]
    seen = _resized(pictures[rows], *seen_size(pictures.shape[3], pictures.shape[2]))
    expected = _expected(chosen, [each for _, each in asked], flow, seen.detach())
    weights = send([run.settings.form * _SCALE for run in chosen], pictures.device)
    apart = (seen - expected).square().flatten(1).mean(dim=1)
    return total.index_add(0, rows, weights * apart)


@torch.no_grad()
def _expected(
    runs: Sequence[Formed], asked: Sequence[_Asked], flow: FlowModel, seen: Tensor
) -> Tensor:
    """Return the pictures that the flow takes others for, once they are noisy."""
    # What the canvas is to come near to need not be right to the last digit.
    with in_format(seen.device, flow.dtype):
        latents = flow.encode(seen.clamp(0, 1)).float()
    times = send([noise_at(run) for run in runs], seen.device)
    wide = times.view(-1, 1, 1, 1)
    drawn = [
        torch.randn(latents.shape[1:], generator=run.streams.noise, device=latents.device)
        for run in runs
    ]
    noisy = torch.lerp(latents, torch.stack(drawn), wide)
    rows = join(asked, seen.device)
    answers = flow.velocity(noisy[rows.owners], times[rows.owners], rows.states, rows.mask)
    with in_format(seen.device, flow.dtype):
        expected = flow.decode(noisy - wide * rows.sum(answers, len(runs)))
    return expected.float().clamp(0, 1)


def noise_at(run: Formed) -> float:
    """Return how much noise (0..1) the flow sees a run's picture through in its present step.

    From a picture it starts with less, so much as the strength says. Each steer begins anew, since
    through little noise the flow would see what there was and hold on to it. A journey's frames are
    steered all the while: theirs goes on falling where the first frame's ended, but keeps a least
    amount of its own. Where the first ended with less, all others have that least amount.
    """
    if run.earlier:
        return max(_FRAME_NOISE, _falling(run.earlier + run.step, run.first_strength))
    begun = [steer.step for steer in run.recipe.steers if steer.step <= run.step]
    most = run.recipe.strength if run.job.init else 1.0
    if begun:
        most = _STEERED
    return _falling(run.step - max(begun, default=0), most)


def _falling(steps: int, most: float) -> float:
    """Return the noise so many steps after it began, at no more than a part of the most."""
    left = max(0.0, 1 - steps / _FALL)
    return _LEAST_NOISE + (_MOST_NOISE - _LEAST_NOISE) * min(left, most)


def _resized(pictures: Tensor, width: int, height: int) -> Tensor:
    """Return pictures [n, c, height, width] as bilinear filters with antialiasing give them.

    By two products: the filter's own gradient is not deterministic on CUDA.
    """
    if pictures.shape[2:] == (height, width):
        return pictures
    down = _filter(pictures.shape[2], height).to(pictures.device, pictures.dtype)
    across = _filter(pictures.shape[3], width).to(pictures.device, pictures.dtype)
    return down @ pictures @ across.T


@lru_cache(maxsize=32)
def _filter(before: int, after: int) -> Tensor:
    """Return the weights [after, before] of one side's pixels."""
    lines = torch.eye(before)[None, None]
    return F.interpolate(
        lines, (after, before), mode="bilinear", antialias=True, align_corners=False
    )[0, 0]


def seen_size(width: int, height: int) -> tuple[int, int]:
    """Return the size at which the flow looks at pictures: of their shape, as it knows them."""
    scale = min(1.0, (_SEEN_PIXELS / (width * height)) ** 0.5)
    across, down = (
        max(_MULTIPLE, round(side * scale / _MULTIPLE) * _MULTIPLE) for side in (width, height)
    )
    return across, down


def predicted_bytes(recipe: Recipe, runs: int, dtype: torch.dtype) -> int:
    """Estimate what so many runs' look through a flow of a number format takes besides.

    Measured on the CPU at 64 and 128 pixels with 1 and 3 runs: while the network is asked, by its
    rows; and while a picture's latents become a picture.
    """
    across, down = seen_size(recipe.width, recipe.height)
    a_pixel = 920 * runs if dtype == torch.float32 else 260 + 400 * runs
    rows = runs * most_rows(recipe, _GUIDANCE)
    return max(a_pixel, 45 * rows) * across * down


def _said(flow: FlowModel, recipe: Recipe, text: str) -> tuple[Condition, ...]:
    wanted = [
        prompt
        for prompt in parse(text)
        if prompt.weight > 0 and picture_of(prompt, len(recipe.picture_sha256s)) is None
    ]
    return _conditions(flow, wanted)


def _led_from(flow: FlowModel, recipe: Recipe, text: str) -> tuple[Condition, ...]:
    return _conditions(flow, unwanted(text, recipe.negative))


def _conditions(flow: FlowModel, prompts: Sequence[Prompt]) -> tuple[Condition, ...]:
    return tuple(condition(flow, prompt.text, weight) for prompt, weight in shared_out(prompts))
