"""Which engines draw with the diffusers folders of this machine, and their defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from generation.engine import EngineError
from generation.engines.diffusers_folders import read_config
from generation.engines.latent_diffusion import LatentDiffusionEngine, NoiseModel, latent_options
from generation.engines.perceptors import SharedPerceptors
from generation.engines.pipelines import PipelineEngine, load_pipeline, pipeline_options
from generation.engines.stable_diffusion import StableDiffusion
from generation.models.checkpoints import CheckpointError
from generation.models.library import Library
from generation.protocol import EngineInfo, JourneyInfo, JourneyKind, ModelInfo

STARTER = "starter-diffusion"
PIPELINE = "pipeline"


@dataclass(frozen=True)
class _Kind:
    """An engine's name and title, and what suits its models."""

    name: str
    title: str
    side: int
    steps: int
    guidance: float
    sampler: str
    schedule: str = "model"


_KINDS = (
    _Kind("stable-diffusion", "Stable Diffusion", 512, 25, 7.5, "dpm++2m", "karras"),
    _Kind("stable-diffusion-xl", "Stable Diffusion XL", 1024, 30, 6.0, "dpm++2m", "karras"),
    _Kind("turbo-diffusion", "Turbo diffusion", 512, 4, 1.0, "euler ancestral", "trailing"),
    _Kind("consistency", "Latent consistency", 512, 6, 8.0, "lcm"),
)
_CLASSES = {
    "StableDiffusionPipeline": "stable-diffusion",
    "StableDiffusionXLPipeline": "stable-diffusion-xl",
    "LatentConsistencyModelPipeline": "consistency",
}


def kind_of(library: Library, name: str) -> str:
    """Return the engine that draws with a model of family ``diffusion``.

    The catalogue says it; of a folder that was added its ``model_index.json`` does. Turbo models
    are known by their timesteps: those are trailing, as they were distilled.
    """
    engines = library.entry(name).engines
    if engines:
        return engines[0]
    try:
        folder = library.folder(name)
        known = _CLASSES.get(str(read_config(folder, "model_index.json").get("_class_name")))
        if known is None:
            return PIPELINE
        scheduler = read_config(folder, "scheduler/scheduler_config.json")
    except (CheckpointError, EngineError):
        return PIPELINE
    if scheduler.get("_class_name") == "LCMScheduler":
        return "consistency"
    is_turbo = (
        scheduler.get("timestep_spacing") == "trailing"
        and scheduler.get("_class_name") == "EulerAncestralDiscreteScheduler"
    )
    return "turbo-diffusion" if is_turbo else known


def models_of(library: Library, engine: str) -> tuple[ModelInfo, ...]:
    """Return the models that an engine draws with."""
    every = library.models("diffusion")
    return tuple(model for model in every if kind_of(library, model.name) == engine)


def build_latent_engines(
    library: Library, perceptors: SharedPerceptors, device: torch.device, *, exact: bool
) -> list[LatentDiffusionEngine]:
    """Return an engine for each kind, with or without models."""
    return [_build(kind, library, perceptors, device, exact) for kind in _KINDS]


def build_pipelines(library: Library, device: torch.device, *, exact: bool) -> PipelineEngine:
    """Return the engine of all other diffusers folders."""
    info = EngineInfo(
        name=PIPELINE,
        title="Diffusers pipeline",
        models=models_of(library, PIPELINE),
        default_width=1024,
        default_height=1024,
        min_side=256,
        max_side=2048,
        max_pixels=1536 * 1536,
        size_multiple=64,
        default_steps=28,
        max_steps=100,
        takes_negative=True,
        needs_positive=True,
        options=pipeline_options(),
    )

    def load_model(name: str) -> Any:
        return load_pipeline(library.folder(name), device)

    return PipelineEngine(info, load_model, device=device, exact=exact)


def _build(
    kind: _Kind, library: Library, perceptors: SharedPerceptors, device: torch.device, exact: bool
) -> LatentDiffusionEngine:
    controls = [
        model
        for model in library.models("controlnet")
        if kind.name in (library.entry(model.name).engines or (kind.name,))
    ]
    here = tuple(model.name for model in controls if model.available)
    info = EngineInfo(
        name=kind.name,
        title=kind.title,
        models=models_of(library, kind.name),
        default_width=kind.side,
        default_height=kind.side,
        min_side=256,
        max_side=2048,
        max_pixels=2 * kind.side * kind.side,
        size_multiple=64,
        default_steps=kind.steps,
        max_steps=50 if kind.sampler == "lcm" else 150,
        guidance=kind.guidance,
        takes_init=True,
        takes_mask=True,
        takes_sketch=bool(here),
        sketch_missing="" if here or not controls else controls[0].missing,
        max_pictures=1,
        takes_negative=kind.sampler != "lcm",
        needs_positive=True,
        steerable=True,
        journeys=(
            JourneyInfo(kind=JourneyKind.WALK, frame_steps=kind.steps),
            JourneyInfo(kind=JourneyKind.CAMERA, frame_steps=kind.steps, strength=0.45),
        ),
        options=latent_options(
            sampler=kind.sampler,
            schedule=kind.schedule,
            loras=tuple(model.name for model in library.models("lora") if model.available),
            controls=here,
        ),
    )

    def load_model(name: str) -> NoiseModel:
        judge = perceptors.names[0] if perceptors.names else ""
        perceptor = perceptors.acquire(judge) if judge else None
        try:
            return StableDiffusion(
                library.folder(name),
                device,
                perceptor=perceptor,
                release=lambda: perceptors.release(judge) if judge else None,
                lora_weights=library.weights,
                control_folder=library.folder,
            )
        except BaseException:
            if judge:
                perceptors.release(judge)
            raise

    return LatentDiffusionEngine(info, load_model, device=device, exact=exact)
