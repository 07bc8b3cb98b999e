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

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from generation.clip.sampling import sample_views
from generation.clip.sending import send

KINDS = ("classic", "augmented", "pooled", "drawing", "scheduled")
_GREY = (0.299, 0.587, 0.114)
_TO_GREY = torch.tensor(_GREY).expand(3, 3)
_MIRROR = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))


@dataclass(frozen=True)
class Streams:
    """A run's own random streams: geometry on the CPU, noise where the pictures are."""

    geometry: torch.Generator
    noise: torch.Generator

    @classmethod
    def seeded(cls, seed: int, device: torch.device) -> Streams:
        """Make both streams from a seed (any integer)."""
        seed &= 2**63 - 1
        geometry = torch.Generator().manual_seed(seed)
        noise = torch.Generator(device).manual_seed(seed ^ 0x6E6F697365)
        return cls(geometry, noise)

    def state(self) -> tuple[Tensor, Tensor]:
        """Return the states of both, as tensors on the CPU."""
        return self.geometry.get_state(), self.noise.get_state()

    def restore(self, geometry: Tensor, noise: Tensor) -> None:
        """Let chance fall as it did after `state`.

        Raises:
            RuntimeError: these are no states of random streams.
        """
        self.geometry.set_state(geometry)
        self.noise.set_state(noise)


@contextmanager
def chance_taken_back(streams: Sequence[Streams]) -> Iterator[None]:
    """Where what is done within fails, let chance fall again as it would have."""
    before = [each.state() for each in streams]
    try:
        yield
    except BaseException:
        for each, state in zip(streams, before, strict=True):
            each.restore(*state)
        raise


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
        views = torch.cat([views, _MIRROR @ views[:partners] @ _MIRROR])
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
        return crops @ turn @ _mirrored_by_chance(random, count)
    if kind == "pooled":
        affine = affine_views(random, count, degrees=15.0, translate=0.1, shear=5.0, chance=0.7)
        return affine @ perspective_views(random, count, distortion=0.7, chance=0.7)
    if kind == "drawing":
        perspective = perspective_views(random, count, distortion=0.5, chance=1.0)
        return perspective @ most_views(random, count)
    if kind == "scheduled":
        whole = overview_views(overviews, width, height)
        inner = crop_views(random, count - overviews, size, width, height, cut_pow)
        inner = inner @ _mirrored_by_chance(random, count - overviews)
        turn = affine_views(random, count, degrees=10.0, translate=0.05, shear=0.0, chance=1.0)
        return torch.cat([whole, inner]) @ turn
    raise ValueError(f"no kind of cutouts is called {kind!r}")


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
        mean = torch.einsum("rkchw,c->rk", crops, send(_GREY, device, crops.dtype)) / size**2
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


# --- what chance decides ---------------------------------------------------------------------


def crop_views(
    random: torch.Generator, count: int, size: int, width: int, height: int, cut_pow: float
) -> Tensor:
    """Draw squares of ``U^cut_pow · (max − min) + min`` whole pixels a side.

    max is the shorter side of the picture, min the same or CLIP's size if that is less. Places
    are whole pixels, all equally likely.
    """
    largest = min(width, height)
    smallest = min(largest, size)
    u = torch.rand(count, 3, generator=random)
    side = (u[:, 0] ** cut_pow * (largest - smallest) + smallest).floor()
    left = (u[:, 1] * (width - side + 1)).floor().clamp(max=width - 1)
    top = (u[:, 2] * (height - side + 1)).floor().clamp(max=height - 1)
    views = torch.zeros(count, 3, 3)
    views[:, 0, 0] = side / width
    views[:, 1, 1] = side / height
    views[:, 0, 2] = (2 * left + side) / width - 1
    views[:, 1, 2] = (2 * top + side) / height - 1
    views[:, 2, 2] = 1
    return views


def overview_views(count: int, width: int, height: int) -> Tensor:
    """Fit the whole picture into the square, every third and fourth time mirrored."""
    views = torch.diag(torch.tensor([max(width, height) / width, max(width, height) / height, 1.0]))
    mirrored = torch.arange(count) % 4 >= 2
    return torch.where(mirrored[:, None, None], views @ _MIRROR, views)


def most_views(random: torch.Generator, count: int) -> Tensor:
    """Draw rectangles of .7 to .9 of the area, 3/4 to 4/3 as wide as high.

    Source: torchvision's RandomResizedCrop with ``scale=(.7, .9)``.
    """
    u = torch.rand(count, 4, generator=random)
    area = 0.7 + 0.2 * u[:, 0]
    ratio = ((u[:, 1] * 2 - 1) * math.log(4 / 3)).exp()
    side = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], dim=1).clamp(max=1.0)
    views = torch.eye(3).repeat(count, 1, 1)
    views[:, 0, 0], views[:, 1, 1] = side.unbind(dim=1)
    views[:, :2, 2] = (u[:, 2:] * 2 - 1) * (1 - side)
    return views


def affine_views(
    random: torch.Generator,
    count: int,
    *,
    degrees: float,
    translate: float,
    shear: float,
    chance: float,
) -> Tensor:
    """Draw rotations, shifts (a part of the picture's side) and shears (degrees)."""
    u = torch.rand(count, 5, generator=random)
    angle = (u[:, 0] * 2 - 1) * math.radians(degrees)
    slant = ((u[:, 1] * 2 - 1) * math.radians(shear)).tan()
    cos, sin = angle.cos(), angle.sin()
    moved = torch.zeros(count, 3, 3)
    moved[:, 0, 0], moved[:, 0, 1] = cos, cos * slant - sin
    moved[:, 1, 0], moved[:, 1, 1] = sin, sin * slant + cos
    moved[:, :2, 2] = (u[:, 2:4] * 2 - 1) * translate * 2
    moved[:, 2, 2] = 1
    return _by_chance(torch.linalg.inv(moved), u[:, 4], chance)


def perspective_views(
    random: torch.Generator, count: int, *, distortion: float, chance: float
) -> Tensor:
    """Draw perspectives that pull each corner inward by up to `distortion` of half a side."""
    u = torch.rand(count, 9, generator=random)
    inward = u[:, :8].view(count, 4, 2) * distortion
    signs = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    quad = signs * (1 - inward)
    return _by_chance(torch.linalg.inv(square_to_quad(quad)), u[:, 8], chance)


def square_to_quad(quad: Tensor) -> Tensor:
    """Return the homographies that take the square −1..1 to quads.

    Args:
        quad: [n, 4, 2], where the corners (−1,−1), (1,−1), (1,1), (−1,1) go.

    Returns:
        [n, 3, 3].
    Source: Heckbert, Fundamentals of Texture Mapping and Image Warping (1989), section 2.2.3.
    """
    p0, p1, p2, p3 = quad.unbind(dim=1)
    d1, d2 = p1 - p2, p3 - p2
    d3 = p0 - p1 + p2 - p3
    det = d1[:, 0] * d2[:, 1] - d2[:, 0] * d1[:, 1]
    g = (d3[:, 0] * d2[:, 1] - d2[:, 0] * d3[:, 1]) / det
    h = (d1[:, 0] * d3[:, 1] - d3[:, 0] * d1[:, 1]) / det
    unit = torch.zeros(len(quad), 3, 3)
    unit[:, :2, 0] = p1 - p0 + g[:, None] * p1
    unit[:, :2, 1] = p3 - p0 + h[:, None] * p3
    unit[:, :2, 2] = p0
    unit[:, 2, 0], unit[:, 2, 1], unit[:, 2, 2] = g, h, 1
    to_unit = torch.tensor([[0.5, 0.0, 0.5], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]])
    return unit @ to_unit


def colour_jitter(
    random: torch.Generator, count: int, *, amount: float, chance: float
) -> tuple[Tensor, Tensor]:
    """Draw changes of brightness, contrast, saturation (±amount) and hue (±amount turns).

    Returns:
        RGB matrices [count, 3, 3], and the part of the mean grey to add [count] (contrast
        turns about it).
    """
    u = torch.rand(count, 5, generator=random)
    brightness, contrast, saturation = (1 + (u[:, :3] * 2 - 1) * amount).unbind(dim=1)
    angle = (u[:, 3] * 2 - 1) * amount * 2 * math.pi
    grey = torch.tensor(_GREY).expand(3, 3)
    saturate = saturation[:, None, None] * torch.eye(3) + (1 - saturation)[:, None, None] * grey
    matrix = hue_rotation(angle) @ saturate * (brightness * contrast)[:, None, None]
    offset = (1 - contrast) * brightness
    applied = u[:, 4] < chance
    matrix = torch.where(applied[:, None, None], matrix, torch.eye(3))
    return matrix, torch.where(applied, offset, torch.zeros(()))


def hue_rotation(angle: Tensor) -> Tensor:
    """Return the RGB matrices [n, 3, 3] that turn the IQ plane of YIQ by `angle` radians."""
    to_yiq = torch.tensor(
        [[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]]
    )
    turn = torch.zeros(len(angle), 3, 3)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = angle.cos()
    turn[:, 1, 2], turn[:, 2, 1] = -angle.sin(), angle.sin()
    rotation: Tensor = torch.linalg.inv(to_yiq) @ turn @ to_yiq
    return rotation


def erasing_boxes(random: torch.Generator, count: int, *, chance: float) -> Tensor:
    """Draw boxes of .1 to .4 of the area, .3 to 3.3 as high as wide: [count, 4] in −1..1."""
    u = torch.rand(count, 5, generator=random)
    area = 0.1 + 0.3 * u[:, 0]
    ratio = 0.3 + 3.0 * u[:, 1]
    box = torch.stack([(area / ratio).sqrt(), (area * ratio).sqrt()], dim=1).clamp(max=1.0) * 2
    corner = u[:, 2:4] * (2 - box) - 1
    boxes = torch.cat([corner, corner + box], dim=1)
    return torch.where((u[:, 4] < chance)[:, None], boxes, torch.full((4,), -2.0))


def _mirrored_by_chance(random: torch.Generator, count: int) -> Tensor:
    mirrored = torch.rand(count, generator=random) < 0.5
    return torch.where(mirrored[:, None, None], _MIRROR, torch.eye(3))


def _without_colour(count: int, own: int, overviews: int, grey: float) -> Tensor:
    """Say which scheduled crops are grey [count, 1, 1]; a pair's second is as its first."""
    places = torch.arange(count) % own
    inner = (places >= overviews) & (places < overviews + round(grey * (own - overviews)))
    return ((places < overviews) & (places % 2 == 1) | inner)[:, None, None]


def _by_chance(views: Tensor, u: Tensor, chance: float) -> Tensor:
    return torch.where((u < chance)[:, None, None], views, torch.eye(3))


# --- drawing ---------------------------------------------------------------------------------


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
