"""Check what a person asks for against what can be drawn, and make it complete.

The one place for it, so that Discord, the wall and the command line refuse the same things with
the same sentences. Nothing here waits or keeps anything: `check` says no or gives a `Plan`, and
`Plan.recipe` writes the recipe for one seed. Single values are held to their bounds by
`bot.values`, uploaded pictures are looked at by `bot.uploads`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec

from bot.bounds import bounded, check_count, check_size, check_steps
from bot.errors import InvalidRequestError
from bot.inits import DrawnFrom
from bot.journeys import check_journey, joined, plan_journey, worded
from bot.limits import Limits
from bot.model import DreamRequest, Person, Theme
from bot.model_choice import choose_model
from bot.options import complete, mixes, side_by_side
from bot.presets import with_preset, with_themes_preset
from bot.prompts import expand, says_anything
from bot.sentences import say
from bot.sizes import fit, scaled, shaped, tiles
from bot.studies import check_study
from bot.styles import with_style
from bot.text import clean
from bot.values import check_person, check_prompt, check_seed, number, whole
from generation.protocol import EngineInfo, FilmFormat, Journey, ModelInfo, Recipe, Setting

MAX_EXPANDED = 4
FIRST_LOOK = 0.3  # of the steps: early enough to save time, late enough to tell what it will be


@dataclass(frozen=True)
class Plan:
    """A request that can be drawn. `note` tells the person what was changed about it."""

    prompt: str
    theme: Theme
    person: Person
    engine: EngineInfo
    model: ModelInfo
    width: int
    height: int
    steps: int
    seed: int
    count: int
    negative: str
    guidance: float | None
    strength: float
    settings: dict[str, Setting]
    until_step: int | None
    film: bool
    exact: bool
    film_format: FilmFormat = FilmFormat.MP4
    journey: Journey | None = None
    study: tuple[str, ...] = ()
    note: str = ""

    def prompt_of(self, index: int) -> str:
        """Return what the dream with this place says: in a study with the words that it tries."""
        if not self.study:
            return self.prompt
        return with_style(self.prompt, self.study[index], placed=side_by_side(self.settings))

    def seed_of(self, index: int) -> int:
        """Return the seed of the dream with this place: in a study all have the same."""
        return self.seed if self.study else self.seed + index

    def recipe(self, index: int, drawn_from: DrawnFrom) -> Recipe:
        """Return the recipe of the dream with this place among those asked for together.

        Raises:
            InvalidRequestError: the picture it starts from is too large.
        """
        seed = self.seed_of(index)
        init, mask, sketch = drawn_from.init, drawn_from.mask, drawn_from.sketch
        width, height, steps = self.width, self.height, self.steps
        if self.engine.scale is not None and init is not None:
            width, height = scaled(self.engine, init.width, init.height)
            steps = tiles(self.engine, init.width, init.height)
        placed, journey = side_by_side(self.settings), self.journey
        if journey is None:
            prompt = expand(self.prompt_of(index), self.theme, seed, placed=placed)
        else:
            journey = worded(journey, self.theme, seed, placed=placed)
            prompt = joined(journey)
        return Recipe(
            engine=self.engine.name,
            model=self.model.name,
            prompt=prompt,
            width=width,
            height=height,
            steps=steps,
            seed=seed,
            negative=self.negative,
            guidance=self.guidance,
            strength=self.strength,
            init_sha256=None if init is None else init.sha256,
            mask_sha256=None if mask is None else mask.sha256,
            sketch_sha256=None if sketch is None else sketch.sha256,
            picture_sha256s=tuple(picture.sha256 for picture in drawn_from.pictures),
            settings=self.settings,
            until_step=self.until_step,
            film=self.film,
            exact=self.exact,
            journey=journey,
            film_format=self.film_format,
        )


def check(
    request: DreamRequest, theme: Theme, engines: Sequence[EngineInfo], limits: Limits
) -> Plan:
    """Return the request, complete and within all bounds.

    Raises:
        InvalidRequestError: a value is wrong; the sentence says what would be right.
        LimitError: they are more at once than the theme takes.
    """
    request = with_themes_preset(request, theme, engines)
    request = _with_study(with_preset(request, engines))
    most = limits.most_at_once(background=request.background)
    count = whole("count", request.count, 1, most)
    check_count(theme, count)
    seed = check_seed(request.seed, 1 if request.study else count)
    engine, model = choose_model(
        engines, request.engine, request.model, theme, takes_init=request.init is not None
    )
    engine = bounded(engine, theme)
    prompt = check_prompt(request.prompt, limits) if engine.takes_prompt else ""
    check_wanted(f"{prompt} | {theme.modifiers}", engine)
    if request.study and not engine.takes_prompt:
        raise InvalidRequestError(
            "words",
            say("{engine} draws without words. Try them with another.", engine=engine.title),
        )
    _check_uploads(request, engine, engines)
    width, height, note = _size(request, theme, engine)
    steps = _steps(request.steps, theme, engine)
    journey = None
    if request.journey is not None:
        if request.until_step is not None or request.first_look:
            raise InvalidRequestError(
                "journey", "A journey has no first look. Ask for a shorter film instead."
            )
        check_steps(theme, request.journey.frame_steps)
        asked = plan_journey(request.journey, prompt, engine, engines)
        journey = check_journey(asked, steps, engine)
        for stop in journey.stops if engine.takes_prompt else ():
            check_wanted(f"{check_prompt(stop.prompt, limits)} | {theme.modifiers}", engine)
    return Plan(
        prompt=prompt,
        theme=theme,
        person=check_person(request.person),
        engine=engine,
        model=model,
        width=width,
        height=height,
        steps=steps,
        seed=seed,
        count=count,
        negative=_negative(request.negative, theme, engine, limits, kept=request.kept_settings),
        guidance=_guidance(request.guidance, engine),
        strength=number("strength", request.strength, 0.0, 1.0, default=0.7),
        settings=complete(request.settings, engine, kept=request.kept_settings),
        until_step=_until(_first_look(request, steps), steps),
        film=request.film and journey is None,
        exact=bool(request.exact),
        film_format=request.film_format,
        journey=journey,
        study=request.study,
        note=note,
    )


def _with_study(request: DreamRequest) -> DreamRequest:
    """Return the request with as many dreams as its study has words, which are checked."""
    study = check_study(request.study)
    if study and request.journey is not None:
        raise InvalidRequestError("words", "Words are tried in pictures. Leave the journey out.")
    return msgspec.structs.replace(request, study=study, count=len(study) or request.count)


def uploads(request: DreamRequest) -> bool:
    """Say whether pictures come with a request."""
    parts = (request.init, request.mask, request.sketch)
    return any(part is not None for part in parts) or bool(request.pictures)


def check_wanted(prompt: str, engine: EngineInfo) -> None:
    """Refuse words that are only to be kept away from, where an engine needs others.

    Raises:
        InvalidRequestError: there are no others.
    """
    if engine.needs_positive and not says_anything(prompt, wanted=True):
        raise InvalidRequestError(
            "prompt",
            say(
                "{engine} cannot draw only what is to be kept away from. Say what should be "
                "there, too.",
                engine=engine.title,
            ),
        )


def _size(request: DreamRequest, theme: Theme, engine: EngineInfo) -> tuple[int, int, str]:
    """Return width, height and a note as `fit` does; nothing where it follows from the start."""
    if engine.scale is not None:
        return 0, 0, ""
    check_size(theme, request.width, request.height)
    if request.shape is None:
        width, height, note = fit(engine, request.width, request.height, theme)
    elif request.width is not None or request.height is not None:
        raise InvalidRequestError("shape", "Give either a size or a shape, not both.")
    else:
        (width, height), note = shaped(engine, request.shape, theme), ""
    check_size(theme, width, height)
    return width, height, note


def _check_uploads(
    request: DreamRequest, engine: EngineInfo, engines: Sequence[EngineInfo]
) -> None:
    if request.init is not None and not engine.takes_init:
        others = [other.title for other in engines if other.takes_init]
        raise InvalidRequestError(
            "init",
            f"{engine.title} does not start from a picture."
            + (f" {_list(others)} can." if others else " Leave the picture out."),
        )
    if request.init is None and engine.needs_init:
        raise InvalidRequestError(
            "init", f"{engine.title} works on a picture. Give one to start from."
        )
    if request.mask is not None:
        if not engine.takes_mask:
            others = [other.title for other in engines if other.takes_mask]
            raise InvalidRequestError(
                "mask",
                f"{engine.title} cannot redraw a part of a picture."
                + (f" {_list(others)} can." if others else " Leave the mask out."),
            )
        if request.init is None:
            raise InvalidRequestError(
                "mask", "A mask says where a picture is redrawn. Give that picture too."
            )
    if request.sketch is not None and not engine.takes_sketch:
        raise InvalidRequestError("sketch", _no_sketch(engine, engines))
    if request.pictures and request.init is None and mixes(engine):
        raise InvalidRequestError(
            "pictures",
            say(
                "{engine} blends a further picture with the one it starts from. Give that picture "
                "too.",
                engine=engine.title,
            ),
        )
    if len(request.pictures) > engine.max_pictures:
        others = [other.title for other in engines if other.max_pictures >= len(request.pictures)]
        raise InvalidRequestError(
            "pictures",
            (
                f"{engine.title} takes at most {engine.max_pictures} further pictures."
                if engine.max_pictures
                else f"{engine.title} draws towards no pictures."
            )
            + (f" {_list(others)} can." if others else " Leave them out."),
        )


def _no_sketch(engine: EngineInfo, engines: Sequence[EngineInfo]) -> str:
    others = [other.title for other in engines if other.takes_sketch]
    if others:
        return f"{engine.title} cannot be led by a sketch. {_list(others)} can."
    # It may be another painter that only lacks the weights.
    missing = [one.sketch_missing for one in (engine, *engines) if one.sketch_missing]
    instead = "Give it as the picture to start from." if engine.takes_init else "Leave it out."
    return " ".join([f"{engine.title} cannot be led by a sketch.", instead, *missing[:1]])


def check_recipe(
    recipe: Recipe,
    theme: Theme,
    engines: Sequence[EngineInfo],
    limits: Limits,
    *,
    kept: bool = False,
) -> Recipe:
    """Return a recipe that came from elsewhere, or from long ago, if it can be drawn as it is.

    Options that its engine has got since are as if they were not there. One that was `kept` here
    may have negative words for an engine that is known by now not to heed them.

    Raises:
        InvalidRequestError: something in it cannot be drawn here.
    """
    engine, model = choose_model(engines, recipe.engine, recipe.model, theme)
    if engine.needs_init and recipe.init_sha256 is None:
        raise InvalidRequestError("recipe", f"{engine.title} works on a picture; none is named.")
    if engine.scale is None:
        check_size(theme, recipe.width, recipe.height)
        check_steps(theme, recipe.steps)
        width, height, note = fit(engine, recipe.width, recipe.height, theme)
    else:
        width, height, note = recipe.width, recipe.height, ""
    if note:
        raise InvalidRequestError("size", f"This recipe cannot be drawn as it is. {note}")
    # A theme's words may have made the prompt longer than what may be typed.
    roomy = _times(limits, MAX_EXPANDED)
    if len(recipe.steers) > engine.max_steps:
        raise InvalidRequestError("recipe", "This recipe has too many steers.")
    for steer in recipe.steers:
        check_prompt(steer.prompt, roomy, "recipe")
    steps = whole("steps", recipe.steps, 1, engine.max_steps)
    journey = recipe.journey
    if journey is not None:
        check_steps(theme, journey.frame_steps)
        journey = check_journey(journey, steps, engine)
        for stop in journey.stops if engine.takes_prompt else ():
            check_prompt(stop.prompt, roomy, "recipe")
        # All of them stand in the prompt.
        roomy = _times(roomy, len(journey.stops))
    return msgspec.structs.replace(
        recipe,
        engine=engine.name,
        model=model.name,
        prompt=check_prompt(recipe.prompt, roomy) if engine.takes_prompt else "",
        width=width,
        height=height,
        steps=steps,
        journey=journey,
        seed=check_seed(recipe.seed),
        negative=_negative(
            recipe.negative, Theme(id=0, slug="", title=""), engine, roomy, kept=kept
        ),
        guidance=_guidance(recipe.guidance, engine),
        strength=number("strength", recipe.strength, 0.0, 1.0, default=0.7),
        settings=complete(recipe.settings, engine, kept=True),
        until_step=_until(recipe.until_step, recipe.steps),
    )


def _times(limits: Limits, times: int) -> Limits:
    """Return limits with so many times the room for a prompt."""
    return replace(
        limits,
        prompt_length=times * limits.prompt_length,
        prompt_parts=times * limits.prompt_parts,
    )


def _steps(steps: int | None, theme: Theme, engine: EngineInfo) -> int:
    check_steps(theme, steps)
    if steps is None:
        return min(theme.steps or engine.default_steps, engine.max_steps)
    return whole("steps", steps, 1, engine.max_steps)


def _first_look(request: DreamRequest, steps: int) -> int | None:
    if request.until_step is None and request.first_look:
        return max(1, round(FIRST_LOOK * steps))
    return request.until_step


def _until(until_step: int | None, steps: int) -> int | None:
    """Return the step to end early at; None where that is the last one anyway."""
    if until_step is None or until_step >= steps:
        return None
    return whole("until", until_step, 1, steps)


def _negative(
    negative: str | None, theme: Theme, engine: EngineInfo, limits: Limits, *, kept: bool
) -> str:
    """Return all that is kept away from; `kept` is of a recipe, which may know older engines."""
    own = "" if negative is None else clean(negative)
    if not engine.takes_negative:
        if own and not kept:
            raise InvalidRequestError(
                "negative",
                f"{engine.title} keeps away from nothing, so it takes no negative prompt. Leave it "
                "out, or choose another engine.",
            )
        return ""
    if own:
        own = check_prompt(own, limits, "negative")
    return ", ".join(part for part in (own, theme.negative) if part)


def _guidance(guidance: float | None, engine: EngineInfo) -> float | None:
    if engine.guidance is None:
        if guidance is not None:
            raise InvalidRequestError(
                "guidance", f"{engine.title} has no guidance to set. Leave it out."
            )
        return None
    return number("guidance", guidance, 0.0, engine.max_guidance, default=engine.guidance)


def _list(names: Iterable[str]) -> str:
    return " and ".join(names)
