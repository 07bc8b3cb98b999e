"""The models on this machine: which of the catalogue are here, and their weights."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from generation.models.catalogue import Model, ModelFile, catalogue
from generation.models.checkpoints import CheckpointError, convert, read_weights
from generation.protocol import ModelInfo

_log = logging.getLogger(__name__)
_ENVIRONMENT = "DREAMSTREAM_MODELS"


def default_folder() -> Path | None:
    """Return the folder that ``$DREAMSTREAM_MODELS`` names, if it does."""
    named = os.environ.get(_ENVIRONMENT)
    return Path(named) if named else None


class Library:
    """Finds published models in a folder, and the shipped ones that are named to it.

    A published file lies in ``folder/NAME/FILE`` or ``folder/FILE``. What is not safetensors
    yet becomes ``folder/NAME.safetensors`` when it is first used.
    """

    def __init__(self, folder: Path | None, shipped: Iterable[str] = ()) -> None:
        self._folder = folder if folder is not None else default_folder()
        self._shipped = frozenset(shipped)

    def models(self, family: str) -> tuple[ModelInfo, ...]:
        """Return a family's models, in the catalogue's order."""
        return tuple(
            self.info(model.name) for model in catalogue().values() if model.family == family
        )

    def info(self, name: str) -> ModelInfo:
        """Say what a model is, and whether it is here or how to get it."""
        model = catalogue()[name]
        here = self.has(name)
        return ModelInfo(
            name=name,
            title=model.title,
            licence=model.licence,
            available=here,
            missing="" if here else self._how_to_get(model),
        )

    def has(self, name: str) -> bool:
        """Whether a model's weights are on this machine."""
        model = catalogue().get(name)
        if model is None:
            return False
        return name in self._shipped if model.shipped else self._find(model) is not None

    def path(self, name: str) -> Path:
        """Return a published model's safetensors file, converting the download once.

        Raises:
            CheckpointError: not here, damaged, or not the published file.
        """
        model = catalogue().get(name)
        if model is None:
            raise CheckpointError(f"No model is called {name}.")
        found = self._find(model)
        if found is None or self._folder is None:
            raise CheckpointError(self._how_to_get(model))
        if found.suffix == ".safetensors":
            return found
        converted = self._folder / f"{name}.safetensors"
        _log.info("converting %s to safetensors", found.name)
        convert(found, converted, sha256=model.files[0].sha256)
        return converted

    def weights(self, name: str) -> dict[str, Tensor]:
        """Return a published model's tensors; raises as `path` does."""
        return read_weights(self.path(name))

    def _find(self, model: Model) -> Path | None:
        if self._folder is None or not model.files:
            return None
        (file,) = model.files
        places = [self._folder / f"{model.name}.safetensors", self._folder / model.name / file.name]
        if _is_telling(file):
            places.append(self._folder / file.name)
        return next((place for place in places if place.is_file()), None)

    def _how_to_get(self, model: Model) -> str:
        if model.shipped:
            return f"{model.title} is not part of this installation."
        (file,) = model.files
        where = self._folder / model.name if self._folder else f"$DREAMSTREAM_MODELS/{model.name}"
        return f"{model.title} is not here. Put {file.name} from {model.page} into {where}."


def _is_telling(file: ModelFile) -> bool:
    """Whether a file's name tells which model it is; the hub's files are all called alike."""
    return (
        sum(file.name == other.name for model in catalogue().values() for other in model.files) == 1
    )
