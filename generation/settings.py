"""The scheduler process's settings: one JSON object on its command line.

docs/scheduling.md explains each for an administrator.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from generation.scheduler import Limits


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See docs/scheduling.md. `threads` 0 and `memory_bytes` 0 mean: find out.

    `workers` is ``local``, or ``ray`` for actors of a Ray cluster: the one at `ray_address`, or
    without that a cluster of this machine's own; `most_workers` at most, 0 for no limit.
    """

    device: str = "auto"
    models_dir: str = ""
    exact: bool = False
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: Literal["off", "auto"] = "off"
    compiled_dir: str = ""
    threads: int = 0
    niceness: int = 5
    memory_bytes: int = 0
    prewarm: str = "default"
    log_level: str = "INFO"
    quantum_s: float = 0.5
    max_batch: int = 8
    max_open: int = 64
    early_s: float = 5.0
    preview_s: float = 1.0
    preview_px: int = 512
    checkpoint_s: float = 5.0
    beat_s: float = 1.0
    step_limit_s: float = 30.0
    first_step_limit_s: float = 120.0
    load_limit_s: float = 600.0
    shutdown_s: float = 10.0
    workers: Literal["local", "ray"] = "local"
    ray_address: str = ""
    most_workers: int = 0
    silence_s: float = 15.0
    alone_limit_s: float = 30.0

    @property
    def for_engines(self) -> dict[str, Any]:
        """What the engines are built with."""
        return {
            "device": self.device,
            "models_dir": self.models_dir,
            "exact": self.exact,
            "precision": self.precision,
            "compile": self.compile,
            "compiled_dir": self.compiled_dir,
        }

    @property
    def limits(self) -> Limits:
        """The scheduler's part of them."""
        return Limits(
            quantum_s=self.quantum_s,
            max_batch=self.max_batch,
            max_open=self.max_open,
            early_s=self.early_s,
            step_limit_s=self.step_limit_s,
            first_step_limit_s=self.first_step_limit_s,
        )


def parse(text: str) -> Settings:
    """Read settings from JSON.

    Raises:
        ValueError: they are not settings; the message says which and why.
    """
    try:
        return msgspec.json.decode(text, type=Settings)
    except msgspec.MsgspecError as error:
        raise ValueError(f"the scheduler's settings are wrong: {error}") from error
