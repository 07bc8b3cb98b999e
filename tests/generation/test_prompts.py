"""The prompt grammar: what the page for people says, and that any text parses."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.prompts import MAX_WEIGHT, NO_STOP, Prompt, format_prompts, parse, plain_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a red fox", [Prompt("a red fox")]),
        ("a misty castle:2", [Prompt("a misty castle", 2.0)]),
        (
            "a misty castle:2 | oil on canvas by James Gurney:0.5 | text, watermark:-1",
            [
                Prompt("a misty castle", 2.0),
                Prompt("oil on canvas by James Gurney", 0.5),
                Prompt("text, watermark", -1.0),
            ],
        ),
        ("fox:1:0.3", [Prompt("fox", 1.0, 0.3)]),
        ("fox : 2", [Prompt("fox", 2.0)]),
        ("Dune: the desert planet", [Prompt("Dune: the desert planet")]),
        ("Dune: the desert planet:3", [Prompt("Dune: the desert planet", 3.0)]),
        ("Alien:1979 film", [Prompt("Alien:1979 film")]),
        (r"half past 10\:30", [Prompt("half past 10:30")]),
        (r"either\|or", [Prompt("either|or")]),
        (r"\o/", [Prompt(r"\o/")]),
        ("fox:1e999", [Prompt("fox:1e999")]),
        ("fox:900", [Prompt("fox", MAX_WEIGHT)]),
        ("fox:nan", [Prompt("fox:nan")]),
        ("a:1:2:3", [Prompt("a:1", 2.0, 3.0)]),
        (" | :2 || ", []),
        ("", []),
        ("\\", [Prompt("\\")]),
    ],
)
def test_examples(text: str, expected: list[Prompt]) -> None:
    assert list(parse(text)) == expected


@given(st.text())
def test_any_text_parses_to_usable_prompts(text: str) -> None:
    for prompt in parse(text):
        assert prompt.text.strip()
        assert abs(prompt.weight) <= MAX_WEIGHT
        assert prompt.stop == NO_STOP or math.isfinite(prompt.stop)


@given(st.text(alphabet="ab:|\\1.-+ e", max_size=40))
def test_formatting_keeps_what_was_parsed(text: str) -> None:
    prompts = parse(text)
    assert parse(format_prompts(prompts)) == prompts


@given(st.text(alphabet="ab, "), st.floats(-MAX_WEIGHT, MAX_WEIGHT))
def test_a_weight_is_read_as_written(words: str, weight: float) -> None:
    (prompt,) = parse(f"x{words}:{weight!r}")
    assert prompt == Prompt(f"x{words}".strip(), weight)


def test_ten_thousand_colons_take_no_time() -> None:
    assert len(parse(":1" * 5000 + "x")) == 1
    assert len(parse("a" + ":1" * 5000)) == 1


def test_plain_text_leaves_out_what_is_not_wanted() -> None:
    assert plain_text("a fox:2 | watercolour | text:-1") == "a fox, watercolour"
