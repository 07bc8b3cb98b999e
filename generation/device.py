"""The device's name, its memory, and waiting for it; without importing torch for it.

Engines import torch. Where one has, and it has a GPU, that is what is asked here; else it is the
process's own memory.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from pathlib import Path
from typing import Any, Protocol


class Device(Protocol):
    """What the worker needs to know of where it draws."""

    name: str
    capacity_bytes: int | None

    def synchronize(self) -> None:
        """Wait until the device has done all it was given."""
        ...

    def used_bytes(self) -> int:
        """Return what is in use now; 0 where it cannot be measured."""
        ...

    def peak_bytes(self) -> int:
        """Return the most in use since the last call; 0 where it cannot be measured."""
        ...

    def free(self) -> None:
        """Give back what is cached and unused."""
        ...


class Cpu:
    """The process's own memory."""

    def __init__(self, threads: int = 0) -> None:
        count = threads or os.cpu_count() or 1
        self.name = f"CPU ({count} thread{'s' if count > 1 else ''})"
        self.capacity_bytes = _physical_bytes()

    def synchronize(self) -> None:
        """Do nothing: it has done all it was given."""

    def used_bytes(self) -> int:
        """Return the resident set's size."""
        try:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        except (OSError, ValueError, IndexError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    def peak_bytes(self) -> int:
        """Return 0: the peak since a moment cannot be had."""
        return 0

    def free(self) -> None:
        """Collect what only cycles keep alive."""
        gc.collect()


class Cuda:
    """A GPU, through torch."""

    def __init__(self, torch: Any, device: str) -> None:
        self._cuda = torch.cuda
        self._device = torch.device(device)
        self.name = str(self._cuda.get_device_name(self._device))
        self.capacity_bytes: int | None = int(self._cuda.mem_get_info(self._device)[1])

    def synchronize(self) -> None:
        """Wait for the GPU."""
        self._cuda.synchronize(self._device)

    def used_bytes(self) -> int:
        """Return what torch has given out."""
        return int(self._cuda.memory_allocated(self._device))

    def peak_bytes(self) -> int:
        """Return the most torch had given out since the last call."""
        peak = int(self._cuda.max_memory_allocated(self._device))
        self._cuda.reset_peak_memory_stats(self._device)
        return peak

    def free(self) -> None:
        """Collect cycles, then give torch's cache back."""
        gc.collect()
        self._cuda.empty_cache()


def find(device: str, threads: int = 0) -> Device:
    """Return the device that the engines were told to use: ``auto``, ``cpu``, ``cuda``, …"""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        if device == "auto":
            return Cuda(torch, "cuda")
        if device.startswith("cuda"):
            return Cuda(torch, device)
    return Cpu(threads)


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether the error is the device's or the process's memory running out.

    ``torch.OutOfMemoryError`` is known by its name, so that torch need not be there.
    """
    names = {cls.__name__ for cls in type(error).__mro__}
    return isinstance(error, MemoryError) or "OutOfMemoryError" in names


def _physical_bytes() -> int | None:
    """Return the machine's memory, or the container's share of it where there is one."""
    found: list[int] = []
    with contextlib.suppress(ValueError, OSError, AttributeError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            found.append(int(Path(path).read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return min(found, default=None)
