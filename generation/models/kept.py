"""What a network keeps in memory for its gradient, measured on small examples.

From a forward pass to its gradient, autograd keeps what operations were given: most of what a step
takes. How much that is depends on the number format, the kernels and the device. So it is measured
as a network is loaded, and grows with its rows from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Kept:
    """Bytes kept: for each row, and once however many rows there are."""

    a_row: float
    once: float = 0.0


def kept_by(forward: Callable[[Tensor], Tensor], few: Tensor, many: Tensor) -> Kept:
    """Return what frozen weights keep of examples [rows, …] of different numbers of rows.

    Neither the weights count nor what was made of them for good. What is made of them anew in each
    call does: it is kept once.
    """
    with torch.enable_grad():
        less, _drawn = _storages(forward, few)
        more, _also_drawn = _storages(forward, many)  # both are alive: no identity is used twice
    for_good = less.keys() & more.keys()
    small, large = (
        sum(size for place, size in each.items() if place not in for_good) for each in (less, more)
    )
    a_row = (large - small) / (len(many) - len(few))
    return Kept(a_row, max(0.0, small - a_row * len(few)))


def _storages(forward: Callable[[Tensor], Tensor], x: Tensor) -> tuple[dict[int, int], Tensor]:
    """Return the sizes of the storages that are kept, by identity, and what keeps them alive."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()  # where tensors are `meta`, none has an address
        # An operation that keeps what it drew would keep itself alive by it, for ever.
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        return kept, forward(x.requires_grad_())
