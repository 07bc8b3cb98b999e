"""Journeys, as people ask for them: prompts with arrows between them, and how the camera moves.

``a forest -> a city -> the sea`` is three stops. Movements are for each frame, either a number or
numbers with the frames from which they count, as in ``1.02@0, 0.98@30``; between those they change
evenly. Nothing here waits or keeps anything. What a journey then looks like frame by frame is the
engines' (`generation.journeys`), which refuse the same things.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import msgspec

from bot.errors import InvalidRequestError
from bot.model import JourneyRequest, Theme
from bot.options import side_by_side
from bot.prompts import expand
from bot.text import clean, shorten, visible
from generation.protocol import (
    EngineInfo,
    FilmFormat,
    Journey,
    JourneyInfo,
    JourneyKind,
    Key,
    Recipe,
    Stop,
)

MAX_STOPS = 24
MAX_KEYS = 32
MAX_FRAMES = 240
MAX_RATE = 30
RATE = 12
SECONDS = 4.0
ZOOM = 1.03
ARROW = " -> "

MOVEMENTS: dict[str, tuple[float, float, float]] = {
    "zoom": (0.25, 4.0, 1.0),
    "pan_x": (-0.5, 0.5, 0.0),
    "pan_y": (-0.5, 0.5, 0.0),
    "rotate": (-90.0, 90.0, 0.0),
}
"""Of each movement the least and the greatest value, and that at which the camera rests."""

KINDS = {JourneyKind.CAMERA: "A camera that moves", JourneyKind.WALK: "A walk"}
"""The kinds, and what people call them."""
FORMATS = tuple(FilmFormat)

_ARROWS = re.compile("->|→|⟶")


def stops_of(prompt: str) -> list[str]:
    """Return the prompts between the arrows; those without words are dropped."""
    parts = (clean(part) for part in _ARROWS.split(prompt))
    return [part for part in parts if visible(part.replace("|", "").replace(":", ""))]


def kind_of(text: str) -> JourneyKind | None:
    """Return the kind of this name, None where nothing is said.

    Raises:
        InvalidRequestError: there is none of this name.
    """
    try:
        return JourneyKind(text.strip().lower()) if text.strip() else None
    except ValueError:
        raise InvalidRequestError("kind", f"The kind is one of {', '.join(JourneyKind)}.") from None


def format_of(text: str) -> FilmFormat:
    """Return the format of this name, MP4 where nothing is said.

    Raises:
        InvalidRequestError: there is none of this name.
    """
    try:
        return FilmFormat(text.strip().lower()) if text.strip() else FilmFormat.MP4
    except ValueError:
        raise InvalidRequestError(
            "film_format", f"A film is written as one of {', '.join(FilmFormat)}."
        ) from None


def plan_journey(
    request: JourneyRequest, prompt: str, engine: EngineInfo, engines: Sequence[EngineInfo]
) -> Journey:
    """Return the journey that is asked for, complete, its stops as they were typed.

    Raises:
        InvalidRequestError: the engine cannot draw it, or a value is wrong.
    """
    keys = {name: _keys(name, getattr(request, name)) for name in MOVEMENTS}
    info = _kind(request.kind, bool(any(keys.values())), engine, engines)
    if info.kind is JourneyKind.WALK and any(keys.values()):
        raise InvalidRequestError(
            "kind", "On a walk nothing moves. Leave the movements out, or take the camera."
        )
    if info.kind is JourneyKind.CAMERA and not any(keys.values()):
        keys["zoom"] = (Key(0, ZOOM),)
    rate = RATE if request.rate is None else _bounded("rate", request.rate, 1, MAX_RATE)
    frames = _frames(request, rate)
    frame_steps = info.frame_steps
    if request.frame_steps is not None:
        frame_steps = _bounded("frame_steps", request.frame_steps, 1, engine.max_steps)
    return Journey(
        kind=info.kind,
        frames=frames,
        frame_steps=frame_steps,
        stops=_stops(stops_of(prompt) if engine.takes_prompt else [""], frames, request),
        rate=rate,
        strength=info.strength if request.strength is None else request.strength,
        **keys,
    )


def check_journey(journey: Journey, steps: int, engine: EngineInfo) -> Journey:
    """Return a journey if this engine can draw it after a first frame of so many steps.

    Raises:
        InvalidRequestError: it cannot, or the journey contradicts itself.
    """
    info = _kind(journey.kind, False, engine, (engine,))
    at = [stop.frame for stop in journey.stops]
    sound = (
        2 <= journey.frames <= MAX_FRAMES
        and 1 <= journey.frame_steps <= engine.max_steps
        and 1 <= journey.rate <= MAX_RATE
        and 0 <= journey.strength <= 1
        and 1 <= len(at) <= MAX_STOPS
        and at == sorted(set(at))
        and at[0] == 0
        and at[-1] <= journey.frames
        and all(0 <= stop.noise < MAX_STOPS for stop in journey.stops)
    )
    if not sound:
        raise InvalidRequestError("journey", "The journey in this recipe contradicts itself.")
    for name, (low, high, _) in MOVEMENTS.items():
        keys: tuple[Key, ...] = getattr(journey, name)
        if len(keys) > MAX_KEYS or not all(low <= key.value <= high for key in keys):
            raise InvalidRequestError(name, _movement_is(name))
    total = steps + (journey.frames - 1) * journey.frame_steps
    if info.max_steps is not None and total > info.max_steps:
        most = (info.max_steps - steps) // journey.frame_steps + 1
        raise InvalidRequestError(
            "seconds",
            f"{engine.title} takes {info.max_steps:,} steps in all, which is {max(1, most)} frames "
            f"of {journey.frame_steps} steps. Ask for a shorter film.",
        )
    return journey


def worded(journey: Journey, theme: Theme, seed: int, *, placed: bool) -> Journey:
    """Return the journey with what is drawn at each stop: choices made, the theme around it."""
    stops = tuple(
        msgspec.structs.replace(stop, prompt=expand(stop.prompt, theme, seed, placed=placed))
        for stop in journey.stops
    )
    return msgspec.structs.replace(journey, stops=stops)


def joined(journey: Journey) -> str:
    """Return its prompts with arrows between them."""
    return ARROW.join(stop.prompt for stop in journey.stops)


def reseeded(recipe: Recipe, typed: str, theme: Theme, seed: int) -> Recipe:
    """Return a recipe as if what was typed had been asked for with another seed."""
    placed = side_by_side(recipe.settings)
    journey = recipe.journey
    if journey is None:
        prompt = expand(typed, theme, seed, placed=placed)
        return msgspec.structs.replace(recipe, seed=seed, prompt=prompt, steers=())
    words = stops_of(typed)
    if words:
        again = (words[place % len(words)] for place in range(len(journey.stops)))
        stops = tuple(
            msgspec.structs.replace(stop, prompt=text)
            for stop, text in zip(journey.stops, again, strict=True)
        )
        journey = msgspec.structs.replace(journey, stops=stops)
        journey = worded(journey, theme, seed, placed=placed)
    return msgspec.structs.replace(
        recipe, seed=seed, journey=journey, prompt=joined(journey), steers=()
    )


def request_like(journey: Journey) -> JourneyRequest:
    """Return a request for a journey like this one, through other prompts."""
    stops = journey.stops
    return JourneyRequest(
        kind=journey.kind,
        frames=journey.frames,
        rate=journey.rate,
        frame_steps=journey.frame_steps,
        strength=journey.strength,
        loop=len(stops) > 1 and (stops[0].prompt, stops[0].noise) == (stops[-1].prompt, 0),
        still=all(stop.noise == 0 for stop in stops[:-1]) and len(stops) > 2,
        zoom=written(journey.zoom),
        pan_x=written(journey.pan_x),
        pan_y=written(journey.pan_y),
        rotate=written(journey.rotate),
    )


def written(keys: Sequence[Key]) -> str:
    """Return a movement as it is typed."""
    if len(keys) == 1:
        return f"{keys[0].value:g}"
    return ", ".join(f"{key.value:g}@{key.frame}" for key in keys)


def described(journey: Journey) -> list[tuple[str, str]]:
    """Return what there is to say of a journey, as names and values."""
    found = [
        ("Journey", f"{journey.kind}, {journey.frames} frames, {journey.rate} a second"),
        ("Steps a frame", str(journey.frame_steps)),
    ]
    if len(journey.stops) > 1:
        found.append(("Stops", ", ".join(f"frame {stop.frame}" for stop in journey.stops)))
    if journey.kind is JourneyKind.CAMERA:
        found.append(("Drawn over", f"{journey.strength:g}"))
        found.extend(
            (name.replace("_", " ").capitalize(), written(getattr(journey, name)))
            for name in MOVEMENTS
            if getattr(journey, name)
        )
    return found


def _kind(
    wanted: JourneyKind | None, moves: bool, engine: EngineInfo, engines: Sequence[EngineInfo]
) -> JourneyInfo:
    if wanted is None and moves:
        wanted = JourneyKind.CAMERA
    for info in engine.journeys:
        if wanted in (None, info.kind):
            return info
    kinds = {JourneyKind.WALK: "walks", JourneyKind.CAMERA: "journeys with a camera"}
    what = "journeys" if wanted is None else kinds[wanted]
    others = [
        other.title
        for other in engines
        if any(wanted in (None, info.kind) for info in other.journeys)
        and any(model.available for model in other.models)
    ]
    instead = f" {' and '.join(others[:6])} can." if others else ""
    raise InvalidRequestError("kind", f"{engine.title} draws no {what}.{instead}")


def _frames(request: JourneyRequest, rate: int) -> int:
    if request.frames is not None:
        return _bounded("frames", request.frames, 2, MAX_FRAMES)
    seconds = SECONDS if request.seconds is None else request.seconds
    if not math.isfinite(seconds) or not 2 <= round(seconds * rate) <= MAX_FRAMES:
        raise InvalidRequestError(
            "seconds",
            f"At {rate} frames a second, a film may last up to {MAX_FRAMES // rate} seconds.",
        )
    return round(seconds * rate)


def _stops(prompts: list[str], frames: int, request: JourneyRequest) -> tuple[Stop, ...]:
    """Spread the prompts evenly; a walk with one prompt goes on to another noise of it."""
    if not prompts:
        raise InvalidRequestError(
            "prompt", "Say where the journey goes, as in “a forest -> a city -> the sea”."
        )
    texts = list(prompts)
    if len(texts) == 1:
        texts.append(texts[0])
    noises = [0 if request.still else place for place in range(len(texts))]
    if request.loop:
        texts.append(texts[0])
        noises.append(0)
    if len(texts) > min(MAX_STOPS, frames):
        raise InvalidRequestError(
            "prompt",
            f"A journey of {frames} frames has at most {min(MAX_STOPS, frames)} stops, not "
            f"{len(texts)}.",
        )
    # In a loop the frame after the last one is the first.
    last = frames if request.loop else frames - 1
    at = [round(place * last / (len(texts) - 1)) for place in range(len(texts))]
    return tuple(
        Stop(frame, text, noise) for frame, text, noise in zip(at, texts, noises, strict=True)
    )


def _keys(name: str, text: str) -> tuple[Key, ...]:
    """Read a movement.

    Raises:
        InvalidRequestError: it is written otherwise, or out of bounds.
    """
    low, high, rest = MOVEMENTS[name]
    found: dict[int, float] = {}
    if text.count(",") > MAX_KEYS:  # before a very long text is read to its end
        raise InvalidRequestError(name, f"A movement has at most {MAX_KEYS} keys.")
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        value, _, frame = part.partition("@")
        try:
            key = int(frame or 0), float(value)
        except ValueError:
            raise InvalidRequestError(name, _movement_is(name, part)) from None
        if not low <= key[1] <= high or not 0 <= key[0] < 10**6 or key[0] in found:
            raise InvalidRequestError(name, _movement_is(name, part))
        found[key[0]] = key[1]
    if len(found) > MAX_KEYS:
        raise InvalidRequestError(name, f"A movement has at most {MAX_KEYS} keys.")
    if set(found.values()) <= {rest}:
        return ()
    return tuple(Key(frame, value) for frame, value in sorted(found.items()))


def _movement_is(name: str, said: str = "") -> str:
    low, high, rest = MOVEMENTS[name]
    label = name.replace("_", " ")
    instead = f", not “{shorten(clean(said), 24)}”" if said else ""
    return (
        f"The {label} is a number from {low:g} to {high:g} for each frame ({rest:g} rests), or "
        f"several with their frames, as in “{rest:g}@0, {high:g}@30”{instead}."
    )


def _bounded(field: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        label = field.replace("_", " ")
        raise InvalidRequestError(field, f"The {label} is a whole number from {low} to {high}.")
    return value
