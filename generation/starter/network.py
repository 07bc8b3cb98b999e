"""starter-diffusion's network: a transformer that says which way to move noisy latents.

A small DiT (Peebles & Xie 2023) for rectified flow (Liu et al. 2023): latents in patches of 2 x 2
behind a thin convolution, rotary positions, one shared modulation of time and pooled text
(PixArt's adaLN-single), cross-attention to the text tower's token states, and long skips from the
first half of the blocks to the second (U-ViT).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generation.models.attention import attend_plainly

_ROPE_BASE = 30.0


def _rms(x: Tensor) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],))


def _positions(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return patch centres [N, 2] counted from the middle, and the same in about -1..1."""
    y = torch.arange(height, device=device) - (height - 1) / 2
    x = torch.arange(width, device=device) - (width - 1) / 2
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)
    return grid, grid * (2.0 / math.sqrt(height * width))


def _rotary(grid: Tensor, head_width: int) -> tuple[Tensor, Tensor]:
    """Return cosines and sines [N, head_width / 2]: half of them along y, half along x."""
    count = head_width // 4
    rates = _ROPE_BASE ** -(torch.arange(count, device=grid.device) / count)
    angles = torch.cat([grid[:, :1] * rates, grid[:, 1:] * rates], -1)
    return angles.cos(), angles.sin()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def _fourier(values: Tensor, frequencies: int) -> Tensor:
    """Return sines and cosines [N, 2 * D * frequencies] of values [N, D] in about -1..1."""
    angles = values[..., None] * (
        math.pi / 2 * 2.0 ** torch.arange(frequencies, device=values.device)
    )
    return torch.cat([angles.sin(), angles.cos()], -1).flatten(1)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Return attention [B, heads, N, d] of queries that are scaled already."""
    if q.is_cuda:
        return F.scaled_dot_product_attention(q, k, v, mask, scale=1.0)
    return attend_plainly(q, k, v, mask)


class Attention(nn.Module):
    """Multi-head attention with normalised queries and keys."""

    def __init__(self, width: int, heads: int, context_width: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_kv = nn.Linear(context_width or width, 2 * width, bias=False)
        self.to_out = nn.Linear(width, width, bias=False)
        self.scale = nn.Parameter(torch.full((heads, 1, 1), math.log(5.0)))

    def _split(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        return x.view(b, n, self.heads, -1).transpose(1, 2)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        mask: Tensor | None = None,
        rotary: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Return [B, N, width]; ``mask`` [B, 1, 1, L] is True where the context may be seen."""
        q = self._split(self.to_q(x))
        k, v = (
            self._split(part) for part in self.to_kv(x if context is None else context).chunk(2, -1)
        )
        # RMS-normalised vectors have length sqrt(d), so this scale is a learnt cosine temperature.
        width = q.shape[-1]
        q, k = _rms(q) * (self.scale.exp() / width).to(q.dtype), _rms(k).to(q.dtype)
        if rotary is not None:
            q, k = _rotate(q, *rotary), _rotate(k, *rotary)
        out = _attend(q, k, v.to(q.dtype), mask)
        result: Tensor = self.to_out(out.transpose(1, 2).flatten(2))
        return result


class Block(nn.Module):
    """Self-attention, cross-attention to the text, and a gated MLP."""

    def __init__(self, width: int, heads: int, hidden: int, skip: bool) -> None:
        super().__init__()
        self.skip = nn.Linear(2 * width, width, bias=False) if skip else None
        self.attention = Attention(width, heads)
        self.cross = Attention(width, heads)
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        self.modulation = nn.Parameter(torch.zeros(6, width))

    def forward(
        self, x: Tensor, shared: Tensor, context: Tensor, mask: Tensor,
        rotary: tuple[Tensor, Tensor], earlier: Tensor | None,
    ) -> Tensor:  # fmt: skip
        """Return the new states; ``shared`` [B, 6, width] is the common modulation."""
        if self.skip is not None and earlier is not None:
            x = x + self.skip(torch.cat([_rms(x), _rms(earlier)], -1))
        shift, scale, gate, shift2, scale2, gate2 = (shared + self.modulation)[:, :, None].unbind(1)
        x = x + gate * self.attention(_rms(x) * (1 + scale) + shift, rotary=rotary)
        x = x + self.cross(_rms(x), context, mask)
        gates, values = self.gate_up(_rms(x) * (1 + scale2) + shift2).chunk(2, -1)
        result: Tensor = x + gate2 * self.down(F.silu(gates) * values)
        return result


class FlowTransformer(nn.Module):
    """Latents [B, C, h, w] at time t in 0..1 (1 is noise) and text states to a velocity.

    h and w are even; one patch is 2 x 2 latents, 16 px.
    """

    def __init__(
        self,
        latent_channels: int = 8,
        text_width: int = 256,
        width: int = 320,
        depth: int = 8,
        heads: int = 5,
        hidden: int = 640,
        stem_width: int = 48,
        latent_mean: Sequence[float] = (0.0,) * 8,
        latent_std: Sequence[float] = (1.0,) * 8,
        preview: Sequence[Sequence[float]] = ((0.0,) * 3,) * 9,
    ) -> None:
        """Build the network; the last three describe the latents it was trained on.

        Args:
            latent_channels: channels of the autoencoder's latents.
            text_width: width of the text tower's states.
            width: width of a token; ``heads`` of them share it.
            depth: blocks; the later half receives skips from the earlier.
            heads: attention heads.
            hidden: width of the gated MLP.
            stem_width: channels of the convolutions at either end.
            latent_mean: mean of each latent channel before normalisation.
            latent_std: their standard deviations.
            preview: [channels + 1][3], a linear map from normalised latents and a 1 to RGB in 0..1.
        """
        super().__init__()
        self.latent_channels = latent_channels
        self.latent_mean, self.latent_std, self.preview_map = latent_mean, latent_std, preview
        self.heads = heads
        self.stem = nn.Conv2d(latent_channels, stem_width, 3, padding=1)
        self.to_tokens = nn.Linear(4 * stem_width, width)
        self.from_position = nn.Linear(2 * 2 * 4, width)
        self.from_text = nn.Linear(text_width, width)
        self.from_time = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))
        self.from_pooled = nn.Linear(2 * text_width, width)
        self.to_shared = nn.Linear(width, 6 * width)
        self.to_last = nn.Linear(width, 2 * width)
        half = depth // 2
        self.blocks = nn.ModuleList(
            Block(width, heads, hidden, skip=i >= depth - half) for i in range(depth)
        )
        self.to_patches = nn.Linear(width, 4 * stem_width)
        self.head = nn.Conv2d(2 * stem_width, latent_channels, 3, padding=1)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for quiet in (self.to_shared, self.to_last):
            nn.init.zeros_(quiet.weight)
            nn.init.zeros_(quiet.bias)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        for block in self.blocks:
            assert isinstance(block, Block)
            nn.init.zeros_(block.cross.to_out.weight)
            if block.skip is not None:
                nn.init.zeros_(block.skip.weight)

    def forward(self, latents: Tensor, t: Tensor, text_states: Tensor, text_mask: Tensor) -> Tensor:
        """Return the velocity (noise minus picture) [B, C, h, w].

        Args:
            latents: [B, C, h, w], normalised per channel.
            t: [B] in 0..1.
            text_states: [B, L, text_width].
            text_mask: [B, L], True up to the end token.
        """
        if latents.shape[-1] % 2 or latents.shape[-2] % 2:
            raise ValueError("pictures must be multiples of 16 px wide and high")
        rows, columns = latents.shape[-2] // 2, latents.shape[-1] // 2
        thin = F.silu(self.stem(latents))
        x = self.to_tokens(F.pixel_unshuffle(thin, 2).flatten(2).transpose(1, 2))
        grid, normalised = _positions(rows, columns, latents.device)
        x = x + self.from_position(_fourier(normalised, 4).to(x.dtype))
        rotary = _rotary(grid, x.shape[-1] // self.heads)
        context = self.from_text(text_states)
        condition = self._condition(t, text_states, text_mask)
        shared = self.to_shared(condition).unflatten(-1, (6, -1))
        mask = text_mask[:, None, None, :]
        kept: list[Tensor] = []
        for module in self.blocks:
            block = cast(Block, module)
            earlier = kept.pop() if block.skip is not None and kept else None
            x = block(x, shared, context, mask, rotary, earlier)
            if block.skip is None:
                kept.append(x)
        shift, scale = self.to_last(condition)[:, None].chunk(2, -1)
        patches = self.to_patches(_rms(x) * (1 + scale) + shift)
        patches = patches.transpose(1, 2).unflatten(-1, (rows, columns))
        out: Tensor = self.head(torch.cat([F.silu(F.pixel_shuffle(patches, 2)), thin], 1))
        return out

    def _condition(self, t: Tensor, text_states: Tensor, text_mask: Tensor) -> Tensor:
        """Return what time and pooled text say to every block, [B, width]."""
        rates = torch.exp(-math.log(1000.0) * torch.arange(128, device=t.device) / 128)
        angles = 1000.0 * t.float()[:, None] * rates
        time = self.from_time(torch.cat([angles.sin(), angles.cos()], -1).to(text_states.dtype))
        ends = text_mask.sum(1) - 1
        end_state = text_states[torch.arange(len(ends), device=ends.device), ends]
        weight = text_mask[..., None].to(text_states.dtype)
        mean = (text_states * weight).sum(1) / weight.sum(1)
        result: Tensor = F.silu(time + self.from_pooled(torch.cat([end_state, mean], -1)))
        return result
