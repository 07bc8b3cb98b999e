"""Stable Diffusion with random weights, as our engine and as diffusers' own pipeline draw with it.

Both draw with the very same networks, in the number formats of the product: arithmetic takes as
long whatever the weights mean. Nothing is fetched.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch

from benchmarks.memory import configured, filled, info
from generation.engine import Engine
from generation.engines import stable_diffusion
from generation.engines.latent_diffusion import LatentDiffusionEngine, latent_options


class Pair(NamedTuple):
    """The same networks twice: `pipeline` is diffusers' `StableDiffusionPipeline`."""

    engine: Engine[Any]
    pipeline: Any


def pair(device: torch.device, *, tiny: bool = False, side: int = 512) -> Pair:
    """Return Stable Diffusion 1.5's shapes; `tiny` are the same layers, few and narrow."""
    import diffusers
    from transformers import CLIPTokenizer

    half = torch.float16 if device.type == "cuda" else torch.float32
    made = {
        part: filled(make, device, torch.float32 if part == "vae" else half)
        for part, make in _shapes(tiny).items()
    }

    def read_network(_folder: Path, part: str, *_others: object) -> Any:
        return made[part]

    with tempfile.TemporaryDirectory() as name:
        folder = configured(Path(name))
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", model_max_length=77)
        with mock.patch.object(stable_diffusion, "read_network", read_network):
            model = stable_diffusion.StableDiffusion(folder, device)
    described = info("stable-diffusion", side, guidance=7.5, options=latent_options())
    engine = LatentDiffusionEngine(described, lambda _name: model, device=device)
    pipeline = diffusers.StableDiffusionPipeline(
        **made,
        tokenizer=tokenizer,
        scheduler=diffusers.DPMSolverMultistepScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    if half is not torch.float32:
        # As its users do: the pipeline hands the autoencoder what the network gave.
        pipeline.vae = filled(_shapes(tiny)["vae"], device, half)
    return Pair(engine, pipeline)


def _shapes(tiny: bool) -> dict[str, Callable[[], Any]]:
    """Return what makes each network."""
    import diffusers
    import transformers

    levels = (32, 32, 32, 32) if tiny else (128, 256, 512, 512)
    # The tokenizer's own words are all that the tiny text encoder knows.
    text: dict[str, Any] = {"hidden_size": 768, "num_attention_heads": 12}
    network: dict[str, Any] = {"sample_size": 64, "cross_attention_dim": 768}
    if tiny:
        text = {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_attention_heads": 4,
            "num_hidden_layers": 2,
            "vocab_size": 512,
        }
        network = {
            "sample_size": 8,
            "cross_attention_dim": 32,
            "block_out_channels": (32, 64),
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            "layers_per_block": 1,
            "norm_num_groups": 8,
            "attention_head_dim": 4,
        }
    return {
        "unet": lambda: diffusers.UNet2DConditionModel(**network),
        "vae": lambda: diffusers.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=levels,
            layers_per_block=1 if tiny else 2,
            norm_num_groups=8 if tiny else 32,
        ),
        "text_encoder": lambda: transformers.CLIPTextModel(transformers.CLIPTextConfig(**text)),
    }
