"""Unfinished models as small files: float16 weights in parts of at most 16 MiB, to carry and keep.

What a stretch saves in the cache is large and holds the optimiser. These files hold the averaged
weights, the configuration, and how far the plan was: enough to go on elsewhere, with a fresh
optimiser, and enough to export. Of starter-clip only what its training changes is written; the
text tower is the shipped one.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from training.clip import FROZEN
from training.shipped import shipped_distiller
from training.state import latest

MODELS = ("vqgan", "clip", "diffusion")
LIMIT_BYTES = 16 * 2**20
_FORMAT = "dreamstream-carried"
_HEADER_BYTES = 2**17
_PROGRESS = ("seconds", "step", "samples", "updates")


class CarriedFormatError(ValueError):
    """Files of unfinished models are incomplete, or are something else."""


def _parts(weights: dict[str, Tensor], limit: int) -> list[dict[str, Tensor]]:
    parts: list[dict[str, Tensor]] = [{}]
    size = _HEADER_BYTES
    for name, tensor in weights.items():
        more = tensor.numel() * tensor.element_size()
        if size + more > limit and parts[-1]:
            parts.append({})
            size = _HEADER_BYTES
        parts[-1][name] = tensor
        size += more
    return parts


def write(name: str, folder: Path, limit: int = LIMIT_BYTES) -> list[Path]:
    """Write one model's training at hand as ``NAME-I.safetensors``; nothing where there is none.

    Args:
        name: one of ``MODELS``.
        folder: where to; it is made if need be, and older parts of the model are removed.
        limit: bytes that a part may have.
    """
    if not latest(name).exists():
        return []
    saved: dict[str, Any] = torch.load(latest(name), map_location="cpu", weights_only=True)
    weights = {
        key: value.half() if value.dtype.is_floating_point else value
        for key, value in saved["average"].items()
        if name != "clip" or not any(fnmatchcase(key, pattern) for pattern in FROZEN)
    }
    facts = {key: saved[key] for key in _PROGRESS} | {
        key: saved[key] for key in ("config", "quantising") if key in saved
    }
    folder.mkdir(parents=True, exist_ok=True)
    parts = _parts({key: value.contiguous() for key, value in weights.items()}, limit)
    written = []
    for number, part in enumerate(parts):
        path = folder / f"{name}-{number}.safetensors"
        metadata = {"format": _FORMAT, "model": name, "parts": str(len(parts)),
                    "facts": json.dumps(facts)}  # fmt: skip
        save_file(part, path.with_suffix(".partial"), metadata=metadata)
        path.with_suffix(".partial").replace(path)
        path.chmod(0o644)  # safetensors makes private files
        written.append(path)
    for path in set(folder.glob(f"{name}-*.safetensors")) - set(written):
        path.unlink()
    return written


def read(name: str, folder: Path) -> dict[str, Any] | None:
    """Return a model's state as a stretch would resume it, without optimiser; None if not there.

    Raises:
        CarriedFormatError: parts are missing, or the files are of another kind.
    """
    paths = sorted(folder.glob(f"{name}-*.safetensors"))
    if not paths:
        return None
    weights: dict[str, Tensor] = {}
    for path in paths:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT or metadata.get("model") != name:
                raise CarriedFormatError(f"{path.name} is no unfinished {name}; remove it")
            if int(metadata["parts"]) != len(paths):
                raise CarriedFormatError(
                    f"{folder} has {len(paths)} of {metadata['parts']} parts of {name}; "
                    "copy all of them"
                )
            for key in file.keys():  # noqa: SIM118
                tensor = file.get_tensor(key)
                weights[key] = tensor.float() if tensor.dtype.is_floating_point else tensor
    if name == "clip":
        weights = dict(shipped_distiller().clip.state_dict()) | weights
    return {**json.loads(metadata["facts"]), "model": weights, "average": weights}


def restore(folder: Path) -> list[str]:
    """Put carried models into the cache where it has no training of them; return their names."""
    restored = []
    for name in MODELS:
        if latest(name).exists():
            continue
        state = read(name, folder)
        if state is not None:
            torch.save(state, latest(name))
            restored.append(name)
    return restored
