"""Errors of what goes on by itself: one rule for what is said of them, and what is counted.

What can be foreseen is a line in the log. What cannot is a mistake of ours: it is in the log with
its traceback, once for as long as it is the same, and counted. Whoever asks goes on after it.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from bot.errors import DreamstreamError
from bot.monitoring import metrics

FORESEEN: Final = (DreamstreamError, OSError)
"""What the world does to a program that is right: disks fill up, networks fail."""

_QUIET_S = 3600.0  # what was last heard of longer ago is told whole again


class Errors:
    """What is said of the errors of one thing that goes on."""

    def __init__(self, name: str, log: logging.Logger) -> None:
        """`name` is what they are counted under, of which there are few; `log` is its owner's."""
        self._counter = metrics.UNFORESEEN.labels(name)  # at 0, before the first
        self._log = log
        self._last: tuple[object, ...] | None = None
        self._last_s = 0.0

    def over(self) -> None:
        """Note that it went well: the next error is a new one."""
        self._last = None

    def tell(self, error: BaseException, what: str, *values: object) -> None:
        """Say that `what % values` came of an error, and count it where nobody foresaw it."""
        if isinstance(error, FORESEEN):
            self._log.warning(f"{what}: %s", *values, error)
            return
        self._counter.inc()
        now_s, same = time.monotonic(), _of(error)
        if same == self._last and now_s - self._last_s < _QUIET_S:
            self._log.error(f"{what}, as before: %r", *values, error)
        else:
            self._log.error(what, *values, exc_info=error)
        self._last, self._last_s = same, now_s


def _of(error: BaseException) -> tuple[object, ...]:
    """Return what makes an error the same as another: its kind, and the line it came from."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return (type(error),)
    return (type(error), trace.tb_frame.f_code.co_filename, trace.tb_lineno)
