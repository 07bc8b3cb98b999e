"""The words that are offered after a prompt's own, and how they are found."""

from __future__ import annotations

import re

from bot.modifiers import find_kind, find_modifier, kinds
from bot.styles import complete_last, with_style

EVERY = [one for kind in kinds() for one in kind.modifiers]


def test_there_are_words_of_every_kind_each_once() -> None:
    assert [kind.name for kind in kinds()] == [
        "technique", "artist", "period", "light", "lens", "mood", "trick", "colour", "composition",
    ]  # fmt: skip
    for kind in kinds():
        # A sheet holds 25, and so does a menu.
        assert 12 <= len(kind.modifiers) <= 25, kind.name
        assert kind.title and kind.about
    assert len({one.words.casefold() for one in EVERY}) == len({one.name for one in EVERY})
    assert len(EVERY) == len({one.name for one in EVERY}) >= 120


def test_words_can_stand_after_any_prompt() -> None:
    for one in EVERY:
        assert with_style("a fox:2 | fog", one.words) == f"a fox, {one.words}:2 | fog"
        assert re.fullmatch(r"[a-z0-9-]+", one.name), one
        assert one.about.endswith(".") and len(one.about) <= 100, one


def test_artists_are_long_in_the_public_domain() -> None:
    kind = find_kind("Artist")
    assert kind is not None
    for one in kind.modifiers:
        years = re.search(r"\d{4}–(\d{4})\.$", one.about)
        assert one.words.startswith("by ") and years is not None and int(years[1]) < 1955, one


def test_a_modifier_is_found_by_its_words() -> None:
    found = find_modifier("  Oil  on Canvas ")
    assert found is not None and found.kind == "technique"
    assert find_modifier("a word of one's own") is None
    assert find_kind("sculpture") is None


def test_styles_are_offered_by_what_was_typed_and_by_kind() -> None:
    assert complete_last("water", 3)[0] == ("watercolour · Technique", "watercolour")
    # What begins so goes before what merely holds it.
    assert [value for _, value in complete_last("photograph", 2)] == [
        "macro photograph",
        "aerial photograph",
    ]
    mood = find_kind("mood")
    assert mood is not None and len(complete_last("mood", 30)) == len(mood.modifiers)
    assert complete_last("pixel art, calm, MAJ", 5) == [
        ("pixel art, calm, majestic · Mood", "pixel art, calm, majestic")
    ]
    assert "calm" not in [value for _, value in complete_last("calm, ", 500)]
    # While nothing is typed, every kind is there.
    first = {title.rpartition(" · ")[2] for title, _ in complete_last("", len(kinds()))}
    assert first == {kind.title for kind in kinds()}
