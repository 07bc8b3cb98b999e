"""Write trained models into the repository: compact, in the layouts that the engines load."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP
from torch import Tensor

from generation.models.compact import pack
from generation.starter import (
    CLIP_WEIGHTS,
    DIFFUSION_DIR,
    STARTER_DIR,
    VQGAN_WEIGHTS,
    WEIGHTS_NAME,
    clip_config,
)
from generation.starter.autoencoder import StarterVQGAN
from generation.starter.transformer import StarterTransformer
from training import carried, vqgan
from training.shipped import deeper, shipped_diffusion
from training.state import latest
from training.text_tower import RANK

_CLIP_FP16 = ("*ln_*", "*positional_embedding", "*class_embedding", "logit_scale", "visual.conv1*")
_VQGAN_FP16 = ("quantize.*", "*quant_conv*", "*conv_out*", "*conv_in*", "*norm*")
_DIFFUSION_FP16 = ("head.*", "stem_conv.*", "from_time.*", "*modulation*", "from_position.*")


def whole_embedding(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict of open_clip's layout from one with a factored token embedding."""
    merged = dict(state)
    rows, up = merged.pop("token_embedding.rows"), merged.pop("token_embedding.up")
    merged["token_embedding.weight"] = rows.float() @ up.float()
    return merged


def _saved(name: str, source: Path | None) -> dict[str, Any] | None:
    if source is not None:
        return carried.read(name, source)
    path = latest(name)
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def export_clip(source: Path | None) -> str:
    """Write starter-clip from the newest of its two trainings."""
    both, text = _saved("clip", source), _saved("clip-text", None)
    if both is not None:
        state = whole_embedding(both["average"])
    elif text is not None:
        clip = {
            k.removeprefix("clip."): v for k, v in text["average"].items() if k.startswith("clip.")
        }
        state = whole_embedding(clip)
    else:
        state = CLIP(**clip_config()["model_cfg"]).state_dict()
    size = pack(
        state, CLIP_WEIGHTS, keep_fp16=_CLIP_FP16, low_rank={"token_embedding.weight": RANK}
    )
    return f"clip: {size / 2**20:.1f} MiB"


def export_vqgan(source: Path | None) -> str:
    """Write starter-vqgan."""
    saved = _saved("vqgan", source)
    state = saved["average"] if saved else StarterVQGAN(vqgan.CONFIG).state_dict()
    config = STARTER_DIR / "vqgan" / "config.json"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(json.dumps(vqgan.CONFIG, indent=2) + "\n", encoding="utf-8")
    return f"vqgan: {pack(state, VQGAN_WEIGHTS, keep_fp16=_VQGAN_FP16) / 2**20:.1f} MiB"


def export_diffusion(source: Path | None, part: float = 1.0) -> str:
    """Write starter-diffusion as a diffusers folder with compact weights.

    The weights go from those that are shipped a `part` of the way to the trained ones. What was
    trained on from the shipped ones on other examples keeps more of both so. Where the trained
    network has grown deeper, the shipped one does.

    Source: Wortsman et al., Robust fine-tuning of zero-shot models (2022).

    Raises:
        RuntimeError: those that are shipped are of another width, and `part` is less than 1.
        ValueError: those that are shipped are deeper, and `part` is less than 1.
    """
    from generation.starter.pipeline import StarterPipeline

    saved = _saved("diffusion", source)
    if saved:
        model = StarterTransformer(**saved["config"])
        model.load_state_dict(saved["average"])
        if part < 1:
            trained = {name: value.clone() for name, value in model.state_dict().items()}
            before = deeper(*shipped_diffusion(), saved["config"]["depth"])[1]
            model.load_state_dict(before)
            for name, value in model.state_dict().items():
                value.lerp_(trained[name], part)
    else:
        model = StarterTransformer()
    pipeline = StarterPipeline(model)
    pipeline.save_config(DIFFUSION_DIR)
    model.save_config(DIFFUSION_DIR / "transformer")
    size = pack(
        model.state_dict(), DIFFUSION_DIR / "transformer" / WEIGHTS_NAME, keep_fp16=_DIFFUSION_FP16
    )
    return f"diffusion: {size / 2**20:.1f} MiB"


def export(names: list[str], source: Path | None = None, part: float = 1.0) -> None:
    """Write the named models (``clip``, ``vqgan``, ``diffusion``).

    Args:
        names: which.
        source: a folder that ``python -m training gpu`` wrote; without it, the cache.
        part: how far the diffusion model goes from the shipped weights to the trained ones.

    Raises:
        FileNotFoundError: the folder has no such model.
        CarriedFormatError: it has a part of one.
    """
    steps: dict[str, Callable[[Path | None], str]] = {
        "clip": export_clip,
        "vqgan": export_vqgan,
        "diffusion": partial(export_diffusion, part=part),
    }
    for name in names:
        if source is not None and carried.read(name, source) is None:
            raise FileNotFoundError(f"{source} has no {name}-0.safetensors; export others")
        print(steps[name](source), flush=True)
