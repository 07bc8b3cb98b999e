"""Prompts as a network sees them, and one call of it for those of many runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import zip_longest
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from generation.clip.sending import send
from generation.clip.targets import glide_part
from generation.prompts import Prompt, parse
from generation.protocol import Recipe, Steer


@dataclass(frozen=True)
class Condition:
    """One prompt as the network sees it: token states [length, dim], mask [length], weight.

    `pooled` [dim] is the whole prompt in one vector, for networks that want that besides. `text` is
    what was encoded: those of one run that have the same are the same but for their weights.
    """

    states: Tensor
    mask: Tensor
    weight: float
    pooled: Tensor | None = None
    text: str | None = None

    def weighing(self, weight: float) -> Condition:
        """Return it with another weight."""
        return replace(self, weight=weight)


def mixed(
    before: Sequence[Condition], after: Sequence[Condition], part: float
) -> tuple[Condition, ...]:
    """Return what lies `part` (0..1) of the way from one prompt to another.

    Those in the same place of the list turn into each other, token by token, where they have as
    many tokens; else, and where there is no partner, both are asked and their answers mixed. Source
    for the first: interpolate_stable_diffusion, of diffusers' community (2022).
    """
    if part <= 0 or part >= 1:
        return tuple(before if part <= 0 else after)
    found: list[Condition] = []
    for one, other in zip_longest(before, after):
        if one and other and torch.equal(one.mask, other.mask):
            pooled = None
            if one.pooled is not None and other.pooled is not None:
                pooled = torch.lerp(one.pooled, other.pooled, part)
            states = torch.lerp(one.states, other.states, part)
            weight = one.weight + (other.weight - one.weight) * part
            text = one.text if one.text == other.text else None
            found.append(Condition(states, one.mask, weight, pooled, text))
            continue
        if one:
            found.append(one.weighing(one.weight * (1 - part)))
        if other:
            found.append(other.weighing(other.weight * part))
    return tuple(found)


def shared_out(prompts: Sequence[Prompt]) -> list[tuple[Prompt, float]]:
    """Return prompts with what each counts among them: together 1."""
    total = sum(abs(prompt.weight) for prompt in prompts)
    return [(prompt, abs(prompt.weight) / total) for prompt in prompts]


def unwanted(text: str, negative: str) -> list[Prompt]:
    """Return what to guide away from beside a prompt: `negative` words, and negative weights in it.

    Where there are none, that is the empty prompt.

    Negative weights that are less, together, than the positive ones leave the rest of their place
    to the empty prompt. So ``fog:-0.1`` keeps away from fog a tenth as much as ``fog:-1`` does.

    Source: Liu et al., Compositional Visual Generation with Composable Diffusion Models (2022).
    """
    said = parse(text)
    against = [prompt for prompt in said if prompt.weight < 0]
    words = [prompt for prompt in parse(negative) if prompt.weight != 0]
    if not against or words:
        return [*words, *against] or [Prompt("")]
    towards = sum(prompt.weight for prompt in said if prompt.weight > 0)
    room = towards + sum(prompt.weight for prompt in against)
    return [*against, Prompt("", room)] if room > 0 else against


class Conditioned(Protocol):
    """What of a run matters here; see `generation.engines.denoising.DenoisingRun`."""

    @property
    def recipe(self) -> Recipe: ...
    @property
    def step(self) -> int: ...
    @property
    def guidance(self) -> float: ...
    @property
    def prompts(self) -> tuple[tuple[Condition, ...], ...]: ...
    @property
    def away(self) -> tuple[tuple[Condition, ...], ...]: ...


@dataclass(frozen=True)
class Rows:
    """What the network is asked in one call: a row for each condition of each run.

    `owners` [rows] says whose each is, `owned` says it on the host, and the weighted sum over its
    rows is a run's answer. `states` [rows, length, dim], `mask` [rows, length] and, where there are
    any, `pooled` [rows, dim]. Of each row's states so many as `lengths` says are its own, and the
    rest fills it up. Where there are `levels` [rows], they weigh what an answer's channels are in
    the mean over the picture, and `weights` only what differs from place to place.
    """

    owners: Tensor
    owned: tuple[int, ...]
    lengths: tuple[int, ...]
    weights: Tensor
    levels: Tensor | None
    states: Tensor
    mask: Tensor
    pooled: Tensor | None

    def sum(self, answers: Tensor, runs: int) -> Tensor:
        """Return the runs' answers [runs, c, h, w] from those of the rows."""
        answers = answers.float()
        whole = self._weighed(answers, self.weights, runs)
        if self.levels is None:
            return whole
        level = self._weighed(answers.mean((-2, -1), keepdim=True), self.levels, runs)
        return whole - whole.mean((-2, -1), keepdim=True) + level

    def _weighed(self, answers: Tensor, weights: Tensor, runs: int) -> Tensor:
        weighted = answers * weights.view(-1, 1, 1, 1)
        shape = (runs, *answers.shape[1:])
        return weighted.new_zeros(shape).index_add(0, self.owners, weighted)


def join(
    runs: Sequence[Conditioned],
    device: torch.device,
    *,
    guidance: Sequence[float] | None = None,
    levels: Sequence[float] | None = None,
) -> Rows:
    """Join what all runs ask in their present step.

    An answer is ``away + guidance · (towards − away)``, each the weighted mean over its
    conditions: one linear form over the run's rows, and at a guidance of 1 those of ``towards``
    alone. `guidance` [runs] stands in place of the runs' own. Where `levels` [runs] are given, a
    run's mean over the picture is guided no more than that.
    """
    guided = [run.guidance for run in runs] if guidance is None else guidance
    most = guided if levels is None else [min(pair) for pair in zip(guided, levels, strict=True)]
    rows = [_rows(*each) for each in zip(runs, guided, most, strict=True)]
    every = [condition for conditions in rows for condition, _ in conditions]
    owned = tuple(owner for owner, conditions in enumerate(rows) for _ in conditions)
    lengths = tuple(len(condition.states) for condition in every)
    longest = max(lengths)
    pooled = [condition.pooled for condition in every if condition.pooled is not None]
    return Rows(
        owners=send(owned, device, torch.int64),
        owned=owned,
        lengths=lengths,
        weights=send([condition.weight for condition in every], device),
        levels=None
        if levels is None
        else send([level for conditions in rows for _, level in conditions], device),
        states=torch.stack([_pad(condition.states, longest) for condition in every]),
        mask=torch.stack([_pad(condition.mask, longest) for condition in every]),
        pooled=torch.stack(pooled) if pooled else None,
    )


def _rows(run: Conditioned, guidance: float, level: float) -> list[tuple[Condition, float]]:
    """Return what the network is asked in the run's present step, and each answer's weights.

    A condition has that by `guidance`, beside it stands that by `level`.
    """
    towards, away = (_once_each(_present(run, lists)) for lists in (run.prompts, run.away))
    rows = [(each.weighing(each.weight * guidance), each.weight * level) for each in towards]
    rows += [
        (each.weighing(each.weight * (1 - guidance)), each.weight * (1 - level)) for each in away
    ]
    return [(each, weight) for each, weight in rows if each.weight != 0 or weight != 0]


def _present(run: Conditioned, lists: Sequence[Sequence[Condition]]) -> list[Condition]:
    """Return what is said in the run's present step: `lists` has the first and one a steer."""
    present = list(lists[0])
    for steer, conditions in zip(run.recipe.steers, lists[1:], strict=False):
        part = glide_part(steer, run.step)
        if part > 0:
            present = [each.weighing(each.weight * (1 - part)) for each in present]
            present += [each.weighing(each.weight * part) for each in conditions]
    return present


def _once_each(conditions: Sequence[Condition]) -> list[Condition]:
    """Add up the weights of the same text, which then costs the network one row.

    Mostly steers change little of what a run is guided to, and nothing of what it is guided away
    from.
    """
    found: dict[object, Condition] = {}
    for each in conditions:
        key = id(each) if each.text is None else each.text
        before = found.get(key)
        found[key] = each if before is None else before.weighing(before.weight + each.weight)
    return list(found.values())


def most_rows(recipe: Recipe, *guidances: float) -> int:
    """Return how many rows, at most, `join` has for a run of a recipe in any of its steps.

    Its prompts are what `shared_out` has of all that weigh more than 0, and of those `unwanted`.
    `guidances` are what it is guided by: at 0 alone there are no rows of the prompts, and at 1
    alone none of what is guided away from.
    """
    return _most_said(
        recipe.prompt,
        recipe.negative,
        recipe.steers,
        any(each != 0 for each in guidances),
        any(each != 1 for each in guidances),
    )


@lru_cache(maxsize=64)
def _most_said(
    prompt: str, negative: str, steers: tuple[Steer, ...], has_towards: bool, has_away: bool
) -> int:
    """Return how many texts there are at once at most, of prompts and of what is unwanted."""
    asked = [prompt, *(steer.prompt for steer in steers)]
    said = [
        {(True, each.text) for each in parse(text) if has_towards and each.weight > 0}
        | {(False, each.text) for each in unwanted(text, negative) if has_away}
        for text in asked
    ]
    most = 0
    # A list is there from its steer's step on, until a later one's glide is over.
    for step in {0, *(steer.step for steer in steers)}:
        present = [0]
        for place, steer in enumerate(steers, 1):
            part = glide_part(steer, step)
            if part >= 1:
                present = []
            if part > 0:
                present.append(place)
        most = max(most, len(set().union(*(said[place] for place in present))))
    return most


def _pad(rows: Tensor, length: int) -> Tensor:
    missing = length - len(rows)
    return F.pad(rows, (0, 0, 0, missing) if rows.dim() == 2 else (0, missing))
