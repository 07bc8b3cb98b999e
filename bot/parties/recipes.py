"""The words and recipes of a party's pictures: quick at first, then grown, in the end large."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bot.errors import InvalidRequestError
from bot.journeys import reseeded
from bot.model import Dream, Theme
from bot.model_choice import choose_model
from bot.parents import engine_of, rearranged, words_of
from bot.parties.model import Association, AssociationKind
from bot.prompts import PLACE
from bot.sentences import say
from bot.sizes import nearest
from bot.styles import with_style
from bot.text import clean, visible
from generation.protocol import EngineInfo, Recipe

FINALE_STRENGTH = 0.4  # enough to draw details, not to change what is in the picture
FEWEST_STEPS = 8
LARGER = 2
_WORTH = 1.2  # less of a side is no larger picture


class Quick(msgspec.Struct, frozen=True):
    """How a sketch is drawn; None leaves it to the theme and the engine."""

    width: int | None = None
    height: int | None = None
    steps: int | None = None
    first_look: bool = False


def quickly(engines: Sequence[EngineInfo], theme: Theme) -> Quick:
    """Return how a theme's sketches are drawn.

    Where more steps can be added to a picture, it is a first look of half the side. Others plan
    their steps ahead and were trained at one size: they take half the steps at that size.
    """
    if not engines:
        return Quick(first_look=True)
    engine, _ = choose_model(engines, None, None, theme)
    width, height = theme.width or engine.default_width, theme.height or engine.default_height
    if engine.continues:
        return Quick(*nearest(engine, width // 2, height // 2), first_look=True)
    steps = theme.steps or engine.default_steps
    return Quick(steps=min(engine.max_steps, max(min(steps, FEWEST_STEPS), steps // 2)))


def composed(words: str, associations: Sequence[Association]) -> str:
    """Return a prompt of what was typed and what was said: ideas, then styles, then artists."""
    ideas = [one.words for one in associations if one.kind is AssociationKind.IDEA]
    styles = [one.words for one in associations if one.kind is AssociationKind.STYLE]
    artists = [f"by {one.words}" for one in associations if one.kind is AssociationKind.ARTIST]
    said = clean(words)
    if not said:
        return ", ".join([*ideas, *styles, *artists])
    return with_style(said, ", ".join([*ideas, *styles, *artists]))


def grown_words(before: str, words: str, replacing: str | None) -> str:
    """Return a prompt with words added to its first part, or in place of others.

    Raises:
        InvalidRequestError: there are none, or those to be replaced are not in it.
    """
    words = clean(words)
    if replacing is None or not clean(replacing):
        if not visible(words):
            raise InvalidRequestError("words", "Say which words are to be added.")
        return with_style(before, words)
    old = clean(replacing)
    if old not in before:
        raise InvalidRequestError(
            "replacing", "Those words are not in the prompt. Copy them as they stand there."
        )
    return clean(before.replace(old, words, 1))


def grown(
    parent: Dream,
    before: Recipe,
    engines: Sequence[EngineInfo],
    theme: Theme,
    *,
    whole: bool | None = None,
) -> Recipe:
    """Return the recipe of a parent whose `prompt` has grown: all else, the seed too, stays.

    `whole` says whether the theme's words are around it already, as those are that a picture was
    steered to. A journey goes through the new words.

    Raises:
        InvalidRequestError: what drew it is not here any more, or takes no words.
    """
    engine = engine_of(parent, engines)
    if engine is None:
        raise InvalidRequestError("engine", "What drew this dream is not here any more.")
    if not engine.takes_prompt:
        raise InvalidRequestError(
            "dream", say("{engine} draws without words.", engine=engine.title)
        )
    if bool(before.steers) if whole is None else whole:
        # Nothing is put around them once more.
        theme = msgspec.structs.replace(theme, template=PLACE, modifiers="")
    again = reseeded(before, parent.prompt, theme, before.seed)
    return msgspec.structs.replace(again, until_step=None, film=False)


def words_before(dream: Dream) -> str:
    """Return the words that a dream's next ones are added to."""
    return words_of(dream.recipe) if dream.recipe.steers else dream.prompt


def joined(first: str, second: str) -> str:
    """Return the prompt of two put together: one sentence where neither has parts or weights."""
    if not first or not second:
        return first or second
    plain = not any(sign in text for text in (first, second) for sign in "|:{")
    return f"{first} and {second}" if plain else f"{first} | {second}"


def enlarged(dream: Dream, engines: Sequence[EngineInfo], theme: Theme) -> Recipe | None:
    """Return how a chosen dream is drawn anew, None where that could only repeat it.

    Where its engine can start from a picture and draw a larger one, from this picture, so that
    its likeness stays. Else, where it was drawn in few steps, with all of them from the same seed.
    It is filmed as it forms: an evening's own film shows that.
    """
    engine, image, recipe = engine_of(dream, engines), dream.image, dream.recipe
    if engine is None or image is None or engine.scale is not None:
        return None
    usual = min(engine.max_steps, max(recipe.steps, theme.steps or engine.default_steps))
    size = nearest(engine, LARGER * image.width, LARGER * image.height)
    grows = min(size[0] / image.width, size[1] / image.height) >= _WORTH
    if engine.takes_init and grows:
        return msgspec.structs.replace(
            recipe,
            prompt=words_of(recipe),
            steers=(),
            journey=None,
            width=size[0],
            height=size[1],
            steps=usual,
            until_step=None,
            film=True,
            init_sha256=image.sha256,
            mask_sha256=None,
            strength=FINALE_STRENGTH,
            settings=rearranged(recipe),
        )
    if recipe.journey is not None:  # its last frame alone cannot be had anew
        return None
    if recipe.until_step is not None:
        return msgspec.structs.replace(recipe, until_step=None, film=True)
    if recipe.steps < usual:
        return msgspec.structs.replace(recipe, steps=usual, film=True)
    return None
