"""The whole training in one command, in stretches: for a machine that is lent for minutes.

Everything is taken from packs (``python -m training pack``), so neither network nor registries are
needed. Autoencoder, image tower and diffusion model are trained one after the other, each for its
share of the plan. What is left when a call ends, or is told to end, lies in the cache, and as small
files in the folder that is to come back.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training import carried, clip, diffusion, vqgan
from training.latents import encode
from training.packs import unpack
from training.paths import subdir
from training.render import set_paths
from training.shards import compose
from training.sources import ICON_SETS
from training.state import Stretch, device, latest

SHARES = {"vqgan": 0.2, "clip": 0.22, "diffusion": 0.58}
"""Of the plan. Diffusion needs the other two and profits longest."""
_RESERVE_S = 15.0
"""Kept at the end of a call for writing what comes back."""
_LEAST_S = 5.0


@dataclass(frozen=True)
class Data:
    """How many examples to compose."""

    square: int = 48
    """Shards of 128 x 128 px."""
    oblong: int = 4
    """Shards each of 160 x 96 and 96 x 160 px."""
    count: int = 1000
    """Examples a shard."""
    workers: int = 16
    held_out: int = 1000
    """Examples that are only measured on."""


def prepare(packs: Path, data: Data) -> None:
    """Unpack the pictures and compose the examples, unless that is done."""
    if not any(set_paths(icon_set)[1].exists() for icon_set in ICON_SETS):
        unpack(str(packs))
    shapes = {"square": data.square, "wide": data.oblong, "tall": data.oblong}
    compose(shapes, data.count, data.workers, data.held_out)


def _done_s(name: str) -> float:
    if not latest(name).exists():
        return 0.0
    # Mapped, so that only the numbers are read.
    saved: dict[str, Any] = torch.load(
        latest(name), map_location="cpu", weights_only=True, mmap=True
    )
    return float(saved["seconds"])


def _train(name: str, minutes: float, planned_minutes: float, seed: int) -> Stretch:
    trainers: dict[str, Callable[[float, float, int], Stretch]] = {
        "vqgan": vqgan.train, "clip": clip.train, "diffusion": diffusion.train,
    }  # fmt: skip
    return trainers[name](minutes, planned_minutes, seed)


def run(minutes: float, planned_minutes: float, out: Path, packs: Path, *,
        start: Path | None = None, data: Data | None = None, seed: int = 0) -> bool:  # fmt: skip
    """Do what this call has time for; return whether the whole plan is fulfilled.

    Args:
        minutes: wall time of this call, preparing and writing included.
        planned_minutes: training time of all calls together.
        out: folder for float16 weights (files of at most 16 MiB) and logs.
        packs: folder with the packs.
        start: folder that an earlier call on another machine wrote; used where the cache has
            no training of its own.
        data: how much to compose.
        seed: of all three trainings.
    """
    began = time.monotonic()

    def left_s() -> float:
        return minutes * 60 - _RESERVE_S - (time.monotonic() - began)

    if start is not None:
        print("going on with", carried.restore(start) or "nothing", flush=True)
    torch.set_float32_matmul_precision("high")  # what is not bfloat16 may be TF32
    data = data or Data()
    prepare(packs, data)
    print(f"prepared after {time.monotonic() - began:.0f} s on {device()}", flush=True)
    finished, delivered = True, False
    for name, share in SHARES.items():
        planned_s = share * planned_minutes * 60
        if _done_s(name) >= planned_s:
            continue
        if name == "diffusion" and left_s() > _LEAST_S:
            for size, count in (("tiny", data.square), ("small", data.square),
                                ("square", data.square),
                                ("wide", data.oblong), ("tall", data.oblong)):  # fmt: skip
                encode(size, count, device())
        if left_s() <= _LEAST_S:
            finished = False
            break
        stretch = _train(name, left_s() / 60, planned_s / 60, seed)
        deliver(out)  # after each: a call that outlasts its limit still brings something back
        delivered = True
        if stretch.stopped or stretch.seconds < planned_s:
            finished = False
            break
    if not delivered:
        deliver(out)
    print("the plan is fulfilled" if finished else "there is more to do: call again", flush=True)
    return finished


def deliver(out: Path) -> None:
    """Write every training at hand into a folder: weights in small files, and the logs."""
    out.mkdir(parents=True, exist_ok=True)
    for name in carried.MODELS:
        for path in carried.write(name, out):
            print(f"{path.name}: {path.stat().st_size / 2**20:.1f} MiB", flush=True)
    with (out / "log.jsonl").open("wb") as joined:
        for log in sorted(subdir("states").glob("*.jsonl")):
            with log.open("rb") as file:
                shutil.copyfileobj(file, joined)
