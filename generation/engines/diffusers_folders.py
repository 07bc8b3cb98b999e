"""Reading diffusers folders: configurations and networks, from safetensors, nothing is fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError

from generation.engine import EngineError


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """Read a JSON file of a diffusers folder.

    Raises:
        EngineError: it is not there or damaged.
    """
    try:
        config = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EngineError(incomplete(folder, name)) from error
    if not isinstance(config, dict):
        raise EngineError(incomplete(folder, name))
    return config


def read_network(
    folder: Path, part: str, kind: str, dtype: torch.dtype, device: torch.device
) -> Any:
    """Load one network of the folder, by the name of its class, ready to use.

    `part` is the folder in it where the network lies; empty where it is the folder's only one.

    Raises:
        EngineError: it is not there, or damaged.
    """
    import diffusers
    import transformers

    library: Any = transformers if hasattr(transformers, kind) else diffusers
    weights = folder / part
    if not any(weights.glob("*.safetensors")):
        raise EngineError(incomplete(folder, f"{part}/*.safetensors".lstrip("/")))
    try:
        network = getattr(library, kind).from_pretrained(
            weights, local_files_only=True, use_safetensors=True, torch_dtype=dtype
        )
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise EngineError(incomplete(folder, part or "its network")) from error
    return cast(Any, network).eval().requires_grad_(False).to(device)


def incomplete(folder: Path, part: str) -> str:
    """Say that a part of a model's folder is not as it was published."""
    return (
        f"The model {folder.name} is not complete: {part} is missing or damaged. See what is "
        "wrong with: dreamstream models verify"
    )
