"""Journeys as they are asked for: what is typed, what is refused, what a recipe keeps."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bot import recipes, requests
from bot.errors import InvalidRequestError
from bot.inits import DrawnFrom
from bot.journeys import described, request_like, reseeded, stops_of, worded
from bot.limits import Limits
from bot.model import DreamRequest, JourneyRequest, Person, Theme
from generation import journeys as drawn
from generation.protocol import (
    EngineInfo,
    FilmFormat,
    Journey,
    JourneyInfo,
    JourneyKind,
    Key,
    ModelInfo,
    Recipe,
    Stop,
)

THEME = Theme(id=1, slug="open", title="Open", template="{prompt}, oil")
CAMERA = JourneyInfo(kind=JourneyKind.CAMERA, frame_steps=6, strength=0.5)
WALK = JourneyInfo(kind=JourneyKind.WALK, frame_steps=4, max_steps=300)
PLACES = "a forest -> a {red|green} city → the sea"


def engine(name: str = "clip", *ways: JourneyInfo) -> EngineInfo:
    return EngineInfo(
        name=name,
        title=name.capitalize(),
        models=(ModelInfo(name=f"{name}-model", title="M", licence="MIT"),),
        default_width=64,
        default_height=64,
        min_side=16,
        max_side=256,
        max_pixels=256 * 256,
        size_multiple=8,
        default_steps=100,
        max_steps=2000,
        journeys=ways,
    )


BOTH, STILL = engine("clip", CAMERA, WALK), engine("still")


def recipe_of(
    journey: JourneyRequest, prompt: str = PLACES, *, theme: Theme = THEME, **changes: Any
) -> Recipe:
    asked = DreamRequest(
        theme="open", person=Person("local:ann", "Ann"), prompt=prompt, journey=journey,
        **({"seed": 1} | changes),
    )  # fmt: skip
    plan = requests.check(asked, theme, (BOTH, STILL), Limits())
    return plan.recipe(0, DrawnFrom())


def journey_of(request: JourneyRequest, **changes: Any) -> Journey:
    journey = recipe_of(request, **changes).journey
    assert journey is not None
    return journey


def test_arrows_part_the_stops() -> None:
    assert stops_of("a->b  →  c ⟶ d") == ["a", "b", "c", "d"]
    assert stops_of(" -> a | b:2 -> ") == ["a | b:2"] and stops_of("->") == []


@pytest.mark.parametrize(
    ("painter", "words", "match"),
    [
        (BOTH, "a forest -> fog:0 -> the sea", "empty"),
        (msgspec.structs.replace(BOTH, needs_positive=True), "a forest -> fog:-1", "kept away"),
    ],
)
def test_a_stop_of_which_nothing_can_be_drawn_is_refused_before_the_journey(
    painter: EngineInfo, words: str, match: str
) -> None:
    asked = DreamRequest(
        theme="open", person=Person("local:ann", "Ann"), prompt=words, journey=JourneyRequest()
    )
    with pytest.raises(InvalidRequestError, match=match):
        requests.check(asked, THEME, (painter,), Limits())


def test_a_movement_of_very_many_keys_is_refused_unread() -> None:
    with pytest.raises(InvalidRequestError, match="at most 32 keys"):
        recipe_of(JourneyRequest(zoom="," * 40 + "nonsense"))


def test_all_that_is_left_open_is_filled_in() -> None:
    recipe = recipe_of(JourneyRequest(), film=True)
    journey = recipe.journey
    assert journey is not None and not recipe.film and recipe.film_format is FilmFormat.MP4
    assert (journey.kind, journey.frames, journey.rate) == (JourneyKind.CAMERA, 48, 12)
    assert (journey.frame_steps, journey.strength) == (6, 0.5)
    assert journey.zoom == (Key(0, 1.03),) and not journey.rotate
    assert [stop.frame for stop in journey.stops] == [0, 24, 47]
    first, second, third = (stop.prompt for stop in journey.stops)
    assert first == "a forest, oil" and third == "the sea, oil"
    assert second in ("a red city, oil", "a green city, oil")
    assert recipe.prompt == f"{first} -> {second} -> {third}"
    assert recipe.last_step == 100 + 47 * 6
    drawn.journey_of(recipe)


def test_a_loop_leads_back_and_one_prompt_goes_on_to_another_noise() -> None:
    looped = journey_of(
        JourneyRequest(kind=JourneyKind.WALK, loop=True, frames=30), prompt="a -> b"
    )
    assert looped.stops == (
        Stop(0, "a, oil", 0),
        Stop(15, "b, oil", 1),
        Stop(30, "a, oil", 0),
    )
    alone = journey_of(JourneyRequest(kind=JourneyKind.WALK, seconds=2), prompt="a fox")
    assert alone.stops == (Stop(0, "a fox, oil", 0), Stop(23, "a fox, oil", 1))
    still = journey_of(JourneyRequest(still=True), prompt="a -> b -> c")
    assert {stop.noise for stop in still.stops} == {0}


def test_movements_are_read_and_make_it_a_camera_s() -> None:
    journey = journey_of(JourneyRequest(zoom="1.1@20, 1@0", rotate="-2", pan_x="0"))
    assert journey.kind is JourneyKind.CAMERA
    assert journey.zoom == (Key(0, 1.0), Key(20, 1.1)) and journey.rotate == (Key(0, -2.0),)
    assert journey.pan_x == ()


@pytest.mark.parametrize(
    ("asked", "prompt", "says"),
    [
        ({"zoom": "nonsense"}, PLACES, "for each frame"),
        ({"zoom": "0"}, PLACES, "0.25 to 4"),
        ({"zoom": "nan"}, PLACES, "0.25 to 4"),
        ({"pan_x": "0.1@-3"}, PLACES, "for each frame"),
        ({"rotate": "1@0, 2@0"}, PLACES, "for each frame"),
        ({"rotate": ", ".join(f"1@{n}" for n in range(33))}, PLACES, "32 keys"),
        ({"kind": JourneyKind.WALK, "zoom": "1.1"}, PLACES, "nothing moves"),
        ({"seconds": 100.0}, PLACES, "up to 20 seconds"),
        ({"seconds": float("inf")}, PLACES, "up to 20 seconds"),
        ({"frames": 1}, PLACES, "2 to 240"),
        ({"rate": 0}, PLACES, "1 to 30"),
        ({"frame_steps": 0}, PLACES, "from 1"),
        ({}, "->", "is drawn|journey goes|empty"),
        ({"frames": 3}, "a -> b -> c -> d", "at most 3 stops"),
        ({}, " -> ".join("abcdefghijklmnopqrstuvwxyz"), "at most 24 stops"),
        ({"kind": JourneyKind.WALK, "frames": 200}, PLACES, "51 frames of 4 steps"),
        ({"strength": 2.0}, PLACES, "contradicts"),
    ],
)
def test_bad_input_is_told_what_would_be_right(
    asked: dict[str, Any], prompt: str, says: str
) -> None:
    with pytest.raises(InvalidRequestError, match=says):
        recipe_of(JourneyRequest(**asked), prompt)


def test_who_can_is_said_where_an_engine_cannot() -> None:
    with pytest.raises(InvalidRequestError, match=r"Still draws no journeys.*Clip can\."):
        recipe_of(JourneyRequest(), engine="still")
    with pytest.raises(InvalidRequestError, match="first look"):
        recipe_of(JourneyRequest(), first_look=True)


def test_a_recipe_keeps_its_journey_and_old_ones_have_none() -> None:
    recipe = recipe_of(JourneyRequest(zoom="1.1@0, 0.9@20", loop=True), film_format=FilmFormat.GIF)
    again = msgspec.json.decode(msgspec.json.encode(recipe), type=Recipe)
    assert again == recipe
    assert requests.check_recipe(again, THEME, (BOTH,), Limits()) == recipe
    text = recipes.parameters(recipe)
    assert "Journey: " in text and "Zoom: " in text
    old = msgspec.json.decode(
        b'{"engine":"clip","model":"m","prompt":"x","width":64,"height":64,"steps":9,"seed":1}',
        type=Recipe,
    )
    assert old.journey is None and old.last_step == 9


@pytest.mark.parametrize(
    "changes",
    [
        {"frames": 10_000},
        {"stops": ()},
        {"stops": (Stop(1, "a"),)},
        {"stops": (Stop(0, "a"), Stop(0, "b"))},
        {"stops": (Stop(0, "a", 99),)},
        {"strength": float("nan")},
        {"zoom": (Key(0, float("inf")),)},
        {"rate": 1000},
    ],
)
def test_a_strangers_recipe_is_looked_at(changes: dict[str, Any]) -> None:
    recipe = recipe_of(JourneyRequest())
    assert recipe.journey is not None
    bad = msgspec.structs.replace(
        recipe, journey=msgspec.structs.replace(recipe.journey, **changes)
    )
    with pytest.raises(InvalidRequestError):
        requests.check_recipe(bad, THEME, (BOTH,), Limits())


def test_another_seed_chooses_again_at_every_stop() -> None:
    recipe = recipe_of(JourneyRequest())
    seen = set()
    for seed in range(12):
        other = reseeded(recipe, PLACES, THEME, seed)
        assert other.journey is not None and other.seed == seed
        assert [stop.frame for stop in other.journey.stops] == [0, 24, 47]
        seen.add(other.journey.stops[1].prompt)
    assert seen == {"a red city, oil", "a green city, oil"}


def test_one_like_it_is_the_same_with_other_words() -> None:
    for asked in (
        JourneyRequest(zoom="1.1@0, 0.9@20", frames=20),
        JourneyRequest(kind=JourneyKind.WALK, loop=True, frames=20),
        JourneyRequest(kind=JourneyKind.WALK, still=True, frames=20),
    ):
        journey = journey_of(asked)
        assert journey_of(request_like(journey)) == journey


def test_what_there_is_to_say_of_it() -> None:
    said = dict(described(journey_of(JourneyRequest(rotate="2"))))
    assert said["Rotate"] == "2" and "48 frames" in said["Journey"] and "Zoom" not in said
    plain = worded(journey_of(JourneyRequest()), Theme(id=2, slug="", title=""), 1, placed=False)
    assert plain.stops[0].prompt == "a forest, oil"
