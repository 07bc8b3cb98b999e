"""The models on this machine: which of the catalogue are here, and their weights."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from torch import Tensor

from generation.models.catalogue import Model, ModelFile, added, catalogue
from generation.models.checkpoints import CheckpointError, ReadWeights, convert, read_weights
from generation.protocol import ModelInfo

_log = logging.getLogger(__name__)
_ENVIRONMENT = "DREAMSTREAM_MODELS"


def default_folder() -> Path | None:
    """Return the folder that ``$DREAMSTREAM_MODELS`` names, if it does."""
    named = os.environ.get(_ENVIRONMENT)
    return Path(named) if named else None


class Library:
    """Finds published models in a folder, and the shipped ones that are named to it.

    A published file lies in ``folder/NAME/FILE`` or ``folder/FILE``. A pickle becomes a
    safetensors file when it is first used: ``folder/NAME.safetensors``, or beside itself where the
    model has several files.
    """

    def __init__(self, folder: Path | None, shipped: Iterable[str] = ()) -> None:
        self._folder = folder if folder is not None else default_folder()
        self._shipped = frozenset(shipped)
        self._models = catalogue() | added(self._folder)

    def models(self, family: str) -> tuple[ModelInfo, ...]:
        """Return a family's models, in the catalogue's order."""
        return tuple(
            self.info(model.name) for model in self._models.values() if model.family == family
        )

    def entry(self, name: str) -> Model:
        """Return what the catalogue says of a model.

        Raises:
            CheckpointError: no model is called so.
        """
        model = self._models.get(name)
        if model is None:
            raise CheckpointError(f"No model is called {name}.")
        return model

    def info(self, name: str) -> ModelInfo:
        """Say what a model is, and whether it is here or how to get it."""
        model = self.entry(name)
        here = self.has(name)
        return ModelInfo(
            name=name,
            title=model.title,
            licence=model.licence,
            available=here,
            missing="" if here else self._how_to_get(model),
        )

    def has(self, name: str) -> bool:
        """Whether all of a model's files are on this machine."""
        model = self._models.get(name)
        if model is None:
            return False
        if model.shipped:
            return name in self._shipped
        return bool(model.files) and all(self._find(model, file) for file in model.files)

    def file(self, name: str, file_name: str | None = None) -> Path:
        """Return where a file of a published model lies, as it was published.

        `file_name` may be left out where the model has but one.

        Raises:
            CheckpointError: it is not here.
        """
        model = self.entry(name)
        wanted = _file(model, file_name)
        found = self._find(model, wanted)
        if found is None:
            raise CheckpointError(self._how_to_get(model))
        return found

    def folder(self, name: str) -> Path:
        """Return the folder of a model of several files.

        Raises:
            CheckpointError: not all of them are in it.
        """
        model = self.entry(name)
        if self._folder is None or not model.files:
            raise CheckpointError(self._how_to_get(model))
        folder = self._folder / name
        if not all((folder / file.name).is_file() for file in model.files):
            raise CheckpointError(self._how_to_get(model))
        return folder

    def path(self, name: str, file_name: str | None = None) -> Path:
        """Return a published file as safetensors, converting the download once.

        Raises:
            CheckpointError: not here, damaged, or not the published file.
        """
        found = self.file(name, file_name)
        if found.suffix == ".safetensors":
            return found
        assert self._folder is not None
        model = self.entry(name)
        alone = len(model.files) == 1
        converted = (
            self._folder / f"{name}.safetensors" if alone else found.with_suffix(".safetensors")
        )
        if alone or not converted.is_file():
            _log.info("converting %s to safetensors", found.name)
            sha256 = _file(model, file_name).sha256
            convert(found, converted, sha256=sha256, read=reader(model.family))
        return converted

    def weights(self, name: str, file_name: str | None = None) -> dict[str, Tensor]:
        """Return the tensors of a published file; raises as `path` does."""
        return read_weights(self.path(name, file_name))

    def _find(self, model: Model, file: ModelFile) -> Path | None:
        if self._folder is None:
            return None
        own = self._folder / model.name / file.name
        places = [own]
        if len(model.files) == 1:
            places.insert(0, self._folder / f"{model.name}.safetensors")
        else:
            places.append(own.with_suffix(".safetensors"))
        if _is_telling(file):
            places.append(self._folder / file.name)
        return next((place for place in places if place.is_file()), None)

    def _how_to_get(self, model: Model) -> str:
        if model.shipped:
            return f"{model.title} is not part of this installation."
        get = f"Get it with: dreamstream models pull {model.name}"
        if not all(file.url for file in model.files):
            folder = str(self._folder) if self._folder else "$DREAMSTREAM_MODELS"
            names = " and ".join(file.name for file in model.files) or "its files"
            get = f"Put {names} from {model.page} into {folder}/{model.name}."
        return f"{model.title} is not here. {get}"


def _file(model: Model, file_name: str | None) -> ModelFile:
    for file in model.files:
        if file_name in (None, file.name) and (file_name is not None or len(model.files) == 1):
            return file
    raise CheckpointError(f"{model.title} has no file called {file_name}.")


def reader(family: str) -> ReadWeights:
    """Return what reads a family's files as they are published."""
    if family == "stylegan":
        from generation.models.stylegan_files import read_stylegan

        return read_stylegan
    return read_weights


def _is_telling(file: ModelFile) -> bool:
    """Whether a file's name tells which model it is; the hub's files are all called alike."""
    if len(PurePosixPath(file.name).parts) > 1:
        return False
    return (
        sum(file.name == other.name for model in catalogue().values() for other in model.files) == 1
    )
