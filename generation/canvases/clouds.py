"""Clouds: soft fields of random colour, for a start with large shapes in it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# How many blobs lie along the shorter side, and how strong they are.
_OCTAVES = ((2, 1.0), (4, 0.6), (8, 0.35))
_CONTRAST = 0.22


_WAYS = ("across", "down")
_REACH = 2  # how many blobs on each side a bicubic curve looks at


def clouds(width: int, height: int, random: torch.Generator, tiling: str = "none") -> Tensor:
    """Draw a picture [3, height, width] in 0..1 from a CPU generator.

    Along the edges that `tiling` says (``across``, ``down``, ``both``) it goes on at the opposite
    one.
    """
    picture = torch.zeros(3, height, width)
    shorter = min(width, height)
    for blobs, strength in _OCTAVES:
        grid = (max(1, blobs * height // shorter), max(1, blobs * width // shorter))
        coarse = torch.randn(1, 3, *grid, generator=random)
        if tiling == "none":
            fine = F.interpolate(coarse, size=(height, width), mode="bicubic")
        else:
            fine = _enlarged(coarse, width, height, tiling)
        picture += strength * fine[0]
    return (0.5 + _CONTRAST * picture).clamp(0, 1)


def _enlarged(coarse: Tensor, width: int, height: int, tiling: str) -> Tensor:
    """Enlarge [1, c, rows, columns] as bicubic interpolation does, over the edges that tile."""
    rows, columns = coarse.shape[2:]
    across, down = (("circular" if tiling in (way, "both") else "replicate") for way in _WAYS)
    padded = F.pad(coarse, (_REACH, _REACH, 0, 0), mode=across)
    padded = F.pad(padded, (0, 0, _REACH, _REACH), mode=down)
    y, x = (
        2 * ((torch.arange(side) + 0.5) * count / side + _REACH) / (count + 2 * _REACH) - 1
        for side, count in ((height, rows), (width, columns))
    )
    places = torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)], dim=-1)
    return F.grid_sample(padded, places[None], mode="bicubic", align_corners=False)
