"""The fake engine, whose moods are ordered by words in the prompt, and how such a dream ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from typing import Any

from generation.engine import Engine, EngineError
from tests.fakes.engine import FakeEngine, FakeRun, OutOfMemoryError

AT_STEP = 3
STEP_S = 0.01

ENDINGS = {
    "plain": "done",
    "poison": "failed",  # the process dies whenever it is stepped
    "hangs once": "done",
    "hungry once": "done",  # the kernel ends the process, for want of memory
    "hungry": "failed",  # and does so whenever it is stepped
    "stuck": "failed",  # it hangs whenever it is stepped
    "no number": "failed",
    "heavy": "done",  # fits the device alone only
    "too heavy": "failed",
    "stumbles": "failed",  # an error that nobody foresaw
}
"""What the word at the beginning of a prompt orders, and the state that the dream must end in."""


def mood(prompt: str) -> str:
    """Return which of `ENDINGS` a prompt orders."""
    return next((one for one in ENDINGS if prompt.startswith(one)), "plain")


class MoodyEngine(FakeEngine):
    """See the module's docstring."""

    def step(self, runs: Sequence[FakeRun]) -> None:
        """Advance each run, or do what a prompt orders."""
        time.sleep(STEP_S)
        moods = [mood(run.recipe.prompt) for run in runs]
        for run, ordered in zip(runs, moods, strict=True):
            if ordered == "too heavy" or (ordered == "heavy" and len(runs) > 1):
                raise OutOfMemoryError(f"{len(runs)} runs do not fit")
            if run.step != AT_STEP:
                continue
            if ordered == "poison":
                os._exit(77)
            if ordered == "hungry" or (ordered == "hungry once" and not run.job.attempt):
                os.kill(os.getpid(), signal.SIGKILL)
            if ordered == "stuck" or (ordered == "hangs once" and not run.job.attempt):
                time.sleep(1e6)
            if ordered == "stumbles":
                raise RuntimeError("an error in a step")
        super().step(runs)
        for run, ordered in zip(runs, moods, strict=True):
            if ordered == "no number" and run.step > AT_STEP:
                run.error = EngineError("The loss is not a number.")


def build_engines(
    *, device: str, models_dir: str, exact: bool, **_others: object
) -> dict[str, Engine[Any]]:
    """Return it, as the scheduler process asks for it."""
    return {"fake": MoodyEngine()}
