"""What a person is told of how a recipe is read: which of its words do not count."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import shorten
from typing import Protocol, runtime_checkable

from generation.prompts import parse
from generation.protocol import Recipe

_SHOWN = 120


@runtime_checkable
class ReadsSoFar(Protocol):
    """What reads only the beginning of a long text."""

    def unread(self, text: str) -> str:
        """Return the words of a text that it does not read any more; empty where it reads all."""
        ...


def of_lost_words(
    recipe: Recipe, unread: Callable[[str], str], *, placed: bool = False
) -> tuple[str, ...]:
    """Return a sentence if words of what is asked for last, or is unwanted, are not read.

    Each of the prompts that are weighed against each other is read by itself; `placed` is as for
    `parse`.
    """
    asked = recipe.steers[-1].prompt if recipe.steers else recipe.prompt
    prompts = [*parse(asked, placed=placed), *parse(recipe.negative)]
    lost = [words for prompt in prompts if (words := unread(prompt.text))]
    return (lost_words(" … ".join(lost)),) if lost else ()


def of_idle_negatives(recipe: Recipe) -> tuple[str, ...]:
    """Return a sentence if a model that keeps away from nothing is asked to."""
    asked = recipe.steers[-1].prompt if recipe.steers else recipe.prompt
    unwanted = [each.text for each in parse(recipe.negative) if each.weight != 0]
    unwanted += [each.text for each in parse(asked) if each.weight < 0]
    if not unwanted:
        return ()
    words = shorten(", ".join(unwanted), _SHOWN, placeholder=" …")
    return (
        f"This model cannot be told what to keep away from. These words do not count: “{words}”.",
    )


def lost_words(words: str, *, apart: bool = True) -> str:
    """Say that these words of a prompt are not read, and what to do.

    `apart` says that the parts of a prompt are read each by itself, and not joined.
    """
    if len(words) > _SHOWN:
        words = f"{shorten(words, _SHOWN, placeholder='')} …"
    advice = ", or separate parts with “|”: each is read by itself" if apart else ""
    return (
        f"The prompt is longer than the model reads. These words do not count: “{words}”. Put what "
        f"matters first{advice}."
    )
