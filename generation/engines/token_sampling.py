"""Choosing the next token of several runs at once, each in its own way.

Chance comes from outside as exponential noise, so that who is in the batch changes nothing: of
tokens with probabilities p and independent noise e ~ Exp(1), the one with the largest p/e is each
token with probability p.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def choose(
    logits: Tensor, noise: Tensor, *, temperature: Tensor, top_k: Tensor, top_p: Tensor
) -> Tensor:
    """Return the tokens [n] that chance picks by logits [n, tokens], each among its likeliest.

    Those are the `top_k` [n] likeliest, and of these the fewest whose probabilities exceed
    `top_p` [n] together; at 1 it leaves out none. Logits are divided by `temperature` [n] first.
    `noise` [n, tokens] is exponential. All are float32, but for `top_k`.

    Source: `top_k_top_p_filtering` of transformers 4.10, which ruDALL-E draws with.
    """
    ordered, tokens = (logits / temperature[:, None]).sort(dim=1, descending=True)
    rank = torch.arange(logits.shape[1], device=logits.device)
    likely = ordered.masked_fill(rank >= top_k[:, None], -torch.inf).softmax(dim=1)
    before = F.pad(likely.cumsum(dim=1)[:, :-1], (1, 0))
    bound = torch.where(top_p < 1, top_p, torch.inf)
    likely = likely.masked_fill(before > bound[:, None], 0)
    won = (likely / noise.gather(1, tokens).clamp(min=1e-30)).argmax(dim=1)
    return tokens.gather(1, won[:, None])[:, 0]
