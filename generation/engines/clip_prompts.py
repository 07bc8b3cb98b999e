"""From a recipe's words and pictures to what CLIP is to find, for the engines that it steers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

from generation.clip.perceptor import Perceptor
from generation.clip.targets import Glide, Target, targets
from generation.engine import EngineError
from generation.imaging import decode_picture
from generation.prompts import Place, Prompt, parse
from generation.protocol import Job, Recipe, Steer

# Of CLIPDraw: what the negative prompts weigh beside the prompt.
_NEGATIVE_WEIGHT = 0.3
_PICTURE = re.compile(r"picture\s*(\d{1,3})", re.IGNORECASE | re.ASCII)


def embed_pictures(judge: Perceptor, job: Job) -> list[Tensor]:
    """Return the vectors [dim] of the pictures that a recipe draws from, in order.

    Raises:
        EngineError: one did not come along, or cannot be read.
    """
    found = []
    for sha256 in job.recipe.picture_sha256s:
        data = job.pictures.get(sha256)
        if data is None:
            raise EngineError("A picture that this dream is drawn from did not come with it.")
        found.append(judge.look(decode_picture(data, judge.size, judge.size)))
    return found


def embed_prompts(
    judge: Perceptor,
    recipe: Recipe,
    text: str,
    *,
    placed: bool = False,
    pictures: Sequence[Tensor] = (),
) -> tuple[Target, ...]:
    """Embed a prompt, with the recipe's negative one.

    Where there are `pictures` (vectors [dim]), “picture 2” as a prompt is the second one; those
    that the prompt does not speak of are prompts of weight 1. `placed` is as for `parse`.

    Raises:
        EngineError: there is nothing in it, or a picture it speaks of is not there.
    """
    prompts = [prompt for prompt in parse(text, placed=placed) if prompt.weight != 0]
    spoken_of = {picture_of(prompt, len(pictures)) for prompt in parse(text, placed=placed)}
    prompts += [
        Prompt(f"picture {index + 1}") for index in range(len(pictures)) if index not in spoken_of
    ]
    if not prompts:
        raise EngineError("The prompt says nothing to draw. Write a few words.")
    prompts += [
        Prompt(prompt.text, -abs(prompt.weight) * _NEGATIVE_WEIGHT, prompt.stop)
        for prompt in parse(recipe.negative)
        if prompt.weight != 0
    ]
    shown = [picture_of(prompt, len(pictures)) for prompt in prompts]
    words = [prompt.text for prompt, index in zip(prompts, shown, strict=True) if index is None]
    read = iter(judge.encode_text(words) if words else ())
    vectors = [next(read) if index is None else pictures[index] for index in shown]
    return targets(prompts, torch.stack(vectors))


def embed_glide(
    judge: Perceptor,
    recipe: Recipe,
    steer: Steer,
    *,
    placed: bool = False,
    pictures: Sequence[Tensor] = (),
) -> Glide:
    """Embed what a steer glides to; raises as `embed_prompts` does."""
    towards = embed_prompts(judge, recipe, steer.prompt, placed=placed, pictures=pictures)
    return Glide(steer, towards)


def score(
    judge: Perceptor, recipe: Recipe, picture: Tensor, *, placed: bool = False
) -> float | None:
    """Return the cosine of a picture [3, h, w] in 0..1 with the words asked for last, or None.

    Pictures do not count: they are nearer to every picture than words are. Words that are for a
    place in the picture are compared with that place.
    """
    asked = recipe.steers[-1].prompt if recipe.steers else recipe.prompt
    count = len(recipe.picture_sha256s)
    wanted = [
        prompt
        for prompt in parse(asked, placed=placed)
        if prompt.weight > 0 and picture_of(prompt, count) is None
    ]
    if not wanted:
        return None
    total = 0.0
    for place, alike in groupby(wanted, key=lambda prompt: prompt.place):
        prompts = list(alike)
        cosines = judge.score(_part_of(picture, place), [prompt.text for prompt in prompts])
        weights = torch.tensor([prompt.weight for prompt in prompts], device=cosines.device)
        total += float((cosines * weights).sum())
    return total / sum(prompt.weight for prompt in wanted)


def _part_of(picture: Tensor, place: Place | None) -> Tensor:
    """Return the columns of a picture [3, h, w] that belong to a place; all for none."""
    if place is None:
        return picture
    width = picture.shape[2]
    left, right = (width * index // place.count for index in (place.index, place.index + 1))
    return picture[:, :, left : max(right, left + 1)]


def picture_of(prompt: Prompt, count: int) -> int | None:
    """Return which of `count` pictures a prompt speaks of (from 0), None if it is of words."""
    found = _PICTURE.fullmatch(prompt.text.strip()) if count else None
    if found is None:
        return None
    number = int(found[1])
    if not 1 <= number <= count:
        there_are = "is only one picture" if count == 1 else f"are {count} pictures"
        raise EngineError(f"The prompt speaks of picture {number}, but there {there_are}.")
    return number - 1
