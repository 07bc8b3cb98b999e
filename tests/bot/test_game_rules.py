"""The rules of games: scores, places, what a guess offers, and what counts as writing."""

from __future__ import annotations

import io
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageDraw

from bot.errors import InvalidRequestError
from bot.games import rules
from bot.games.choices import FAR, TOO_NEAR, decoys, made_up, shuffled
from bot.games.model import Entry
from bot.games.writing import find_lines, is_blank, look
from bot.model import Person

COSINES = st.floats(-1, 1)
MANY = st.lists(COSINES, min_size=2, max_size=60)


@given(COSINES, COSINES, MANY)
def test_a_nearer_picture_is_never_worth_less(one: float, other: float, many: list[float]) -> None:
    first, second = rules.score(one, many), rules.score(other, many)
    assert 0 <= first <= 100 and 0 <= second <= 100
    if one >= other:
        assert first >= second


@given(COSINES, MANY, st.floats(-0.5, 0.5))
def test_a_score_does_not_hang_on_what_all_cosines_have_in_common(
    own: float, many: list[float], shift: float
) -> None:
    moved = rules.score(own + shift, [one + shift for one in many])
    assert moved == pytest.approx(rules.score(own, many), abs=0.11)


@given(st.floats(0, 100), st.floats(0, 100))
def test_writing_never_wins_anything(whole: float, blotted: float) -> None:
    assert 0 <= rules.with_writing(whole, blotted) <= min(whole, blotted)


def entry(number: int, score: float | None) -> Entry:
    return Entry(
        id=f"{number:016}", game_id="g", person=Person(f"p{number}", "P"), score=score, at_ms=number
    )


@given(st.lists(st.one_of(st.none(), st.integers(0, 5).map(float)), max_size=12))
def test_places_are_shared_by_equal_scores_alone(scores: list[float | None]) -> None:
    found = rules.standings(entry(number, score) for number, score in enumerate(scores))
    assert sorted(one.entry.id for one in found) == [f"{n:016}" for n in range(len(scores))]
    for one in found:
        mine = -1.0 if one.entry.score is None else one.entry.score
        better = [1 for s in scores if (-1.0 if s is None else s) > mine]
        assert one.place == 1 + len(better)
        assert one.won == (not better and mine > 0)  # nobody has won who earned nothing


WORDS = st.lists(
    st.sampled_from(["fox", "door", "sea", "tree", "moon", "red", "blue"]), min_size=1, max_size=4
)


@settings(max_examples=40)
@given(st.data())
def test_decoys_are_near_and_not_the_same(data: st.DataObject) -> None:
    answer = " ".join(data.draw(WORDS))
    texts = [" ".join(words) for words in data.draw(st.lists(WORDS, max_size=8))]
    nearness = [data.draw(COSINES) for _ in texts]
    between = [[data.draw(COSINES) for _ in texts] for _ in texts]
    count = data.draw(st.integers(1, 5))
    chosen = decoys(answer, texts, nearness, between, count)
    assert len(chosen) <= count and len(set(chosen)) == len(chosen)
    own = rules.words_of(answer)
    for index in chosen:
        assert nearness[index] < TOO_NEAR
        words = rules.words_of(texts[index])
        assert not words <= own and not own <= words
    # None that is far is taken while one that is near would do.
    far = [index for index in chosen if nearness[index] < FAR]
    assert chosen[len(chosen) - len(far) :] == far


@given(st.integers(0, 2**32 - 1), st.text(max_size=40))
def test_made_up_prompts_are_plain_and_follow_from_the_seed(seed: int, answer: str) -> None:
    found = made_up(answer, 12, random.Random(seed))
    assert found == made_up(answer, 12, random.Random(seed))
    assert len(found) == len(set(found)) >= 6
    assert shuffled(found, seed) == shuffled(found, seed) and sorted(
        shuffled(found, seed)
    ) == sorted(found)


@given(st.text(max_size=400))
def test_any_prompt_is_cleaned_or_refused_with_a_sentence(text: str) -> None:
    for check in (rules.check_prompt, rules.check_text):
        try:
            cleaned = check(text)
        except InvalidRequestError as error:
            assert str(error).endswith(".")
        else:
            assert check(cleaned) == cleaned


# --- writing -----------------------------------------------------------------------------------


def page(words: str, size: int, ink: str = "black", paper: str = "white") -> Pillow.Image:
    picture = Pillow.new("RGB", (384, 288), paper)
    ImageDraw.Draw(picture).text((20, 60), words, fill=ink, font_size=size)
    return picture


@pytest.mark.parametrize("words", ["a red fox", "sailing boat", "HOUSE", "the sea at night"])
@pytest.mark.parametrize(
    ("ink", "paper"), [("black", "white"), ("white", "black"), ("#a22", "#dde")]
)
@pytest.mark.parametrize("size", [24, 42])
def test_a_page_with_words_alone_is_blank_without_them(
    words: str, ink: str, paper: str, size: int
) -> None:
    out = io.BytesIO()
    page(words, size, ink, paper).save(out, "PNG")
    found = look(out.getvalue())
    assert found.blotted is not None and found.blank


def house(draw: ImageDraw.ImageDraw) -> None:
    draw.rectangle((0, 200, 384, 288), fill="#4a9a3a")
    draw.rectangle((110, 110, 280, 220), fill="#c98d5a")
    draw.polygon([(95, 110), (195, 40), (295, 110)], fill="#a33")
    for x in (125, 165, 205, 245):  # windows in a row are all alike
        draw.rectangle((x, 130, x + 20, 155), fill="#223")


def forest(draw: ImageDraw.ImageDraw) -> None:
    for number, x in enumerate(range(20, 360, 60)):
        top = 60 + number * 17 % 40
        draw.rectangle((x + 12, 180, x + 22, 230), fill="#532")
        draw.polygon([(x - 8, 190), (x + 17, top), (x + 42, 190)], fill="#272")


def cat(draw: ImageDraw.ImageDraw) -> None:
    draw.ellipse((120, 90, 260, 230), fill="#555")
    draw.polygon([(130, 120), (135, 50), (180, 95)], fill="#555")
    draw.polygon([(250, 120), (245, 50), (200, 95)], fill="#555")
    for x in (160, 200):
        draw.ellipse((x, 135, x + 20, 155), fill="#cf4")


def sea(draw: ImageDraw.ImageDraw) -> None:
    draw.rectangle((0, 150, 384, 288), fill="#2a5ea8")
    draw.ellipse((150, 90, 240, 180), fill="#ffe96b")
    draw.polygon([(60, 150), (200, 150), (180, 190), (80, 190)], fill="#843")


@pytest.mark.parametrize("what", [house, forest, cat, sea])
def test_a_drawing_is_neither_writing_nor_blank(
    what: Callable[[ImageDraw.ImageDraw], None],
) -> None:
    picture = Pillow.new("RGB", (384, 288), "#bfe3ff")
    what(ImageDraw.Draw(picture))
    assert find_lines(picture) == [] and not is_blank(picture)
    # A word beneath it is covered, and the drawing stays.
    ImageDraw.Draw(picture).text((30, 246), "look at this", fill="black", font_size=30)
    out = io.BytesIO()
    picture.save(out, "PNG")
    found = look(out.getvalue())
    assert found.blotted is not None and not found.blank


def test_paper_that_is_lit_unevenly_is_blank() -> None:
    paper = Pillow.linear_gradient("L").resize((384, 288)).point(lambda shade: 180 + shade // 5)
    assert is_blank(paper.convert("RGB"))
