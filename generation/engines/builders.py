"""What each engine of this machine is made of: its models, sizes and defaults."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError

from generation.canvases.base import Canvas
from generation.canvases.fourier import FourierCanvas
from generation.canvases.vqgan import VQGANCanvas
from generation.engine import Engine, EngineError
from generation.engines.clip_family import clip_info
from generation.engines.clip_options import clip_options
from generation.engines.clip_steered import ClipSteeredEngine
from generation.engines.diffusion import DiffusionEngine, FlowModel, diffusion_options
from generation.engines.dreamers import build_deepdream
from generation.engines.forms import form_default
from generation.engines.generators import build_biggan_clip, build_dvae_clip, build_siren_clip
from generation.engines.guided import GuidedDiffusionEngine, guided_options
from generation.engines.latent_kinds import STARTER, build_latent_engines, build_pipelines
from generation.engines.perceptors import SharedPerceptors
from generation.engines.rudalle import build_rudalle
from generation.engines.starter_flow import READER, SharedFlow
from generation.engines.strokes import build_strokes_clip
from generation.engines.stylegan import build_stylegan_clip
from generation.engines.upscalers import build_upscaler
from generation.models.compiling import Compiler, Precision
from generation.models.guided import GuidedUNet
from generation.models.guided import load as load_guided
from generation.models.library import Library
from generation.models.vqgan import VQGAN, config_of_taming
from generation.protocol import EngineInfo, JourneyInfo, JourneyKind, ModelInfo

_log = logging.getLogger(__name__)


def build(
    *,
    device: str,
    models_dir: Path | str | None,
    exact: bool,
    precision: Precision = "auto",
    compile: Literal["off", "auto"] = "off",
    compiled_dir: Path | str | None = None,
) -> dict[str, Engine[Any]]:
    """Build the engines; see `generation.engines.build_engines`."""
    # CUDA's matrix products are only deterministic with this set before their first use.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    where = find_device(device)
    library = Library(Path(models_dir) if models_dir else None, shipped_models())
    # On processors what is written here is faster than what torch compiles of it.
    compiles = compile == "auto" and where.type == "cuda" and not exact
    if compiles and compiled_dir:
        _keep_compiled(Path(compiled_dir))
    compiler = Compiler(where, precision=precision, compiles=compiles)
    perceptors = SharedPerceptors(library, where, compiler)
    flow = SharedFlow(perceptors, where, compiler.dtype)
    engines: list[Engine[Any]] = [_diffusion(library, flow, where, exact)]
    engines.extend(build_latent_engines(library, perceptors, where, exact=exact))
    engines.append(build_pipelines(library, where, exact=exact))
    if perceptors.names:
        flows = flow if library.info(STARTER).available and READER in perceptors.names else None
        engines.append(_vqgan_clip(library, perceptors, where, exact, compiler, flows))
        engines.append(_fourier_clip(perceptors, where, exact, flows))
        engines.append(build_siren_clip(perceptors, where, exact=exact, flows=flows))
        engines.append(build_biggan_clip(library, perceptors, where, exact=exact))
        engines.append(build_dvae_clip(library, perceptors, where, exact=exact))
        engines.append(build_strokes_clip(perceptors, where, exact=exact, flows=flows))
        engines.append(build_stylegan_clip(library, perceptors, where, exact=exact))
    if perceptors.names:
        engines.append(_guided(library, perceptors, where, exact))
    engines.append(build_rudalle(library, perceptors, where, exact=exact))
    engines.append(build_deepdream(library, where, exact=exact))
    engines.append(build_upscaler(library, where, exact=exact))
    return {engine.info.name: engine for engine in engines if _can_draw(engine)}


def _keep_compiled(folder: Path) -> None:
    """Have torch keep compiled code in a folder; if it cannot, torch's own temporary one stays."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _log.warning("Compiled code cannot be kept in %s: %s", folder, error.strerror)
    else:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))


def find_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` is the GPU if there is one.

    Raises:
        EngineError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise EngineError(f"There is no device called {name} on this machine.") from error
    return device


def shipped_models() -> tuple[str, ...]:
    """Return the starter models that this installation has."""
    from generation import starter

    return tuple(f"starter-{name}" for name in sorted(starter.available()))


def _can_draw(engine: Engine[Any]) -> bool:
    return any(model.available for model in engine.info.models)


def _diffusion(
    library: Library, flow: SharedFlow, device: torch.device, exact: bool
) -> DiffusionEngine:
    from generation import starter

    info = EngineInfo(
        name="diffusion",
        title="Diffusion",
        models=(library.info(STARTER),),
        default_width=128,
        default_height=128,
        min_side=64,
        max_side=512,
        max_pixels=256 * 256,
        size_multiple=16,
        default_steps=25,
        max_steps=200,
        guidance=7.0,
        takes_init=True,
        takes_mask=True,
        max_pictures=1,
        takes_negative=True,
        needs_positive=True,
        steerable=True,
        # Over a picture it takes all its steps, from the noise of the strength on.
        journeys=(
            JourneyInfo(kind=JourneyKind.WALK, frame_steps=25),
            JourneyInfo(kind=JourneyKind.CAMERA, frame_steps=12, strength=0.45),
        ),
        options=diffusion_options(
            shift=1.5, level=starter.LEVEL_GUIDANCE, guidance_end=starter.GUIDANCE_END
        ),
    )

    def load_model(_name: str) -> FlowModel:
        return flow.acquire()

    return DiffusionEngine(info, load_model, device=device, exact=exact)


def _vqgan_clip(
    library: Library,
    perceptors: SharedPerceptors,
    device: torch.device,
    exact: bool,
    compiler: Compiler,
    flows: SharedFlow | None,
) -> ClipSteeredEngine:
    models = _preferred(library.models("vqgan"), device)
    large = device.type != "cpu" and any(
        model.available and model.name != "starter-vqgan" for model in models
    )
    info = clip_info(
        name="vqgan-clip",
        title="VQGAN + CLIP",
        models=models,
        options=clip_options(
            perceptors.names,
            cutouts=32 if large else 8,
            kind="augmented",
            learning_rate=0.1 if large else 0.2,
            start="chance" if large else "clouds",
            form=form_default(perceptors.names, flows),
        ),
        side=256 if large else 128,
        steps=300 if large else 100,
        max_pixels=_max_pixels(device),
        max_side=2048,
        size_multiple=16,
    )

    def make_canvas(name: str) -> Canvas:
        return VQGANCanvas(_vqgan(library, name), device, compiler)

    return ClipSteeredEngine(info, make_canvas, perceptors, device=device, exact=exact, flows=flows)


def _vqgan(library: Library, name: str) -> VQGAN:
    if name != "starter-vqgan":
        return VQGAN.from_weights(library.weights(name))
    from generation import starter

    try:
        weights, config = starter.vqgan_state_dict(), config_of_taming(starter.vqgan_config())
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise EngineError("The starter VQGAN is damaged. Reinstall Dreamstream.") from error
    return VQGAN.from_weights(weights, config)


def _fourier_clip(
    perceptors: SharedPerceptors, device: torch.device, exact: bool, flows: SharedFlow | None
) -> ClipSteeredEngine:
    large = device.type != "cpu"
    info = clip_info(
        name="fourier-clip",
        title="Fourier + CLIP",
        models=(ModelInfo(name="fourier", title="Fourier spectrum", licence="No weights"),),
        options=clip_options(
            perceptors.names,
            cutouts=32 if large else 8,
            kind="augmented",
            learning_rate=0.05,
            start="chance" if large else "clouds",
            form=form_default(perceptors.names, flows),
        ),
        side=256 if large else 128,
        steps=200 if large else 120,
        max_pixels=_max_pixels(device),
        max_side=2048,
    )

    def make_canvas(_name: str) -> Canvas:
        return FourierCanvas(device)

    return ClipSteeredEngine(info, make_canvas, perceptors, device=device, exact=exact, flows=flows)


def _guided(
    library: Library, perceptors: SharedPerceptors, device: torch.device, exact: bool
) -> GuidedDiffusionEngine:
    info = EngineInfo(
        name="guided-diffusion",
        title="CLIP-guided diffusion",
        models=library.models("guided"),
        default_width=256,
        default_height=256,
        min_side=64,
        max_side=1024,
        max_pixels=_max_pixels(device),
        size_multiple=64,
        default_steps=250 if device.type != "cpu" else 50,
        max_steps=1000,
        guidance=1000.0,
        max_guidance=50_000.0,
        takes_init=True,
        takes_negative=True,
        steerable=True,
        journeys=(
            JourneyInfo(
                kind=JourneyKind.CAMERA,
                frame_steps=250 if device.type != "cpu" else 50,
                strength=0.45,
            ),
        ),
        options=guided_options(perceptors.names, cutouts=16),
    )

    def load_network(name: str) -> GuidedUNet:
        return load_guided(library.weights(name))

    return GuidedDiffusionEngine(info, load_network, perceptors, device=device, exact=exact)


def _preferred(models: tuple[ModelInfo, ...], device: torch.device) -> tuple[ModelInfo, ...]:
    """Put shipped models last where published ones are fast enough."""
    if device.type == "cpu":
        return models
    return tuple(sorted(models, key=lambda model: model.name.startswith("starter-")))


def _max_pixels(device: torch.device) -> int:
    return 512 * 512 if device.type == "cpu" else 1024 * 1024
