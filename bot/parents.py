"""What children of a dream are made from: its picture and words, and an engine that can."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bot.errors import InvalidRequestError
from bot.model import Dream, DreamState, Image, Theme
from bot.options import side_by_side
from bot.palettes import palettes_of
from bot.prompts import choose, expand, without_pictures
from bot.sentences import say
from bot.text import clean
from generation.protocol import EngineInfo, Recipe, Setting

_NO_PICTURE = "This dream has no picture yet. Try again when it is done."
COVERED = say(
    "The picture check has covered this picture, so nothing is made of it. A moderator can release "
    "it."
)
_DELETED = "This dream has been deleted."
# What arranges a start picture: a picture that came of it is arranged already.
_ARRANGING: dict[str, Setting] = {"surround": 0.0, "blend": 0.0}


def able(engines: Sequence[EngineInfo]) -> list[EngineInfo]:
    """Return the engines that have a model to draw with."""
    return [engine for engine in engines if any(model.available for model in engine.models)]


def engine_of(dream: Dream, engines: Sequence[EngineInfo]) -> EngineInfo | None:
    """Return what drew a dream, if that and its model are here."""
    for engine in engines:
        if engine.name == dream.recipe.engine:
            here = {model.name for model in engine.models if model.available}
            return engine if dream.recipe.model in here else None
    return None


def model_for(engine: EngineInfo, theme: Theme) -> str:
    """Return the model of an engine that a theme is drawn with."""
    here = [model.name for model in engine.models if model.available]
    return theme.model if theme.model in here else here[0]


def picture_of(dream: Dream) -> Image:
    """Return a finished dream's picture.

    Raises:
        InvalidRequestError: it has none.
    """
    if dream.deleted_ms is not None:
        raise InvalidRequestError("dream", _DELETED)
    if dream.image is None or dream.state is not DreamState.DONE:
        raise InvalidRequestError("dream", _NO_PICTURE)
    if dream.veil is not None:
        raise InvalidRequestError("dream", COVERED)
    return dream.image


def words_of(recipe: Recipe) -> str:
    """Return the whole prompt that a picture came to, after all steers."""
    if recipe.steers:
        return recipe.steers[-1].prompt
    return recipe.prompt if recipe.journey is None else recipe.journey.stops[-1].prompt


def words_alone(recipe: Recipe) -> str:
    """Return the same for a child that does not keep the further pictures of its parent."""
    words = words_of(recipe)
    return without_pictures(words) if recipe.picture_sha256s else words


def words_of_both(
    first: Dream,
    second: Dream,
    theme: Theme,
    join: Callable[[str, str], str],
    *,
    limit: int,
    part: float = 0.5,
) -> tuple[str, bool]:
    """Return the words that two pictures came to, and whether the theme's are around them already.

    They are what was typed, with its choices made as in the pictures; but where either picture came
    to other words, since it was steered or comes of another, both are whole prompts. Where both
    together have more than `limit` characters they are those of the heavier picture, the second
    from a `part` of 0.5 on; and where even these have, what was typed is taken as it was.
    """
    said = _said(first, theme), _said(second, theme)
    whole = said[0] is None or said[1] is None
    came_to = (_whole(first, theme), _whole(second, theme)) if whole else said
    for words, are_whole in ((came_to, whole), ((first.prompt, second.prompt), False)):
        one, other = (text or "" for text in words)
        for text in (join(one, other), one if part < 0.5 else other):
            # Nobody has typed them, so nobody can be told to shorten them.
            if text and len(clean(text)) <= limit:
                return text, are_whole
    return join(first.prompt, second.prompt), False


def _said(dream: Dream, theme: Theme) -> str | None:
    """Return what was typed, its choices made; None where the picture did not come of that."""
    recipe = dream.recipe
    said = clean(choose(dream.prompt, recipe.seed, palettes_of(theme.palette)))
    whole = words_alone(recipe)
    return said if whole in ("", _expanded(said, recipe, theme)) else None


def _whole(dream: Dream, theme: Theme) -> str:
    whole = words_alone(dream.recipe)
    return whole or (_expanded(dream.prompt, dream.recipe, theme) if dream.prompt else "")


def _expanded(text: str, recipe: Recipe, theme: Theme) -> str:
    return expand(text, theme, recipe.seed, placed=side_by_side(recipe.settings))


def rearranged(recipe: Recipe) -> dict[str, Setting]:
    """Return a recipe's settings for a child that starts from its picture."""
    return {name: _ARRANGING.get(name, value) for name, value in recipe.settings.items()}
