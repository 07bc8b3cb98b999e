"""What a run is drawn towards at each step: its prompts' embeddings, and their glides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

import torch
from torch import Tensor

from generation.clip.sending import send
from generation.prompts import Place, Prompt
from generation.protocol import Steer


@dataclass(frozen=True)
class Target:
    """One prompt as CLIP sees it: a unit vector [dim], its weight, its stop and its place."""

    embedding: Tensor
    weight: float
    stop: float
    place: Place | None = None


@dataclass(frozen=True)
class Glide:
    """A steer, and the targets that the present ones turn into by it."""

    steer: Steer
    towards: tuple[Target, ...]


def targets(prompts: Sequence[Prompt], embeddings: Tensor) -> tuple[Target, ...]:
    """Join prompts with their embeddings [prompts, dim]; those of weight 0 are left out."""
    return tuple(
        Target(embedding, prompt.weight, prompt.stop, prompt.place)
        for prompt, embedding in zip(prompts, embeddings, strict=True)
        if prompt.weight != 0
    )


def glide_part(steer: Steer, step: int) -> float:
    """Say how much of a steer's glide is done in a step: 0 before it, 1 from its end on."""
    if step < steer.step:
        return 0.0
    return min(1.0, (step - steer.step + 1) / max(1, steer.glide_steps))


def targets_at(step: int, first: tuple[Target, ...], glides: Sequence[Glide]) -> tuple[Target, ...]:
    """Return what a run is drawn towards in the step of this number (from 0)."""
    present = first
    for glide in glides:
        part = glide_part(glide.steer, step)
        if part > 0:
            present = blend(present, glide.towards, part)
    return present


def blend(old: tuple[Target, ...], new: tuple[Target, ...], part: float) -> tuple[Target, ...]:
    """Go a part of the way from old to new.

    Targets in the same place of the list turn into each other along the sphere; one without a
    partner, or whose partner lies elsewhere in the picture or has the other sign, fades.
    """
    if part >= 1:
        return new
    result: list[Target] = []
    for before, after in zip_longest(old, new):
        if before and after and _are_alike(before, after):
            result.append(
                Target(
                    slerp(before.embedding, after.embedding, part),
                    before.weight + (after.weight - before.weight) * part,
                    before.stop if part < 0.5 else after.stop,
                    before.place,
                )
            )
            continue
        if before:
            result.append(replace(before, weight=before.weight * (1 - part)))
        if after:
            result.append(replace(after, weight=after.weight * part))
    return tuple(result)


def _are_alike(before: Target, after: Target) -> bool:
    return (before.weight > 0) == (after.weight > 0) and before.place == after.place


def slerp(start: Tensor, end: Tensor, part: float) -> Tensor:
    """Return the unit vector a part of the way along the great circle between two."""
    angle = (start * end).sum().clamp(-1, 1).acos()
    along = (((1 - part) * angle).sin() * start + (part * angle).sin() * end) / angle.sin()
    # Vectors that agree, or are opposite, lie on no one circle. Both are computed: to choose by the
    # angle's value, the host would have to wait for it.
    is_line = (angle < 1e-3) | (angle > torch.pi - 1e-3)
    mixed = torch.where(is_line, torch.lerp(start, end, part), along)
    return torch.nn.functional.normalize(mixed, dim=-1)


def stack_targets(runs: Sequence[tuple[Target, ...]]) -> tuple[Tensor, Tensor, Tensor]:
    """Pad every run's targets to the same number with ones of weight 0.

    Returns:
        embeddings [runs, prompts, dim], weights and stops [runs, prompts].
    """
    most = max(len(each) for each in runs)
    sample = next(target.embedding for each in runs for target in each)
    embeddings = sample.new_zeros(len(runs), most, len(sample))
    weights = torch.zeros(len(runs), most)
    stops = torch.full((len(runs), most), -torch.inf)
    for row, each in enumerate(runs):
        for column, target in enumerate(each):
            embeddings[row, column] = target.embedding
            weights[row, column] = target.weight
            stops[row, column] = target.stop
    return embeddings, send(weights, sample.device), send(stops, sample.device)
