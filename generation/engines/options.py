"""Checking a recipe against what an engine offers, with a sentence for each mistake."""

from __future__ import annotations

import math
from collections.abc import Mapping

from generation.engine import EngineError
from generation.protocol import EngineInfo, OptionInfo, Recipe, Setting


def check_recipe(recipe: Recipe, info: EngineInfo) -> None:
    """Refuse sizes, steps and sketches that the engine cannot draw from.

    Raises:
        EngineError: the first thing that is wrong.
    """
    width, height = recipe.width, recipe.height
    if not all(info.min_side <= side <= info.max_side for side in (width, height)):
        raise EngineError(
            f"{width}×{height} cannot be drawn: {info.title} takes sides of {info.min_side} to "
            f"{info.max_side} pixels."
        )
    if width * height > info.max_pixels:
        raise EngineError(f"{width}×{height} is too large: at most {info.max_pixels} pixels.")
    if width % info.size_multiple or height % info.size_multiple:
        raise EngineError(
            f"{width}×{height} cannot be drawn: sides must be multiples of {info.size_multiple}."
        )
    if recipe.sketch_sha256 is not None and not info.takes_sketch:
        how = info.sketch_missing or "Leave the sketch out."
        raise EngineError(f"{info.title} cannot be led by a sketch here. {how}")
    if not 1 <= recipe.steps <= info.max_steps:
        raise EngineError(f"{info.title} takes 1 to {info.max_steps} steps, not {recipe.steps}.")


def complete_settings(
    settings: Mapping[str, Setting], options: tuple[OptionInfo, ...]
) -> dict[str, Setting]:
    """Return a value for each option of a recipe: the one given, checked, or what it means unsaid.

    That is not always the default: recipes are written with all options that there then are.

    Raises:
        EngineError: an unknown setting, or a value that the option does not take.
    """
    known = {option.name for option in options}
    for name in settings:
        if name not in known:
            raise EngineError(f"There is no setting called {name}; there are {_list(known)}.")
    return {
        option.name: _checked(option, settings.get(option.name, option.if_unsaid))
        for option in options
    }


def _checked(option: OptionInfo, value: Setting) -> Setting:
    if isinstance(option.default, bool):
        if not isinstance(value, bool):
            raise EngineError(f"{option.name} is either true or false.")
        return value
    if isinstance(option.default, str):
        if not isinstance(value, str) or not option.takes_text(value):
            several = ", or several of them with weights, as in a:1 + b:0.5"
            raise EngineError(
                f"{option.name} is one of {_list(option.choices)}"
                f"{several if option.weighted else ''}."
            )
        return value
    low = -math.inf if option.minimum is None else option.minimum
    high = math.inf if option.maximum is None else option.maximum
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise EngineError(f"{option.name} is a number from {low:g} to {high:g}.")
    if not math.isfinite(value):
        raise EngineError(f"{option.name} is a finite number.")
    if isinstance(option.default, int):
        if value != int(value):
            raise EngineError(f"{option.name} is a whole number.")
        return int(value)
    return float(value)


def _list(names: set[str] | tuple[str, ...]) -> str:
    return ", ".join(sorted(names) if isinstance(names, set) else names) or "none"
