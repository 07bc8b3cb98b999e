"""Builds the engine that draws with StyleGAN2."""

from __future__ import annotations

import torch

from generation.canvases.base import Canvas
from generation.canvases.stylegan import TRUNCATION_OPTION, StyleGANCanvas
from generation.engines.clip_family import clip_info
from generation.engines.clip_options import clip_options
from generation.engines.clip_steered import ClipSteeredEngine
from generation.engines.perceptors import PerceptorSource
from generation.models.library import Library
from generation.models.stylegan import StyleGAN2


def build_stylegan_clip(
    library: Library, perceptors: PerceptorSource, device: torch.device, *, exact: bool
) -> ClipSteeredEngine:
    """Build it, with the settings of nshepperd's notebook where the machine is fast enough."""
    large = device.type != "cpu"
    info = clip_info(
        name="stylegan-clip",
        title="StyleGAN2 + CLIP",
        models=library.models("stylegan"),
        options=(
            *(
                option
                for option in clip_options(
                    perceptors.names,
                    cutouts=32 if large else 8,
                    kind="classic",
                    learning_rate=0.03,
                    start="chance",
                    cut_pow=0.5,
                    tries=32 if large else 4,
                )
                if option.name not in ("start", "init_weight")
            ),
            TRUNCATION_OPTION,
        ),
        side=512 if large else 256,
        steps=300 if large else 50,
        max_pixels=1024 * 1024,
        takes_init=False,
    )

    def make_canvas(name: str) -> Canvas:
        return StyleGANCanvas(StyleGAN2.from_weights(library.weights(name)), device)

    return ClipSteeredEngine(info, make_canvas, perceptors, device=device, exact=exact)
