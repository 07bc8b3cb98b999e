"""A picture as a grid of a VQGAN's codes.

The parameter ``z`` [embed_dim, h/f, w/f] is optimised freely; what is drawn are the nearest
codes, with the gradient passed straight through. Source: Katherine Crowson's VQGAN+CLIP
notebook; two of its known faults are mended: random numbers are seeded before the first is
drawn, and the pull of a start picture goes to that picture's z and not to zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from functools import partial

import torch
from torch import Tensor

from generation.canvases.base import NO_SETTINGS, CanvasDefaults, Optimiser, Start
from generation.canvases.circular import circular_convolutions
from generation.clip.losses import clamp_with_grad
from generation.models.compiling import Compiler, with_same_weights
from generation.models.vqgan import VQGAN
from generation.protocol import Setting


class VQGANCanvas(CanvasDefaults):
    """Draws ``(decode(nearest codes of z) + 1) / 2``, clamped."""

    optimiser = Optimiser(learning_rate=0.1)

    def __init__(
        self, model: VQGAN, device: torch.device, compiler: Compiler | None = None
    ) -> None:
        self._model = model.to(device).eval().requires_grad_(False)
        self._device = device
        self._tiling = "none"
        self._plainly = partial(_decoded, self._model)
        compiler = compiler or Compiler(device)
        # A tiled picture hooks the decoder's layers, and the compiler must not trace such hooks.
        traced = partial(_decoded, with_same_weights(self._model)) if compiler.compiles else None
        self._decode = compiler.network("VQGAN's decoder", self._plainly, traced)
        codes = self._model.codebook
        self._low = codes.amin(dim=0)[:, None, None]
        self._high = codes.amax(dim=0)[:, None, None]

    @property
    def multiple(self) -> int:
        """The pixels that one code is wide."""
        return self._model.config.factor

    def tiled(self, tiling: str) -> VQGANCanvas:
        """Return a canvas whose convolutions go on at the opposite edge.

        All else in the decoder treats every place alike, so a rolled grid of codes gives the rolled
        picture: there is no seam.
        """
        other = copy(self)
        other._tiling = tiling
        return other

    @torch.no_grad()
    def start(
        self,
        width: int,
        height: int,
        random: torch.Generator,
        picture: Tensor | None,
        settings: Mapping[str, Setting] = NO_SETTINGS,
    ) -> Start:
        """Begin with codes by chance, or with those of a picture."""
        if picture is not None:
            z = self._model.encode(picture[None].to(self._device) * 2 - 1)[0].contiguous()
            return Start({"z": z}, anchor={"z": z.clone()})
        rows, columns = height // self.multiple, width // self.multiple
        codes = self._model.config.codes
        indices = torch.randint(codes, (1, rows, columns), generator=random)
        return Start({"z": self._model.lookup(indices.to(self._device))[0].contiguous()})

    def draw(
        self,
        parameters: Mapping[str, Tensor],
        constants: Mapping[str, Tensor],
        width: int,
        height: int,
    ) -> Tensor:
        """Draw [runs, 3, height, width]."""
        codes = self._model.quantise(parameters["z"])
        if self._tiling == "none":
            pictures = self._decode(codes)
        else:
            with circular_convolutions(self._model.decoder, self._tiling):
                pictures = self._plainly(codes)
        return clamp_with_grad((pictures + 1) / 2, 0, 1)

    def pull(
        self,
        parameters: Mapping[str, Tensor],
        pictures: Tensor,
        anchor: Mapping[str, Tensor],
    ) -> Tensor:
        """Return half the mean squared distance of z from where it started."""
        return (parameters["z"] - anchor["z"]).square().flatten(1).mean(dim=1) / 2

    def clamp(self, parameters: Mapping[str, Tensor]) -> None:
        """Keep each channel of z between the codebook's least and greatest value."""
        parameters["z"].clamp_(self._low, self._high)

    def predict_bytes(
        self, width: int, height: int, settings: Mapping[str, Setting] = NO_SETTINGS
    ) -> int:
        """Estimate the decoder's activations: 15 full-size maps a level, in float32.

        Measured on f16 by what autograd keeps, as the difference of 64 and 128 pixels.
        """
        config = self._model.config
        per_pixel = sum(
            config.channels * multiplier / 4**level
            for level, multiplier in enumerate(config.multipliers)
        )
        return int(15 * 4 * per_pixel * width * height)


def _decoded(model: VQGAN, codes: Tensor) -> Tensor:
    if codes.device.type == "cpu" and not torch.are_deterministic_algorithms_enabled():
        # Convolutions and Winograd's sums run along channels, so they lie side by side. On
        # CUDA normalisation would turn the layout back, and compiled code chooses its own.
        codes = codes.contiguous(memory_format=torch.channels_last)
    return model.decode(codes).contiguous()
