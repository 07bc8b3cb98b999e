"""Attention by plain products, for where torch's own kernel is the slower one."""

from __future__ import annotations

import torch
from torch import Tensor


def attend_plainly(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return attention [rows, heads, N, d] of queries that are scaled already.

    On processors the gradient of torch's kernel is slow where tokens are few: for 36 of
    starter-diffusion's, with it, the kernel takes 73 ms and this 18.

    Args:
        q: [rows, heads, N, d].
        k: [rows, heads, L, d]; `v` is alike.
        mask: True where a token may be seen, to be broadcast to [rows, heads, N, L].
    """
    scores = (q @ k.transpose(-2, -1)).float()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1).to(v.dtype) @ v
