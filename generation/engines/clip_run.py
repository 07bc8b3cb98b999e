"""A run of the CLIP-steered engine: its tensors, and how they become a checkpoint and return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from generation.canvases.base import Start, Tensors
from generation.clip.chance import Streams
from generation.clip.targets import Glide, Target, targets_at
from generation.engine import BadCheckpointError, Run
from generation.engines.checkpointing import restore
from generation.engines.clip_options import ClipSettings
from generation.engines.forms import Form


@dataclass(frozen=True)
class Aim:
    """What a run is drawn towards, as one perceptor sees it.

    `pictures` are the vectors of those that its recipe names, which a steer may speak of.
    """

    first: tuple[Target, ...]
    glides: tuple[Glide, ...] = ()
    pictures: tuple[Tensor, ...] = ()

    def at(self, step: int) -> tuple[Target, ...]:
        """Return the targets of a step."""
        return targets_at(step, self.first, self.glides)


@dataclass(kw_only=True)
class ClipRun(Run):
    """A picture that is being optimised. Tensors have no axis of runs.

    `average` is the moving average of the parameters where the canvas wants one, else empty.
    `size` is the present width and height, which the recipe's may differ from. `aims` are in the
    order of `settings.perceptors`. `form` is what a flow model is told of it, where one is asked.
    """

    size: tuple[int, int]
    start: Start
    exp_avg: Tensors
    exp_avg_sq: Tensors
    average: Tensors
    streams: Streams
    aims: tuple[Aim, ...]
    settings: ClipSettings
    form: Form | None = None
    # The last picture that was drawn, and before which step.
    shown: Tensor | None = None
    shown_step: int = -1


def state_of(run: ClipRun) -> Tensors:
    """Return all tensors that decide a run's further steps, by flat names."""
    geometry, noise = run.streams.state()
    groups = {
        "parameters": run.start.parameters,
        "constants": run.start.constants,
        "anchor": run.start.anchor,
        "exp_avg": run.exp_avg,
        "exp_avg_sq": run.exp_avg_sq,
        "average": run.average,
        "random": {"geometry": geometry, "noise": noise},
    }
    return {
        f"{group}.{name}": tensor
        for group, tensors in groups.items()
        for name, tensor in tensors.items()
    }


def resume(run: ClipRun, saved: Tensors) -> None:
    """Give a run of the same step and size the tensors of `state_of`.

    Raises:
        BadCheckpointError: they are not of such a run.
    """
    state = restore(saved, state_of(run))
    run.start = Start(_part(state, "parameters"), _part(state, "constants"), _part(state, "anchor"))
    run.exp_avg, run.exp_avg_sq = _part(state, "exp_avg"), _part(state, "exp_avg_sq")
    run.average = _part(state, "average")
    try:
        run.streams.restore(saved["random.geometry"], saved["random.noise"])
    except RuntimeError as error:
        raise BadCheckpointError("The saved state of this dream is damaged.") from error


def zeros(tensors: Tensors) -> Tensors:
    """Return zeros in the shapes of tensors."""
    return {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}


def stack(runs: Sequence[Tensors]) -> Tensors:
    """Give the tensors of several runs a leading axis of runs."""
    return {name: torch.stack([tensors[name] for tensors in runs]) for name in runs[0]}


def row_of(tensors: Tensors, row: int) -> Tensors:
    """Return one run's own tensors; a view would keep the whole batch's memory while it waits."""
    return {name: tensor[row].clone() for name, tensor in tensors.items()}


def _part(state: Tensors, group: str) -> Tensors:
    prefix = f"{group}."
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }
