"""Choices and themes around prompts: total, and the same for the same seed for ever."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bot.model import Theme
from bot.palettes import PALETTES
from bot.prompts import choose, expand, has_choices, wrap
from bot.text import clean, visible
from generation.prompts import parse

PLAIN = Theme(id=1, slug="open", title="Open")
prompts = st.text(st.sampled_from("ab {}|\\_:2-é🦊"), max_size=60) | st.text(max_size=60)
seeds = st.integers(0, 2**32 - 1)


def theme(template: str = "{prompt}", modifiers: str = "") -> Theme:
    return Theme(id=1, slug="t", title="T", template=template, modifiers=modifiers)


@pytest.mark.parametrize(
    ("typed", "drawn"),
    [
        ("a fox", "a fox"),
        ("{a fox}", "a fox"),
        ("{{a}}", "a"),
        ("a {} fox", "a  fox"),
        ("{a|a} and { b | b }", "a and b"),
        ("{a|a", "{a|a"),
        ("a}", "a}"),
        ("}{", "}{"),
        (r"\{a|b\}", "{a|b}"),
        (r"{a\|a|a\|a}", r"a\|a"),
        (r"a\|b\:2\\", r"a\|b\:2\\"),
        ("\\", "\\"),
        (r"\__colour__", "__colour__"),
        ("__nosuchlist__ __init__", "__nosuchlist__ __init__"),
        ("{a:2 | a:2} | fog:-1", "a:2 | fog:-1"),
    ],
)
def test_what_is_chosen_without_chance(typed: str, drawn: str) -> None:
    assert choose(typed, 5) == drawn


CHOSEN = [
    "a green fox at dawn, etching",
    "a red fox backlit, woodcut",
    "a green fox under northern lights, pastel",
    "a red fox at dawn, oil on canvas",
]


def test_choices_never_change() -> None:
    """A recipe of today, asked for again in ten years, must choose the same words."""
    text = "a {red|green|blue} {fox|owl {in snow|at dusk}} __light__, __technique__"
    assert [choose(text, seed) for seed in range(4)] == CHOSEN


@given(prompts, seeds)
def test_every_text_is_fine_and_always_chooses_the_same(text: str, seed: int) -> None:
    assert choose(text, seed) == choose(text, seed)
    expand(text, theme("a {prompt}, {oil|ink}", "__mood__"), seed)


@given(prompts.filter(lambda text: not set(text) & set("\\{_")), seeds)
def test_texts_without_choices_stay_as_they_are(text: str, seed: int) -> None:
    assert choose(text, seed) == text
    assert not has_choices(text)


@given(st.lists(st.text("abc ", min_size=1), min_size=1, max_size=6), seeds)
def test_what_is_chosen_is_one_of_the_alternatives(options: list[str], seed: int) -> None:
    assert choose("{" + "|".join(options) + "}", seed) in [option.strip() for option in options]


def test_seeds_choose_evenly() -> None:
    counts = {"a": 0, "b": 0, "c": 0}
    for seed in range(3000):
        counts[choose("{a|b|c}", seed)] += 1
    assert all(900 < count < 1100 for count in counts.values()), counts
    both = {choose("{a|b}{a|b}", seed) for seed in range(50)}
    assert both == {"aa", "ab", "ba", "bb"}


def test_deep_and_long_texts_take_no_time() -> None:
    assert choose("{" * 5000 + "a" + "}" * 5000, 1).count("a") == 1
    assert "a" in choose("{a|" * 300 + "b" + "}" * 300, 1)
    choose("__colour__" * 500, 1)


def test_palettes_hold_plain_words() -> None:
    for name, words in PALETTES.items():
        assert re.fullmatch(r"[a-z][a-z0-9-]*", name)
        assert len(words) == len(set(words)) >= 4
        assert choose(f"__{name}__", 3) in words
        assert all(not set(word) & set("{}|\\:_") for word in words)


@pytest.mark.parametrize(
    ("typed", "drawn"),
    [
        ("a fox", "a fox, oil"),
        ("a fox:2", "a fox, oil:2"),
        ("a fox : 2 : 0.5 | fog:-1", "a fox, oil: 2 : 0.5 | fog:-1"),
        ("a fox:1e1", "a fox, oil:1e1"),
        ("a fox:1e999:2", "a fox:1e999, oil:2"),
        (r"a fox\:3:2", r"a fox\:3, oil:2"),
        (r"a fox\\:2", r"a fox\\, oil:2"),
        ("a fox:" + "1" * 31, "a fox:" + "1" * 31 + ", oil"),
        ("a fox:\u0662", "a fox:\u0662, oil"),
        ("Dune: the planet", "Dune: the planet, oil"),
        (r"half past 10\:30", r"half past 10\:30, oil"),
        ("{a|b} | c", "{a|b}, oil | c"),
        (r"a\|b | c", r"a\|b, oil | c"),
        ("{prompt}", "{prompt}, oil"),
    ],
)
def test_a_template_goes_around_the_words_of_the_first_prompt(typed: str, drawn: str) -> None:
    assert wrap(typed, theme("{prompt}, oil")) == drawn


weights = st.text(st.sampled_from("::::1209.+-eE\\ \u0662\u2003"), max_size=14)


@given(st.text(st.sampled_from("ab\\: "), max_size=6), weights)
@example(":0\u2003", ":0")
def test_weights_are_what_the_engines_take_for_them(words: str, weight: str) -> None:
    """Both sides read them by rules of their own, since the bot does not import the engines'."""
    typed = f"a{words}{weight}"
    (before,) = parse(typed)
    (around,) = parse(wrap(typed, theme("{prompt}, oil")))
    assert around.text == f"{before.text}, oil"
    assert (around.weight, around.stop) == (before.weight, before.stop)
    assert parse(wrap(typed, theme("{prompt}"))) == (before,)


@pytest.mark.parametrize(
    "text",
    ["(':' + '1' * 20_000) * 2 + 'x'", "':1' * 40_000 + 'x'", "(':1' + ' ' * 40_000) * 2 + 'x'"],
)
def test_no_prompt_holds_up_everybody(text: str) -> None:
    program = (
        "from bot.model import Theme; from bot.prompts import expand; "
        f"expand({text}, Theme(id=1, slug='t', title='T'), 1)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=20)


@pytest.mark.parametrize(
    ("typed", "drawn"),
    [
        ("sea / land:2 | fog", "sea, oil / land, oil:2 | fog"),
        ("sea / / land", "sea, oil / / land, oil"),
        ("sea", "sea, oil"),
        (r"sea \/ land / hill", r"sea \/ land, oil / hill, oil"),
        ("sea/land / {hill}", "sea/land, oil / hill, oil"),
        ("{sea / land}", "sea, oil / land, oil"),
        (r"\{sea / land\}", "{sea, oil / land}, oil"),
        (r"\{sea | land\}", "{sea, oil | land}"),
    ],
)
def test_a_template_goes_around_every_place_of_a_panorama(typed: str, drawn: str) -> None:
    assert expand(typed, theme("{prompt}, oil"), 1, placed=True) == drawn


@given(st.lists(st.sampled_from(["sea", "land:2", r"a\/b", "a/b", ""]), min_size=1, max_size=5))
def test_every_place_has_what_the_engines_take_for_it(pieces: list[str]) -> None:
    typed = " / ".join(pieces)
    before = parse(typed, placed=True)
    around = parse(expand(typed, theme("{prompt}, oil"), 1, placed=True), placed=True)
    if before:
        assert [each.text for each in around] == [f"{each.text}, oil" for each in before]
        kept = [(each.weight, each.place) for each in before]
        assert [(each.weight, each.place) for each in around] == kept


def test_what_a_template_leaves_to_chance_falls_alike_at_every_place() -> None:
    around = theme("a {linocut|woodcut|etching} of {prompt}", "{by day|by night}")
    seen = set()
    for seed in range(30):
        left, right = parse(expand("{sea|lake} / land", around, seed, placed=True), placed=True)[:2]
        assert left.text.rpartition(" ")[0] == right.text.rpartition(" ")[0]
        seen.add((left.text.split()[1], left.text.split()[-1]))
    assert len(seen) == 6  # and choices of the words are none of the template's


def test_modifiers_follow() -> None:
    assert wrap("a fox", theme("{prompt}", "by moonlight:0.5 | text:-1")) == (
        "a fox | by moonlight:0.5 | text:-1"
    )
    assert wrap("a fox", PLAIN) == "a fox"


@given(st.text())
def test_cleaning_is_done_once_and_for_all(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    once.encode("utf-8")
    assert not re.search("[\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069]", once)
    assert once == once.strip()


def test_cleaning_keeps_what_scripts_and_emoji_need() -> None:
    for text in ("👩‍👩‍👧‍👦 🏳️‍🌈 ❤️", "می‌خواهم", "Ḍ̇ạ̊n", "東京の夜", "🦊" * 40):
        assert visible(clean(text))
        assert clean(text) == text or len(clean(text)) <= len(text)
    assert clean("👩‍👩‍👧‍👦🏳️‍🌈") == "👩‍👩‍👧‍👦🏳️‍🌈"
    assert clean("a\n\tb\r\n c\x00\x07") == "a b c"
    assert clean("e\u0301") == "é"
    assert clean("safe\u202egpj.exe") == "safegpj.exe"
    for empty in ("", "\u200d", "\ufe0f\u200b", " \n"):
        assert not visible(clean(empty))
