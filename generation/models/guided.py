"""OpenAI's unconditional diffusion networks, read from their published checkpoints.

A U-Net with residual blocks that scale and shift by the time step, attention with heads of 64
channels, and learned variances: it returns the noise [n, 3, h, w] and, in three further channels,
where between its two bounds the logarithm of the step's variance lies. Modules are named as in
the published files, so that a state dict loads as it is.

Attention's channels stand in the published order: for each head its queries, keys and values
("legacy" in the original), not all heads' queries first.

Source: Dhariwal & Nichol, "Diffusion Models Beat GANs on Image Synthesis" (2021);
https://github.com/openai/guided-diffusion (MIT).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generation.engine import EngineError
from generation.models.unfilled import unfilled


@dataclass(frozen=True)
class GuidedConfig:
    """A network's shape: level by level its `multipliers` of `channels`, and where it attends."""

    channels: int
    multipliers: tuple[float, ...]
    attention: tuple[bool, ...]
    blocks: int = 2
    head_channels: int = 64
    groups: int = 32

    @property
    def factor(self) -> int:
        """Of how many pixels a picture's sides must be multiples."""
        return int(2 ** (len(self.multipliers) - 1))

    def width(self, level: int) -> int:
        """How many channels a level has."""
        return int(self.multipliers[level] * self.channels)


PUBLISHED = {
    256: GuidedConfig(256, (1, 1, 2, 2, 4, 4), (False,) * 3 + (True,) * 3),
    512: GuidedConfig(256, (0.5, 1, 1, 2, 2, 4, 4), (False,) * 4 + (True,) * 3),
}
"""The networks that were published, by the size of picture they were trained at."""


def load(weights: Mapping[str, Tensor], config: GuidedConfig | None = None) -> GuidedUNet:
    """Return the network of a published state dict, in eval mode and float32.

    Without a `config` it is the published one whose weights these are.

    Raises:
        EngineError: they are no such network's.
    """
    for known in PUBLISHED.values() if config is None else (config,):
        with unfilled():
            network = GuidedUNet(known)
        wanted = {name: value.shape for name, value in network.state_dict().items()}
        if wanted == {name: value.shape for name, value in weights.items()}:
            floats = {name: value.float() for name, value in weights.items()}
            network.load_state_dict(floats, assign=True)
            return network.eval().requires_grad_(False)
    raise EngineError("These are not the weights of one of OpenAI's unconditional networks.")


def time_embedding(times: Tensor, channels: int) -> Tensor:
    """Return cosines, then sines, of times [n] at falling frequencies: [n, channels]."""
    half = channels // 2
    ticks = torch.arange(half, dtype=torch.float32, device=times.device)
    angles = times.float()[:, None] * torch.exp(-math.log(10_000) * ticks / half)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class GuidedUNet(nn.Module):
    """See the module's docstring. `forward` takes pictures in −1..1 and times in 0..999."""

    def __init__(self, config: GuidedConfig) -> None:
        super().__init__()
        self.config = config
        embedding = 4 * config.channels
        self.time_embed = nn.Sequential(
            nn.Linear(config.channels, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )
        levels = range(len(config.multipliers))
        here = config.width(0)
        first = nn.Conv2d(3, here, 3, padding=1)
        self.input_blocks = nn.ModuleList([nn.ModuleList([first])])
        skips = [here]
        for level in levels:
            for _ in range(config.blocks):
                self.input_blocks.append(self._block(here, level))
                here = config.width(level)
                skips.append(here)
            if level != levels[-1]:
                down = _Residual(config, here, here, embedding, resize="down")
                self.input_blocks.append(nn.ModuleList([down]))
                skips.append(here)
        self.middle_block = nn.ModuleList(
            [
                _Residual(config, here, here, embedding),
                _Attention(config, here),
                _Residual(config, here, here, embedding),
            ]
        )
        self.output_blocks = nn.ModuleList()
        for level in reversed(levels):
            for nth in range(config.blocks + 1):
                block = self._block(here + skips.pop(), level)
                here = config.width(level)
                if level and nth == config.blocks:
                    block.append(_Residual(config, here, here, embedding, resize="up"))
                self.output_blocks.append(block)
        self.out = nn.Sequential(
            nn.GroupNorm(config.groups, here), nn.SiLU(), nn.Conv2d(here, 6, 3, padding=1)
        )

    def _block(self, channels: int, level: int) -> nn.ModuleList:
        config = self.config
        embedding, out = 4 * config.channels, config.width(level)
        parts: list[nn.Module] = [_Residual(config, channels, out, embedding)]
        if config.attention[level]:
            parts.append(_Attention(config, out))
        return nn.ModuleList(parts)

    def forward(self, pictures: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Return the noise in pictures [n, 3, h, w] at times [n], and the variances' places."""
        embedding = self.time_embed(time_embedding(times, self.config.channels).to(pictures.dtype))
        h = pictures
        skips = []
        for block in self.input_blocks:
            h = _through(block, h, embedding)
            skips.append(h)
        h = _through(self.middle_block, h, embedding)
        for block in self.output_blocks:
            h = _through(block, torch.cat([h, skips.pop()], dim=1), embedding)
        noise, places = self.out(h).float().chunk(2, dim=1)
        return noise, places


def _through(block: nn.Module, h: Tensor, embedding: Tensor) -> Tensor:
    for part in block.children():
        h = part(h, embedding) if isinstance(part, _Residual) else part(h)
    return h


class _Residual(nn.Module):
    """Two convolutions beside a shortcut; the second's normalised input is moved by the time."""

    def __init__(
        self, config: GuidedConfig, channels: int, out: int, embedding: int, resize: str = ""
    ) -> None:
        super().__init__()
        self._resize = resize
        self.in_layers = nn.Sequential(
            nn.GroupNorm(config.groups, channels),
            nn.SiLU(),
            nn.Conv2d(channels, out, 3, padding=1),
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, 2 * out))
        # The third stands where the original has dropout, which drawing does not use.
        self.out_layers = nn.Sequential(
            nn.GroupNorm(config.groups, out),
            nn.SiLU(),
            nn.Identity(),
            nn.Conv2d(out, out, 3, padding=1),
        )
        self.skip_connection = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        norm, act, convolve = self.in_layers
        h = convolve(self._resized(act(norm(x))))
        scale, shift = self.emb_layers(embedding)[:, :, None, None].chunk(2, dim=1)
        h = self.out_layers[0](h) * (1 + scale) + shift
        for layer in list(self.out_layers)[1:]:
            h = layer(h)
        found: Tensor = self.skip_connection(self._resized(x)) + h
        return found

    def _resized(self, x: Tensor) -> Tensor:
        if self._resize == "down":
            return F.avg_pool2d(x, 2)
        return F.interpolate(x, scale_factor=2) if self._resize == "up" else x


class _Attention(nn.Module):
    """Every pixel attends to all; heads have a fixed number of channels."""

    def __init__(self, config: GuidedConfig, channels: int) -> None:
        super().__init__()
        self._head_channels = config.head_channels
        self.norm = nn.GroupNorm(config.groups, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        flat = x.flatten(2)
        heads = self.qkv(self.norm(flat)).view(n, -1, 3, self._head_channels, height * width)
        q, k, v = heads.transpose(3, 4).unbind(2)
        attended = F.scaled_dot_product_attention(q, k, v)
        joined = attended.transpose(2, 3).reshape(n, channels, height * width)
        found: Tensor = flat + self.proj_out(joined)
        return found.view_as(x)
