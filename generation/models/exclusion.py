"""Exact work and torch's compiler never at the same time.

`torch.use_deterministic_algorithms` is one flag of the whole process. The compiler notes it when it
begins to trace, and sets it back when it is done, tens of seconds later and in its own thread
(``torch._dynamo.convert_frame.preserve_global_state``). What was meant to be exact meanwhile would
go on without the flag, or what comes after would keep it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Exclusion:
    """Any number of exact pieces of work, or one compilation.

    Exact work goes first: it waits for the compilation under way and no other. None begins until
    there was no exact work for `quiet_s` seconds, so an exact dream waits at its beginning at most.
    """

    def __init__(self, quiet_s: float = 60.0) -> None:
        self._quiet_s = quiet_s
        self._changed = threading.Condition()
        self._exact = 0  # pieces of work that are under way, or wait
        self._compiles = False
        self._free_at = 0.0

    @contextmanager
    def exact(self) -> Iterator[None]:
        """Keep the compiler out; may be nested."""
        with self._changed:
            self._exact += 1
        try:
            with self._changed:
                self._changed.wait_for(lambda: not self._compiles)
            yield
        finally:
            with self._changed:
                self._exact -= 1
                self._free_at = time.monotonic() + self._quiet_s
                self._changed.notify_all()

    @contextmanager
    def compiling(self) -> Iterator[None]:
        """Wait for a time without exact work, and keep it out."""
        with self._changed:
            while self._exact or self._compiles or time.monotonic() < self._free_at:
                left_s = self._free_at - time.monotonic()
                self._changed.wait(left_s if not self._exact and left_s > 0 else None)
            self._compiles = True
        try:
            yield
        finally:
            with self._changed:
                self._compiles = False
                self._changed.notify_all()


determinism = Exclusion()
"""That of this process's flag."""
