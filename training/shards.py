"""Composed examples as arrays on disk: seeded shards that every training reads.

A shard is ``<shape>-<seed>.npy`` [N, H, W, 3] uint8 and a JSON list of its captions. The seed
fixes every picture; seeds from ``HELD_OUT`` on are never trained on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from training.compose import example
from training.paths import subdir
from training.pictures import Pictures

HELD_OUT = 1_000_000
SHAPES: dict[str, tuple[int, int]] = {
    "square": (128, 128), "wide": (160, 96), "tall": (96, 160),
}  # fmt: skip
"""Width and height in pixels."""


def shard_path(shape: str, seed: int) -> Path:
    """Return where a shard's pixels lie."""
    return subdir("shards") / f"{shape}-{seed}.npy"


def make_shard(shape: str, seed: int, count: int) -> Path:
    """Compose ``count`` examples from one seed, unless they are there."""
    path = shard_path(shape, seed)
    words = path.with_suffix(".json")
    if words.exists():
        return path
    pictures, rng = Pictures(), np.random.default_rng(seed)
    width, height = SHAPES[shape]
    pixels = np.empty((count, height, width, 3), np.uint8)
    captions = []
    for i in range(count):
        made = example(pictures, rng, width, height)
        pixels[i] = made.picture
        captions.append(made.caption)
    np.save(path, pixels)
    words.write_text(json.dumps(captions))
    return path


def seeds(shape: str) -> list[int]:
    """Return the seeds of the shards to train on that are there, in order."""
    found = [int(path.stem.split("-")[1]) for path in subdir("shards").glob(f"{shape}-*.json")]
    return sorted(seed for seed in found if seed < HELD_OUT)


def compose(shapes: dict[str, int], count: int, workers: int, held_out: int = 1000) -> None:
    """Make ``shapes[name]`` shards of ``count`` examples each, and one held-out square shard."""
    jobs = [("square", HELD_OUT, held_out)]
    jobs += [(shape, seed, count) for shape, number in shapes.items() for seed in range(number)]
    with ProcessPoolExecutor(workers) as pool:
        for path in pool.map(_make, jobs):
            print(path.name, flush=True)


def _make(job: tuple[str, int, int]) -> Path:
    return make_shard(*job)


class Shards:
    """Examples of one shape, read through memory maps."""

    def __init__(self, shape: str, chosen: Iterable[int] | None = None) -> None:
        self.pixels: list[npt.NDArray[np.uint8]] = []
        self.captions: list[str] = []
        starts = [0]
        for seed in seeds(shape) if chosen is None else chosen:
            path = shard_path(shape, seed)
            self.pixels.append(np.load(path, mmap_mode="r"))
            self.captions += json.loads(path.with_suffix(".json").read_text())
            starts.append(len(self.captions))
        if not self.captions:
            raise FileNotFoundError(f"no {shape} shards yet; run: python -m training compose")
        self.starts = np.array(starts)

    def __len__(self) -> int:
        return len(self.captions)

    def picture(self, index: int) -> npt.NDArray[np.uint8]:
        """Return one picture [H, W, 3]."""
        shard = int(np.searchsorted(self.starts, index, side="right")) - 1
        return np.asarray(self.pixels[shard][index - self.starts[shard]])

    def batch(self, indices: Iterable[int]) -> npt.NDArray[np.uint8]:
        """Return pictures [B, H, W, 3]."""
        return np.stack([self.picture(int(i)) for i in indices])


class Feed:
    """Pictures by index as tensors; an accelerator holds all of them in its own memory.

    48,000 pictures of 128 x 128 px are 2.4 GB. The CPU reads them through the memory maps.
    """

    def __init__(self, shards: Shards, where: torch.device, hold: bool | None = None) -> None:
        """Read the pictures to ``where``; ``hold`` says to keep them there, also on a CPU."""
        self._shards = shards
        self._held: torch.Tensor | None = None
        if where.type != "cpu" if hold is None else hold:
            parts = [torch.from_numpy(np.array(part)).to(where) for part in shards.pixels]
            self._held = torch.cat(parts)

    def __len__(self) -> int:
        return len(self._shards)

    def batch(self, rows: npt.NDArray[np.int64]) -> torch.Tensor:
        """Return pictures [B, 3, H, W] as float in 0..255, on the device."""
        if self._held is None:
            pictures = torch.from_numpy(self._shards.batch(rows))
        else:
            pictures = self._held[torch.from_numpy(rows).to(self._held.device)]
        return pictures.permute(0, 3, 1, 2).float()
