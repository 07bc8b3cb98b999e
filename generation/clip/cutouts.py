"""Cutouts: the random crops of a picture that CLIP is shown in its stead.

A `Plan` holds what chance decided for one run and one step (a few small CPU tensors), drawn from
that run's own generators, so that it never depends on who shares the batch. `cut` then draws
the crops of all runs at once.

Five kinds:

- ``classic``: squares of random size and place. Source: Crowson's VQGAN+CLIP notebook.
- ``augmented``: classic squares, slightly turned and sheared, mirrored, recoloured, with noise.
- ``pooled``: the whole picture pooled to CLIP's size, then affine, perspective, colour jitter,
  erasing and noise. Source: nerdyrodent/VQGAN-CLIP, ``cut_method latest``.
- ``drawing``: the whole picture in perspective on white, of which most is kept. Source: CLIPDraw.
- ``scheduled``: overviews of the whole picture (plain, grey, mirrored, both, and so on) beside
  inner squares, both slightly turned, recoloured and noisy. How many there are of each, and how
  many squares are grey, is for the caller to change in the course of a run. Source: Disco
  Diffusion's ``MakeCutoutsDango``; above four overviews it takes plain ones only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from generation.clip.chance import (
    GREY,
    MIRROR,
    Streams,
    affine_views,
    colour_jitter,
    crop_views,
    erasing_boxes,
    mirrored_views,
    most_views,
    perspective_views,
)
from generation.clip.sampling import sample_views
from generation.clip.sending import send

KINDS = ("classic", "augmented", "pooled", "drawing", "scheduled")
_TO_GREY = torch.tensor(GREY).expand(3, 3)


@dataclass(frozen=True)
class Plan:
    """What chance decided for one run's crops in one step.

    views: [crops, 3, 3], see `generation.clip.sampling`.
    colour: [crops, 3, 3] matrices on RGB, or None.
    grey: [crops], how much of the crop's mean grey is added.
    erased: [crops, 4] left, top, right, bottom in −1..1 (an empty box erases nothing), or None.
    noise: [crops], the standard deviation of the noise.
    """

    views: Tensor
    colour: Tensor | None = None
    grey: Tensor | None = None
    erased: Tensor | None = None
    noise: Tensor | None = None


def plan(
    kind: str,
    streams: Streams,
    *,
    count: int,
    size: int,
    width: int,
    height: int,
    cut_pow: float = 1.0,
    pairs: bool = False,
    overview: float = 0.0,
    grey: float = 0.0,
) -> Plan:
    """Let chance decide one run's next `count` crops of `size` pixels.

    `cut_pow` above 1 favours small crops, below 1 large ones (``classic``, ``augmented`` and
    ``scheduled``). With `pairs`, crop ⌈count/2⌉ + k lies where crop k would lie in a mirror.
    `overview` is the part of ``scheduled`` crops that show the whole picture, `grey` the part of
    its others without colour.
    """
    random = streams.geometry
    partners = count // 2 if pairs else 0
    own = count - partners
    overviews = round(overview * own) if kind == "scheduled" else 0
    views = _views(kind, random, own, overviews, size, width, height, cut_pow)
    if partners:
        views = torch.cat([views, MIRROR @ views[:partners] @ MIRROR])
    if kind in ("classic", "drawing"):
        return Plan(views)
    colour, added = colour_jitter(random, count, amount=0.1, chance=0.7)
    if kind == "scheduled":
        colour = torch.where(_without_colour(count, own, overviews, grey), _TO_GREY, colour)
        return Plan(views, colour, added, noise=torch.full((count,), 0.01))
    erased = erasing_boxes(random, count, chance=0.7) if kind == "pooled" else None
    noise = torch.rand(count, generator=random) * 0.1
    return Plan(views, colour, added, erased, noise)


def _views(
    kind: str,
    random: torch.Generator,
    count: int,
    overviews: int,
    size: int,
    width: int,
    height: int,
    cut_pow: float,
) -> Tensor:
    if kind == "classic":
        return crop_views(random, count, size, width, height, cut_pow)
    if kind == "augmented":
        crops = crop_views(random, count, size, width, height, cut_pow)
        turn = affine_views(random, count, degrees=10.0, translate=0.0, shear=5.0, chance=0.7)
        return crops @ turn @ mirrored_views(random, count)
    if kind == "pooled":
        affine = affine_views(random, count, degrees=15.0, translate=0.1, shear=5.0, chance=0.7)
        return affine @ perspective_views(random, count, distortion=0.7, chance=0.7)
    if kind == "drawing":
        perspective = perspective_views(random, count, distortion=0.5, chance=1.0)
        return perspective @ most_views(random, count)
    if kind == "scheduled":
        whole = overview_views(overviews, width, height)
        inner = crop_views(random, count - overviews, size, width, height, cut_pow)
        inner = inner @ mirrored_views(random, count - overviews)
        turn = affine_views(random, count, degrees=10.0, translate=0.05, shear=0.0, chance=1.0)
        return torch.cat([whole, inner]) @ turn
    raise ValueError(f"no kind of cutouts is called {kind!r}")


def overview_views(count: int, width: int, height: int) -> Tensor:
    """Fit the whole picture into the square, every third and fourth time mirrored."""
    views = torch.diag(torch.tensor([max(width, height) / width, max(width, height) / height, 1.0]))
    mirrored = torch.arange(count) % 4 >= 2
    return torch.where(mirrored[:, None, None], views @ MIRROR, views)


def _without_colour(count: int, own: int, overviews: int, grey: float) -> Tensor:
    """Say which scheduled crops are grey [count, 1, 1]; a pair's second is as its first."""
    places = torch.arange(count) % own
    inner = (places >= overviews) & (places < overviews + round(grey * (own - overviews)))
    return ((places < overviews) & (places % 2 == 1) | inner)[:, None, None]


def cut(
    kind: str,
    pictures: Tensor,
    plans: Sequence[Plan],
    streams: Sequence[Streams],
    size: int,
    *,
    deterministic: bool = False,
) -> Tensor:
    """Draw the crops of all runs as their plans say.

    Args:
        pictures: [runs, 3, height, width] in 0..1.
        plans, streams: one for each run, all of the same `kind` and number of crops.

    Returns:
        [runs, crops, 3, size, size].
    """
    device = pictures.device
    pooled = kind == "pooled"
    if pooled:
        pictures = (_average_pool(pictures, size) + _maximum_pool(pictures, size)) / 2
    views = send(torch.stack([each.views for each in plans]), device)
    on_white = kind == "drawing"
    on_black = pooled or kind == "scheduled"
    crops = sample_views(
        1 - pictures if on_white else pictures,
        views,
        size,
        zero_outside=on_black or on_white,
        deterministic=deterministic,
    )
    if on_white:
        crops = 1 - crops
    if (colour := _stack([each.colour for each in plans], device)) is not None:
        grey = _stack([each.grey for each in plans], device)
        assert grey is not None
        mean = torch.einsum("rkchw,c->rk", crops, send(GREY, device, crops.dtype)) / size**2
        crops = torch.einsum("rkij,rkjhw->rkihw", colour, crops)
        crops = crops + (grey * mean)[:, :, None, None, None]
    if (erased := _stack([each.erased for each in plans], device)) is not None:
        crops = crops * _kept(erased, size)
    if (deviation := _stack([each.noise for each in plans], device)) is not None:
        shape = crops.shape[1:]
        noise = torch.stack(
            [torch.randn(shape, generator=each.noise, device=device) for each in streams]
        )
        crops = crops + deviation[:, :, None, None, None] * noise
    return crops


def crop_bytes(size: int, runs: int, *, exact: bool) -> int:
    """Estimate what a crop takes besides its embedding, in bytes, of so many runs' together.

    Drawing it keeps the places [size, size, 2] that it is read at and up to half as much of other
    kinds, or where exact an index and a weight for each of four neighbours. The crop itself is
    there before and after normalisation; and of several runs once more, side by side.
    """
    kept = 12.5 if exact else 2.5
    return int(4 * size**2 * (kept + 3 * (3 if runs > 1 else 2)))


# Torch's own adaptive pooling has no deterministic gradient on CUDA; products and `gather` have.


def _average_pool(pictures: Tensor, size: int) -> Tensor:
    """Pool to `size` × `size` by the mean; a smaller picture is enlarged by repeating pixels."""
    rows = send(_windows(pictures.shape[2], size), pictures.device, pictures.dtype)
    columns = send(_windows(pictures.shape[3], size), pictures.device, pictures.dtype)
    return rows @ pictures @ columns.T


def _maximum_pool(pictures: Tensor, size: int) -> Tensor:
    """Pool as `_average_pool` does, by the maximum."""
    places = F.adaptive_max_pool2d(pictures.detach(), size, return_indices=True)[1]
    return pictures.flatten(2).gather(2, places.flatten(2)).view_as(places)


def _windows(length: int, size: int) -> Tensor:
    """Return [size, length]: row i averages from ⌊i·length/size⌋ to ⌈(i+1)·length/size⌉."""
    matrix = torch.zeros(size, length)
    for row in range(size):
        first, end = row * length // size, -(-(row + 1) * length // size)
        matrix[row, first:end] = 1 / (end - first)
    return matrix


def _kept(boxes: Tensor, size: int) -> Tensor:
    """Return [runs, crops, 1, size, size]: 0 inside the boxes, 1 outside."""
    ticks = (torch.arange(size, device=boxes.device) * 2 + 1) / size - 1
    left, top, right, bottom = boxes[..., None, None].unbind(dim=2)
    inside_x = (ticks[None, :] >= left) & (ticks[None, :] < right)
    inside_y = (ticks[:, None] >= top) & (ticks[:, None] < bottom)
    return (~(inside_x & inside_y)).unsqueeze(2)


def _stack(parts: Sequence[Tensor | None], device: torch.device) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return send(torch.stack(present), device) if present else None
