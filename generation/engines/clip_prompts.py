"""From a recipe's words to what CLIP is to find, shared by the engines that CLIP steers."""

from __future__ import annotations

import torch
from torch import Tensor

from generation.clip.perceptor import Perceptor
from generation.clip.targets import Glide, Target, targets
from generation.engine import EngineError
from generation.prompts import Prompt, parse
from generation.protocol import Recipe, Steer

# Of CLIPDraw: what the negative prompts weigh beside the prompt.
_NEGATIVE_WEIGHT = 0.3


def embed_prompts(judge: Perceptor, recipe: Recipe, text: str) -> tuple[Target, ...]:
    """Embed a prompt, with the recipe's negative one.

    Raises:
        EngineError: there is nothing in it.
    """
    prompts = [prompt for prompt in parse(text) if prompt.weight != 0]
    if not prompts:
        raise EngineError("The prompt says nothing to draw. Write a few words.")
    prompts += [
        Prompt(prompt.text, -abs(prompt.weight) * _NEGATIVE_WEIGHT, prompt.stop)
        for prompt in parse(recipe.negative)
        if prompt.weight != 0
    ]
    return targets(prompts, judge.encode_text([prompt.text for prompt in prompts]))


def embed_glide(judge: Perceptor, recipe: Recipe, steer: Steer) -> Glide:
    """Embed what a steer glides to; raises as `embed_prompts` does."""
    return Glide(steer, embed_prompts(judge, recipe, steer.prompt))


def score(judge: Perceptor, recipe: Recipe, picture: Tensor) -> float | None:
    """Return the cosine of a picture [3, h, w] in 0..1 with what was asked for last, or None."""
    asked = recipe.steers[-1].prompt if recipe.steers else recipe.prompt
    wanted = [prompt for prompt in parse(asked) if prompt.weight > 0]
    if not wanted:
        return None
    cosines = judge.score(picture, [prompt.text for prompt in wanted])
    weights = torch.tensor([prompt.weight for prompt in wanted], device=cosines.device)
    return float((cosines * weights).sum() / weights.sum())
