"""starter-diffusion's network as a diffusers model: saved and loaded as any other is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin

from generation.models.compact import expand, is_compact
from generation.starter import WEIGHTS_NAME
from generation.starter.network import FlowTransformer


class StarterTransformer(FlowTransformer, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """The network with a `config`, and with diffusers' ways to save and load it."""

    config_name = "config.json"
    _supports_gradient_checkpointing = False

    __init__ = register_to_config(FlowTransformer.__init__)

    @classmethod
    def from_pretrained(cls, folder: str | Path, **options: Any) -> Self:
        """Load a folder that ``save_pretrained`` wrote, or one with compact weights."""
        path = Path(folder) / str(options.get("subfolder") or "")
        weights = path / WEIGHTS_NAME
        if not weights.exists() or not is_compact(weights):
            loaded: Self = super().from_pretrained(folder, **options)
            return loaded
        model: Self = cls.from_config(cls.load_config(path))
        model.load_state_dict(expand(weights))
        dtype = options.get("torch_dtype")
        if isinstance(dtype, torch.dtype):
            model.to(dtype)
        model.eval()
        return model
