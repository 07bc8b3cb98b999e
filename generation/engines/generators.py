"""Builds the CLIP-steered engines whose canvas is a network: SIREN, BigGAN and DALL·E's dVAE."""

from __future__ import annotations

import torch

from generation.canvases.base import Canvas
from generation.canvases.biggan import BigGANCanvas, biggan_options
from generation.canvases.dvae import DVAECanvas
from generation.canvases.siren import SirenCanvas, siren_options
from generation.engines.clip_family import clip_info
from generation.engines.clip_options import clip_options
from generation.engines.clip_steered import ClipSteeredEngine
from generation.engines.forms import FlowSource, form_default
from generation.engines.perceptors import PerceptorSource
from generation.models.biggan import BigGAN
from generation.models.dvae import DVAE
from generation.models.library import Library
from generation.protocol import ModelInfo

_BIGGAN_SIDES = {"biggan-deep-128": 128, "biggan-deep-256": 256, "biggan-deep-512": 512}
# Parameters and Adam's moments take 1.5 kB for each pixel; a checkpoint must fit in a message.
_DVAE_MAX_PIXELS = 256 * 256


def build_siren_clip(
    perceptors: PerceptorSource,
    device: torch.device,
    *,
    exact: bool,
    flows: FlowSource | None = None,
) -> ClipSteeredEngine:
    """Build Deep Daze.

    The original takes 21,000 steps at a rate of .00001. At five times that a picture is there in a
    few hundred; a smaller network takes a larger rate.
    """
    large = device.type != "cpu"
    info = clip_info(
        name="siren-clip",
        title="SIREN + CLIP (Deep Daze)",
        models=(ModelInfo(name="siren", title="Network of sines", licence="No weights"),),
        options=(
            *clip_options(
                perceptors.names,
                cutouts=32 if large else 8,
                kind="classic" if large else "augmented",
                learning_rate=0.00005 if large else 0.0003,
                start="chance",
                averaging=0.3,
                form=form_default(perceptors.names, flows),
            ),
            *siren_options(layers=16 if large else 5, units=256 if large else 128),
        ),
        side=256 if large else 128,
        steps=500 if large else 100,
        max_pixels=512 * 512 if large else 256 * 256,
    )

    def make_canvas(_name: str) -> Canvas:
        return SirenCanvas(device)

    return ClipSteeredEngine(info, make_canvas, perceptors, device=device, exact=exact, flows=flows)


def build_biggan_clip(
    library: Library, perceptors: PerceptorSource, device: torch.device, *, exact: bool
) -> ClipSteeredEngine:
    """Build The Big Sleep. Its crops are large ones, as the original's are on average."""
    large = device.type != "cpu"
    models = sorted(
        library.models("biggan"),
        key=lambda model: _BIGGAN_SIDES.get(model.name, 0) * (-1 if large else 1),
    )
    first = next((model.name for model in models if model.available), "")
    side = _BIGGAN_SIDES.get(first, 256)
    info = clip_info(
        name="biggan-clip",
        title="BigGAN + CLIP (The Big Sleep)",
        models=tuple(models),
        options=(
            *clip_options(
                perceptors.names,
                cutouts=64 if large else 8,
                kind="classic",
                cut_pow=0.5,
                learning_rate=0.07,
                start="chance",
                starts=(),
            ),
            *biggan_options(),
        ),
        side=side,
        steps=500 if large else 100,
        max_pixels=1024 * 1024 if large else 512 * 512,
        takes_init=False,
    )

    def make_canvas(name: str) -> Canvas:
        return BigGANCanvas(BigGAN.from_weights(library.weights(name)), device)

    return ClipSteeredEngine(info, make_canvas, perceptors, device=device, exact=exact)


def build_dvae_clip(
    library: Library, perceptors: PerceptorSource, device: torch.device, *, exact: bool
) -> ClipSteeredEngine:
    """Build the engine of DALL·E's codes."""
    large = device.type != "cpu"
    info = clip_info(
        name="dvae-clip",
        title="DALL·E dVAE + CLIP",
        models=library.models("dvae"),
        options=clip_options(
            perceptors.names,
            cutouts=64 if large else 8,
            kind="augmented",
            learning_rate=0.05,
            start="chance",
        ),
        side=256 if large else 128,
        steps=500 if large else 200,
        max_pixels=_DVAE_MAX_PIXELS,
    )

    def make_canvas(name: str) -> Canvas:
        encoder, decoder = (library.weights(name, file) for file in ("encoder.pkl", "decoder.pkl"))
        return DVAECanvas(DVAE.from_files(encoder, decoder), device)

    return ClipSteeredEngine(info, make_canvas, perceptors, device=device, exact=exact)
