"""A picture as its Fourier spectrum, with the colours decorrelated: nothing needs training.

Source: Vadim Epstein's aphantasia (MIT) and Olah et al., Feature Visualization (2017), from
which the colour matrix comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial

import torch
from torch import Tensor

from generation.canvases.base import NO_SETTINGS, CanvasDefaults, Optimiser, Start
from generation.protocol import Setting

_CONTRAST = 1.1
_DECAY = 1.5
# How many sizes' scales are kept: each takes two bytes a pixel.
_SIZES = 16
# How the colours of ImageNet go together: the square root of their covariance.
_COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))


def spectrum_scale(height: int, width: int) -> Tensor:
    """Return ``√(hw) / max(f, 4/max(h, w))^1.5`` for each frequency: [h, w//2+1]."""
    y = torch.fft.fftfreq(height)[:, None]
    x = torch.fft.rfftfreq(width)[None, :]
    frequency = torch.hypot(x, y).clamp(min=4 / max(height, width))
    scale: Tensor = (height * width) ** 0.5 / frequency**_DECAY
    return scale


def _scale_on(device: torch.device, height: int, width: int) -> Tensor:
    return spectrum_scale(height, width).to(device)


class FourierCanvas(CanvasDefaults):
    """Draws ``sigmoid(colours(contrast · x / std(x)))`` with x the inverse transform.

    The parameter ``spectrum`` is [3, h, w//2+1, 2]; the constant ``contrast`` [] is 1.1 for a
    start by chance, and what reproduces the picture for a start from one.
    """

    multiple = 1
    optimiser = Optimiser(learning_rate=0.05, betas=(0.0, 0.999))

    def __init__(self, device: torch.device) -> None:
        self._device = device
        colours = torch.tensor(_COLOURS)
        self._colours = (colours / colours.norm(dim=0).max()).to(device)
        self._scale = lru_cache(_SIZES)(partial(_scale_on, device))

    def start(
        self,
        width: int,
        height: int,
        random: torch.Generator,
        picture: Tensor | None,
        settings: Mapping[str, Setting] = NO_SETTINGS,
    ) -> Start:
        """Make a faint random spectrum, or invert the drawing of a picture."""
        if picture is None:
            spectrum = 0.01 * torch.randn(3, height, width // 2 + 1, 2, generator=random)
            contrast = torch.tensor(_CONTRAST, device=self._device)
            parameters = {"spectrum": spectrum.to(self._device)}
            return Start(parameters, {"contrast": contrast})
        picture = picture.to(self._device)
        plain = torch.einsum("ij,jhw->ihw", torch.linalg.inv(self._colours), picture.logit(1e-3))
        contrast = plain.std().clamp(min=0.1)
        waves = torch.fft.rfft2(plain, norm="ortho") / self._scale(height, width)
        spectrum = torch.view_as_real(waves)
        # The drawing divides by the deviation, so a factor on the spectrum changes nothing but
        # how much of it a step is. At .3 or less the first ten steps wash the picture away.
        spectrum = spectrum / spectrum.square().mean().sqrt()
        return Start(
            {"spectrum": spectrum.contiguous()},
            {"contrast": contrast},
            {"picture": picture},
        )

    def draw(
        self,
        parameters: Mapping[str, Tensor],
        constants: Mapping[str, Tensor],
        width: int,
        height: int,
    ) -> Tensor:
        """Draw [runs, 3, height, width]."""
        waves = torch.view_as_complex(parameters["spectrum"]) * self._scale(height, width)
        plain = torch.fft.irfft2(waves, s=(height, width), norm="ortho")
        deviation = plain.flatten(1).std(dim=1)
        contrast = constants["contrast"] / deviation.clamp(min=1e-8)
        plain = plain * contrast[:, None, None, None]
        return torch.einsum("ij,rjhw->rihw", self._colours, plain).sigmoid()

    def predict_bytes(
        self,
        width: int,
        height: int,
        settings: Mapping[str, Setting] = NO_SETTINGS,
        *,
        exact: bool = False,
    ) -> int:
        """Estimate about a dozen copies of the picture."""
        return 12 * 3 * 4 * width * height
