"""The engines of this machine. Importing this costs nothing; `build_engines` imports torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from generation.engine import Engine
    from generation.models.compiling import Precision


def build_engines(
    *,
    device: str = "auto",
    models_dir: Path | str | None = None,
    exact: bool = False,
    precision: Precision = "auto",
    compile: Literal["off", "auto"] = "off",
    compiled_dir: Path | str | None = None,
) -> dict[str, Engine[Any]]:
    """Return every engine that has something to draw with, by name, in order of preference.

    Weights are not loaded yet. `device` is torch's name for it, or ``auto``: the GPU if there is
    one. `models_dir` is where published models lie; None or empty means what
    ``$DREAMSTREAM_MODELS`` names. `exact` draws every run alone with deterministic kernels.
    `precision` and `compile` are explained in docs/performance.md; what is compiled is kept in
    `compiled_dir` from one start to the next.

    Raises:
        EngineError: there is no such device.
    """
    # Read once, when torch is first imported. Threads that wait for each other in a busy loop
    # starve whoever shares the cores, and then themselves.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Maps of 30 MB come and go in every step, and each touches its pages anew: 8,000 small ones, or
    # 16 large ones where Linux gives them to who asks (docs/performance.md).
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    from generation.engines.builders import build

    return build(
        device=device,
        models_dir=models_dir,
        exact=exact,
        precision=precision,
        compile=compile,
        compiled_dir=compiled_dir,
    )
