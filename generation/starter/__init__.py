"""The models that ship with the project, and how to load them.

Importing this costs nothing: torch and diffusers are imported by what needs them.
Which pictures and texts the models learnt from, and what they cannot do: ``docs/starter.md``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from generation.starter.clip_network import ClipNetwork
    from generation.starter.model import LatentFlow
    from generation.starter.pipeline import StarterPipeline
    from generation.starter.tokenizer import ClipTokenizer

STARTER_DIR = Path(__file__).resolve().parent
CLIP_WEIGHTS = STARTER_DIR / "clip" / "open_clip_model.safetensors"
VQGAN_WEIGHTS = STARTER_DIR / "vqgan" / "model.safetensors"
DIFFUSION_DIR = STARTER_DIR / "diffusion"
WEIGHTS_NAME = "diffusion_pytorch_model.safetensors"
"""What diffusers calls the weights within a network's folder."""
LEVEL_GUIDANCE = 7.0
"""How far guidance may lead the mean of a whole picture's latents: as far as forms need it.

Less is for daylight behind a thing in a place: see docs/starter.md.
"""
GUIDANCE_END = 0.3
"""How much of the noise is left when guidance ends: details need none, and look better without."""
UPSCALER_WEIGHTS = STARTER_DIR / "upscaler" / "model.safetensors"


@dataclass(frozen=True)
class Preprocess:
    """How starter-clip wants its pictures."""

    image_size: int
    """Side in pixels."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def available() -> set[str]:
    """Return which of ``clip``, ``vqgan``, ``diffusion``, ``upscaler`` are on this machine."""
    found = {
        "clip": CLIP_WEIGHTS.exists(),
        "vqgan": VQGAN_WEIGHTS.exists(),
        "diffusion": (DIFFUSION_DIR / "transformer" / WEIGHTS_NAME).exists(),
        "upscaler": UPSCALER_WEIGHTS.exists(),
    }
    if not (found["clip"] and found["vqgan"]):
        found["diffusion"] = False
    return {name for name, there in found.items() if there}


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def clip_config() -> dict[str, Any]:
    """Return open_clip's configuration: ``model_cfg`` and ``preprocess_cfg``."""
    return _read(STARTER_DIR / "clip" / "open_clip_config.json")


def clip_tokenizer() -> ClipTokenizer:
    """Return CLIP's tokenizer with starter-clip's context length."""
    from generation.starter.tokenizer import ClipTokenizer

    return ClipTokenizer(clip_config()["model_cfg"]["text_cfg"]["context_length"])


def load_clip(device: torch.device | str = "cpu") -> tuple[ClipNetwork, ClipTokenizer, Preprocess]:
    """Load starter-clip in float32, ready to use.

    Raises:
        FileNotFoundError: the weights are not there.
        CompactFormatError: the weights are not of this program's format.
    """
    from generation.models.compact import expand
    from generation.models.unfilled import unfilled
    from generation.starter.clip_network import ClipNetwork

    config = clip_config()
    with unfilled():
        model = ClipNetwork(**config["model_cfg"])
    model.load_state_dict(expand(CLIP_WEIGHTS), assign=True)
    model = model.eval().requires_grad_(False).to(device)
    preprocess = config["preprocess_cfg"]
    return (
        model,
        clip_tokenizer(),
        Preprocess(
            config["model_cfg"]["vision_cfg"]["image_size"],
            tuple(preprocess["mean"]),
            tuple(preprocess["std"]),
        ),
    )


def vqgan_config() -> dict[str, Any]:
    """Return taming's configuration: ``embed_dim``, ``n_embed``, ``ddconfig``.

    ``ddconfig.norm_groups`` is ours: how many groups every GroupNorm has (taming fixes 32).
    """
    return _read(STARTER_DIR / "vqgan" / "config.json")


def vqgan_state_dict() -> dict[str, torch.Tensor]:
    """Return starter-vqgan's weights as float32, in taming-transformers' layout.

    Raises:
        FileNotFoundError: the weights are not there.
    """
    from generation.models.compact import expand

    return expand(VQGAN_WEIGHTS)


def load_vqgan(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Return ``{"config": ..., "state_dict": ...}`` of starter-vqgan, tensors on a device."""
    state = {name: tensor.to(device) for name, tensor in vqgan_state_dict().items()}
    return {"config": vqgan_config(), "state_dict": state}


def load_flow(device: torch.device | str = "cpu") -> LatentFlow:
    """Load starter-diffusion as what a step loop builds on.

    Raises:
        FileNotFoundError: the weights are not there.
        CompactFormatError: the weights are not of this program's format.
    """
    from generation.models.compact import expand
    from generation.models.unfilled import unfilled
    from generation.starter.model import LatentFlow
    from generation.starter.network import FlowTransformer

    folder = DIFFUSION_DIR / "transformer"
    config = _read(folder / "config.json")
    with unfilled():
        network = FlowTransformer(
            **{name: value for name, value in config.items() if not name.startswith("_")}
        )
    network.load_state_dict(expand(folder / WEIGHTS_NAME), assign=True)
    return LatentFlow(network.eval().requires_grad_(False).to(device))


def load_diffusion(device: torch.device | str = "cpu") -> StarterPipeline:
    """Load starter-diffusion with its text tower and autoencoder.

    Raises:
        FileNotFoundError: the weights are not there.
    """
    from generation.starter.pipeline import StarterPipeline
    from generation.starter.transformer import StarterTransformer

    # The same as StarterPipeline.from_pretrained(DIFFUSION_DIR), without its progress bar.
    pipeline = StarterPipeline(StarterTransformer.from_pretrained(DIFFUSION_DIR / "transformer"))
    moved: StarterPipeline = pipeline.to(device)
    return moved
