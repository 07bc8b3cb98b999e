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
from generation.models import winograd
from generation.models.compiling import Compiler, with_same_weights
from generation.models.kept import Kept
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
        self._kept_exactly, self._kept = self._weighed()
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
        self,
        width: int,
        height: int,
        settings: Mapping[str, Setting] = NO_SETTINGS,
        *,
        exact: bool = False,
    ) -> int:
        """Estimate the decoder's activations by those of small pictures."""
        tables = self._tables_bytes(width * height) if exact else 0.0
        return int(self._kept_by_pixel(exact).a_row * width * height + tables)

    def predict_shared_bytes(self, *, exact: bool = False) -> int:
        """Estimate the weights in another format."""
        return int(self._kept_by_pixel(exact).once)

    def _kept_by_pixel(self, exact: bool) -> Kept:
        if exact:
            return self._kept_exactly
        # A tiled picture is in float32 always.
        return self._kept[self._decode.format if self._tiling == "none" else torch.float32]

    def _tables_bytes(self, pixels: int) -> float:
        """Reckon attention's tables of weights, which exact kernels keep: one for each layer."""
        config = self._model.config
        lowest = len(config.multipliers) - 1
        layers = [lowest] + [level for level in config.attention_levels if level <= lowest] * (
            config.blocks + 1
        )
        return sum(4 * (pixels / 4.0**level) ** 2 for level in layers)

    def _weighed(self) -> tuple[Kept, dict[torch.dtype, Kept]]:
        """Measure what decoding keeps by the pixel: exactly, and in each format.

        So small a picture is convolved directly, as exact ones are at any size.
        """
        small = {number: self._kept_in(number, 16) for number in self._decode.formats}
        exact = small[torch.float32]
        # On processors Winograd's algorithm keeps less, but only of maps that are large enough.
        fast = self._kept_in(torch.float32, 128) if self._device.type in winograd.DEVICES else exact
        return exact, small | {torch.float32: fast}

    def _kept_in(self, number: torch.dtype, side: int) -> Kept:
        width = self._model.config.embed_dim
        places = max(1, side // self.multiple)
        few, many = (
            torch.zeros(rows, width, places, places, device=self._device) for rows in (1, 2)
        )
        kept = self._decode.kept_in(number, few, many)
        return Kept(kept.a_row / (places * self.multiple) ** 2, kept.once)


def _decoded(model: VQGAN, codes: Tensor) -> Tensor:
    if codes.device.type == "cpu" and not torch.are_deterministic_algorithms_enabled():
        # Convolutions and Winograd's sums run along channels, so they lie side by side. On
        # CUDA normalisation would turn the layout back, and compiled code chooses its own.
        codes = codes.contiguous(memory_format=torch.channels_last)
    return model.decode(codes).contiguous()
