"""Presets: what they fill in, what goes before them, and that every one can be drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from bot import requests
from bot.errors import InvalidRequestError
from bot.inits import DrawnFrom
from bot.limits import Limits
from bot.model import DreamRequest, JourneyRequest, Person, Shape, Theme
from bot.options import complete
from bot.presets import (
    all_presets,
    check_themes_preset,
    presets_of,
    styled,
    with_preset,
    with_themes_preset,
)
from generation.engines import build_engines
from generation.engines.clip_options import ClipSettings
from generation.engines.clip_steered import ClipSteeredEngine
from generation.protocol import EngineInfo, ModelInfo, OptionInfo, Recipe

THEME = Theme(id=1, slug="t", title="T")


def info(name: str, *options: OptionInfo, ready: bool = True, **changes: Any) -> EngineInfo:
    bounds: dict[str, Any] = {
        "default_width": 128,
        "default_height": 128,
        "min_side": 32,
        "max_side": 512,
        "max_pixels": 512 * 512,
        "size_multiple": 16,
        "default_steps": 50,
        "max_steps": 500,
    }
    model = ModelInfo(name=f"{name}-model", title=name, licence="MIT", available=ready)
    return EngineInfo(name=name, title=name.title(), models=(model,), options=options, **bounds)


VQGAN = info(
    "vqgan-clip",
    OptionInfo(name="panorama", help="", default=False),
    OptionInfo(name="cutouts", help="", default=8, minimum=1, maximum=64),
    OptionInfo(name="learning_rate", help="", default=0.2),
    OptionInfo(name="symmetry", help="", default="none", choices=("none", "semantic")),
)
FOURIER = info("fourier-clip", OptionInfo(name="panorama", help="", default=False))
OTHER = info("diffusion")
ENGINES = (OTHER, VQGAN, FOURIER)


def request(**changes: Any) -> DreamRequest:
    asked: dict[str, Any] = {"theme": "t", "person": Person("local:1", "me"), "prompt": "a fox"}
    return DreamRequest(**asked | changes)


def recipe_of(**changes: Any) -> Recipe:
    plan = requests.check(request(**changes), THEME, ENGINES, Limits())
    return plan.recipe(0, DrawnFrom())


def test_a_preset_fills_in_what_is_open_and_the_recipe_shows_all_of_it() -> None:
    recipe = recipe_of(preset=" Doorway ", prompt="heaven / hell")
    assert recipe.engine == "vqgan-clip"
    assert recipe.width > recipe.height
    assert recipe.settings == {
        "panorama": True,
        "cutouts": 16,
        "learning_rate": 0.025,
        "symmetry": "semantic",
    }


def test_what_the_person_says_goes_first() -> None:
    recipe = recipe_of(preset="doorway", settings={"cutouts": "4"}, width=64, height=64)
    assert (recipe.width, recipe.height) == (64, 64)
    assert recipe.settings["cutouts"] == 4
    assert recipe_of(preset="doorway", shape=Shape.SQUARE).width == 128
    named = recipe_of(preset="doorway", engine="Fourier-Clip")
    assert (named.engine, named.settings) == ("fourier-clip", {"panorama": True})
    assert recipe_of(preset="doorway", model="fourier-clip-model").engine == "fourier-clip"


def test_a_style_goes_to_the_words_before_their_weight() -> None:
    assert recipe_of(preset="stained glass", prompt="a fox:2 | fog").prompt == (
        "a fox, a stained glass window:2 | fog"
    )


@pytest.mark.parametrize("preset", [None, "", "  "])
def test_none_changes_nothing(preset: str | None) -> None:
    asked = request(preset=preset)
    assert with_preset(asked, ENGINES) is asked


def test_one_that_is_not_there_is_said_with_the_nearest() -> None:
    with pytest.raises(InvalidRequestError, match="Did you mean “doorway”"):
        recipe_of(preset="dorway")


def test_one_that_nothing_here_can_draw_is_said() -> None:
    with pytest.raises(InvalidRequestError, match="biggan-clip, which is not ready"):
        recipe_of(preset="big sleep")
    absent = (OTHER, info("vqgan-clip", ready=False))
    with pytest.raises(InvalidRequestError, match="vqgan-clip or fourier-clip, which is not"):
        with_preset(request(preset="panorama"), absent)
    assert "panorama" not in [preset.name for preset in presets_of(absent)]
    assert "panorama" in [preset.name for preset in presets_of(ENGINES)]


def test_every_preset_is_taken_by_the_engines_that_it_names(tmp_path: Path) -> None:
    engines = build_engines(device="cpu", models_dir=tmp_path)
    assert len({preset.name for preset in all_presets()}) == len(all_presets())
    drawn = 0
    for preset in presets_of([engine.info for engine in engines.values()]):
        for name in preset.engines:
            if name not in engines:
                continue
            engine = engines[name]
            options = {option.name for option in engine.info.options}
            own = preset.of_one.get(name, {})
            assert set(own) <= options
            assert set(preset.settings) <= options, "said for an engine that has no such setting"
            settings = complete(preset.settings | own, engine.info)
            if isinstance(engine, ClipSteeredEngine):
                asked = recipe_of(preset="")
                size = {"width": engine.info.default_width, "height": engine.info.default_height}
                ClipSettings.of(replace(asked, settings=settings, **size), engine.info)
            drawn += 1
    assert drawn >= 10


def test_a_style_and_a_themes_words_go_around_every_place_of_a_panorama() -> None:
    theme = replace(THEME, template="{prompt}, at dusk")
    asked = styled(request(prompt="sea / land:2 | fog", preset="doorway"), "oil on canvas")
    assert asked.prompt == "sea, oil on canvas / land, oil on canvas:2 | fog"
    plan = requests.check(asked, theme, ENGINES, Limits())
    assert plan.recipe(0, DrawnFrom()).prompt == (
        "sea, oil on canvas, at dusk / land, oil on canvas, at dusk:2 | fog"
    )
    typed = request(prompt="sea / land", settings={"panorama": "yes"}, engine="vqgan-clip")
    assert styled(typed, "oil").prompt == "sea, oil / land, oil"
    plain = request(prompt="sea / land", engine="vqgan-clip")
    assert styled(plain, "oil").prompt == "sea / land, oil"
    assert requests.check(plain, theme, ENGINES, Limits()).recipe(0, DrawnFrom()).prompt == (
        "sea / land, at dusk"
    )


def test_a_models_own_settings_go_before_its_engines() -> None:
    starter = ModelInfo(name="starter-vqgan", title="Starter", licence="MIT")
    large = VQGAN.models[0]
    for here, said, rate in (
        ((large, starter), None, 0.025),
        ((large, starter), "starter-vqgan", 0.1),
        ((starter,), None, 0.1),
        ((replace(large, available=False), starter), None, 0.1),
    ):
        asked = request(prompt="sun / moon", preset="doorway", model=said)
        chosen = with_preset(asked, [replace(VQGAN, models=here)])
        assert chosen.settings["learning_rate"] == rate


def test_a_themes_preset_is_for_where_nobody_says_how() -> None:
    theme = replace(THEME, preset=check_themes_preset("Doorway"))
    plain = requests.check(request(), theme, ENGINES, Limits())
    assert plain.engine is VQGAN
    assert plain.recipe(0, DrawnFrom()) != recipe_of()
    for said in (
        {"engine": "diffusion"},
        {"preset": "panorama"},
        {"init": b"png"},
        {"pictures": (b"png",)},
        {"journey": JourneyRequest()},
    ):
        asked = request(**said)
        assert with_themes_preset(asked, theme, ENGINES) is asked
    # What draws it is not here, so the theme draws as it would without.
    assert requests.check(request(), theme, (OTHER,), Limits()).engine is OTHER
    for name, words in (("xyzzy", "There are: panorama"), ("Endless zoom", "makes films")):
        with pytest.raises(InvalidRequestError, match=words):
            check_themes_preset(name)
