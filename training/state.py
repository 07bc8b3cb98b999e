"""Stretches of training: a time budget, states that resume, averaged weights, a log."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from generation.models.precision import has_bfloat16
from training.paths import subdir


def device() -> torch.device:
    """Return the accelerator where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(where: torch.device) -> torch.autocast:
    """Return bf16 autocast where the device has bf16 of its own, else plain float32."""
    return torch.autocast(where.type, torch.bfloat16, enabled=has_bfloat16(where))


_LONGEST_S = 20.0
"""How long who watches waits for a line."""


class Stretch:
    """One stretch of a resumable training: says when to stop, saves, logs.

    The whole schedule is a function of ``fraction``, the share of the planned samples or minutes
    that all stretches together have done, so a resumed training follows the same schedule.
    """

    def __init__(self, name: str, minutes: float, planned_minutes: float, *,
                 save_every_s: float = 150.0) -> None:  # fmt: skip
        self.name = name
        self.path = subdir("states") / f"{name}.pt"
        self.log_path = subdir("states") / f"{name}.jsonl"
        self.planned_s = planned_minutes * 60
        self.save_every_s = save_every_s
        self.before_s = 0.0
        self.step = 0
        self.samples = 0
        self._limit_s = minutes * 60
        self._made = self._start = self._saved = time.monotonic()
        self._training = False
        self._logged: dict[str, list[float]] = {}
        self._log_samples, self._log_time = 0, self._start
        self.stopped = False
        """Whether somebody asked for an end before the time was up."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, _signal: int, _frame: object) -> None:
        """End the stretch after the step in hand, so that it is saved."""
        self.stopped = True

    def resume(self) -> dict[str, Any] | None:
        """Return what the last stretch saved, or None at the very beginning."""
        if not self.path.exists():
            return None
        state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        self.before_s, self.step = state["seconds"], state["step"]
        self.samples = self._log_samples = state["samples"]
        return state

    @property
    def seconds(self) -> float:
        """Training time of all stretches together."""
        return self.before_s + (time.monotonic() - self._start if self._training else 0.0)

    @property
    def fraction(self) -> float:
        """Return the share of the plan that is done, 0..1."""
        return min(1.0, self.seconds / self.planned_s)

    def phase(self, begin: float) -> float:
        """Return how far the plan has come, 0..1, if it is begun at ``begin`` of the way."""
        return begin + (1 - begin) * self.fraction

    @property
    def running(self) -> bool:
        """Whether this stretch has time left and the plan is not fulfilled.

        Training time counts from the first time that this is asked; the stretch's own limit from
        when it was made, so that reading pictures does not make it late.
        """
        now = time.monotonic()
        if not self._training:
            self._training = True
            self._start = self._log_time = now
        in_time = now - self._made < self._limit_s
        return in_time and self.seconds < self.planned_s and not self.stopped

    def advance(self, samples: int) -> None:
        """Count one step."""
        self.step += 1
        self.samples += samples

    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self._saved > self.save_every_s

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the state, and what was not logged yet; a killed save leaves the one before."""
        whole = {**state, "seconds": self.seconds, "step": self.step, "samples": self.samples}
        partial = self.path.with_suffix(".partial")
        torch.save(whole, partial)
        partial.replace(self.path)
        self._saved = time.monotonic()
        if self._logged:
            self._tell()

    def log(self, every: int, **values: float) -> None:
        """Collect values and write their means every so many steps, sooner where steps are slow."""
        for key, value in values.items():
            self._logged.setdefault(key, []).append(value)
        if self.step % every == 0 or time.monotonic() - self._log_time > _LONGEST_S:
            self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        line: dict[str, float] = {
            "step": self.step,
            "minutes": round(self.seconds / 60, 2),
            "samples": self.samples,
            "per_s": round((self.samples - self._log_samples) / (now - self._log_time), 1),
        }
        line |= {key: round(sum(v) / len(v), 5) for key, v in self._logged.items()}
        self._logged, self._log_samples, self._log_time = {}, self.samples, now
        with self.log_path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(self.name, line, flush=True)


class Average:
    """Exponential moving average of a model's parameters, with a warm-up of its memory."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {k: v.detach().clone().float() for k, v in model.state_dict().items()}
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the model."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averaged, towards = [], []
        for key, value in model.state_dict().items():
            if value.dtype.is_floating_point:
                averaged.append(self.values[key])
                towards.append(value.float())
            else:
                self.values[key] = value.clone()
        torch._foreach_lerp_(averaged, towards, 1 - decay)


def schedule(fraction: float, warmup: float = 0.02, decay_from: float = 0.6) -> float:
    """Return the learning-rate factor: linear warm-up, flat, cosine to a hundredth."""
    if fraction < warmup:
        return max(fraction / warmup, 0.02)
    if fraction < decay_from:
        return 1.0
    t = (fraction - decay_from) / (1 - decay_from)
    return 0.01 + 0.99 * 0.5 * (1 + float(torch.cos(torch.tensor(t * torch.pi))))


def latest(name: str) -> Path:
    """Return where a training's state lies."""
    return subdir("states") / f"{name}.pt"
