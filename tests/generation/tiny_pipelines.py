"""Tiny diffusers pipelines with random weights, saved as the published ones are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    LatentConsistencyModelPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tests.generation import tiny  # noqa: F401  # sets torch's threads

SCHEDULER: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "timestep_spacing": "leading",
    "steps_offset": 1,
    "clip_sample": False,
    "set_alpha_to_one": False,
}


def tokenizer(folder: Path) -> CLIPTokenizer:
    """Make a tokenizer of single bytes, in CLIP's layout."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256))]
    words = [
        *letters,
        *(f"{letter}</w>" for letter in letters),
        "an",
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    vocabulary = {word: number for number, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\na n\n")
    return CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77
    )


def make(folder: Path, kind: str = "sd") -> Any:
    """Save a pipeline: ``sd``, ``sd2`` (that predicts v), ``xl`` or ``lcm``."""
    torch.manual_seed(7)
    xl, lcm = kind == "xl", kind == "lcm"
    text = CLIPTextConfig(
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=3,
        num_attention_heads=4,
        projection_dim=32,
        vocab_size=400,
        bos_token_id=377,
        eos_token_id=378,
        pad_token_id=378,
        hidden_act="gelu" if xl else "quick_gelu",
    )
    tokens = tokenizer(folder / "words")
    unet = UNet2DConditionModel(
        sample_size=32,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=64 if xl else 32,
        attention_head_dim=(2, 4),
        use_linear_projection=kind != "sd",
        time_cond_proj_dim=32 if lcm else None,
        **(
            {
                "addition_embed_type": "text_time",
                "addition_time_embed_dim": 8,
                "transformer_layers_per_block": (1, 2),
                "projection_class_embeddings_input_dim": 80,
            }
            if xl
            else {}
        ),
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
    )
    config = {**SCHEDULER, "prediction_type": "v_prediction" if kind == "sd2" else "epsilon"}
    parts = {
        "unet": unet,
        "vae": vae,
        "scheduler": DDIMScheduler(**config),
        "text_encoder": CLIPTextModel(text).eval(),
        "tokenizer": tokens,
    }
    if xl:
        parts["text_encoder_2"] = CLIPTextModelWithProjection(text).eval()
        parts["tokenizer_2"] = tokens
        pipeline = StableDiffusionXLPipeline(**parts, add_watermarker=False)
    else:
        kind_of = LatentConsistencyModelPipeline if lcm else StableDiffusionPipeline
        pipeline = kind_of(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(folder, safe_serialization=True)
    return pipeline
