"""The perceptors on this machine, loaded once however many engines use them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError

from generation.clip.perceptor import Perceptor
from generation.engine import EngineError
from generation.models.catalogue import catalogue
from generation.models.compiling import Compiler
from generation.models.library import Library


class PerceptorSource(Protocol):
    """Where perceptors come from. Engines share them, so each `acquire` has its `release`."""

    @property
    def names(self) -> tuple[str, ...]:
        """Those whose weights are here, the preferred one first."""
        ...

    def acquire(self, name: str) -> Perceptor:
        """Return the perceptor, loading it if nobody has it."""
        ...

    def release(self, name: str) -> None:
        """Let go of it; the last one to do so frees it."""
        ...


class SharedPerceptors:
    """A `PerceptorSource`: counts who has a perceptor; the last one to release it frees it."""

    def __init__(
        self, library: Library, device: torch.device, compiler: Compiler | None = None
    ) -> None:
        self._library = library
        self._device = device
        self._compiler = compiler
        self._loaded: dict[str, tuple[Perceptor, int]] = {}
        self._looking: str | None = None  # what `look` holds
        here = [model.name for model in library.models("clip") if model.available]
        # Published models judge better and cost more than a CPU has.
        self.names = tuple(
            sorted(here, key=lambda name: _is_shipped(name) == (device.type != "cpu"))
        )

    def acquire(self, name: str) -> Perceptor:
        """Return a perceptor, loading it if nobody has it.

        Raises:
            EngineError: it is not here, or damaged.
        """
        if not name:
            raise EngineError("There is no CLIP model on this machine, so nothing can judge.")
        perceptor, holders = self._loaded.get(name) or (self._load(name), 0)
        self._loaded[name] = (perceptor, holders + 1)
        return perceptor

    def release(self, name: str) -> None:
        """Let go of a perceptor."""
        perceptor, holders = self._loaded.pop(name)
        if holders > 1:
            self._loaded[name] = (perceptor, holders - 1)

    def look(
        self, name: str, pictures: Sequence[Image.Image], texts: Sequence[str]
    ) -> tuple[list[bytes], list[bytes]]:
        """Return the vectors of pictures and of texts; see `generation.engine.Eyes`.

        The model is held until another one is asked for, or `rest`: people look again.
        """
        if name not in self.names:
            raise EngineError(f"There is no CLIP model called “{name}” on this machine.")
        if self._looking != name:
            self.rest()
            self.acquire(name)
            self._looking = name
        perceptor, _ = self._loaded[name]
        seen = [perceptor.look(_tensor(picture)) for picture in pictures]
        read = perceptor.read(texts) if texts else ()
        return [_bytes(vector) for vector in seen], [_bytes(vector) for vector in read]

    def rest(self) -> None:
        """Let go of the model that was last looked with."""
        if self._looking is not None:
            name, self._looking = self._looking, None
            self.release(name)

    def _load(self, name: str) -> Perceptor:
        try:
            if _is_shipped(name):
                return self._load_starter()
            path = self._library.path(name)
            return Perceptor.from_open_clip(
                catalogue()[name].architecture, str(path), self._device, self._compiler
            )
        except torch.OutOfMemoryError:
            raise
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise EngineError(
                f"The weights of {name} are damaged or of another model. Fetch them again."
            ) from error

    def _load_starter(self) -> Perceptor:
        from generation import starter

        model, tokenizer, wants = starter.load_clip(self._device)
        return Perceptor(
            model,
            tokenizer,
            size=wants.image_size,
            mean=wants.mean,
            std=wants.std,
            device=self._device,
            compiler=self._compiler,
        )


def _is_shipped(name: str) -> bool:
    return name in catalogue() and catalogue()[name].shipped


def _tensor(picture: Image.Image) -> torch.Tensor:
    pixels = torch.from_numpy(np.array(picture.convert("RGB"), dtype=np.uint8))
    return pixels.permute(2, 0, 1).float() / 255


def _bytes(vector: torch.Tensor) -> bytes:
    return bytes(vector.float().cpu().numpy().astype("<f2").tobytes())
