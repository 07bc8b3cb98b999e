"""Reading published checkpoints safely, and turning them into safetensors once.

A ``.ckpt``, ``.pth`` or ``.bin`` is a pickle, and a pickle may run code. It is read through
torch's restricted loader; where that refuses (Lightning files name classes of their trainer),
through an unpickler that knows tensors and replaces everything else by inert stubs. Neither runs
code. From then on only the safetensors file is used.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import types
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from generation.engine import EngineError
from generation.models.pickles import MOST_GROWTH, BoundedUnpickler, check_zip

_INNER = ("state_dict", "params_ema", "params")
"""Where files keep their weights: Lightning's, then BasicSR's, averaged or not."""

_DEEPEST, _MOST_MODULES = 50, 20_000
"""How deep modules lie within each other at most, and how many there are by all their names; in a
damaged file one may be its own part, and twice."""


class CheckpointError(EngineError):
    """A file of weights that cannot be used, and why."""


class ReadWeights(Protocol):
    """Reads a file as `read_weights` does."""

    def __call__(self, path: Path, *, sha256: str | None = None) -> dict[str, Tensor]: ...


def read_weights(path: Path, *, sha256: str | None = None) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name, of safetensors or of any torch pickle.

    A state dict inside a Lightning checkpoint is found, and so are the tensors of a whole module,
    by the names that its state dict would have; whatever is not a tensor is left out.

    Raises:
        CheckpointError: missing, truncated, not a checkpoint, or not the file that was expected.
    """
    if not path.is_file():
        raise CheckpointError(f"{path.name} is not in {path.parent}.")
    if sha256 is not None and (found := file_sha256(path)) != sha256.lower():
        raise CheckpointError(
            f"{path.name} is not the published file: its SHA-256 is {found[:12]}…, "
            f"not {sha256[:12]}…. Delete it and fetch it again."
        )
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{path.name} is damaged or incomplete. Delete it and fetch it again."
            ) from error
    return _tensors(_unpickle(path), path)


def convert(
    source: Path,
    target: Path,
    *,
    sha256: str | None = None,
    drop: Iterable[str] = ("loss.",),
    metadata: Mapping[str, str] | None = None,
    read: ReadWeights | None = None,
) -> None:
    """Write a checkpoint's tensors as safetensors, whole or not at all.

    Names that begin with one of `drop` are left out (a VQGAN's file carries its discriminator).
    `read` is for files of a layout that `read_weights` does not know.

    Raises:
        CheckpointError: as `read_weights`.
    """
    prefixes = tuple(drop)
    weights = {
        name: tensor.contiguous().clone()
        for name, tensor in (read or read_weights)(source, sha256=sha256).items()
        if not name.startswith(prefixes)
    }
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        save_file(weights, unfinished, metadata={"format": "pt", **(metadata or {})})
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tensors(content: object, path: Path) -> dict[str, Tensor]:
    if isinstance(content, _Inert):
        content = dict(_of_module(content, path))
    for inner in _INNER:
        if isinstance(content, Mapping) and isinstance(content.get(inner), Mapping):
            content = content[inner]
            break
    if isinstance(content, Mapping):
        found = {
            name: value.detach()
            for name, value in content.items()
            if isinstance(name, str) and isinstance(value, Tensor) and value.layout is torch.strided
        }
        # A few bytes, repeated, say that they are a terabyte.
        if sum(value.nbytes for value in found.values()) > MOST_GROWTH * path.stat().st_size:
            raise _unreadable(path)
        if found:
            return found
    raise CheckpointError(f"{path.name} holds no weights by name.")


def _of_module(module: _Inert, path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of what was a `torch.nn.Module` when it was pickled."""
    waiting = [("", module, 0)]
    for prefix, one, depth in waiting:
        state = one.state if isinstance(one.state, Mapping) else {}
        for group in ("_parameters", "_buffers", "_modules"):
            held = state.get(group)
            for name, value in held.items() if isinstance(held, Mapping) else ():
                if isinstance(value, Tensor):
                    yield f"{prefix}{name}", value
                elif isinstance(value, _Inert) and depth < _DEEPEST:
                    if len(waiting) == _MOST_MODULES:
                        raise _unreadable(path)
                    waiting.append((f"{prefix}{name}.", value, depth + 1))


def _unpickle(path: Path) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            check_zip(path)
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            pass  # it names classes that torch does not allow
        except Exception as error:
            raise _unreadable(path) from error
        try:
            return torch.load(
                path, map_location="cpu", weights_only=False, pickle_module=_inert_pickle()
            )
        except Exception as error:
            raise _unreadable(path) from error


def _unreadable(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path.name} is not a checkpoint, or is damaged or incomplete. Fetch it again."
    )


# --- the unpickler that runs no code ---------------------------------------------------------

_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): torch.Size,
    ("torch._utils", "_rebuild_tensor"): torch._utils._rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
}
_STORAGES = frozenset(
    f"{kind}Storage"
    for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte",
                 "Bool")
)  # fmt: skip


class _Inert:
    """Stands for anything a pickle names: takes all, does nothing, keeps its state to be read."""

    state: object = None

    def __new__(cls, *_args: object, **_kwargs: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        pass

    def __call__(self, *_args: object, **_kwargs: object) -> _Inert:
        return self

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __setitem__(self, _key: object, _value: object) -> None:
        pass

    def append(self, _item: object) -> None:
        pass

    def extend(self, _items: object) -> None:
        pass

    def add(self, _item: object) -> None:
        pass


class _InertUnpickler(BoundedUnpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return getattr(torch, name)
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        return type("Inert", (_Inert,), {})


def _inert_pickle() -> types.ModuleType:
    """Return what `torch.load` takes for a pickle module."""
    module = types.ModuleType("inert_pickle")

    def load(file: Any, **options: Any) -> Any:
        return _InertUnpickler(file, **options).load()

    module.Unpickler = _InertUnpickler  # type: ignore[attr-defined]
    module.load = load  # type: ignore[attr-defined]
    return module
