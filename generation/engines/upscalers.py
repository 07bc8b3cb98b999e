"""The upscaling engine of this machine: which networks there are, and where they come from."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from generation.engine import EngineError
from generation.engines.upscale import SCALE, STRIDE, WINDOW, UpscaleEngine
from generation.models import esrgan
from generation.models.library import Library
from generation.protocol import EngineInfo, ModelInfo

STARTER = "starter-upscaler"


def build_upscaler(library: Library, device: torch.device, *, exact: bool) -> UpscaleEngine:
    """Return the engine with the networks that are shipped, in the models folder, or in a wheel."""
    largest = 2048 if device.type == "cpu" else 8192
    models = tuple(_info(model) for model in library.models("upscale"))
    if device.type != "cpu":  # there the larger network is fast enough to come first
        models = tuple(sorted(models, key=lambda model: model.name == STARTER))
    info = EngineInfo(
        name="upscale",
        title="Upscaler",
        models=models,
        default_width=512,
        default_height=512,
        min_side=4 * SCALE,
        max_side=largest,
        max_pixels=largest * largest // 2,
        size_multiple=SCALE,
        default_steps=1,
        max_steps=(largest // SCALE // STRIDE + 1) ** 2,
        takes_prompt=False,
        takes_init=True,
        needs_init=True,
        scale=SCALE,
        tile=(WINDOW, STRIDE),
    )

    def load(name: str) -> nn.Module:
        return esrgan.build(_weights(library, name), SCALE)

    return UpscaleEngine(info, load, device=device, exact=exact)


def _info(model: ModelInfo) -> ModelInfo:
    """Count a network as here that the wheel carries."""
    if not model.available and _in_wheel(model.name) is not None:
        return ModelInfo(name=model.name, title=model.title, licence=model.licence)
    return model


def _in_wheel(name: str) -> Path | None:
    folder = esrgan.ncnn_folder()
    there = folder is not None and (folder / f"{name}.bin").is_file()
    return folder if there else None


def _weights(library: Library, name: str) -> dict[str, Tensor]:
    if name == STARTER:
        from generation import starter

        try:
            return {key: half.float() for key, half in load_file(starter.UPSCALER_WEIGHTS).items()}
        except (OSError, SafetensorError) as error:
            raise EngineError("The upscaler is damaged. Reinstall Dreamstream.") from error
    if not library.has(name) and (folder := _in_wheel(name)) is not None:
        return esrgan.read_ncnn(folder, name)
    return library.weights(name)
