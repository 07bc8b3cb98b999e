"""Bringing a picture of fixed size to the size that was asked for."""

from __future__ import annotations

import functools

import torch
from torch import Tensor


def cover(pictures: Tensor, width: int, height: int) -> Tensor:
    """Resize pictures [n, c, h, w] without distortion; what then stands over is cut off evenly.

    A triangle filter, widened where it shrinks; as matrix products, whose gradient is
    deterministic on every device.
    """
    old_height, old_width = pictures.shape[2:]
    if (old_width, old_height) == (width, height):
        return pictures
    scale = min(old_width / width, old_height / height)
    rows = _resampling(old_height, height, scale).to(pictures)
    columns = _resampling(old_width, width, scale).to(pictures)
    return rows @ pictures @ columns.T


@functools.lru_cache(maxsize=64)
def _resampling(old: int, new: int, scale: float) -> Tensor:
    """Return the matrix [new, old] that takes the middle `new · scale` of `old` pixels."""
    centres = (torch.arange(new, dtype=torch.float64) + 0.5 - new / 2) * scale + old / 2 - 0.5
    distance = (torch.arange(old) - centres[:, None]).abs()
    weights = (1 - distance / max(scale, 1.0)).clamp(min=0)
    return weights / weights.sum(dim=1, keepdim=True)
