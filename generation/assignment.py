"""What goes between the scheduler, which decides, and a worker, which carries out.

Both are plain values: in the scheduler process they pass through a call, on a cluster through a
call to an actor elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from generation.protocol import Job, SteerJob
from generation.residency import ModelKey


@dataclass(frozen=True)
class Assignment:
    """Make room, begin what is not begun, and advance `job_ids` as one batch.

    `jobs` are those of `job_ids` whose runs the worker does not hold. It takes `steps` steps,
    fewer if they take far longer than `quantum_s`; past `step_limit_s` a step counts as hung.
    `suspend` are runs to checkpoint and let go, `unload` models to let go.
    """

    model: ModelKey
    job_ids: tuple[str, ...]
    jobs: tuple[Job, ...]
    steps: int
    quantum_s: float
    step_limit_s: float
    steers: tuple[SteerJob, ...] = ()
    suspend: tuple[str, ...] = ()
    unload: tuple[ModelKey, ...] = ()


@dataclass(frozen=True)
class Fault:
    """What stopped an assignment as a whole: the device's memory, or an error nobody foresaw."""

    out_of_memory: bool
    detail: str


@dataclass(frozen=True)
class Report:
    """What became of an assignment.

    `seconds` is all that is to be charged: beginning, stepping and showing, but not loading.
    `steps` says where each run is now, `ended` which are over and gone. `step_times` has the
    batch size and seconds of each step. After a `fault` the worker holds none of the batch's
    runs: they go on from their checkpoints. `load_s` is None where nothing was loaded;
    `peak_bytes` is of the steps; 0 where it cannot be measured, and after a fault. `peaks` has, for
    each run that was begun or steered, what its steps take by the engine's estimate now that the
    model is loaded: `Plan.peaks` anew.
    `strays` are steers of runs that the worker does not hold, or no longer: nobody answered them.
    """

    seconds: float
    steps: dict[str, int]
    ended: tuple[str, ...] = ()
    step_times: tuple[tuple[int, float], ...] = ()
    fault: Fault | None = None
    load_s: float | None = None
    model_bytes: int = 0
    peak_bytes: int = 0
    peaks: dict[str, tuple[int, ...]] = field(default_factory=dict)
    strays: tuple[SteerJob, ...] = ()
