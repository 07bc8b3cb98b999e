"""Drawing many small views of several pictures in one operation.

A view is a homography: a 3×3 matrix that takes a point of the view to a point of the picture,
both in units where the square reaches from −1 to 1, x to the right and y down. All views of all
pictures are read by one `grid_sample` from an atlas that holds each picture and, beside it, its
halvings (a mip map), so that views that shrink do not alias.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from generation.clip.sending import send


def sample_views(
    pictures: Tensor,
    views: Tensor,
    size: int,
    *,
    zero_outside: bool = False,
    deterministic: bool = False,
) -> Tensor:
    """Draw every view of every picture, `size` × `size` pixels each.

    Args:
        pictures: [runs, channels, height, width].
        views: [runs, views, 3, 3].
        zero_outside: black where a view looks past the edge; otherwise the edge goes on.
        deterministic: read by indexing, whose gradient sums in a fixed order on CUDA too.

    Returns:
        [runs, views, channels, size, size].
    """
    runs, channels, height, width = pictures.shape
    count = views.shape[1]
    levels = 1 + max(0, round(math.log2(max(height, width) / size)))
    atlas, corners, sides = _atlas(pictures, levels)

    level = _level(views, height, width, size, levels)
    corner = corners[level][:, :, None]  # [runs, views, 1, (x, y)]
    side = sides[level][:, :, None]
    scale = 2.0 ** level[:, :, None, None]

    at = _points(views, size)
    extent = send((width, height), views.device, views.dtype)
    pixel = ((at + 1) * extent / 2) / scale - 0.5
    pixel = torch.minimum(pixel.clamp(min=0), side - 1) + corner
    pixel = pixel.reshape(runs, count * size, size, 2)

    seen = _read_by_index(atlas, pixel) if deterministic else _read(atlas, pixel)
    seen = seen.view(runs, channels, count, size, size).transpose(1, 2)
    if zero_outside:
        inside = (at.abs() <= 1).all(dim=-1).view(runs, count, 1, size, size)
        seen = seen * inside
    return seen


def _points(views: Tensor, size: int) -> Tensor:
    """Return where each view's pixel centres lie in the picture: [runs, views, size², (x, y)]."""
    ticks = (torch.arange(size, dtype=views.dtype, device=views.device) * 2 + 1) / size - 1
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    centres = torch.stack([x, y, torch.ones_like(x)]).reshape(3, size * size)
    at = views @ centres
    return (at[:, :, :2] / at[:, :, 2:]).transpose(2, 3)


def _level(views: Tensor, height: int, width: int, size: int, levels: int) -> Tensor:
    """Choose each view's halving, so that what is left to shrink lies between 1/√2 and √2."""
    part: Tensor = torch.linalg.det(views[:, :, :2, :2])
    area = part.abs() * height * width / size**2
    return (0.5 * area.clamp(min=1).log2()).round().long().clamp(max=levels - 1)


def _atlas(pictures: Tensor, levels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Lay out each picture with its halvings in a column to its right.

    Returns:
        The atlas, and per level its (x, y) corner and its (width, height).
    """
    height, width = pictures.shape[2:]
    corners, sides = [(0, 0)], [(width, height)]
    column: list[Tensor] = []
    picture, y = pictures, 0
    for _ in range(1, levels):
        picture = F.avg_pool2d(picture, 2, ceil_mode=True, count_include_pad=False)
        corners.append((width, y))
        sides.append((picture.shape[3], picture.shape[2]))
        column.append(picture)
        y += picture.shape[2]
    if column:
        total = max(height, y)
        widest = column[0].shape[3]
        padded = [F.pad(part, (0, widest - part.shape[3], 0, 0)) for part in column]
        right = F.pad(torch.cat(padded, dim=2), (0, 0, 0, total - y))
        pictures = torch.cat([F.pad(pictures, (0, 0, 0, total - height)), right], dim=3)
    return (
        pictures,
        send(corners, pictures.device),
        send(sides, pictures.device),
    )


def _read(atlas: Tensor, pixel: Tensor) -> Tensor:
    height, width = atlas.shape[2:]
    extent = send((width, height), pixel.device, pixel.dtype)
    grid = (pixel * 2 + 1) / extent - 1
    return F.grid_sample(atlas, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _read_by_index(atlas: Tensor, pixel: Tensor) -> Tensor:
    """Read as `_read` does. `grid_sample` has no deterministic gradient on CUDA; `gather` has."""
    runs, channels, height, width = atlas.shape
    rows, columns = pixel.shape[1:3]
    flat = atlas.flatten(2)
    corner = pixel.floor()
    part = pixel - corner
    result = torch.zeros((), device=atlas.device)
    for dy in (0, 1):
        for dx in (0, 1):
            x = (corner[..., 0].long() + dx).clamp(0, width - 1)
            y = (corner[..., 1].long() + dy).clamp(0, height - 1)
            weight_x = part[..., 0] if dx else 1 - part[..., 0]
            weight_y = part[..., 1] if dy else 1 - part[..., 1]
            index = (y * width + x).view(runs, 1, -1).expand(-1, channels, -1)
            tap = flat.gather(2, index).view(runs, channels, rows, columns)
            result = result + tap * (weight_x * weight_y)[:, None]
    return result
