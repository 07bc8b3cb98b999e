"""starter-clip's network: a small CLIP (Radford et al. 2021) in open_clip's layout.

It has open_clip's modules and weights under the same names, for what reaches into either, computes
the same to the bit, and needs nothing but torch. open_clip itself loads torchvision, timm and
transformers for models that are not this one, which takes twice as long as loading torch: time
between a start and its first picture.

Source: https://github.com/mlfoundations/open_clip (MIT): `CLIP`, `VisionTransformer`, and of
`Transformer` the blocks; the layout and the order of operations.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Attention, then two linear layers, each after a norm and added to what comes in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ls_1 = nn.Identity()
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict[str, nn.Module](
                c_fc=nn.Linear(width, 4 * width), gelu=nn.GELU(), c_proj=nn.Linear(4 * width, width)
            )
        )
        self.ls_2 = nn.Identity()

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """Return states [B, L, width] of states; `attn_mask` [L, L] is added to the scores."""
        normed = self.ln_1(x)
        seen = self.attn(normed, normed, normed, need_weights=False, attn_mask=attn_mask)[0]
        x = x + self.ls_1(seen)
        out: Tensor = x + self.ls_2(self.mlp(self.ln_2(x)))
        return out


class Transformer(nn.Module):
    """Blocks, one after another."""

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads) for _ in range(layers))

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """Return states [B, L, width] of states; see `Block`."""
        for block in self.resblocks:
            x = block(x, attn_mask)
        return x


class ImageTower(nn.Module):
    """A vision transformer over square patches; the class token's state is the picture's."""

    def __init__(
        self, embed_dim: int, *, image_size: int, patch_size: int, width: int, layers: int,
        head_width: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch_size, patch_size, bias=False)
        patches = (image_size // patch_size) ** 2
        self.class_embedding = _parameter(width, std=width**-0.5)
        self.positional_embedding = _parameter(patches + 1, width, std=width**-0.5)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, layers, width // head_width)
        self.ln_post = nn.LayerNorm(width)
        self.proj = _parameter(width, embed_dim, std=width**-0.5)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return vectors [B, embed_dim] of normalised pictures [B, 3, side, side]."""
        x = self.transformer(self._embeds(pictures))
        out: Tensor = self.ln_post(x[:, 0]) @ self.proj
        return out

    def _embeds(self, pictures: Tensor) -> Tensor:
        patches = self.conv1(pictures).flatten(2).permute(0, 2, 1)
        first = self.class_embedding.expand(len(patches), 1, -1)
        out: Tensor = self.ln_pre(torch.cat([first, patches], 1) + self.positional_embedding)
        return out


class ClipNetwork(nn.Module):
    """A tower for pictures in `visual`, and a causal one for texts around it.

    Its arguments are open_clip's `model_cfg`: `embed_dim`, `vision_cfg`, `text_cfg`.
    """

    attn_mask: Tensor

    def __init__(
        self, embed_dim: int, vision_cfg: Mapping[str, int], text_cfg: Mapping[str, int]
    ) -> None:
        super().__init__()
        width, length = text_cfg["width"], text_cfg["context_length"]
        self.visual = ImageTower(embed_dim, **vision_cfg)
        self.transformer = Transformer(width, text_cfg["layers"], text_cfg["heads"])
        self.token_embedding = nn.Embedding(text_cfg["vocab_size"], width)
        self.positional_embedding = _parameter(length, width, std=0.01)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = _parameter(width, embed_dim, std=width**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.register_buffer("attn_mask", _causal_mask(length), persistent=False)

    def encode_image(self, pictures: Tensor) -> Tensor:
        """Return vectors [B, embed_dim] of normalised pictures [B, 3, side, side]."""
        out: Tensor = self.visual(pictures)
        return out

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Return vectors [B, embed_dim] of tokens [B, context_length], padded after their end."""
        x = self.token_embedding(tokens) + self.positional_embedding
        x = self.ln_final(self.transformer(x, self.attn_mask))
        # The end of a text is the largest token there is.
        ends = x[torch.arange(len(x), device=x.device), tokens.argmax(-1)]
        out: Tensor = ends @ self.text_projection
        return out


def _parameter(*shape: int, std: float) -> nn.Parameter:
    parameter = nn.Parameter(torch.empty(shape))
    nn.init.normal_(parameter, std=std)
    return parameter


def _causal_mask(length: int) -> Tensor:
    """Return what is added to scores [length, length] so that none looks ahead.

    It is no part of a state dict, so it is a real one even where the weights are on "meta".
    """
    return torch.full((length, length), float("-inf"), device="cpu").triu(1)
