"""What may be asked: every refusal names its field and says what would be right."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import InvalidRequestError, LimitError
from bot.inits import DrawnFrom
from bot.limits import Limits
from bot.model import Person, Theme
from bot.options import complete
from bot.requests import Plan, check, check_recipe
from bot.sizes import nearest
from bot.values import SEEDS
from generation.protocol import EngineInfo, ModelInfo, OptionInfo, Setting, Steer
from tests.bot.drawer import ANN, DIFFUSION, FOURIER, request

ENGINES = (FOURIER, DIFFUSION)
THEME = Theme(id=1, slug="open", title="Open")
LIMITS = Limits()


def plan(theme: Theme = THEME, engines: Any = ENGINES, **changes: Any) -> Plan:
    return check(request(**changes), theme, engines, LIMITS)


def refusal(theme: Theme = THEME, engines: Any = ENGINES, **changes: Any) -> tuple[str, str]:
    with pytest.raises(InvalidRequestError) as caught:
        plan(theme, engines, **changes)
    sentence = str(caught.value)
    assert sentence.endswith((".", "?"))
    assert len(sentence) < 300
    return caught.value.field, sentence


# --- words -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prompt",
    [
        *("", " \n\t", "\x00\x07", "\u200b\u202e", "| |", " : ", "\ufe0f", "\u2800\u3164"),
        *(":-1", " | :2:0.5", "a fox:0"),
    ],
)
def test_an_empty_prompt_is_refused(prompt: str) -> None:
    assert refusal(prompt=prompt) == (
        "prompt",
        "The prompt is empty. Say in a few words what should be drawn.",
    )


def test_only_some_engines_draw_mere_dislikes() -> None:
    assert plan(engine=FOURIER.name, prompt="fog:-1").prompt == "fog:-1"
    field, sentence = refusal(engine=DIFFUSION.name, prompt="fog:-1 | rain:-0.5")
    assert field == "prompt"
    assert "Say what should be there" in sentence
    assert plan(engine=DIFFUSION.name, prompt="fog:-1 | a fox:0.1").prompt
    liked = msgspec.structs.replace(THEME, modifiers="oil on canvas")
    assert plan(liked, engine=DIFFUSION.name, prompt="fog:-1").prompt == "fog:-1"


@pytest.mark.parametrize("length", [1001, 10_000, 1_000_000])
def test_a_long_prompt_is_told_how_long_it_is(length: int) -> None:
    field, sentence = refusal(prompt="a" * length)
    assert field == "prompt"
    assert f"{length:,} characters; at most 1,000" in sentence


@pytest.mark.parametrize(
    "prompt",
    [
        "|".join(["a"] * 33),
        "|".join([":2", *["a:-1"] * 33]),
        "{" * 17 + "|".join(["a"] * 33) + "}" * 17,  # braces that deep are text
    ],
)
def test_a_prompt_of_many_parts_is_told_how_many_it_has(prompt: str) -> None:
    """A network would be asked for each of them in every step."""
    cases: list[dict[str, Any]] = [
        {"prompt": prompt},
        {"negative": prompt, "engine": DIFFUSION.name},
    ]
    for asked in cases:
        field, sentence = refusal(**asked)
        assert field in asked
        assert "33 parts between bars; at most 32" in sentence


@pytest.mark.parametrize("prompt", ["|".join(["a"] * 32) + "|||", "{" + "|".join("a" * 99) + "}"])
def test_what_is_empty_or_a_choice_is_no_part(prompt: str) -> None:
    assert plan(prompt=prompt).prompt == prompt


def test_a_recipe_may_have_the_parts_that_a_theme_adds() -> None:
    known = plan(prompt="a fox", engine=DIFFUSION.name).recipe(0, DrawnFrom())
    for count in (128, 129):
        prompt = "|".join(["a"] * count)
        steered = msgspec.structs.replace(known, steers=(Steer(1, prompt, 1),))
        for recipe in (msgspec.structs.replace(known, prompt=prompt), steered):
            if count == 128:
                assert check_recipe(recipe, THEME, (DIFFUSION,), Limits()) == recipe
                continue
            with pytest.raises(InvalidRequestError, match="129 parts"):
                check_recipe(recipe, THEME, (DIFFUSION,), Limits())


def test_prompts_are_cleaned_and_kept_as_typed() -> None:
    made = plan(prompt=" a\x00 {red|red}\u202e\n fox e\u0301 " + "🦊" * 40)
    assert made.prompt == "a {red|red} fox é " + "🦊" * 40
    assert made.recipe(0, DrawnFrom()).prompt == "a red fox é " + "🦊" * 40
    assert plan(prompt="a" * 1000).prompt == "a" * 1000


@given(st.text(max_size=1200))
def test_any_prompt_is_taken_or_refused_with_a_sentence(prompt: str) -> None:
    try:
        made = plan(prompt=prompt)
    except InvalidRequestError as error:
        assert error.field == "prompt"
    else:
        msgspec.json.encode(made.recipe(0, DrawnFrom()))


def test_negatives_go_where_they_are_taken() -> None:
    assert refusal(negative="fog")[0] == "negative"
    assert plan(negative=" ").negative == ""
    theme = msgspec.structs.replace(THEME, negative="text")
    assert plan(theme, engine="diffusion", negative="fog").negative == "fog, text"
    assert plan(theme, engine="diffusion").negative == "text"
    assert plan(theme, engine="clip").negative == ""
    assert refusal(engine="diffusion", negative="a" * 2000)[0] == "negative"


def test_people_have_names_that_can_be_shown() -> None:
    assert plan(person=Person("guest:x", " A\u202enn\n")).person == Person("guest:x", "Ann")
    assert plan(person=Person("guest:x", "\u200b")).person.name == "someone"
    assert len(plan(person=Person("guest:x", "A" * 500)).person.name) == 80
    for bad in ("", "a" * 300, "guest:\n"):
        assert refusal(person=Person(bad, "Ann"))[0] == "person"


# --- engines and models ------------------------------------------------------------------------


def test_the_first_engine_that_can_is_taken() -> None:
    assert (plan().engine.name, plan().model.name) == ("clip", "fourier")
    assert plan(engine="Diffusion").engine is DIFFUSION
    assert plan(model="starter").engine is DIFFUSION
    empty = msgspec.structs.replace(
        FOURIER, models=(ModelInfo(name="m", title="M", licence="", available=False),)
    )
    assert plan(engines=(empty, DIFFUSION)).engine is DIFFUSION
    assert plan(engines=(DIFFUSION, FOURIER), init=b"x").engine is FOURIER


def test_a_theme_chooses_unless_the_person_does() -> None:
    theme = msgspec.structs.replace(THEME, engine="diffusion", model="starter")
    assert plan(theme).engine is DIFFUSION
    assert plan(theme, engine="clip").model.name == "fourier"
    gone = msgspec.structs.replace(THEME, engine="gone", model="gone")
    assert plan(gone).engine is FOURIER


def test_unknown_names_list_what_there_is() -> None:
    field, sentence = refusal(engine="difusion")
    assert field == "engine"
    assert sentence == (
        "There is no engine “difusion”. Did you mean “diffusion”? There are: clip, diffusion."
    )
    field, sentence = refusal(model="fouriér\u202e")
    assert (field, "Did you mean “fourier”?" in sentence) == ("model", True)
    assert "vqgan, starter" in sentence
    assert refusal(engine="clip", model="Starter") == (
        "model",
        "“starter” is a model of Diffusion, not of CLIP-steered. Choose that engine (diffusion), "
        "or another model.",
    )
    assert len(refusal(engine="x" * 5000)[1]) < 300


def test_a_model_that_is_not_here_says_how_to_get_it() -> None:
    with pytest.raises(InvalidRequestError, match="dreamstream models get vqgan"):
        plan(model="vqgan")
    assert refusal(engines=())[0] == "engine"


# --- numbers -----------------------------------------------------------------------------------


def test_a_size_far_outside_is_told_the_bounds_and_the_nearest() -> None:
    assert refusal(width=13, height=70_000) == (
        "size",
        "13×70000 is outside of what CLIP-steered can draw: sides of 64 to 512 pixels, 196,608 "
        "pixels in all. The nearest it can do is 64×512.",
    )
    assert refusal(width=512, height=512)[1].endswith("is 432×432.")
    assert refusal(width=0, height=64)[0] == "size"
    assert refusal(width=-5)[0] == "size"
    assert refusal(width=10**400, height=-(10**400))[0] == "size"


def test_sizes_are_rounded_with_a_note() -> None:
    made = plan(width=130, height=202)
    assert (made.width, made.height) == (128, 208)
    assert made.note == (
        "Drawn at 128×208 instead of 130×202: CLIP-steered draws in multiples of 16 pixels."
    )
    assert plan(width=128, height=256).note == ""
    assert (plan(width=256).width, plan(width=256).height) == (256, 128)
    wide = msgspec.structs.replace(THEME, width=512, height=512)
    assert (plan(wide, height=512).width, plan(wide, height=512).height) == (384, 512)


def test_a_themes_size_gives_way_to_the_engine() -> None:
    theme = msgspec.structs.replace(THEME, width=1000, height=500, steps=5000)
    made = plan(theme)
    assert (made.width, made.height, made.note) == (512, 256, "")
    assert made.steps == 1000
    assert (plan(theme, engine="diffusion").width, plan(theme, engine="diffusion").steps) == (
        64,
        100,
    )


@given(
    st.integers(-100, 100_000),
    st.integers(-100, 100_000),
    st.integers(1, 64),
    st.integers(1, 600),
    st.integers(0, 2000),
    st.floats(0.05, 1.0),
)
def test_the_nearest_size_is_always_allowed(
    width: int, height: int, unit: int, low: int, more: int, share: float
) -> None:
    smallest = math.ceil(low / unit) * unit
    high = smallest + more
    engine: EngineInfo = msgspec.structs.replace(
        FOURIER,
        min_side=low,
        max_side=high,
        size_multiple=unit,
        max_pixels=max(smallest**2, int(share * high * high)),
    )
    near = nearest(engine, width, height)
    assert all(low <= side <= high and side % unit == 0 for side in near)
    assert math.prod(near) <= engine.max_pixels
    assert nearest(engine, *near) == near


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("steps", 1001),
        ("steps", 10**30),
        ("seed", -1),
        ("seed", SEEDS),
        ("count", 0),
        ("count", 17),
        ("strength", 1.5),
        ("strength", math.nan),
        ("strength", math.inf),
    ],
)
def test_numbers_out_of_range_are_refused(field: str, value: Any) -> None:
    named, sentence = refusal(**{field: value})
    assert named == field
    assert " from " in sentence


def test_guidance_only_where_there_is_such_a_thing() -> None:
    assert refusal(guidance=3.0)[0] == "guidance"
    assert plan().guidance is None
    assert plan(engine="diffusion").guidance == 5.0
    assert plan(engine="diffusion", guidance=0).guidance == 0.0
    assert refusal(engine="diffusion", guidance=31.0)[0] == "guidance"


def test_seeds_of_one_ask_follow_each_other() -> None:
    made = plan(seed=40, count=3, prompt="{a|b|c|d|e|f|g}")
    assert [made.recipe(i, DrawnFrom()).seed for i in range(3)] == [40, 41, 42]
    assert refusal(seed=SEEDS - 2, count=3)[0] == "seed"
    assert plan(seed=SEEDS - 3, count=3).recipe(2, DrawnFrom()).seed == SEEDS - 1
    assert len({plan().seed for _ in range(20)}) == 20


# --- settings ----------------------------------------------------------------------------------


def test_settings_are_complete_and_typed() -> None:
    assert plan().settings == {"rate": 0.1, "cutouts": 32, "kind": "soft", "tiled": False}
    given = {"rate": "0.5", "cutouts": "16", "kind": "hard", "tiled": "Yes"}
    assert plan(settings=given).settings == {
        "rate": 0.5,
        "cutouts": 16,
        "kind": "hard",
        "tiled": True,
    }
    assert plan(settings={"rate": 1, "cutouts": 16.0}).settings["cutouts"] == 16


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("rate", 2.0, "a number from 0 to 1, not 2.0"),
        ("rate", math.nan, "a number from 0 to 1"),
        ("rate", True, "a number from 0 to 1"),
        ("rate", "fast", "not fast"),
        ("cutouts", 1.5, "a whole number from 1 to 128"),
        ("cutouts", 10**400, "a whole number"),
        ("kind", "harsh", "one of soft, hard"),
        ("kind", 5, "one of soft, hard"),
        ("tiled", "perhaps", "true or false"),
        ("tiled", 1, "true or false"),
        ("ratte", 1, "Did you mean “rate”?"),
        ("x" * 999, 1, "It has: rate, cutouts, kind, tiled"),
    ],
)
def test_wrong_settings_are_refused(name: str, value: Any, words: str) -> None:
    field, sentence = refusal(settings={name: value})
    assert field == name
    assert words in sentence
    assert refusal(engine="diffusion", settings={"rate": 1})[1].startswith("Diffusion has no")


@pytest.mark.parametrize("default", [1, 1.0])
def test_numbers_without_bounds_still_fit_into_a_message(default: Setting) -> None:
    """A whole number of more than 64 bits could be told to no scheduler process."""
    free = OptionInfo(name="count", help="", default=default)
    least = OptionInfo(name="least", help="", default=default, minimum=0)
    engine = msgspec.structs.replace(FOURIER, options=(free, least))
    for name in ("count", "least"):
        kept = complete({name: 2**53}, engine)
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(kept)) == kept
    for value in ("1e30", 1e30, 2**64, "-1e30"):
        if isinstance(default, float):
            msgspec.msgpack.encode(complete({"count": value}, engine))
            continue
        for name in ("count", "least"):
            with pytest.raises(InvalidRequestError, match="9,007,199,254,740,992, not"):
                complete({name: value}, engine)


def test_pictures_only_where_they_are_taken() -> None:
    field, sentence = refusal(engine="diffusion", init=b"x")
    assert (field, sentence) == (
        "init",
        "Diffusion does not start from a picture. CLIP-steered can.",
    )
    able = msgspec.structs.replace(FOURIER, max_pictures=2)
    for count, says in ((1, "CLIP-steered can."), (3, "Leave them out.")):
        field, sentence = refusal(
            engines=(DIFFUSION, able), engine="diffusion", pictures=(b"x",) * count
        )
        assert (field, sentence) == ("pictures", f"Diffusion draws towards no pictures. {says}")


# --- how much at once --------------------------------------------------------------------------


def test_limits_say_what_to_do() -> None:
    limits = Limits(per_person=3, everybody=5)
    limits.check(3, own=0, everybody=2)
    for count, own, everybody, words in (
        (1, 3, 3, "You have 3 dreams waiting"),
        (3, 1, 1, "You have one dream waiting"),
        (4, 0, 0, "Ask for fewer"),
        (1, 0, 5, "queue is full"),
    ):
        with pytest.raises(LimitError, match=words):
            limits.check(count, own=own, everybody=everybody)


def test_the_person_is_in_the_plan() -> None:
    assert plan().person == ANN


def test_in_the_background_a_hundred_may_be_asked_for_at_once() -> None:
    limits = Limits()
    many = request(count=100, background=True)
    assert check(many, THEME, ENGINES, limits).count == 100
    for count, background in ((101, True), (17, False)):
        with pytest.raises(InvalidRequestError, match="count"):
            check(request(count=count, background=background), THEME, ENGINES, limits)
