"""Checkpoints of runs as bytes: safetensors whose metadata say what wrote them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from generation.engine import BadCheckpointError
from generation.protocol import Recipe

_DAMAGED = "The saved state of this dream is damaged."


def identity(kind: str, version: int, recipe: Recipe) -> dict[str, int | str]:
    """Return what a checkpoint must agree in with the job that goes on from it."""
    return {
        "format": kind,
        "version": version,
        "engine": recipe.engine,
        "model": recipe.model,
        "width": recipe.width,
        "height": recipe.height,
    }


def pack(tensors: Mapping[str, Tensor], **fields: int | str) -> bytes:
    """Return tensors and a few fields as bytes."""
    kept = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    return save(kept, metadata={name: json.dumps(value) for name, value in fields.items()})


def unpack(data: bytes, **expected: int | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return what was packed, if its fields are the expected ones.

    Raises:
        BadCheckpointError: damaged, or of something else.
    """
    try:
        tensors = load(data)
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        fields = {name: json.loads(value) for name, value in header["__metadata__"].items()}
    except (SafetensorError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BadCheckpointError(_DAMAGED) from error
    for name, value in expected.items():
        if fields.get(name) != value:
            raise BadCheckpointError(
                f"The saved state of this dream is of another kind: {name} is "
                f"{fields.get(name)!r}, not {value!r}."
            )
    return tensors, fields


def restore(saved: Mapping[str, Tensor], fresh: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return saved tensors on the devices of fresh ones, which say what there must be.

    Raises:
        BadCheckpointError: one is missing, extra, or of another shape or kind.
    """
    if saved.keys() != fresh.keys():
        raise BadCheckpointError(_DAMAGED)
    for name, tensor in fresh.items():
        if saved[name].shape != tensor.shape or saved[name].dtype != tensor.dtype:
            raise BadCheckpointError(_DAMAGED)
    return {name: saved[name].to(tensor.device) for name, tensor in fresh.items()}


def saved_step(fields: Mapping[str, Any]) -> int:
    """Return the step of a checkpoint's fields.

    Raises:
        BadCheckpointError: there is none.
    """
    step = fields.get("step")
    if not isinstance(step, int) or step < 0:
        raise BadCheckpointError(_DAMAGED)
    return step
