"""What starter-clip's text tower says about a prompt: a vector, and a state per token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from generation.starter.tokenizer import ClipTokenizer


def tokenize(tokenizer: ClipTokenizer, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return token ids [B, L] and a mask [B, L] that is True up to the end token.

    L is the longest text's length, not the tower's context; the tower is causal, so the states
    are the same.
    """
    tokens: Tensor = tokenizer(list(texts))
    ends = tokens.argmax(dim=-1)
    length = int(ends.max()) + 1
    mask = torch.arange(length) <= ends[:, None]
    return tokens[:, :length], mask


def token_states(clip: nn.Module, tokens: Tensor) -> Tensor:
    """Return the text tower's states [B, L, width] after its final norm, before pooling."""
    x = clip.token_embedding(tokens)  # type: ignore[operator]
    length = tokens.shape[1]
    x = x + clip.positional_embedding[:length]  # type: ignore[index]
    x = clip.transformer(x, attn_mask=clip.attn_mask[:length, :length])  # type: ignore[operator, index]
    states: Tensor = clip.ln_final(x)  # type: ignore[operator]
    return states
