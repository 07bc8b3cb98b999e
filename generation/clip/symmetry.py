"""Symmetry of a picture with its own mirror image: of its edges, its tone, or its meaning.

Source: the essay “Doorways” (2021), which tried the three in this order. Edges are easy to hack:
blur matches blur, and noise matches noise. Tone pairs things by their brightness. Meaning pairs
them by what CLIP sees beyond their prompts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from generation.clip.sending import send

_GREY = (0.299, 0.587, 0.114)
_SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))
# The blur's deviation as a part of the shorter side: about an eighth of the picture is one place.
_BLUR = 1 / 32
_FLAT = 1e-8  # keeps the slope of the root finite where a picture has no edge at all


def edge_asymmetry(pictures: Tensor) -> Tensor:
    """Return the mean squared difference of blurred Sobel edges from their mirror image.

    Args:
        pictures: [runs, 3, height, width] in 0..1.

    Returns:
        [runs].
    """
    grey = F.pad(_luminance(pictures), (1, 1, 1, 1), mode="replicate")
    across = send(_SOBEL, grey.device, grey.dtype)[None, None]
    slopes = F.conv2d(grey, torch.cat([across, across.transpose(2, 3)]))
    edges = blur((slopes.square().sum(dim=1, keepdim=True) + _FLAT).sqrt())
    return (edges - edges.flip(3)).square().flatten(1).mean(dim=1)


def tone_asymmetry(pictures: Tensor) -> Tensor:
    """Return the mean difference of blurred grey from its mirror image: [runs].

    It is L1, which lets things take shape before their tones match.
    """
    tone = blur(_luminance(pictures))
    return (tone - tone.flip(3)).abs().flatten(1).mean(dim=1)


def semantic_asymmetry(crops: Tensor, texts: Tensor) -> Tensor:
    """Return the mean over pairs of ``1 − cos(crop₁ − text₁, crop₂ − text₂)``.

    What is left of a crop's embedding without its text is how it is shown: two crops match when
    their things differ as their texts do, and all else is the same.

    Args:
        crops: [runs, crops, dim], unit vectors; crop k and crop ⌈crops/2⌉ + k are a pair.
        texts: [runs, crops, dim], what is asked for where each crop lies.

    Returns:
        [runs].
    """
    pairs = crops.shape[1] // 2
    beyond = crops - texts
    first, second = beyond[:, :pairs], beyond[:, crops.shape[1] - pairs :]
    return (1 - F.cosine_similarity(first, second, dim=-1)).mean(dim=1)


def blur(maps: Tensor) -> Tensor:
    """Blur maps [n, 1, h, w] by a Gaussian of 1/32 of the shorter side; edges go on."""
    deviation = max(0.5, min(maps.shape[2:]) * _BLUR)
    reach = min(int(3 * deviation) + 1, min(maps.shape[2:]) - 1)
    ticks = torch.arange(-reach, reach + 1, device=maps.device, dtype=maps.dtype)
    kernel = (-(ticks**2) / (2 * deviation**2)).exp()
    kernel = kernel / kernel.sum()
    padded = F.pad(maps, (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel[None, None, None]), kernel[None, None, :, None])


def _luminance(pictures: Tensor) -> Tensor:
    return torch.einsum("rchw,c->rhw", pictures, send(_GREY, pictures.device, pictures.dtype))[
        :, None
    ]
