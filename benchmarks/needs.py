"""How much of a GPU's memory a model needs: the `memory_gb` of the catalogue.

That is its weights as a GPU holds them, those of the CLIP model that judges where one does
(ViT-B/32), what the engine predicts of a step of one picture at its default size, and half a
gigabyte that CUDA takes for itself; rounded up to halves. Networks are built in their published
shapes without any memory of their own, on torch's ``meta`` device.

    python -m benchmarks.needs

Prints a line for each kind of model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import nn

from benchmarks.memory import info
from benchmarks.step import OnePerceptor, describe
from generation.canvases.base import Canvas
from generation.canvases.biggan import BigGANCanvas
from generation.canvases.dvae import DVAECanvas
from generation.canvases.vqgan import VQGANCanvas
from generation.clip.perceptor import Perceptor
from generation.engine import Engine
from generation.engines.builders import build
from generation.engines.clip_steered import ClipSteeredEngine
from generation.engines.guided import GuidedDiffusionEngine, guided_options
from generation.engines.latent_diffusion import LatentDiffusionEngine
from generation.models.biggan import BigGAN, BigGANConfig
from generation.models.dvae import DVAE, DVAEConfig
from generation.models.guided import PUBLISHED, GuidedUNet
from generation.models.kept import Kept
from generation.models.vqgan import VQGAN, VQGANConfig
from generation.protocol import Recipe

META = torch.device("meta")
_CUDA_BYTES = 500_000_000
_JUDGE_BYTES = 151_277_313 * 4
# Of Hugging Face's configurations, in units of 128 channels.
_BIGGANS = {
    128: (16, 16, 16, 16, 8, 8, 4, 4, 2, 2, 1),
    256: (16, 16, 16, 16, 8, 8, 8, 8, 4, 4, 2, 2, 1),
    512: (16, 16, 16, 16, 8, 8, 8, 8, 4, 4, 2, 2, 1, 1, 1),
}
# Millions of numbers: the networks kept in halves, and the decoder, kept in float32.
_LATENT = {
    "stable-diffusion 1.5": ("stable-diffusion", 512, 860 + 123, 84),
    "stable-diffusion 2.1": ("stable-diffusion", 512, 866 + 340, 84),
    "sdxl": ("stable-diffusion-xl", 1024, 2567 + 123 + 695, 84),
    "sdxl-turbo": ("turbo-diffusion", 512, 2567 + 123 + 695, 84),
    "lcm": ("consistency", 512, 860 + 123, 84),
    "controlnet for 1.5": ("stable-diffusion", 512, 860 + 123 + 361, 84),
    "controlnet for sdxl": ("stable-diffusion-xl", 1024, 2567 + 123 + 695 + 1251, 84),
}


class _Judge:
    """Stands for ViT-B/32, in float32."""

    size = 224

    def kept(self, *, exact: bool = False) -> Kept:
        """Return what `Perceptor.kept` says of it."""
        return Kept(16.4 * 2**20)


_JUDGES = OnePerceptor(cast("Perceptor", _Judge()))


def _recipe(engine: str, side: int) -> Recipe:
    return Recipe(
        engine=engine, model="m", prompt="a fox", width=side, height=side, steps=1, seed=1
    )


def _judged(engine: Engine[Any], network: nn.Module, side: int) -> int:
    recipe = _recipe(engine.info.name, side)
    engine.load(str(engine.batch_key(recipe)[0]))
    own: int = sum(each.numel() for each in network.state_dict().values()) * 4
    predicted: int = engine.predict_bytes(recipe, 1)
    return own + _JUDGE_BYTES + predicted


def steered(network: nn.Module, canvas: Canvas, side: int, crops: int) -> int:
    """Return what a model needs that CLIP steers, in bytes, with so many crops of a picture."""
    described = describe(crops, side)
    engine = ClipSteeredEngine(described, lambda _name: canvas, _JUDGES, device=META)
    return _judged(engine, network, side)


def guided(size: int) -> int:
    """Return what a published network of guided diffusion needs, in bytes."""
    with META:
        network = GuidedUNet(PUBLISHED[size])
    described = info("guided-diffusion", size, options=guided_options(("one",), cutouts=16))
    engine = GuidedDiffusionEngine(described, lambda _name: network, _JUDGES, device=META)
    return _judged(engine, network, size)


def vqgan(multipliers: tuple[int, ...], codes: int, *, gumbel: bool = False) -> int:
    """Return what a VQGAN of this shape needs, in bytes."""
    config = VQGANConfig(
        channels=128,
        multipliers=multipliers,
        blocks=2,
        attention_levels=(len(multipliers) - 1,),
        z_channels=256,
        embed_dim=256,
        codes=codes,
        gumbel=gumbel,
    )
    with META:
        network = VQGAN(config)
        return steered(network, VQGANCanvas(network, META), 256, 32)


def biggan(side: int) -> int:
    """Return what a BigGAN-deep needs, in bytes."""
    config = BigGANConfig(
        latent_dim=128,
        classes=1000,
        widths=tuple(128 * width for width in _BIGGANS[side]),
        attention=8,
        statistics=51,
    )
    with META:
        network = BigGAN(config)
        return steered(network, BigGANCanvas(network, META), side, 64)


def dvae() -> int:
    """Return what DALL·E's dVAE needs, in bytes."""
    with META:
        network = DVAE(DVAEConfig())
        return steered(network, DVAECanvas(network, META), 256, 64)


def main() -> None:
    """Print what each kind needs."""
    found: dict[str, Callable[[], int]] = {
        "vqgan f16": lambda: vqgan((1, 1, 2, 2, 4), 16384),
        "vqgan f8": lambda: vqgan((1, 1, 2, 4), 8192, gumbel=True),
        **{f"biggan {side}": partial(biggan, side) for side in _BIGGANS},
        "dvae": dvae,
        **{f"guided {size}": partial(guided, size) for size in PUBLISHED},
    }
    engines = build(device="meta", models_dir=None, exact=False)

    def latent(name: str) -> int:
        kind, side, halves, floats = _LATENT[name]
        described = info(kind, side)
        engine = LatentDiffusionEngine(described, cast("Any", None), device=META)
        return (2 * halves + 4 * floats) * 1_000_000 + engine.predict_bytes(_recipe(kind, side), 1)

    found |= {name: partial(latent, name) for name in _LATENT}
    found["starter diffusion"] = lambda: engines["diffusion"].predict_bytes(
        _recipe("diffusion", 128), 1
    )
    found["upscaling"] = lambda: engines["upscale"].predict_bytes(_recipe("upscale", 2048), 1)
    for name, need in found.items():
        amount = need() + _CUDA_BYTES
        print(f"{name:22}{amount / 1e9:6.1f} GB, so {math.ceil(amount / 5e8) / 2:g}", flush=True)


if __name__ == "__main__":
    main()
