"""What a journey is at each of its frames: plain arithmetic on its recipe.

A frame is drawn by an ordinary recipe (`frame_recipe`), so that any engine that can be steered, or
can start from a picture, draws journeys without knowing of them. A frame's *end* is the step of the
journey at which it is finished.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from generation.engine import EngineError
from generation.films import MAX_JOURNEY_FRAMES
from generation.protocol import Journey, JourneyKind, Key, Recipe, Setting, Steer

MAX_STOPS = 24
MAX_KEYS = 32
_MAX_RATE = 30
_SEEDS = 2**63
# What is for the first frame alone: the others begin as the one before them was.
_ONCE: dict[str, Setting] = {"blend": 0.0, "surround": 0.0, "sides": ""}


def journey_of(recipe: Recipe) -> Journey:
    """Return a recipe's journey, if it can be gone.

    Raises:
        EngineError: it has none, or one that contradicts itself.
    """
    journey = recipe.journey
    if journey is None:
        raise EngineError("There is no journey in this recipe.")
    if not 2 <= journey.frames <= MAX_JOURNEY_FRAMES:
        raise EngineError(f"A journey has 2 to {MAX_JOURNEY_FRAMES} frames, not {journey.frames}.")
    if journey.frame_steps < 1 or not 1 <= journey.rate <= _MAX_RATE:
        raise EngineError(f"A journey shows 1 to {_MAX_RATE} frames a second, of a step or more.")
    at = [stop.frame for stop in journey.stops]
    if not 1 <= len(at) <= MAX_STOPS or at[0] != 0 or at[-1] > journey.frames:
        raise EngineError(f"A journey has 1 to {MAX_STOPS} stops, the first one in frame 0.")
    if at != sorted(set(at)) or any(not 0 <= stop.noise < MAX_STOPS for stop in journey.stops):
        raise EngineError("A journey's stops follow each other, each in a frame of its own.")
    for keys in (journey.zoom, journey.pan_x, journey.pan_y, journey.rotate):
        if len(keys) > MAX_KEYS or not all(math.isfinite(key.value) for key in keys):
            raise EngineError(f"A movement has at most {MAX_KEYS} keys, and each is a number.")
    if any(not 0.25 <= key.value <= 4 for key in journey.zoom):
        raise EngineError("A zoom is a factor from 0.25 to 4 for each frame; 1 stands still.")
    return journey


def value_at(keys: Sequence[Key], frame: int, rest: float) -> float:
    """Return what a movement is in a frame: straight lines between its keys, flat beyond them."""
    ordered = sorted(keys, key=lambda key: key.frame)
    if not ordered:
        return rest
    before = [key for key in ordered if key.frame <= frame]
    after = [key for key in ordered if key.frame > frame]
    if not before or not after:
        return (before[-1:] or after[:1])[0].value
    one, other = before[-1], after[0]
    part = (frame - one.frame) / (other.frame - one.frame)
    return one.value + part * (other.value - one.value)


def frame_end(recipe: Recipe, journey: Journey, frame: int) -> int:
    """Return the step at which a frame is finished."""
    return recipe.steps + frame * journey.frame_steps


def frame_begin(recipe: Recipe, journey: Journey, frame: int) -> int:
    """Return the step at which a frame begins."""
    return 0 if frame == 0 else frame_end(recipe, journey, frame - 1)


def legs(recipe: Recipe, journey: Journey) -> tuple[Steer, ...]:
    """Return how the prompt goes from stop to stop, as steers of the whole journey.

    It glides from the end of one stop's frame, and has arrived in the last step of the next one's.
    """
    return tuple(
        Steer(
            step=frame_end(recipe, journey, one.frame),
            prompt=other.prompt,
            glide_steps=(other.frame - one.frame) * journey.frame_steps,
        )
        for one, other in zip(journey.stops, journey.stops[1:], strict=False)
    )


def leg_of(journey: Journey, frame: int) -> tuple[int, float]:
    """Return from which stop (by its place) a frame comes, and how far it is to the next, 0..1."""
    last = max(place for place, stop in enumerate(journey.stops) if stop.frame <= frame)
    if last + 1 == len(journey.stops):
        return last, 0.0
    one, other = journey.stops[last].frame, journey.stops[last + 1].frame
    return last, (frame - one) / (other - one)


def whole_recipe(recipe: Recipe, journey: Journey) -> Recipe:
    """Return the recipe of a walk that never begins anew: one long run that is steered."""
    return msgspec.structs.replace(
        recipe,
        journey=None,
        prompt=journey.stops[0].prompt,
        steps=recipe.last_step,
        steers=(*legs(recipe, journey), *recipe.steers),
    )


def frame_recipe(
    recipe: Recipe, journey: Journey, frame: int, start_sha256: str | None = None
) -> Recipe:
    """Return the recipe that draws one frame.

    With `start_sha256` it is drawn over that picture: the moved one before. Each such frame has
    chance of its own, since the same noise again and again would burn in. Source: Deforum's
    ``seed_behavior: iter``.
    """
    begin = frame_begin(recipe, journey, frame)
    place = max(0, leg_of(journey, frame - 1)[0] if frame else 0)
    steers = tuple(
        msgspec.structs.replace(steer, step=steer.step - begin)
        for steer in (*legs(recipe, journey)[place : place + 1], *recipe.steers)
    )
    drawn = msgspec.structs.replace(
        recipe, journey=None, prompt=journey.stops[place].prompt, steers=steers
    )
    if frame:
        drawn = msgspec.structs.replace(drawn, steps=journey.frame_steps)
    if start_sha256 is None:
        return drawn
    settings = recipe.settings | {name: _ONCE[name] for name in _ONCE if name in recipe.settings}
    return msgspec.structs.replace(
        drawn,
        seed=(recipe.seed + frame * 0x9E3779B97F4A7C15) % _SEEDS,
        strength=journey.strength,
        init_sha256=start_sha256,
        mask_sha256=None,
        sketch_sha256=None,
        settings=settings,
    )


def is_camera(journey: Journey) -> bool:
    """Whether frames are drawn over the moved ones before them."""
    return journey.kind is JourneyKind.CAMERA
