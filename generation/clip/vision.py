"""CLIP's vision transformer without what nobody asks of it.

A crop's embedding is read from one token. So in the last block only that token needs a query, a
way out of attention and the wide layers behind it: of a ViT-B's last twelfth a sixth is left. All
else is arranged so that a step moves less memory: patches are embedded by one product, keys,
queries and values are views of another, and OpenAI's ``x · sigmoid(1.702 x)`` is SiLU between
scaled weights.

What differs from open_clip's own forward pass is rounding only.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generation.models.attention import attend_plainly
from generation.starter.clip_network import ImageTower

_QUICK = 1.702
_FEW_TOKENS = 100
"""So few are attended to faster by plain products on a processor."""


def vision_tower(model: nn.Module) -> VisionTower | None:
    """Return the faster way through a model's vision tower; None where it has another shape.

    Weights around OpenAI's activation are scaled in place, and the activation becomes SiLU: the
    tower computes what it did, by whichever way.
    """
    visual: Any = getattr(model, "visual", None)
    if not isinstance(visual, ImageTower) and not _is_plain(visual):
        return None
    quick = getattr(_open_clip(), "QuickGELU", ())
    with torch.no_grad():
        for block in visual.transformer.resblocks:
            if isinstance(block.mlp.gelu, quick):
                block.mlp.c_fc.weight.mul_(_QUICK)
                block.mlp.c_fc.bias.mul_(_QUICK)
                block.mlp.c_proj.weight.div_(_QUICK)
                block.mlp.gelu = nn.SiLU()
    return VisionTower(visual)


class VisionTower:
    """Pictures [n, 3, size, size], normalised, to embeddings [n, dim]."""

    def __init__(self, visual: nn.Module) -> None:
        self._visual: Any = visual

    def __call__(self, pictures: Tensor) -> Tensor:
        """Embed pictures; gradients pass."""
        visual = self._visual
        x = self._tokens(pictures)
        *blocks, last = visual.transformer.resblocks
        for block in blocks:
            x = _block(block, x, x.shape[1])
        token = _block(last, x, 1)
        # Where the norm stands behind the pooling or before it, one token's is the same.
        embedding: Tensor = visual.ln_post(token[:, 0]) @ visual.proj
        return embedding

    def _tokens(self, pictures: Tensor) -> Tensor:
        """Return the pictures' patches behind the token that sums them up: [n, tokens, width].

        Patches do not overlap, so embedding them is one product; as a convolution its gradient
        took a sixth of the tower's time on a processor.
        """
        visual = self._visual
        weight = visual.conv1.weight
        down, across = weight.shape[2:]
        patches = pictures.unfold(2, down, down).unfold(3, across, across)
        patches = patches.permute(0, 2, 3, 1, 4, 5).flatten(1, 2).flatten(2)
        embedded = F.linear(patches, weight.flatten(1))
        first = visual.class_embedding.expand(len(pictures), 1, -1)
        x = torch.cat([first, embedded], dim=1) + visual.positional_embedding
        normed: Tensor = visual.ln_pre(x)
        return normed


def _block(block: Any, x: Tensor, wanted: int) -> Tensor:
    """Return the first `wanted` tokens [n, wanted, width] of a block's output for x."""
    x_wanted = x[:, :wanted]
    x_wanted = x_wanted + block.ls_1(_attention(block.attn, block.ln_1(x), wanted))
    drawn: Tensor = x_wanted + block.ls_2(block.mlp(block.ln_2(x_wanted)))
    return drawn


def _attention(attention: nn.MultiheadAttention, x: Tensor, wanted: int) -> Tensor:
    """Attend from the first `wanted` tokens to all."""
    width = attention.embed_dim
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    if wanted == x.shape[1]:
        q, k, v = F.linear(x, weight, bias).chunk(3, dim=2)
    else:
        q = F.linear(x[:, :wanted], weight[:width], bias[:width])
        k, v = F.linear(x, weight[width:], bias[width:]).chunk(2, dim=2)
    by_head = (len(x), -1, attention.num_heads, attention.head_dim)
    q, k, v = (part.view(by_head).transpose(1, 2) for part in (q, k, v))
    if q.device.type != "cpu" or k.shape[2] > _FEW_TOKENS:
        seen = F.scaled_dot_product_attention(q, k, v)
    else:
        seen = attend_plainly(q * attention.head_dim**-0.5, k, v)
    drawn: Tensor = attention.out_proj(seen.transpose(1, 2).flatten(2))
    return drawn


def _is_plain(visual: Any) -> bool:
    """Say whether it pools one token, from blocks of the first kind, as CLIP's own does."""
    theirs = _open_clip()
    return (
        theirs is not None
        and isinstance(visual, theirs.VisionTransformer)
        and visual.pool_type == "tok"
        and visual.attn_pool is None
        and not visual.output_tokens
        and isinstance(visual.patch_dropout, nn.Identity)
        and visual.proj is not None
        and all(
            type(block) is theirs.ResidualAttentionBlock
            and not hasattr(block, "ln_1_kv")
            and block.attn.in_proj_weight is not None
            and block.attn.in_proj_bias is not None
            for block in visual.transformer.resblocks
        )
    )


def _open_clip() -> Any:
    """Return open_clip's transformers where they are loaded: no model is of them where not."""
    return sys.modules.get("open_clip.transformer")
