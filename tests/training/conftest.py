"""A tiny cache with a made picture set, so that no test needs the network or the real data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from training.sources import ICON_SETS

_LABELS = ("cat", "dog", "house", "left arrowhead", "red heart", "tree")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Keep tests of small networks off the other cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A training cache with six drawn pictures in one emoji set."""
    monkeypatch.setenv("DREAMSTREAM_TRAINING", str(tmp_path))
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    yy, xx = np.mgrid[:128, :128]
    pixels = np.zeros((len(_LABELS), 128, 128, 4), np.uint8)
    for picture in pixels:
        inside = np.hypot(xx - 64, yy - 64) < rng.integers(30, 60)
        picture[inside, :3] = rng.integers(0, 255, 3)
        picture[inside, 3] = 255
    prefix = ICON_SETS[0].prefix
    np.save(folder / f"{prefix}.npy", pixels)
    words = [{"label": label, "tags": ["thing"], "weight": 1.0} for label in _LABELS]
    (folder / f"{prefix}.json").write_text(json.dumps(words))
    return tmp_path
