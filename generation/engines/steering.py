"""Steers: what every engine checks and notes when a run's prompt is changed, and how it glides."""

from __future__ import annotations

import msgspec

from generation.engine import EngineError, Run
from generation.protocol import Steer

MAX_STEERS = 64
_MAX_GLIDE = 10_000


def steer_taken(run: Run, steer: Steer) -> Steer:
    """Return the steer as it will stand in the recipe: from the run's present step on.

    Raises:
        EngineError: it comes too late, or is one too many.
    """
    if run.done:
        raise EngineError("This picture is finished; continue it as a new dream.")
    if len(run.recipe.steers) >= MAX_STEERS:
        raise EngineError(f"This dream has been steered {MAX_STEERS} times; let it be.")
    return Steer(run.step, steer.prompt, max(0, min(steer.glide_steps, _MAX_GLIDE)))


def note_steer(run: Run, steer: Steer) -> None:
    """Make the steer part of the run's recipe, which then repeats the picture."""
    run.recipe = msgspec.structs.replace(run.recipe, steers=(*run.recipe.steers, steer))
