"""Where training keeps its downloads, pictures and unfinished models: never in the repository."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the data folder: ``$DREAMSTREAM_TRAINING``, else ``~/.cache/dreamstream/training``."""
    configured = os.environ.get("DREAMSTREAM_TRAINING")
    folder = Path(configured) if configured else Path.home() / ".cache/dreamstream/training"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def subdir(name: str) -> Path:
    """Return (and make) one folder of the cache."""
    folder = cache_dir() / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
