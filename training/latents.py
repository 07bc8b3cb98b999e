"""The composed pictures as latents of starter-vqgan: encoded once, read at every step.

Beside them lies what starter-clip sees in each place, which the diffusion model learns to foresee.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from generation.starter import load_clip, vqgan_config, vqgan_state_dict
from generation.starter.autoencoder import StarterVQGAN
from training import vqgan
from training.captions import in_other_words
from training.lists import word_list
from training.paths import subdir
from training.shards import SHAPES, Shards, seeds
from training.state import autocast, latest

SIZES: dict[str, tuple[str, int, int]] = {
    "tiny": ("square", 64, 64), "small": ("square", 96, 96), "square": ("square", 128, 128),
    "wide": ("wide", *SHAPES["wide"]), "tall": ("tall", *SHAPES["tall"]),
}  # fmt: skip
"""Name: the shards' shape, then width and height in pixels that they are encoded at."""


SEEN_WIDTH = 256
"""Width of starter-clip's image tower."""
_SCENERY = {"orange", "volcano", "island", "sun", "moon", "rainbow", "mountain", "cloud", "star"}
_COMMON_WEIGHT = 2.5


def frozen_vqgan(where: torch.device) -> StarterVQGAN:
    """Return the averaged autoencoder of the training at hand, else the shipped one."""
    if latest("vqgan").exists():
        model = StarterVQGAN(vqgan.CONFIG)
        saved: dict[str, Any] = torch.load(latest("vqgan"), map_location="cpu", weights_only=True)
        model.load_state_dict(saved["average"])
    else:
        model = StarterVQGAN(vqgan_config())
        model.load_state_dict(vqgan_state_dict())
    return model.to(where).eval().requires_grad_(False)


class Sight:
    """What starter-clip's image tower says of every place in a picture, half-way up."""

    layers = 4
    """Of six: later ones gather everything into the class token."""

    def __init__(self, where: torch.device) -> None:
        clip = load_clip(where)[0].requires_grad_(False)
        self._tower = clip.visual
        self._size = 64
        self._seen: list[Tensor] = []
        clip.visual.transformer.resblocks = clip.visual.transformer.resblocks[: self.layers]
        clip.visual.transformer.register_forward_hook(
            lambda _module, _inputs, output: self._seen.append(output)
        )

    @torch.no_grad()
    def __call__(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return float16 features [B, rows * columns, width] of pictures [B, 3, H, W] in 0..1."""
        views = F.interpolate(
            images, (self._size, self._size), mode="bilinear", antialias=True, align_corners=False
        )
        self._seen.clear()
        with autocast(images.device):
            self._tower((views - 0.5) / 0.5)
        tokens = self._seen[0][:, 1:].float()
        side = math.isqrt(tokens.shape[1])
        places = tokens.transpose(1, 2).reshape(len(tokens), -1, side, side)
        pooled = F.interpolate(places, grid, mode="bilinear", antialias=True, align_corners=False)
        return pooled.flatten(2).transpose(1, 2).half()


def latent_path(size: str, seed: int) -> Path:
    """Return where the latents of one shard lie."""
    return subdir("latents") / f"{size}-{seed}.pt"


@torch.no_grad()
def encode(size: str, count: int, where: torch.device) -> None:
    """Encode the newest ``count`` shards at one size, unless that is done."""
    model, sight = frozen_vqgan(where).to(memory_format=torch.channels_last), Sight(where)
    shape, width, height = SIZES[size]
    for seed in seeds(shape)[::-1][:count]:
        path = latent_path(size, seed)
        if path.exists():
            continue
        shards = Shards(shape, [seed])
        found, seen = [], []
        for start in range(0, len(shards), 50):
            pixels = torch.from_numpy(shards.batch(range(start, min(start + 50, len(shards)))))
            images = pixels.permute(0, 3, 1, 2).to(where).float()
            if images.shape[-2:] != (height, width):
                images = F.interpolate(
                    images, (height, width), mode="bilinear", antialias=True, align_corners=False
                )
            seen.append(sight(images / 255, (height // 16, width // 16)).cpu())
            with autocast(where):
                pictures = (images / 127.5 - 1).contiguous(memory_format=torch.channels_last)
                found.append(model.continuous(pictures).half().cpu().contiguous())
        torch.save(
            {"latents": torch.cat(found), "seen": torch.cat(seen), "captions": shards.captions},
            path,
        )
        print(path.name, flush=True)


def shows_common_thing(caption: str) -> bool:
    """Whether a caption names a common noun that is not a piece of scenery or a colour."""
    words = set(caption.replace(",", " ").split())
    return bool((word_list("common_nouns") - _SCENERY) & words)


@dataclass
class Latents:
    """Latents of one size in memory, with their captions."""

    values: Tensor
    """[N, C, h, w] float16, as the encoder gives them"""
    seen: Tensor
    """[N, h * w / 4, width] float16, what starter-clip sees in each place"""
    captions: list[str]

    def odds(self) -> npt.NDArray[np.float64]:
        """Return cumulative odds: common things, which are hard, are drawn more than scenery."""
        weights = [_COMMON_WEIGHT if shows_common_thing(text) else 1.0 for text in self.captions]
        shares: npt.NDArray[np.float64] = np.cumsum(weights) / np.sum(weights)
        return shares

    @classmethod
    def load(cls, size: str) -> Latents | None:
        """Read every encoded shard of a size, a few in other words; None if there is none."""
        values, seen, captions = [], [], []
        rng = np.random.default_rng(0)
        for path in sorted(subdir("latents").glob(f"{size}-*.pt")):
            saved = torch.load(path, weights_only=True)
            values.append(saved["latents"])
            seen.append(saved["seen"])
            captions += [in_other_words(text, rng) for text in saved["captions"]]
        return cls(torch.cat(values), torch.cat(seen), captions) if values else None


@torch.no_grad()
def constants(where: torch.device) -> dict[str, Any]:
    """Return the latents' mean and deviation per channel, and the linear preview fitted to them."""
    model = frozen_vqgan(where)
    shards = Shards("square")
    rows = torch.randperm(len(shards), generator=torch.Generator().manual_seed(0))[:256]
    images = torch.from_numpy(shards.batch(rows.tolist())).permute(0, 3, 1, 2).to(where).float()
    with autocast(where):
        latents = torch.cat(
            [model.continuous(part / 127.5 - 1).float() for part in torch.split(images, 32)]
        )
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    normal = (latents - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)
    small = F.interpolate(images / 255, latents.shape[-2:], mode="area")
    x = normal.permute(0, 2, 3, 1).flatten(0, 2)
    x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
    y = small.permute(0, 2, 3, 1).flatten(0, 2)
    preview = torch.linalg.lstsq(x.cpu(), y.cpu()).solution
    return {
        "latent_mean": mean.tolist(), "latent_std": std.tolist(), "preview": preview.tolist(),
    }  # fmt: skip
