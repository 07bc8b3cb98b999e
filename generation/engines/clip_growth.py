"""Growing and shrinking: a run's picture is carried from one size to another in mid-course."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from generation.canvases.base import Canvas, Start, Tensors
from generation.engines.clip_options import ClipSettings
from generation.engines.clip_run import ClipRun, zeros
from generation.protocol import EngineInfo, Recipe


def size_at(
    recipe: Recipe, settings: ClipSettings, info: EngineInfo, canvas: Canvas, step: int
) -> tuple[int, int]:
    """Return width and height in a step: the longer side is as scheduled, the shape stays."""
    width, height = recipe.width, recipe.height
    if not settings.sides:
        return width, height
    scale = settings.sides.at(step) / max(width, height)
    multiple = math.lcm(info.size_multiple, canvas.multiple)
    least = -(-info.min_side // multiple) * multiple
    across, down = (
        min(side, max(least, round(side * scale / multiple) * multiple)) for side in (width, height)
    )
    return across, down


def moments_since(run: ClipRun, info: EngineInfo, canvas: Canvas) -> int:
    """Return the step from which a run's moments have been gathered: at which it got its size.

    Not every entry of the schedule changes that: sizes are rounded, and no larger than the whole.
    """
    if canvas.any_size:
        return 0
    sides = run.settings.sides
    since = sides.since(run.step)
    while since and size_at(run.recipe, run.settings, info, canvas, since - 1) == run.size:
        since = sides.since(since - 1)
    return since


def carry_over(run: ClipRun, canvas: Canvas, picture: Tensor, size: tuple[int, int]) -> None:
    """Let a run go on in another size from what it shows.

    A canvas whose parameters mean the same at any size keeps them. Another one begins anew from
    the picture; its moments begin anew as well.
    """
    width, height = size
    anchor = {name: _resized(value, run.size, size) for name, value in run.start.anchor.items()}
    if canvas.any_size:
        run.start = replace(run.start, anchor=anchor)
    else:
        picture = resample(picture, width, height).cpu()
        begun = canvas.start(width, height, run.streams.geometry, picture, run.settings.own)
        run.start = Start(begun.parameters, begun.constants, anchor)
        run.exp_avg, run.exp_avg_sq = zeros(begun.parameters), zeros(begun.parameters)
        if run.average:
            run.average = _copied(begun.parameters)
    run.size = size
    run.shown = None


def resample(picture: Tensor, width: int, height: int) -> Tensor:
    """Bring a picture [c, h, w] to another size, smoothly and without aliasing."""
    resized = F.interpolate(
        picture[None], size=(height, width), mode="bicubic", antialias=True, align_corners=False
    )
    return resized[0].clamp(0, 1)


def _resized(anchor: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Resize a map of what a run started from, be it a pixel or a code to the place."""
    columns = anchor.shape[-1] * new[0] // old[0]
    rows = anchor.shape[-2] * new[1] // old[1]
    return F.interpolate(anchor[None], size=(rows, columns), mode="bilinear", antialias=True)[0]


def _copied(tensors: Tensors) -> Tensors:
    return {name: torch.clone(value) for name, value in tensors.items()}
