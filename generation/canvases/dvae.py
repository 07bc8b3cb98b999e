"""A picture as a grid of DALL·E's codes, each sampled anew in every step.

The parameter ``logits`` [codes, h/8, w/8] says how likely each code is at each place. What CLIP
judges is drawn from codes that chance picks by these likelihoods, with the gradient passed
straight through to their softmax; what people see is drawn from the likeliest codes. Source:
OpenAI's dVAE (see `generation.models.dvae`) under Katherine Crowson's CLIP notebooks.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from generation.canvases.base import NO_SETTINGS, CanvasDefaults, Optimiser, Start, Tensors
from generation.canvases.circular import circular_convolutions
from generation.clip.losses import clamp_with_grad
from generation.models.dvae import DVAE, FACTOR
from generation.protocol import Setting

_FLOAT_BYTES = 4


class DVAECanvas(CanvasDefaults):
    """Draws ``decode(codes)`` between 0 and 1, the codes sampled or the likeliest ones."""

    multiple = FACTOR
    # torch's AdamW as it comes.
    optimiser = Optimiser(learning_rate=0.05, weight_decay=0.01)

    def __init__(self, model: DVAE, device: torch.device, tiling: str = "none") -> None:
        self._model = model.to(device).eval().requires_grad_(False)
        self._device = device
        self._tiling = tiling

    def tiled(self, tiling: str) -> DVAECanvas:
        """Return a canvas whose convolutions go on at the opposite edge."""
        return DVAECanvas(self._model, self._device, tiling)

    @torch.no_grad()
    def start(
        self,
        width: int,
        height: int,
        random: torch.Generator,
        picture: Tensor | None,
        settings: Mapping[str, Setting] = NO_SETTINGS,
    ) -> Start:
        """Begin with logits by chance, or with what the encoder makes of a picture."""
        if picture is not None:
            picture = picture.to(self._device)
            (logits,) = self._model.encode(picture[None])
            return Start({"logits": logits.contiguous()}, anchor={"picture": picture})
        shape = (self._model.config.codes, height // FACTOR, width // FACTOR)
        return Start({"logits": torch.randn(shape, generator=random).to(self._device)})

    def chance(self, width: int, height: int, random: torch.Generator) -> Tensors:
        """Draw Gumbel noise: the likeliest code with it added is a sample.

        Source: Maddison et al., A* Sampling (2014).
        """
        shape = (self._model.config.codes, height // FACTOR, width // FACTOR)
        waits = torch.empty(shape, device=self._device).exponential_(generator=random)
        # Where chance gave 0, the smallest number instead: infinite noise would be no number.
        return {"gumbel": -waits.clamp(min=torch.finfo(waits.dtype).tiny).log()}

    def draw(
        self,
        parameters: Mapping[str, Tensor],
        constants: Mapping[str, Tensor],
        width: int,
        height: int,
    ) -> Tensor:
        """Draw [runs, 3, height, width], from sampled codes where there is noise to sample by."""
        logits = parameters["logits"]
        chosen = logits.detach()
        if "gumbel" in constants:
            chosen = chosen + constants["gumbel"]
        with circular_convolutions(self._model, self._tiling):
            pictures = self._model.decode(chosen.argmax(dim=1), logits)
        return clamp_with_grad(pictures, 0, 1)

    def predict_bytes(
        self,
        width: int,
        height: int,
        settings: Mapping[str, Setting] = NO_SETTINGS,
        *,
        exact: bool = False,
    ) -> int:
        """Estimate six tensors of the logits' size, and the decoder's activations.

        Logits, noise and two more stay for the gradient, which takes a softmax and a product.
        """
        config = self._model.config
        codes = config.codes * width * height // FACTOR**2
        # The groups are 8, 4, 2, 1 times as wide at 1/64, 1/16, 1/4, 1 of the area. Each block
        # keeps three times its width, each group four times more; then the picture's channels.
        widths = sum(config.decoder_width * (1 << group) / 4**group for group in range(4))
        per_pixel = (3 * config.blocks + 4) * widths + 24
        return int(_FLOAT_BYTES * (6 * codes + per_pixel * width * height))
