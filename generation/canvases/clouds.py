"""Clouds: soft fields of random colour, for a start with large shapes in it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# How many blobs lie along the shorter side, and how strong they are.
_OCTAVES = ((2, 1.0), (4, 0.6), (8, 0.35))
_CONTRAST = 0.22


def clouds(width: int, height: int, random: torch.Generator) -> Tensor:
    """Draw a picture [3, height, width] in 0..1 from a CPU generator."""
    picture = torch.zeros(3, height, width)
    shorter = min(width, height)
    for blobs, strength in _OCTAVES:
        grid = (max(1, blobs * height // shorter), max(1, blobs * width // shorter))
        coarse = torch.randn(1, 3, *grid, generator=random)
        picture += strength * F.interpolate(coarse, size=(height, width), mode="bicubic")[0]
    return (0.5 + _CONTRAST * picture).clamp(0, 1)
