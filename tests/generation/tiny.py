"""Tiny models with random weights, made on the spot: the real layouts, no quality."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import open_clip
import torch
from torch import Tensor

from generation.canvases.base import Canvas
from generation.canvases.fourier import FourierCanvas
from generation.canvases.vqgan import VQGANCanvas
from generation.clip.perceptor import Perceptor
from generation.engines.clip_options import clip_options
from generation.engines.clip_steered import ClipSteeredEngine
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


class Perceptors:
    """One perceptor, shared."""

    names = ("tiny",)

    def acquire(self, name: str) -> Perceptor:
        return perceptor()

    def release(self, name: str) -> None:
        pass


def make_canvas(model: str) -> Canvas:
    return FourierCanvas(CPU) if model == "fourier" else VQGANCanvas(vqgan(), CPU)


def engine(model: str = "vqgan", *, exact: bool = False) -> ClipSteeredEngine:
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
        takes_negative=True,
        steerable=True,
        continues=True,
        options=clip_options(
            Perceptors.names, cutouts=4, kind="classic", learning_rate=0.3, start="chance"
        ),
    )
    return ClipSteeredEngine(info, make_canvas, Perceptors(), device=CPU, exact=exact)


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
