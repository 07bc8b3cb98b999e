from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.model import Dream, DreamState, Live, Person, Theme
from bot.wall import words
from bot.wall.choices import choices_for, sizes_of, usual_engine
from bot.words import duration
from generation.protocol import EngineInfo, ModelInfo, Recipe
from tests.wall.fakes import ENGINES

THEME = Theme(id=1, slug="planets", title="Far planets")


def engine(**changes: object) -> EngineInfo:
    return msgspec.structs.replace(ENGINES[0], **changes)


def test_sizes_are_named_by_their_shape_and_the_usual_one_is_first() -> None:
    labels = [choice.label for choice in sizes_of(ENGINES[0], THEME)]
    assert labels == [
        "Square · 128 × 128",
        "Wide · 160 × 112",
        "Tall · 112 × 160",
        "Panorama · 176 × 96",
        "Large square · 256 × 256",
        "Large wide · 320 × 208",
        "Large tall · 208 × 320",
        "Large panorama · 368 × 176",
    ]


def test_an_engine_of_one_size_offers_no_other() -> None:
    only = engine(min_side=128, max_side=128, max_pixels=128 * 128)
    assert [choice.value for choice in sizes_of(only, THEME)] == [""]


@given(
    low=st.integers(1, 600),
    more=st.integers(0, 2000),
    multiple=st.sampled_from([1, 8, 16, 32, 64]),
    pixels=st.integers(1, 4_000_000),
    usual=st.tuples(st.integers(1, 2000), st.integers(1, 2000)),
)
def test_every_size_that_is_offered_can_be_drawn(
    low: int, more: int, multiple: int, pixels: int, usual: tuple[int, int]
) -> None:
    # A multiple must lie within the bounds, or the engine could draw nothing at all.
    high = low + more + multiple
    info = engine(
        min_side=low,
        max_side=high,
        size_multiple=multiple,
        max_pixels=pixels,
        default_width=usual[0],
        default_height=usual[1],
    )
    for choice in sizes_of(info, THEME)[1:]:
        width, height = map(int, choice.value.split("x"))
        assert width % multiple == height % multiple == 0
        assert low <= min(width, height) <= max(width, height) <= high
        assert width * height <= pixels


def test_the_theme_decides_what_is_usual() -> None:
    theme = msgspec.structs.replace(THEME, engine="clip", steps=55, width=192, height=64)
    choices = choices_for(ENGINES, theme)
    assert [(choice.value, choice.label) for choice in choices.engines] == [
        ("diffusion", "Diffusion"),
        ("", "CLIP-steered"),
    ]
    assert choices.usual_steps == 55
    assert choices.sizes[0].label == "Panorama · 192 × 64"


def test_what_cannot_be_drawn_with_is_shown_but_not_offered() -> None:
    absent = ModelInfo(name="m", title="Big", licence="MIT", available=False)
    empty = engine(name="empty", models=(absent,))
    choices = choices_for((empty, *ENGINES), THEME)
    assert usual_engine((empty, *ENGINES), THEME) is ENGINES[0]
    assert [choice.disabled for choice in choices.engines] == [True, False, False]
    assert [(choice.label, choice.disabled) for choice in choices.models] == [
        ("Starter", False),
        ("Large (not here yet)", True),
    ]
    assert choices_for((empty,), THEME).engine is None
    assert choices_for((), THEME).engine is None


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "a moment"),
        (3.4, "about 3 s"),
        (11, "about 10 s"),
        (18.2, "about 20 s"),
        (57, "about 1 min"),
        (100, "about 2 min"),
        (3500, "about 1 hour"),
        (9000, "about 2 hours"),
    ],
)
def test_a_duration_is_said_as_roughly_as_it_is_known(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_places_in_line() -> None:
    said = [words.place(number) for number in (1, 2, 3, 4, 11, 12, 13, 21, 22, 103, 111)]
    assert said == [
        "next in line",
        *(f"{n} in line" for n in ("2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd")),
        *(f"{n} in line" for n in ("103rd", "111th")),
    ]


def test_how_a_dream_stands() -> None:
    dream = Dream(
        id="d",
        ask_id="a",
        theme_id=1,
        person=Person("guest:x", "X"),
        prompt="p",
        recipe=Recipe(engine="e", model="m", prompt="p", width=8, height=8, steps=40, seed=1),
        state=DreamState.WAITING,
    )
    live = Live(dream_id="d", theme_id=1, state=DreamState.WAITING, step=0, steps=40)
    assert words.standing(dream, None) == "waiting"
    assert words.standing(dream, live) == "waiting"
    waits = msgspec.structs.replace(live, place=2, eta_s=19.0)
    assert words.standing(dream, waits) == "2nd in line · about 20 s"
    interrupted = msgspec.structs.replace(waits, step=8, place=1)
    assert words.standing(dream, interrupted) == ("next in line · 8 of 40 steps done · about 20 s")
    draws = msgspec.structs.replace(live, state=DreamState.DRAWING, step=8, eta_s=12.6)
    assert words.standing(dream, draws) == "step 8 of 40 · about 15 s"
    done = msgspec.structs.replace(dream, state=DreamState.DONE)
    assert words.standing(done, draws) == "done"
    assert [words.phase(msgspec.structs.replace(draws, step=s)) for s in (0, 9, 10, 39, 40)] == [
        0,
        0,
        1,
        3,
        3,
    ]


@given(st.text(max_size=200))
def test_a_name_is_one_short_line_of_what_can_be_seen(typed: str) -> None:
    name = words.clean_name(typed)
    assert len(name) <= words.MAX_NAME
    assert name == words.clean_name(name)
    assert name.isprintable()


def test_a_name_hides_nothing() -> None:
    assert words.clean_name(" A\u202eda\x00\u200b  L ") == "A da L"
