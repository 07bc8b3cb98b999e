"""Studies: dreams that differ in their words alone, and know which."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bot.errors import InvalidRequestError, LimitError
from bot.limits import Limits
from bot.model import JourneyRequest
from bot.rights import Actor
from bot.studies import (
    MAX_STUDY,
    check_study,
    is_study,
    label_of,
    split_words,
    study_of,
    subject_of,
    words_of_kind,
)
from bot.styles import with_style
from tests.bot.drawer import ANN, request, services


async def test_only_the_words_differ(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        await s.themes.create("castles", "Castles", template="{prompt} in {fog|rain|snow}, oil")
        study = ("", "by moonlight", "woodcut")
        asked = await s.dreams.ask(request("a gate:2 | moat", theme="castles", study=study))
        assert [dream.prompt for dream in asked] == [
            "a gate:2 | moat",
            "a gate, by moonlight:2 | moat",
            "a gate, woodcut:2 | moat",
        ]
        plain, moonlit, cut = (dream.recipe for dream in asked)
        assert plain.seed == moonlit.seed == cut.seed
        # What the theme leaves to chance falls alike for all of them.
        around = plain.prompt.partition("a gate")[2]
        assert moonlit.prompt == f"a gate, by moonlight{around}"
        assert cut.prompt == f"a gate, woodcut{around}"
        assert len({dream.ask_id for dream in asked}) == 1
        kept = await s.dreams.together(asked[0].id)
        assert [dream.studied for dream in kept] == list(study)
        assert is_study(kept) and not is_study(kept[:1])
        assert {subject_of(dream) for dream in kept} == {"a gate:2 | moat"}
        assert [label_of(dream) for dream in kept] == ["without", "by moonlight", "woodcut"]


@pytest.mark.parametrize(
    ("subject", "word", "placed"),
    [
        ("a house, bluebells", "blue", False),
        ("a cat, ink, at dusk", "ink", False),
        ("a tree, oil lamps:2 | rain, oil:-1", "oil", False),
        ("a cup, ink:0.5 | b, ink", "ink", False),
        ("a fox, oil / an owl", "oil", False),
        ("a fox, oil / an owl:2 | rain, oil:-1", "oil", True),
        ("a fox /  / an owl, oil", "oil", True),
        ("{a fox | an owl, oil} / __season__, oil", "oil", True),
        ("a cat", "ink, ink", False),
        ("a path \\\\:2 | fog", "ink", False),
    ],
)
async def test_a_subject_is_all_but_the_words_that_were_tried(
    tmp_path: Path, subject: str, word: str, placed: bool
) -> None:
    async with services(tmp_path) as s:
        [dream] = await s.dreams.ask(request("a gate"))
        recipe = msgspec.structs.replace(dream.recipe, settings={"panorama": placed})
        prompt = with_style(subject, word, placed=placed)
        assert prompt != subject
        study = msgspec.structs.replace(dream, recipe=recipe, prompt=prompt, studied=word)
        assert subject_of(study) == subject


async def test_what_came_of_a_study_keeps_its_words_and_is_none(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        _, cut = await s.dreams.ask(request("a gate", study=("", "woodcut")))
        await s.draw(cut.id)
        await s.dreams.wait(cut.id)
        again = await s.offspring.reroll(cut.id, Actor(ANN))
        assert (again.prompt, again.studied) == ("a gate, woodcut", None)
        assert again.recipe.prompt == cut.recipe.prompt and again.recipe.seed != cut.recipe.seed


async def test_nothing_is_left_of_a_deleted_ones_words(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        plain, cut = await s.dreams.ask(request("a gate", study=("", "woodcut")))
        await s.draw(cut.id)
        await s.dreams.wait(cut.id)
        await s.dreams.delete(cut.id, Actor(ANN))
        rows = await s.store.read("SELECT prompt, studied FROM dream WHERE id = ?", (cut.id,))
        assert [tuple(row) for row in rows] == [("", None)]
        left = [one for one in await s.dreams.together(plain.id) if one.deleted_ms is None]
        assert not is_study(left)


async def test_a_study_counts_as_many_as_it_draws(tmp_path: Path) -> None:
    async with services(tmp_path, limits=Limits(per_person=3)) as s:
        with pytest.raises(LimitError):
            await s.dreams.ask(request("a gate", study=("a", "b", "c", "d")))
        # Seeds one apart are not needed: the last seed there is will do.
        asked = await s.dreams.ask(request("a gate", study=("a", "b", "c"), seed=2**32 - 1))
        assert {dream.recipe.seed for dream in asked} == {2**32 - 1}


async def test_journeys_try_no_words(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        with pytest.raises(InvalidRequestError, match="Leave the journey out"):
            await s.dreams.ask(request("a -> b", study=("", "c"), journey=JourneyRequest()))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("woodcut", " Woodcut "), "not 1"),
        (tuple(f"word {n}" for n in range(MAX_STUDY + 1)), f"2 to {MAX_STUDY}"),
        (("", "a|b"), "plain"),
        (("", "fog:-1"), "plain"),
        (("", "{a|b}"), "plain"),
        (("", "__colour__"), "plain"),
        (("", "back\\slash"), "plain"),
        (("", "x" * 81), "80 characters"),
    ],
)
def test_a_study_is_of_several_plain_words(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(InvalidRequestError, match=says):
        check_study(words)


def test_words_are_cleaned_and_each_is_tried_once() -> None:
    assert check_study(()) == ()
    assert check_study(["  oil   paint", "", "OIL PAINT", "\u202efog"]) == ("oil paint", "", "fog")
    assert split_words(" a, b c;;d\n, e ") == ["a", "b c", "d", "e"]
    assert study_of(["fog", "Fog"]) == ("", "fog", "Fog")
    assert study_of(["fog", "rain"]) == ("fog", "rain") and study_of([]) == ()
    assert check_study(study_of(["fog", "Fog"])) == ("", "fog")


def test_a_kinds_commonest_words_are_tried() -> None:
    assert words_of_kind("artist", 2) == ["by Vincent van Gogh", "by Claude Monet"]
    assert len(words_of_kind("Light and weather", 99)) == MAX_STUDY
    with pytest.raises(InvalidRequestError, match="Technique, Artist"):
        words_of_kind("sculpture")
