"""The catalogue: every model that the engines know, whether or not it is on this machine."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Literal

import msgspec


class ModelFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A published file. What is not known of it is empty."""

    name: str
    url: str = ""
    mirrors: tuple[str, ...] = ()
    size_bytes: int | None = None
    sha256: str | None = None


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model; catalogue.toml explains the fields. A shipped one has no files to fetch."""

    name: str
    family: Literal["vqgan", "clip", "diffusion", "upscale"]
    title: str
    licence: str
    engines: tuple[str, ...] = ()
    page: str = ""
    architecture: str = ""
    shipped: bool = False
    files: tuple[ModelFile, ...] = ()


class _Catalogue(msgspec.Struct, forbid_unknown_fields=True):
    model: tuple[Model, ...]


@functools.cache
def catalogue() -> dict[str, Model]:
    """Return every model by name, in order of preference within its family."""
    text = resources.files("generation.models").joinpath("catalogue.toml").read_bytes()
    return {model.name: model for model in msgspec.toml.decode(text, type=_Catalogue).model}
