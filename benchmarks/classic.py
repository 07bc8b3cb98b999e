"""The classic loop: VQGAN+CLIP as its notebooks run it, to be measured against.

One picture at a time, in float32, eagerly: the nearest codes through a one-hot matrix product,
taming-transformers' own decoder, the crops one by one in a Python loop, each resampled by itself,
and the CLIP as its package computes it. Nothing here is used by the product.

Source: Katherine Crowson's notebook ``VQGAN+CLIP (z+quantize method)`` (2021), as ENGINES.md of the
design describes it.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generation.clip.perceptor import Perceptor
from generation.models.vqgan import VQGAN


class ReplaceGrad(torch.autograd.Function):
    """Gives the first, with the gradient of the second."""

    @staticmethod
    def forward(ctx: Any, forward: Tensor, backward: Tensor) -> Tensor:
        ctx.shape = backward.shape
        return forward

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        return None, gradient.sum_to_size(ctx.shape)


class ClampWithGrad(torch.autograd.Function):
    """Clamps to 0..1, and lets through the gradients that lead back into it."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        ctx.save_for_backward(value)
        return value.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        (value,) = ctx.saved_tensors
        return gradient * (gradient * (value - value.clamp(0, 1)) >= 0)


class ClassicLoop:
    """One picture of `side` pixels on its way to a text.

    `see` is the package's own way from normalised crops to embeddings; the perceptor gives texts
    and the normalisation.
    """

    def __init__(
        self,
        model: VQGAN,
        perceptor: Perceptor,
        see: Callable[[Tensor], Tensor],
        text: str,
        *,
        side: int,
        cutouts: int,
        seed: int,
    ) -> None:
        torch.manual_seed(seed)
        self._model, self._perceptor, self._cutouts = model, perceptor, cutouts
        self._see = see
        self._decoder = taming_decoder(model)
        cells = side // model.config.factor
        codes = model.codebook
        chosen = F.one_hot(torch.randint(len(codes), [cells * cells]), len(codes)).to(codes)
        self._z = (chosen @ codes).view(1, cells, cells, -1).permute(0, 3, 1, 2).contiguous()
        self._z.requires_grad_()
        self._low = codes.amin(dim=0)[None, :, None, None]
        self._high = codes.amax(dim=0)[None, :, None, None]
        self._text = perceptor.encode_text([text])
        self._optimiser = torch.optim.Adam([self._z], lr=0.1)

    def step(self) -> float:
        """Take one iteration; return its loss."""
        self._optimiser.zero_grad()
        crops = self._crops(self._picture())
        normal = (crops - self._perceptor.mean) / self._perceptor.std
        seen = F.normalize(self._see(normal), dim=-1)
        distance = (seen.unsqueeze(1) - self._text.unsqueeze(0)).norm(dim=2)
        loss = distance.div(2).arcsin().pow(2).mul(2).mean()
        loss.backward()
        self._optimiser.step()
        with torch.no_grad():
            self._z.copy_(self._z.maximum(self._low).minimum(self._high))
        return float(loss)

    def _picture(self) -> Tensor:
        codes = self._model.codebook
        x = self._z.movedim(1, 3)
        distances = x.pow(2).sum(-1, keepdim=True) + codes.pow(2).sum(1) - 2 * x @ codes.T
        nearest = F.one_hot(distances.argmin(-1), codes.shape[0]).to(distances.dtype) @ codes
        quantised = ReplaceGrad.apply(nearest, x).movedim(3, 1)
        drawn = self._decoder(self._model.post_quant_conv(quantised))
        picture: Tensor = ClampWithGrad.apply(drawn.add(1).div(2))
        return picture

    def _crops(self, picture: Tensor) -> Tensor:
        height, width = picture.shape[2:]
        largest = min(width, height)
        smallest = min(width, height, self._perceptor.size)
        crops: list[Tensor] = []
        for _ in range(self._cutouts):
            side = int(torch.rand([]) * (largest - smallest) + smallest)
            x = int(torch.randint(0, width - side + 1, ()))
            y = int(torch.randint(0, height - side + 1, ()))
            crop = picture[:, :, y : y + side, x : x + side]
            crops.append(resample(crop, self._perceptor.size))
        return ClampWithGrad.apply(torch.cat(crops))  # type: ignore[no-any-return]


def taming_decoder(model: VQGAN) -> nn.Module:
    """Return taming-transformers' own decoder with a model's weights."""
    from taming.modules.diffusionmodules.model import Decoder

    config = model.config
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its latents' shape
        decoder = Decoder(
            ch=config.channels,
            out_ch=3,
            ch_mult=config.multipliers,
            num_res_blocks=config.blocks,
            attn_resolutions=[256 >> level for level in config.attention_levels],
            in_channels=3,
            resolution=256,
            z_channels=config.z_channels,
        )
    for layer in decoder.modules():
        if isinstance(layer, nn.GroupNorm):
            layer.num_groups = config.norm_groups
    decoder.load_state_dict(model.decoder.state_dict(), assign=True)
    frozen: nn.Module = decoder.eval().requires_grad_(False)
    return frozen


def resample(picture: Tensor, size: int) -> Tensor:
    """Return a picture in `size` by `size` pixels: Lanczos' filter first where it shrinks."""
    channels, height, width = picture.shape[1:]
    flat = picture.reshape(-1, 1, height, width)
    if size < height:
        kernel = lanczos(ramp(size / height, 2), 2).to(flat)
        pad = (len(kernel) - 1) // 2
        flat = F.conv2d(F.pad(flat, (0, 0, pad, pad), "reflect"), kernel[None, None, :, None])
    if size < width:
        kernel = lanczos(ramp(size / width, 2), 2).to(flat)
        pad = (len(kernel) - 1) // 2
        flat = F.conv2d(F.pad(flat, (pad, pad, 0, 0), "reflect"), kernel[None, None, None, :])
    flat = flat.reshape(-1, channels, height, width)
    return F.interpolate(flat, (size, size), mode="bicubic", align_corners=True)


def lanczos(x: Tensor, a: int) -> Tensor:
    """Return Lanczos' window of `a` lobes at `x`, its sum 1."""
    inside = (-a < x) & (x < a)
    values = torch.where(inside, torch.sinc(x) * torch.sinc(x / a), torch.zeros_like(x))
    return values / values.sum()


def ramp(ratio: float, width: int) -> Tensor:
    """Return the places at which the window is taken: `ratio` apart, out to `width`."""
    count = math.ceil(width / ratio + 1)
    side = torch.arange(count) * ratio
    return torch.cat([-side[1:].flip([0]), side])[1:-1]
