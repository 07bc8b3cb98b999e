"""Tiny models with random weights, made on the spot: the real layouts, no quality."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import open_clip
import torch
from msgspec.structs import replace
from torch import Tensor

from generation.canvases.base import Canvas
from generation.canvases.biggan import BigGANCanvas, biggan_options
from generation.canvases.dvae import DVAECanvas
from generation.canvases.fourier import FourierCanvas
from generation.canvases.siren import SirenCanvas, siren_options
from generation.canvases.strokes import STROKES_OPTION, StrokesCanvas
from generation.canvases.vqgan import VQGANCanvas
from generation.clip.perceptor import Perceptor
from generation.engines.clip_options import clip_options
from generation.engines.clip_steered import ClipSteeredEngine
from generation.engines.forms import FlowSource
from generation.models.biggan import BigGAN, BigGANConfig
from generation.models.compiling import Compiler
from generation.models.dvae import DVAE, DVAEConfig
from generation.models.vqgan import VQGAN, VQGANConfig
from generation.protocol import EngineInfo, Job, ModelInfo, Recipe, Setting

CPU = torch.device("cpu")
torch.set_num_threads(1)  # so little work is faster without sharing it


@functools.cache
def perceptor() -> Perceptor:
    torch.manual_seed(0)
    model = open_clip.CLIP(
        embed_dim=16,
        vision_cfg={"image_size": 16, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16},
        text_cfg={"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    )
    return Perceptor(
        model,
        open_clip.get_tokenizer("ViT-B-32"),
        size=16,
        mean=(0.5, 0.4, 0.45),
        std=(0.25, 0.26, 0.27),
        device=CPU,
        compiler=Compiler(CPU, precision="fp32"),  # on every machine alike
    )


def vqgan_config(**changes: Any) -> VQGANConfig:
    shape: dict[str, Any] = {
        "channels": 32,
        "multipliers": (1, 1, 2),
        "blocks": 1,
        "attention_levels": (2,),
        "z_channels": 8,
        "embed_dim": 8,
        "codes": 32,
    }
    return VQGANConfig(**{**shape, **changes})


@functools.cache
def vqgan() -> VQGAN:
    torch.manual_seed(1)
    model = VQGAN(vqgan_config()).eval()
    with torch.no_grad():
        model.codebook.normal_()
    return model


BIGGAN = BigGANConfig(
    latent_dim=8, classes=10, widths=(32, 32, 16, 16, 8), attention=2, statistics=51
)


def biggan_weights() -> dict[str, Tensor]:
    """Return random weights in the published layout, with spectral norm in three parts."""
    random = torch.Generator().manual_seed(2)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in BigGAN(BIGGAN).state_dict().items()}
    weights: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        stem, _, kind = name.rpartition(".")
        value = torch.randn(shape, generator=random)
        if kind == "weight" and stem not in ("embeddings", "generator.bn"):
            left, _, right = torch.linalg.svd(value.flatten(1), full_matrices=False)
            weights[f"{name}_orig"] = value
            weights[f"{name}_u"], weights[f"{name}_v"] = left[:, 0].clone(), right[0].clone()
        elif kind == "running_vars":
            weights[name] = 0.5 + value.square()
        else:
            weights[name] = 0.3 * value
    return weights


@functools.cache
def biggan() -> BigGAN:
    return BigGAN.from_weights(biggan_weights())


def dvae_weights(*, blocks: int = 1) -> dict[str, Tensor]:
    """Return random weights, their names as OpenAI's behind `encoder.` and `decoder.`."""
    random = torch.Generator().manual_seed(4)
    config = DVAEConfig(encoder_width=8, decoder_width=8, embed_dim=8, blocks=blocks, codes=32)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in DVAE(config).state_dict().items()}
    return {
        name: torch.randn(shape, generator=random) * (1.5 / max(1, shape[1:].numel())) ** 0.5
        for name, shape in shapes.items()
    }


@functools.cache
def dvae() -> DVAE:
    return DVAE.from_weights(dvae_weights())


class Perceptors:
    """One perceptor, shared."""

    names = ("tiny",)

    def acquire(self, name: str) -> Perceptor:
        return perceptor()

    def release(self, name: str) -> None:
        pass


def make_canvas(model: str) -> Canvas:
    if model == "fourier":
        return FourierCanvas(CPU)
    if model == "siren":
        return SirenCanvas(CPU)
    if model == "strokes":
        return StrokesCanvas(CPU)
    if model == "biggan":
        return BigGANCanvas(biggan(), CPU)
    return DVAECanvas(dvae(), CPU) if model == "dvae" else VQGANCanvas(vqgan(), CPU)


_RATES = {"siren": 0.001, "strokes": 1.0, "biggan": 0.07, "dvae": 0.1}
_OWN = {
    "siren": siren_options(layers=3, units=16),
    "strokes": (replace(STROKES_OPTION, default=24),),
    "biggan": biggan_options(),
}


def engine(
    model: str = "vqgan",
    *,
    exact: bool = False,
    averaging: float = 0.0,
    form: float | None = None,
    flows: FlowSource | None = None,
) -> ClipSteeredEngine:
    options = clip_options(
        Perceptors.names,
        cutouts=4,
        kind="classic",
        learning_rate=_RATES.get(model, 0.3),
        start="chance",
        averaging=averaging,
        form=form,
    )
    info = EngineInfo(
        name="tiny-clip",
        title="Tiny",
        models=(ModelInfo(name=model, title=model, licence="MIT"),),
        default_width=32,
        default_height=32,
        min_side=16,
        max_side=64,
        max_pixels=64 * 64,
        size_multiple=4,
        default_steps=10,
        max_steps=100,
        takes_init=True,
        max_pictures=2,
        takes_negative=True,
        steerable=True,
        continues=True,
        # Jobs are no old recipes here: what they leave out is the default.
        options=(*(replace(option, unsaid=None) for option in options), *_OWN.get(model, ())),
    )
    return ClipSteeredEngine(info, make_canvas, Perceptors(), device=CPU, exact=exact, flows=flows)


def job(
    model: str = "vqgan",
    *,
    seed: int = 1,
    prompt: str = "a red fox",
    steps: int = 10,
    init: bytes | None = None,
    settings: dict[str, Setting] | None = None,
    **recipe: Any,
) -> Job:
    sha256 = None if init is None else hashlib.sha256(init).hexdigest()
    return Job(
        id=f"{model}-{seed}",
        recipe=Recipe(
            engine="tiny-clip",
            model=model,
            prompt=prompt,
            width=recipe.pop("width", 32),
            height=recipe.pop("height", 32),
            steps=steps,
            seed=seed,
            settings=settings or {},
            init_sha256=sha256,
            **recipe,
        ),
        stream="s",
        person="p",
        pictures={} if sha256 is None or init is None else {sha256: init},
    )


def difference(first: Tensor, second: Tensor) -> float:
    return float((first.detach() - second.detach()).abs().max())
