"""Carry the rendered pictures to a machine without a network, in files of at most 20 MB.

A pack is a plain tar of WebP sheets, the sets' word lists, and the perceptual loss's first slices.
With it, composing and training need neither the registries nor an SVG renderer; the text tower is
the shipped one.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from safetensors.torch import save

from training.fetch import package_dir
from training.paths import subdir
from training.perceptual import carried_weights, perceptual_weights
from training.render import SIZE_PX, set_paths
from training.sources import ICON_SETS

LIMIT_BYTES = 20_000_000
_COLUMNS, _ROWS = 16, 16
_QUALITY = 82
_LEAST_WEIGHT = 0.15
"""Sets that are hardly ever drawn stay at home."""
_SLICES = 3


def to_sheet(pictures: npt.NDArray[np.uint8]) -> bytes:
    """Return up to 256 RGBA pictures [N, 128, 128, 4] as one WebP sheet, row by row."""
    rows = -(-len(pictures) // _COLUMNS)
    sheet = np.zeros((rows * _COLUMNS, SIZE_PX, SIZE_PX, 4), np.uint8)
    sheet[: len(pictures)] = pictures
    grid = sheet.reshape(rows, _COLUMNS, SIZE_PX, SIZE_PX, 4).transpose(0, 2, 1, 3, 4)
    image = Image.fromarray(grid.reshape(rows * SIZE_PX, _COLUMNS * SIZE_PX, 4))
    out = io.BytesIO()
    image.save(out, "WEBP", quality=_QUALITY, method=4)
    return out.getvalue()


def from_sheet(data: bytes, count: int) -> npt.NDArray[np.uint8]:
    """Return the pictures [count, 128, 128, 4] of a sheet."""
    image = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
    rows = image.shape[0] // SIZE_PX
    grid = image.reshape(rows, SIZE_PX, _COLUMNS, SIZE_PX, 4).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(grid.reshape(-1, SIZE_PX, SIZE_PX, 4)[:count])


def _perceptual_is_fetched() -> bool:
    try:
        package_dir("stlpips-pytorch")
    except FileNotFoundError:
        return False
    return True


def _members() -> list[tuple[str, bytes]]:
    """Return every set's word list and sheets, as names and contents."""
    members = []
    if _perceptual_is_fetched():
        weights = {name: value.half() for name, value in perceptual_weights(_SLICES).items()}
        members.append((carried_weights().name, save(weights)))
    for icon_set in ICON_SETS:
        pixel_path, word_path = set_paths(icon_set)
        if not word_path.exists() or icon_set.weight < _LEAST_WEIGHT:
            continue
        members.append((word_path.name, word_path.read_bytes()))
        pixels = np.load(pixel_path, mmap_mode="r")
        for start in range(0, len(pixels), _COLUMNS * _ROWS):
            part = np.asarray(pixels[start : start + _COLUMNS * _ROWS])
            members.append((f"{icon_set.prefix}.{start:05d}.webp", to_sheet(part)))
    return members


def pack(into: str) -> None:
    """Write ``pictures-N.tar`` files of at most 20 MB."""
    folder = Path(into)
    folder.mkdir(parents=True, exist_ok=True)
    groups: list[list[tuple[str, bytes]]] = [[]]
    size = 0
    for name, data in _members():
        if size + len(data) + 2048 > LIMIT_BYTES:
            groups.append([])
            size = 0
        groups[-1].append((name, data))
        size += len(data) + 2048
    for number, group in enumerate(groups):
        path = folder / f"pictures-{number}.tar"
        with tarfile.open(path, "w") as tar:
            for name, data in group:
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB", flush=True)


def unpack(source: str) -> None:
    """Read packs into the cache, as ``render`` would have left it."""
    words: dict[str, bytes] = {}
    sheets: dict[str, dict[int, bytes]] = {}
    for path in sorted(Path(source).glob("pictures-*.tar")):
        with tarfile.open(path) as tar:
            for entry in tar:
                file = tar.extractfile(entry)
                assert file is not None
                data = file.read()
                if entry.name == carried_weights().name:
                    carried_weights().write_bytes(data)
                elif entry.name.endswith(".json"):
                    words[entry.name.removesuffix(".json")] = data
                else:
                    prefix, start, _ = entry.name.rsplit(".", 2)
                    sheets.setdefault(prefix, {})[int(start)] = data
    for prefix, listing in words.items():
        count = len(json.loads(listing))
        parts = []
        for first, data in sorted(sheets[prefix].items()):
            parts.append(from_sheet(data, min(_COLUMNS * _ROWS, count - first)))
        np.save(subdir("pictures") / f"{prefix}.npy", np.concatenate(parts))
        (subdir("pictures") / f"{prefix}.json").write_bytes(listing)
        print(f"{prefix}: {count} pictures", flush=True)
