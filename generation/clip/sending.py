"""Small numbers on their way to the GPU, without waiting for it.

A copy from ordinary memory waits until the GPU has done all it was given before, so a step that
sends ten lists would stop ten times. From page-locked memory it is one more thing in the queue.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Numbers = Sequence[float] | Sequence[Sequence[float]]


def send(
    values: Tensor | Numbers, device: torch.device, dtype: torch.dtype | None = None
) -> Tensor:
    """Return values that lie on the host as a tensor on a device; numbers become float32."""
    if not isinstance(values, Tensor):
        values = torch.tensor(values, dtype=dtype or torch.float32)
    elif dtype is not None:
        values = values.to(dtype)
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
