"""The catalogue: every model that the engines know, whether or not it is on this machine.

The published ones stand in ``catalogue.toml``. What an administrator has added stands beside its
files, in ``model.toml`` of its folder in the models folder, in the same form.
"""

from __future__ import annotations

import functools
import logging
import re
from importlib import resources
from pathlib import Path, PurePosixPath

import msgspec

_log = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
"""What a model may be called: it is also the name of a folder."""
LOCAL = "model.toml"


class ModelFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A published file. What is not known of it is empty.

    `name` is its path within the model's folder, with slashes.
    """

    name: str
    url: str = ""
    mirrors: tuple[str, ...] = ()
    size_bytes: int | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        """Refuse names that lead out of the folder."""
        path = PurePosixPath(self.name)
        if path.is_absolute() or ".." in path.parts or "\\" in self.name or not path.parts:
            raise ValueError(f"{self.name!r} is not the name of a file in a model's folder")


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model; catalogue.toml explains the fields. A shipped one has no files to fetch."""

    name: str
    family: str
    title: str
    licence: str
    engines: tuple[str, ...] = ()
    page: str = ""
    architecture: str = ""
    memory_gb: float | None = None
    shipped: bool = False
    files: tuple[ModelFile, ...] = ()

    def __post_init__(self) -> None:
        """Refuse names that cannot be a folder's."""
        if NAME.fullmatch(self.name) is None:
            raise ValueError(f"{self.name!r} is not a name for a model")


class _Catalogue(msgspec.Struct, forbid_unknown_fields=True):
    model: tuple[Model, ...]


@functools.cache
def catalogue() -> dict[str, Model]:
    """Return every published model by name, in order of preference within its family."""
    text = resources.files("generation.models").joinpath("catalogue.toml").read_bytes()
    return {model.name: model for model in msgspec.toml.decode(text, type=_Catalogue).model}


def added(folder: Path | None) -> dict[str, Model]:
    """Return the models that were added to a models folder. One that is damaged is left out."""
    found: dict[str, Model] = {}
    for path in sorted(folder.glob(f"*/{LOCAL}")) if folder is not None else ():
        try:
            model = msgspec.toml.decode(path.read_bytes(), type=Model)
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            _log.warning("%s is left out: %s", path, error)
            continue
        if model.name == path.parent.name and model.name not in catalogue() and not model.shipped:
            found[model.name] = model
        else:
            _log.warning("%s is left out: its name is not its folder's, or is taken", path)
    return found
