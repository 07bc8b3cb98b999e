"""Watch how long a process's event loop keeps others waiting, and say what it did meanwhile.

The lag is that of one round of the loop: from when it learns what is ready until it asks again.
Each round is timed by the clock and by the processor time of its own thread: on a machine that is
busy with other things the first says little, the second is what the program itself did.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import time
import traceback
from asyncio import base_events
from pathlib import Path
from typing import Any

SLOW_S = 0.02
_KEPT = 20


class Watch:
    """The slowest rounds since `start`; written to a file whenever there is a slower one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._slowest: list[dict[str, Any]] = []
        self._stack = ""
        self._begun: float | None = None
        self._cpu_s = self._collect_s = 0.0
        self._did: list[tuple[str, float]] = []

    def start(self) -> None:
        """Time every round from now on. For the thread that runs the loop."""
        # Neither is public; there is no other place that sees every callback.
        handles: Any = asyncio.Handle
        loops: Any = base_events.BaseEventLoop
        run, run_once = handles._run, loops._run_once
        me = threading.get_ident()

        def timed(handle: asyncio.Handle) -> None:
            begun = time.monotonic()
            if self._begun is None and threading.get_ident() == me:
                self._begun, self._cpu_s = begun, time.thread_time()
            run(handle)
            took_s = time.monotonic() - begun
            if took_s > 0.0005 and threading.get_ident() == me:
                self._did.append((repr(handle), took_s))

        def round_(loop: asyncio.BaseEventLoop) -> None:
            run_once(loop)
            begun, self._begun = self._begun, None
            if begun is not None and time.monotonic() - begun > SLOW_S:
                self._note(time.monotonic() - begun, time.thread_time() - self._cpu_s)
            self._did, self._stack = [], ""

        gc.callbacks.append(self._collecting)
        handles._run = timed
        loops._run_once = round_
        threading.Thread(target=self._look, args=(me,), daemon=True).start()

    def _collecting(self, phase: str, told: dict[str, int]) -> None:
        if phase == "start":
            self._collect_s = time.monotonic()
        else:
            took_s = time.monotonic() - self._collect_s
            self._did.append((f"collecting generation {told['generation']}", took_s))

    def _look(self, thread_id: int) -> None:
        """Write down where the loop's thread is when a round has taken long."""
        while True:
            time.sleep(SLOW_S / 2)
            begun = self._begun
            if begun is not None and not self._stack and time.monotonic() - begun > SLOW_S:
                frame = sys._current_frames().get(thread_id)
                if frame is not None and self._begun == begun:
                    self._stack = "".join(traceback.format_stack(frame)[-12:])

    def _note(self, wall_s: float, cpu_s: float) -> None:
        did = sorted(self._did, key=lambda one: -one[1])
        note = {
            "at_s": time.monotonic(),
            "wall_s": wall_s,
            "cpu_s": cpu_s,
            "did": did,
            "stack": self._stack,
        }
        self._slowest = sorted([*self._slowest, note], key=lambda one: -one["wall_s"])[:_KEPT]
        written = self._path.with_suffix(".new")
        written.write_text(json.dumps(self._slowest, indent=1), encoding="utf-8")
        written.replace(self._path)  # whole, for whoever reads it at this moment
