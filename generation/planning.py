"""What the scheduler needs to know of a job before it is drawn: who may share its steps, its size.

Only engines can say, and they are where the weights are: in the scheduler process itself, or on a
cluster with the workers. So a `Plan` is a plain value that can be asked for elsewhere.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from generation.costs import CostKey
from generation.engine import BatchKey, Engine, EngineError
from generation.protocol import Failed, Job, Recipe
from generation.residency import ModelKey

_log = logging.getLogger(__name__)

_UNUSABLE = "This recipe cannot be drawn; the log has the details."


@dataclass(frozen=True)
class Plan:
    """What a job asks of a device.

    `model` must be loaded for it; runs of one `key` may share a step; steps of one `cost_key` cost
    as much. `peaks` are the engine's estimates, in bytes, of the device memory that a step of 1, 2,
    3, … such runs takes; once the job is begun, `Report.peaks` has better ones.
    """

    model: ModelKey
    key: BatchKey
    cost_key: CostKey
    peaks: tuple[int, ...]

    def predict_bytes(self, runs: int) -> int:
        """Return the estimate for so many runs in a step."""
        return self.peaks[runs - 1]


def plan(engines: Mapping[str, Engine[Any]], job: Job, max_batch: int, *, exact: bool) -> Plan:
    """Plan a job that engines are to draw, in batches of up to `max_batch`.

    An exact job (or any, where `exact` is asked of all) shares with nobody, and yet costs what
    others of its kind do.

    Raises:
        EngineError: it cannot be drawn; the sentence says why.
    """
    recipe = job.recipe
    engine = engines.get(recipe.engine)
    if engine is None:
        raise EngineError(f"There is no engine called “{recipe.engine}” here.")
    exact = exact or recipe.exact
    try:
        shape = engine.batch_key(msgspec.structs.replace(recipe, exact=False))
        peaks = peaks_of(engine, recipe, max_batch)
    except EngineError:
        raise
    except Exception as error:
        _log.exception("dream %s: its recipe cannot be used", job.id)
        raise UnplannedError(_UNUSABLE, repr(error)) from error
    cost_key = (recipe.engine, exact, *shape)
    return Plan(
        model=(recipe.engine, str(shape[0])),
        key=(*cost_key, job.id) if exact else cost_key,
        cost_key=cost_key,
        peaks=peaks,
    )


def peaks_of(engine: Engine[Any], recipe: Recipe, max_batch: int) -> tuple[int, ...]:
    """Return `Plan.peaks`: coarse before the recipe's model is loaded, better from then on."""
    return tuple(engine.predict_bytes(recipe, runs) for runs in range(1, max_batch + 1))


class UnplannedError(EngineError):
    """An engine stumbled over a recipe. `detail` is for the log."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.detail = detail


def refusal(job: Job, error: EngineError) -> Failed:
    """Return what the bot is told of a job that cannot be planned."""
    detail = error.detail if isinstance(error, UnplannedError) else ""
    return Failed(job_id=job.id, reason=str(error), detail=detail)
