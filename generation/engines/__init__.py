"""The engines of this machine. Importing this costs nothing; `build_engines` imports torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from generation.engine import Engine


def build_engines(
    *, device: str = "auto", models_dir: Path | str | None = None, exact: bool = False
) -> dict[str, Engine[Any]]:
    """Return every engine that has something to draw with, by name, in order of preference.

    Weights are not loaded yet. `device` is torch's name for it, or ``auto``: the GPU if there is
    one. `models_dir` is where published models lie; None or empty means what
    ``$DREAMSTREAM_MODELS`` names. `exact` draws every run alone with deterministic kernels.

    Raises:
        EngineError: there is no such device.
    """
    # Read once, when torch is first imported. Threads that wait for each other in a busy loop
    # starve whoever shares the cores, and then themselves.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from generation.engines.builders import build

    return build(device=device, models_dir=models_dir, exact=exact)
