"""Weights at rest: int8 per output channel, expanded to the published layout when loaded.

A compact file is a safetensors file whose metadata names this format. Each tensor ``name`` of the
original state dict is stored in one of these ways:

- ``name::int8`` and ``name::scale``: rows of int8 with one float32 scale per row (axis 0);
- ``name::left::int8``, ``name::left::scale`` and ``name::right``: a low-rank matrix as a product;
- ``name::rows`` and ``name::index``: the rows of a matrix that are not zero, int8 as above;
- ``name::fp16``: small tensors, norms, biases, and whatever the caller names;
- ``name::raw``: anything that is not floating point.

Scales are float32, not float16: the largest weight of a row over 127 is often subnormal there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

FORMAT = "dreamstream-compact"
VERSION = 1
_SMALL = 2048
_LEVELS = 127


class CompactFormatError(ValueError):
    """A weight file is not in the compact format, or in a version this program cannot read."""


def quantise_rows(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return int8 values of ``matrix``'s shape and one float32 scale per row (axis 0)."""
    flat = matrix.detach().float().flatten(1)
    scale = flat.abs().amax(1).clamp_min(1e-12) / _LEVELS
    values = (flat / scale[:, None]).round().clamp(-_LEVELS, _LEVELS).to(torch.int8)
    return values.view(matrix.shape).contiguous(), scale


def _restore_rows(values: Tensor, scale: Tensor) -> Tensor:
    return values.float() * scale.view(-1, *([1] * (values.ndim - 1)))


def _stored(name: str, tensor: Tensor, rank: int | None, keep: bool) -> dict[str, Tensor]:
    """Return the entries that hold one tensor."""
    if not tensor.dtype.is_floating_point:
        return {f"{name}::raw": tensor.contiguous()}
    if rank is not None:
        u, s, v = torch.linalg.svd(tensor.float(), full_matrices=False)
        # Mixed by a rotation, every column carries alike, and int8 rows lose least.
        mix = torch.linalg.qr(torch.randn(rank, rank, generator=torch.Generator().manual_seed(0)))[
            0
        ]
        values, scale = quantise_rows((u[:, :rank] * s[:rank]) @ mix)
        right = (mix.T @ v[:rank]).half().contiguous()
        return {f"{name}::left::int8": values, f"{name}::left::scale": scale,
                f"{name}::right": right}  # fmt: skip
    if keep or tensor.ndim < 2 or tensor.numel() <= _SMALL:
        return {f"{name}::fp16": tensor.half().contiguous()}
    used = tensor.flatten(1).abs().amax(1) > 0
    if tensor.ndim == 2 and float(used.float().mean()) < 0.9:
        values, scale = quantise_rows(tensor[used])
        index = torch.cat([torch.tensor([len(tensor)]), used.nonzero()[:, 0]]).int()
        return {f"{name}::rows::int8": values, f"{name}::rows::scale": scale,
                f"{name}::index": index}  # fmt: skip
    values, scale = quantise_rows(tensor)
    return {f"{name}::int8": values, f"{name}::scale": scale}


def pack(
    state_dict: Mapping[str, Tensor],
    path: Path,
    *,
    keep_fp16: Sequence[str] = (),
    low_rank: Mapping[str, int] | None = None,
) -> int:
    """Write a state dict compactly; return the file's size in bytes.

    Args:
        keep_fp16: patterns (``fnmatch``) of names to keep as float16.
        low_rank: names of matrices that have at most that rank, stored as two factors.
    """
    entries: dict[str, Tensor] = {}
    for name, tensor in state_dict.items():
        keep = any(fnmatchcase(name, pattern) for pattern in keep_fp16)
        entries |= _stored(name, tensor.detach().cpu(), (low_rank or {}).get(name), keep)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(entries, path, metadata={"format": FORMAT, "version": str(VERSION)})
    path.chmod(0o644)  # safetensors makes private files
    return path.stat().st_size


def is_compact(path: Path) -> bool:
    """Whether a safetensors file says that it is in this format, of any version."""
    with safe_open(path, framework="pt") as file:
        return (file.metadata() or {}).get("format") == FORMAT


def expand(path: Path) -> dict[str, Tensor]:
    """Return the state dict of a compact file, as float32 in the original layout.

    Raises:
        CompactFormatError: the file is another safetensors file, or of a newer version.
    """
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise CompactFormatError(
                f"{path.name} is not a {FORMAT} file; load it as plain safetensors"
            )
        if metadata.get("version") != str(VERSION):
            raise CompactFormatError(
                f"{path.name} has version {metadata.get('version')} of {FORMAT}; "
                f"this program reads version {VERSION}"
            )
        entries = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    state: dict[str, Tensor] = {}
    for key, tensor in entries.items():
        name, _, kind = key.partition("::")
        if kind == "int8":
            state[name] = _restore_rows(tensor, entries[f"{name}::scale"])
        elif kind == "left::int8":
            left = _restore_rows(tensor, entries[f"{name}::left::scale"])
            state[name] = left @ entries[f"{name}::right"].float()
        elif kind == "rows::int8":
            index = entries[f"{name}::index"].long()
            rows = _restore_rows(tensor, entries[f"{name}::rows::scale"])
            state[name] = torch.zeros(int(index[0]), tensor.shape[1]).index_copy_(
                0, index[1:], rows
            )
        elif kind == "fp16":
            state[name] = tensor.float()
        elif kind == "raw":
            state[name] = tensor
    return state
