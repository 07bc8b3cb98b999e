"""LoRAs: small changes to the weights of Stable Diffusion's networks, added and taken away again.

Files in the layouts of diffusers, peft and kohya's scripts are read, as diffusers reads them.
Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from generation.engine import EngineError

NONE = "none"


class LoRAs:
    """The LoRAs of one model: of its `unet` and its text encoders (one, or SDXL's two).

    `read` returns a LoRA's tensors by its name. Each is read once, and stays beside the weights;
    which one works is switched.
    """

    def __init__(
        self,
        unet: Any,
        encoders: Sequence[Any],
        read: Callable[[str], dict[str, Tensor]] | None,
    ) -> None:
        self._unet = unet
        self._encoders = encoders
        self._read = read
        self._present = (NONE, 0.0)
        self._changed: dict[str, list[Any]] = {}

    def use(self, name: str, scale: float) -> None:
        """Let one work, so much of it, instead of the last; with `NONE` the model as it is.

        Raises:
            EngineError: there is none called so, or it was made for another model.
        """
        if (name, scale) == self._present:
            return
        if name != NONE and name not in self._changed:
            self._load(name)
        for networks in self._changed.values():
            for network in networks:
                network.disable_adapters()
        for network in self._changed.get(name, ()):
            network.enable_adapters()
            network.set_adapter(_key(name))
            _scale(network, _key(name), scale)
        self._present = (name, scale)

    def _load(self, name: str) -> None:
        from diffusers.loaders import (
            StableDiffusionLoraLoaderMixin,
            StableDiffusionXLLoraLoaderMixin,
        )

        if self._read is None:
            raise EngineError(f"There is no LoRA called {name}.")
        weights, key = self._read(name), _key(name)
        is_xl = len(self._encoders) > 1
        loader: Any = StableDiffusionXLLoraLoaderMixin if is_xl else StableDiffusionLoraLoaderMixin
        try:
            found, alphas = loader.lora_state_dict(weights, unet_config=self._unet.config)
            loader.load_lora_into_unet(found, alphas, self._unet, adapter_name=key)
            for number, encoder in enumerate(self._encoders):
                loader.load_lora_into_text_encoder(
                    found,
                    alphas,
                    encoder,
                    prefix="text_encoder_2" if number else "text_encoder",
                    adapter_name=key,
                )
        except (ValueError, KeyError, RuntimeError, IndexError, TypeError) as error:
            for network in (self._unet, *self._encoders):
                if key in getattr(network, "peft_config", {}):
                    network.delete_adapter(key)
            raise EngineError(
                f"The LoRA {name} does not fit this model. It was made for another kind."
            ) from error
        changed = [
            network
            for network in (self._unet, *self._encoders)
            if key in getattr(network, "peft_config", {})
        ]
        if not changed:
            raise EngineError(f"The LoRA {name} has nothing for this model. It is of another kind.")
        for network in changed:
            network.requires_grad_(False)
        self._changed[name] = changed


def _scale(network: torch.nn.Module, key: str, scale: float) -> None:
    from peft.tuners.tuners_utils import BaseTunerLayer

    layer: Any
    for layer in network.modules():
        if isinstance(layer, BaseTunerLayer):
            layer.set_scale(key, scale)


def _key(name: str) -> str:
    """Return a name that can be a module's: those have no dots."""
    return name.replace(".", "_")
