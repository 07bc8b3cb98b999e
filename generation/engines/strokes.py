"""Builds the engine that draws with strokes: CLIPDraw."""

from __future__ import annotations

import torch

from generation.canvases.base import Canvas
from generation.canvases.strokes import STROKES_OPTION, StrokesCanvas
from generation.engines.clip_family import clip_info
from generation.engines.clip_options import clip_options
from generation.engines.clip_steered import ClipSteeredEngine
from generation.engines.forms import FlowSource, form_default
from generation.engines.perceptors import PerceptorSource
from generation.protocol import ModelInfo


def build_strokes_clip(
    perceptors: PerceptorSource,
    device: torch.device,
    *,
    exact: bool,
    flows: FlowSource | None = None,
) -> ClipSteeredEngine:
    """Build it with CLIPDraw's settings; a processor takes fewer steps of a smaller picture."""
    large = device.type != "cpu"
    info = clip_info(
        name="strokes-clip",
        title="Strokes + CLIP (CLIPDraw)",
        models=(ModelInfo(name="strokes", title="Strokes of a pen", licence="No weights"),),
        options=(
            *clip_options(
                perceptors.names,
                cutouts=4 if large else 8,
                kind="drawing",
                learning_rate=1.0,
                start="chance",
                form=form_default(perceptors.names, flows),
            ),
            STROKES_OPTION,
        ),
        side=224 if large else 128,
        steps=1000 if large else 100,
        max_pixels=1024 * 1024 if large else 512 * 512,
        max_side=2048,
        continues=False,
    )

    def make_canvas(_name: str) -> Canvas:
        return StrokesCanvas(device)

    return ClipSteeredEngine(info, make_canvas, perceptors, device=device, exact=exact, flows=flows)
