"""What engines share whose runs each need one model of a name: having it, and stepping with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import torch

from generation.engine import Run
from generation.protocol import EngineInfo

M = TypeVar("M")


class OneModelEngine(Generic[M]):
    """See `generation.engine.Engine` for what each method promises.

    `load_model` loads a model by name. `exact` makes every run an exact one.
    """

    def __init__(
        self,
        info: EngineInfo,
        load_model: Callable[[str], M],
        *,
        device: torch.device,
        exact: bool = False,
    ) -> None:
        self._info = info
        self._load_model = load_model
        self._device = device
        self._exact = exact
        self._models: dict[str, M] = {}

    @property
    def info(self) -> EngineInfo:
        """What may be asked of it."""
        return self._info

    def load(self, model: str) -> None:
        """Have the model ready."""
        if model not in self._models:
            self._models[model] = self._load_model(model)

    def unload(self, model: str) -> None:
        """Let go of the model."""
        if (unloaded := self._models.pop(model, None)) is not None:
            self._let_go(unloaded)

    def _let_go(self, model: M) -> None:
        """Give back what the model has borrowed."""

    def _is_exact(self, run: Run) -> bool:
        return self._exact or run.recipe.exact
