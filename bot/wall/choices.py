"""What the prompt box offers, made of what the engines say of themselves."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bot.bounds import bounded
from bot.model import Theme
from bot.options import mixes
from bot.presets import presets_of
from generation.protocol import EngineInfo, OptionInfo

_SHAPES = (("Square", 1, 1), ("Wide", 3, 2), ("Tall", 2, 3), ("Panorama", 2, 1))
_AREAS = (("", 1.0), ("Large ", 4.0))
_COUNTS = (1, 2, 3, 4)


@dataclass(frozen=True)
class Choice:
    """An entry of a list: the value sent, and what is read."""

    value: str
    label: str
    disabled: bool = False


@dataclass(frozen=True)
class Choices:
    """The prompt box's folded part. `engine` is the one whose bounds hold, None before any is up.

    With `blends` a further picture is mixed into the start picture, and is not one to draw towards.
    `typed` holds what the person had already typed, to be shown again; empty where nothing was.
    """

    engine: EngineInfo | None
    engines: tuple[Choice, ...]
    presets: tuple[Choice, ...]
    models: tuple[Choice, ...]
    sizes: tuple[Choice, ...]
    usual_steps: int
    options: tuple[OptionInfo, ...]
    typed: Mapping[str, str]
    blends: bool = False


def choices_for(
    engines: Sequence[EngineInfo], theme: Theme, typed: Mapping[str, str] | None = None
) -> Choices:
    """Return what may be chosen in a theme, given what was already typed."""
    typed = defaultdict(str, typed or {})
    usual = usual_engine(engines, theme)
    chosen = next((info for info in engines if info.name == typed.get("engine")), usual)
    if chosen is None or usual is None:
        return Choices(None, (), (), (), (), 0, (), typed)
    bounds = bounded(chosen, theme)
    return Choices(
        engine=bounds,
        engines=tuple(
            Choice(
                "" if info is usual else info.name,
                info.title,
                disabled=not _available(info),
            )
            for info in engines
        ),
        presets=tuple(
            Choice(preset.name, f"{preset.title} · {preset.help}") for preset in presets_of(engines)
        ),
        models=_models(chosen, theme),
        sizes=sizes_of(bounds, theme),
        usual_steps=theme.steps or bounds.default_steps,
        options=chosen.options,
        typed=typed,
        blends=mixes(chosen),
    )


def counts_of(theme: Theme) -> tuple[int, ...]:
    """Return how many pictures may be asked for at once, as they are offered."""
    return tuple(count for count in _COUNTS if count <= (theme.max_count or count))


def usual_engine(engines: Sequence[EngineInfo], theme: Theme) -> EngineInfo | None:
    """Return the engine a theme draws with when nothing is said."""
    for info in engines:
        if info.name == theme.engine:
            return info
    return next((info for info in engines if _available(info)), None)


def sizes_of(info: EngineInfo, theme: Theme) -> tuple[Choice, ...]:
    """Return shapes and sizes within an engine's bounds; the first is the usual one."""
    width = theme.width or info.default_width
    height = theme.height or info.default_height
    found = [Choice("", f"{_shape(width, height)} · {width} × {height}")]
    seen = {(width, height)}
    for size, factor in _AREAS:
        for shape, across, down in _SHAPES:
            side = math.sqrt(width * height * factor / (across * down))
            pair = (_fit(side * across, info), _fit(side * down, info))
            if pair in seen or pair[0] * pair[1] > info.max_pixels:
                continue
            # The bounds may have squeezed it out of its shape.
            if abs(pair[0] * down - pair[1] * across) > 0.2 * pair[0] * down:
                continue
            seen.add(pair)
            name = (size + shape).capitalize()
            found.append(Choice(f"{pair[0]}x{pair[1]}", f"{name} · {pair[0]} × {pair[1]}"))
    return tuple(found)


def _fit(side: float, info: EngineInfo) -> int:
    step = info.size_multiple
    low = math.ceil(info.min_side / step) * step
    return max(low, min(info.max_side // step * step, round(side / step) * step))


def _shape(width: int, height: int) -> str:
    if width == height:
        return "Square"
    if width < height:
        return "Tall"
    return "Wide" if width < 2 * height else "Panorama"


def _models(info: EngineInfo, theme: Theme) -> tuple[Choice, ...]:
    usual = next((model for model in info.models if model.name == theme.model), None)
    if usual is None:
        usual = next((model for model in info.models if model.available), None)
    return tuple(
        Choice(
            "" if model is usual else model.name,
            model.title if model.available else f"{model.title} (not here yet)",
            disabled=not model.available,
        )
        for model in info.models
    )


def _available(info: EngineInfo) -> bool:
    return any(model.available for model in info.models)
