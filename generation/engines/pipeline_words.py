"""What the text encoders of any diffusers pipeline read of a recipe."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from generation.engines.notices import lost_words
from generation.prompts import parse, plain_text, words_beyond
from generation.protocol import Recipe


def unread(pipeline: Any, text: str) -> str:
    """Return the words of a text that none of a pipeline's text encoders reads; empty for none.

    CLIP reads as much as its tokenizer says; other encoders as many tokens as the pipeline's
    ``max_sequence_length`` is where it is not told otherwise.
    """
    limit = inspect.signature(type(pipeline).__call__).parameters.get("max_sequence_length")
    lost = []
    for name, tokenizer in pipeline.components.items():
        if not name.startswith("tokenizer") or tokenizer is None:
            continue
        if pipeline.components.get(name.replace("tokenizer", "text_encoder")) is None:
            continue
        room = int(tokenizer.model_max_length)
        if limit is not None and isinstance(limit.default, int) and not _is_clip(tokenizer):
            room = min(room, limit.default)
        lost.append(words_beyond(text, functools.partial(_count, tokenizer), room))
    return min(lost, key=len, default="")


def _is_clip(tokenizer: object) -> bool:
    return type(tokenizer).__name__.startswith("CLIP")


def _count(tokenizer: Any, text: str) -> int:
    # With the marks of begin and end; not `verbose`, since that warns of what is asked here.
    return len(tokenizer(text, verbose=False).input_ids)


def notices_of(pipeline: Any, recipe: Recipe) -> tuple[str, ...]:
    """Return a sentence if words of a recipe are read by no encoder."""
    texts = (plain_text(recipe.prompt), unwanted_in(recipe))
    lost = [words for text in texts if (words := unread(pipeline, text))]
    return (lost_words(" … ".join(lost), apart=False),) if lost else ()


def unwanted_in(recipe: Recipe) -> str:
    """Return what is not to be seen, from the negative prompt and from negative weights."""
    unwanted = [prompt.text for prompt in parse(recipe.negative)]
    unwanted += [prompt.text for prompt in parse(recipe.prompt) if prompt.weight < 0]
    return ", ".join(unwanted)
