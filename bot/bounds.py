"""A theme's bounds: how large, how long and how many may be drawn in it at most.

They narrow what an engine and the server allow, and widen nothing. What a person says beyond them
is refused by name; what nobody said, or follows from a picture, is brought within. They hold for
what is drawn: a picture that is only made larger keeps to its upscaler's bounds, and each frame
of a film to those of a picture.
"""

from __future__ import annotations

import msgspec

from bot.errors import InvalidRequestError, LimitError
from bot.model import Theme
from bot.sentences import say
from generation.protocol import EngineInfo


def bounded(engine: EngineInfo, theme: Theme) -> EngineInfo:
    """Return an engine as it may be used in a theme: its bounds and defaults narrowed.

    One that draws nothing as small as the theme's bound stays as it is: `check_size` refuses it.
    """
    if engine.scale is not None:
        return engine
    if theme.max_side is not None and theme.max_side >= engine.min_side:
        side = min(engine.max_side, theme.max_side)
        engine = msgspec.structs.replace(
            engine,
            max_side=side,
            default_width=min(engine.default_width, side),
            default_height=min(engine.default_height, side),
        )
    if theme.max_steps is not None:
        steps = min(engine.max_steps, theme.max_steps)
        engine = msgspec.structs.replace(
            engine,
            max_steps=steps,
            default_steps=min(engine.default_steps, steps),
            journeys=tuple(
                msgspec.structs.replace(one, frame_steps=min(one.frame_steps, steps))
                for one in engine.journeys
            ),
        )
    return engine


def check_size(theme: Theme, *sides: int | None) -> None:
    """Refuse a side, in pixels, beyond a theme's bound; None is one that was not given.

    Raises:
        InvalidRequestError: one is.
    """
    most = theme.max_side
    given = [side for side in sides if side is not None]
    if most is not None and given and max(given) > most:
        raise InvalidRequestError(
            "size",
            say(
                "In this theme a picture's sides have at most {most:,} pixels, not {side}. Ask "
                "for a smaller one.",
                most=most,
                side=max(given),
            ),
        )


def check_steps(theme: Theme, steps: int | None) -> None:
    """Refuse steps of a picture, or of a film's frame, beyond a theme's bound.

    Raises:
        InvalidRequestError: they are.
    """
    if theme.max_steps is not None and steps is not None and steps > theme.max_steps:
        raise InvalidRequestError(
            "steps",
            say(
                "In this theme a picture takes at most {most:,} steps, not {steps}. Ask for fewer.",
                most=theme.max_steps,
                steps=steps,
            ),
        )


def check_count(theme: Theme, count: int) -> None:
    """Refuse more dreams in one ask, in the background too, than a theme takes.

    Raises:
        LimitError: they are.
    """
    if theme.max_count is not None and count > theme.max_count:
        one = say("In this theme only one picture can be asked for at once.")
        many = say(
            "In this theme at most {most} pictures can be asked for at once. Ask for fewer.",
            most=theme.max_count,
        )
        raise LimitError(one if theme.max_count == 1 else many)
