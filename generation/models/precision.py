"""Which number format a device is fast in."""

from __future__ import annotations

from functools import cache

import torch


@cache
def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is the device's own.

    Where it is, matrices take half the time; where it is emulated, they take many times it: on a
    processor with AVX2 alone a 1024 x 1024 product ran at 0.4 GFLOP/s instead of float32's 41.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
