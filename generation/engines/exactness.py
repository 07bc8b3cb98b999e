"""Exact mode: kernels whose result does not depend on chance or on timing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from generation.engine import Run
from generation.models.exclusion import determinism

R = TypeVar("R", bound=Run)


@contextlib.contextmanager
def deterministic_kernels(wanted: bool) -> Iterator[None]:
    """Within it, torch uses deterministic algorithms only, and fails where it has none.

    It waits for a compilation that is under way, and keeps further ones out.
    """
    if not wanted:
        yield
        return
    with determinism.exact(), _deterministic():
        yield


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    before = torch.get_deterministic_debug_mode()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    benchmark = torch.backends.cudnn.benchmark
    # Not `use_deterministic_algorithms`, which is the same and loads torch's compiler for it.
    torch.set_deterministic_debug_mode("error")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = benchmark


def in_format(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Return a context in which networks compute in a number format; exact ones in float32."""
    half = dtype != torch.float32 and not torch.are_deterministic_algorithms_enabled()
    return torch.autocast(device.type, torch.bfloat16, enabled=half)


def step_exact_alone(
    runs: Sequence[R], is_exact: Callable[[R], bool], advance: Callable[[Sequence[R]], None]
) -> None:
    """Advance those runs that are not done: together, or one by one where any of them is exact."""
    runs = [run for run in runs if not run.done]
    if not any(is_exact(run) for run in runs):
        if runs:
            advance(runs)
        return
    with deterministic_kernels(True):
        for run in runs:
            advance([run])
