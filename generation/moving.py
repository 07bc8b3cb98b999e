"""Moving a picture as a camera would: nearer, aside, around.

With ``c`` the middle of the picture, an output pixel ``p`` shows what lies at

    c + (pan_x · width, pan_y · height) + R(−rotate) · (p − c) / zoom

of the input, where ``R(a) = [[cos a, −sin a], [sin a, cos a]]`` with y downwards: a positive
`rotate` turns what is shown clockwise. Between pixels it is bicubic; beyond an edge the picture is
mirrored. Source of the idea: the VQGAN+CLIP zoom notebooks of 2021 and Deforum's 2D mode, which
write the same with OpenCV's ``getRotationMatrix2D``.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from generation.imaging import to_pil


def moved(
    picture: Image.Image, *, zoom: float, pan_x: float, pan_y: float, rotate: float
) -> Image.Image:
    """Return the picture as the camera sees it after a movement."""
    pixels = torch.from_numpy(np.array(picture.convert("RGB"), dtype=np.uint8))
    return to_pil(warped(pixels.permute(2, 0, 1).float() / 255, zoom, pan_x, pan_y, rotate))


def warped(picture: Tensor, zoom: float, pan_x: float, pan_y: float, rotate: float) -> Tensor:
    """Return a moved picture [3, h, w] in 0..1."""
    height, width = picture.shape[-2:]
    angle = math.radians(rotate)
    # Positions of pixels from the middle, in pixels.
    across = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    down = torch.arange(height, dtype=torch.float64) - (height - 1) / 2
    y, x = torch.meshgrid(down / zoom, across / zoom, indexing="ij")
    from_x = math.cos(angle) * x + math.sin(angle) * y + pan_x * width
    from_y = -math.sin(angle) * x + math.cos(angle) * y + pan_y * height
    # grid_sample counts from edge to edge: −1 and 1.
    grid = torch.stack([2 * from_x / width, 2 * from_y / height], dim=-1).float()
    sampled = F.grid_sample(
        picture[None], grid[None], mode="bicubic", padding_mode="reflection", align_corners=False
    )
    return sampled[0].clamp(0, 1)
