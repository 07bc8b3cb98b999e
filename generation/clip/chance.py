"""What chance decides of crops, each out of a run's own random streams.

A view is a homography, as `generation.clip.sampling` reads it. `generation.clip.cutouts` says which
of these make which kind of crops.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

GREY = (0.299, 0.587, 0.114)
"""What red, green and blue add to brightness."""
MIRROR = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))


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
    grey = torch.tensor(GREY).expand(3, 3)
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


def mirrored_views(random: torch.Generator, count: int) -> Tensor:
    """Mirror every other one, on average."""
    mirrored = torch.rand(count, generator=random) < 0.5
    return torch.where(mirrored[:, None, None], MIRROR, torch.eye(3))


def _by_chance(views: Tensor, u: Tensor, chance: float) -> Tensor:
    return torch.where((u < chance)[:, None, None], views, torch.eye(3))
