"""The decoder of a VQGAN: taming-transformers' network and names, its arithmetic arranged anew.

What differs from taming's own forward pass is rounding only:

- Doubling a map by repeating pixels and then convolving it with 3 × 3 multiplies each pixel nine
  times with weights of which several meet the same value. Their sums make one 4 × 4 transposed
  convolution of stride 2: four products in place of nine (`DoublingConv2d`).
- ``x · sigmoid(x)`` is one operation, whose gradient needs x and nothing else.
- Attention never holds its table of weights.
- On processors, 3 × 3 convolutions of frozen weights take a quarter of the products
  (`generation.models.winograd`).
- In bfloat16 on processors, group norms have a gradient of their own (`generation.models.norm`).

Source: Esser et al., Taming Transformers for High-Resolution Image Synthesis (2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from generation.models import winograd
from generation.models.norm import GroupNorm


class Decoder(nn.Module):
    """Latents [n, z_channels, h, w] to pictures [n, 3, h·f, w·f], where f halves at each level.

    `widths` are the channels of each level, full resolution first; `blocks` how many residual
    blocks a level has; `attention_levels` those with attention (0 is full resolution).
    """

    def __init__(
        self,
        *,
        widths: Sequence[int],
        blocks: int,
        attention_levels: Sequence[int],
        z_channels: int,
        norm_groups: int,
    ) -> None:
        super().__init__()
        here = widths[-1]
        self.conv_in = Conv3x3(z_channels, here)
        self.mid = nn.ModuleDict(
            {
                "block_1": ResidualBlock(here, here, norm_groups),
                "attn_1": Attention(here, norm_groups),
                "block_2": ResidualBlock(here, here, norm_groups),
            }
        )
        levels: list[Level] = []
        for level in reversed(range(len(widths))):
            attends = level in attention_levels
            levels.insert(
                0, Level(here, widths[level], blocks, norm_groups, attends=attends, last=level == 0)
            )
            here = widths[level]
        self.up = nn.ModuleList(levels)
        self.norm_out = GroupNorm(norm_groups, here, eps=1e-6)
        self.conv_out = Conv3x3(here, 3)

    def forward(self, latents: Tensor) -> Tensor:
        """Draw pictures, in about −1..1."""
        x = self.conv_in(latents)
        for part in self.mid.values():
            x = part(x)
        for level in reversed(self.up):
            x = level(x)
        picture: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return picture


class Level(nn.Module):
    """Residual blocks, each with attention behind it or none; then twice the size, but for last."""

    def __init__(
        self, inputs: int, outputs: int, blocks: int, norm_groups: int, *, attends: bool, last: bool
    ) -> None:
        super().__init__()
        widths = [inputs] + [outputs] * (blocks - 1)
        self.block = nn.ModuleList(ResidualBlock(width, outputs, norm_groups) for width in widths)
        self.attn = nn.ModuleList(
            Attention(outputs, norm_groups) for _ in range(blocks if attends else 0)
        )
        self.upsample = None if last else nn.ModuleDict({"conv": DoublingConv2d(outputs, outputs)})

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, outputs, h, w], or twice as high and wide."""
        for place, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[place](x)
        if self.upsample is not None:
            x = self.upsample["conv"](x)
        return x


class Conv3x3(nn.Conv2d):
    """A 3 × 3 convolution that keeps the size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)
        self._frozen = winograd.Frozen()

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, by Winograd's algorithm where that is the faster one."""
        if winograd.suits(x, self.weight):
            return self._frozen.convolve(x, self.weight, self.bias)
        return super().forward(x)


class DoublingConv2d(nn.Conv2d):
    """A map doubled by repeating each pixel, then a 3 × 3 convolution: as one operation.

    It has the published weight [out, in, 3, 3]. With z[2i + u] = x[i] for u in 0, 1, and
    y[n] = Σ_r w[r] z[n + r − 1], x[i] adds w[r] to y[2i + u − r + 1]: so the transposed convolution
    of stride 2 and padding 1 has at place k the sum of those w[r] with u − r + 2 = k.
    """

    scale = 2

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)
        self._folded: tuple[tuple[int, int], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, out, 2h, 2w]."""
        return F.conv_transpose2d(x, self._kernel(), self.bias, stride=2, padding=1)

    def _kernel(self) -> Tensor:
        """Return the transposed convolution's weight [in, out, 4, 4]; kept where it is frozen."""
        weight = self.weight
        if weight.requires_grad or torch.compiler.is_compiling():
            return _doubled(weight)
        version = (weight.data_ptr(), weight._version)
        if self._folded is None or self._folded[0] != version:
            self._folded = version, _doubled(weight)
        return self._folded[1]


def _doubled(weight: Tensor) -> Tensor:
    """Return the 4 × 4 kernel that a doubling and then a 3 × 3 kernel amount to."""
    turned = weight.transpose(0, 1).flip(2, 3)
    tall = F.pad(turned, (0, 0, 0, 1)) + F.pad(turned, (0, 0, 1, 0))
    return (F.pad(tall, (0, 1)) + F.pad(tall, (1, 0))).contiguous()


class ResidualBlock(nn.Module):
    """Twice normalisation, SiLU and a convolution, beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, norm_groups: int) -> None:
        super().__init__()
        self.norm1 = GroupNorm(norm_groups, inputs, eps=1e-6)
        self.conv1 = Conv3x3(inputs, outputs)
        self.norm2 = GroupNorm(norm_groups, outputs, eps=1e-6)
        self.conv2 = Conv3x3(outputs, outputs)
        self.nin_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, outputs, h, w]."""
        inner: Tensor = self.conv1(F.silu(self.norm1(x)))
        inner = self.conv2(F.silu(self.norm2(inner)))
        kept: Tensor = x if self.nin_shortcut is None else self.nin_shortcut(x)
        return kept + inner


class Attention(nn.Module):
    """One head of self-attention over all places, beside a shortcut."""

    def __init__(self, channels: int, norm_groups: int) -> None:
        super().__init__()
        self.norm = GroupNorm(norm_groups, channels, eps=1e-6)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, channels, h, w]."""
        normed = self.norm(x)
        q, k, v = (
            part(normed).flatten(2).transpose(1, 2)[:, None] for part in (self.q, self.k, self.v)
        )
        if torch.are_deterministic_algorithms_enabled():
            with sdpa_kernel(SDPBackend.MATH):
                seen = F.scaled_dot_product_attention(q, k, v)
        else:
            seen = F.scaled_dot_product_attention(q, k, v)
        drawn: Tensor = self.proj_out(seen[:, 0].transpose(1, 2).reshape_as(x))
        return x + drawn
