"""Which engine and model draw: what was named, else the theme's choice, else the first that can."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TypeVar

from bot.errors import InvalidRequestError
from bot.model import Theme
from bot.sentences import option, say
from bot.text import clean, shorten
from generation.protocol import EngineInfo, ModelInfo

N = TypeVar("N", EngineInfo, ModelInfo)


def choose_model(
    engines: Sequence[EngineInfo],
    engine_name: str | None,
    model_name: str | None,
    theme: Theme,
    *,
    takes_init: bool = False,
) -> tuple[EngineInfo, ModelInfo]:
    """Return what draws: what was named, else the theme's choice, else the first that can.

    Raises:
        InvalidRequestError: it does not exist, or its weights are not here.
    """
    if not engines:
        raise InvalidRequestError("engine", "Nothing here can draw. Run “dreamstream doctor”.")
    engine_name, model_name = engine_name or None, model_name or None
    if engine_name is not None:
        engine = _named("engine", engine_name, engines)
    elif model_name is not None:
        engine = _engine_of(model_name, engines, theme.engine)
    else:
        # What a theme was given long ago may be gone; nobody typed it, so it gives way.
        ready = [e for e in engines if any(model.available for model in e.models)] or list(engines)
        able = [engine for engine in ready if engine.takes_init or not takes_init] or ready
        engine = next((engine for engine in able if engine.name == theme.engine), able[0])
    if model_name is not None:
        model = _model_of(engine, model_name, engines)
    else:
        usable = [model for model in engine.models if model.available] or list(engine.models)
        if not usable:
            raise InvalidRequestError("engine", f"{engine.title} has no model to draw with.")
        model = next((model for model in usable if model.name == theme.model), usable[0])
    if not model.available:
        raise InvalidRequestError(
            "model", model.missing or f"The weights of {model.title} are not on this machine."
        )
    return engine, model


def _model_of(engine: EngineInfo, model_name: str, engines: Sequence[EngineInfo]) -> ModelInfo:
    """Return the engine's model of this name; one of another engine's is said to be that."""
    wanted = clean(model_name).casefold()
    if not _has(engine, wanted) and (other := next((e for e in engines if _has(e, wanted)), None)):
        model = _named("model", model_name, other.models)
        raise InvalidRequestError(
            "model",
            say(
                "“{model}” is a model of {other}, not of {engine}. Choose that engine ({name}), or "
                "another model.",
                model=model.name,
                other=other.title,
                engine=engine.title,
                name=other.name,
            ),
        )
    return _named("model", model_name, engine.models)


def _has(engine: EngineInfo, wanted: str) -> bool:
    return any(wanted in (one.name.casefold(), one.title.casefold()) for one in engine.models)


def _engine_of(model_name: str, engines: Sequence[EngineInfo], preferred: str) -> EngineInfo:
    models = {model.name: model for engine in engines for model in engine.models}
    model = _named("model", model_name, list(models.values()))
    able = [engine for engine in engines if model.name in {m.name for m in engine.models}]
    return next((engine for engine in able if engine.name == preferred), able[0])


def _named(field: str, name: str, offered: Sequence[N]) -> N:
    """Return the one with this name or title, whatever its case."""
    wanted = clean(name).casefold()
    for one in offered:
        if wanted in (one.name.casefold(), one.title.casefold()):
            return one
    names = [one.name for one in offered]
    close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.6)
    meant = say(" Did you mean “{name}”?", name=close[0]) if close else ""
    there = ", ".join(names)
    raise InvalidRequestError(
        field,
        say(
            "There is no {field} “{name}”.{meant} {there}",
            field=option(field),
            name=shorten(clean(name), 40),
            meant=meant,
            there=say("There is: {names}.", names=there)
            if len(names) == 1
            else say("There are: {names}.", names=there),
        ),
    )
