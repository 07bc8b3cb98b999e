"""Presets: ways of drawing under the names that people use for them.

A preset fills in what a request leaves open, before it is checked, so that a recipe holds all that
came of it and none depends on what the preset says later. `bot/data/presets.toml` says what each
stands for.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import cache
from importlib import resources

import msgspec

from bot.errors import InvalidRequestError
from bot.journeys import ARROW, stops_of
from bot.model import DreamRequest, JourneyRequest, Shape, Theme
from bot.options import side_by_side
from bot.styles import with_style
from bot.text import clean, shorten
from generation.protocol import EngineInfo, Setting


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """One way of drawing, or a `journey`. `of_one` are settings of one engine or model."""

    name: str
    title: str
    help: str
    engines: tuple[str, ...]
    style: str = ""
    shape: Shape | None = None
    settings: dict[str, Setting] = {}
    of_one: dict[str, dict[str, Setting]] = {}
    journey: JourneyRequest | None = None


@cache
def all_presets() -> tuple[Preset, ...]:
    """Return the presets that there are, as they are to be offered."""
    text = resources.files("bot").joinpath("data/presets.toml").read_bytes()
    return tuple(_preset(table) for table in msgspec.toml.decode(text)["preset"])


def presets_of(engines: Sequence[EngineInfo]) -> tuple[Preset, ...]:
    """Return those that one of these engines can draw."""
    ready = _ready(engines)
    return tuple(preset for preset in all_presets() if not ready.isdisjoint(preset.engines))


def with_preset(request: DreamRequest, engines: Sequence[EngineInfo]) -> DreamRequest:
    """Return the request with what its preset says where the person said nothing.

    Raises:
        InvalidRequestError: there is no such preset, or nothing here can draw it.
    """
    if not (request.preset or "").strip():
        return request
    preset = _named(request.preset or "", engines)
    engine = _engine(request, preset, engines)
    settings = preset.settings | preset.of_one.get(engine.name, {})
    settings = settings | preset.of_one.get(_model(request, engine), {})
    has = {option.name for option in engine.options}
    sized = request.shape is not None or request.width is not None or request.height is not None
    return msgspec.structs.replace(
        request,
        engine=engine.name,
        prompt=_with_style(
            request, preset.style, preset.journey, side_by_side(settings | request.settings)
        ),
        shape=request.shape if sized else preset.shape,
        settings={name: value for name, value in settings.items() if name in has}
        | request.settings,
        journey=_journey(request.journey, preset.journey),
    )


def with_themes_preset(
    request: DreamRequest, theme: Theme, engines: Sequence[EngineInfo]
) -> DreamRequest:
    """Return the request with its theme's preset, where nobody says how it is to be drawn.

    Not where it needs more than words, nor where nothing here draws so: a theme outlives weights.
    """
    says = request.preset or request.engine or request.model
    parts = (request.init, request.sketch, request.journey)
    if says or not theme.preset or request.pictures or any(part is not None for part in parts):
        return request
    if all(preset.name != theme.preset for preset in presets_of(engines)):
        return request
    return msgspec.structs.replace(request, preset=theme.preset)


def check_themes_preset(name: str) -> str:
    """Return the name of a preset that a theme may have, empty for none.

    Raises:
        InvalidRequestError: there is none of this name, or it makes films.
    """
    if not clean(name):
        return ""
    found = next(
        (
            one
            for one in all_presets()
            if clean(name).casefold() in (one.name, one.title.casefold())
        ),
        None,
    )
    if found is None:
        there = ", ".join(one.name for one in all_presets() if one.journey is None)
        raise InvalidRequestError(
            "preset", f"There is no preset “{shorten(clean(name), 40)}”. There are: {there}."
        )
    if found.journey is not None:
        raise InvalidRequestError(
            "preset", f"“{found.title}” makes films. Choose a preset for pictures."
        )
    return found.name


def styled(request: DreamRequest, style: str) -> DreamRequest:
    """Return the request with a style around its words: around each place, and each stop."""
    wanted = clean(request.preset or "").casefold()
    named = next((one for one in all_presets() if wanted in (one.name, one.title.casefold())), None)
    settings = ({} if named is None else named.settings) | request.settings
    journey = None if named is None else named.journey
    words = _with_style(request, style, journey, side_by_side(settings))
    return msgspec.structs.replace(request, prompt=words)


def _with_style(
    request: DreamRequest, style: str, journey: JourneyRequest | None, placed: bool
) -> str:
    """Return the words with a style: on a journey, that of the preset too, at every stop."""
    if request.journey is None and journey is None:
        return with_style(request.prompt, style, placed=placed)
    stops = stops_of(request.prompt)
    return ARROW.join(with_style(stop, style, placed=placed) for stop in stops)


def _journey(asked: JourneyRequest | None, preset: JourneyRequest | None) -> JourneyRequest | None:
    """Return the preset's journey with what was said of it; a preset may make one of a dream."""
    if asked is None or preset is None:
        return asked or preset
    said = {name: value for name, value in msgspec.structs.asdict(asked).items() if value}
    return msgspec.structs.replace(preset, **said)


def _engine(request: DreamRequest, preset: Preset, engines: Sequence[EngineInfo]) -> EngineInfo:
    """Return the engine that was asked for, else the first of the preset's that is here."""
    here = {engine.name: engine for engine in engines}
    asked = clean(request.engine or "").casefold()
    for engine in engines:
        if asked in (engine.name.casefold(), engine.title.casefold()):
            return engine
    ready = _ready(engines)
    for name in preset.engines:
        models = {model.name for model in here[name].models} if name in here else set()
        if name in ready and (not request.model or request.model in models):
            return here[name]
    raise InvalidRequestError(
        "preset",
        f"“{preset.title}” is drawn by {' or '.join(preset.engines)}, which is not ready here. "
        "“dreamstream models list” says what there is to fetch.",
    )


def _model(request: DreamRequest, engine: EngineInfo) -> str:
    """Return the model that was asked for, else the engine's first that is here."""
    here = (model.name for model in engine.models if model.available)
    return request.model or next(here, "")


def _named(name: str, engines: Sequence[EngineInfo]) -> Preset:
    wanted = clean(name).casefold()
    for preset in all_presets():
        if wanted in (preset.name, preset.title.casefold()):
            return preset
    offered = [preset.name for preset in presets_of(engines)]
    close = difflib.get_close_matches(wanted, offered, n=1)
    suggestion = f" Did you mean “{close[0]}”?" if close else ""
    raise InvalidRequestError(
        "preset",
        f"There is no preset “{shorten(clean(name), 40)}”.{suggestion} "
        + (
            f"There are: {', '.join(offered)}."
            if offered
            else "The engines here have none; leave it out."
        ),
    )


def _ready(engines: Sequence[EngineInfo]) -> set[str]:
    return {engine.name for engine in engines if any(model.available for model in engine.models)}


def _preset(table: dict[str, object]) -> Preset:
    """Read one; a table under an engine's or a model's name holds its settings."""
    own = set(Preset.__struct_fields__)
    known = {name: value for name, value in table.items() if name in own}
    of_one = {name: value for name, value in table.items() if name not in own}
    return msgspec.convert(known | {"of_one": of_one}, Preset)
