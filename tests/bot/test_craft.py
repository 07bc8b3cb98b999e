"""Associations: near to a word, unlike each other, and nothing that was said already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bot.craft import MAX_ASSOCIATIONS, associations
from bot.errors import InvalidRequestError, SchedulerError
from bot.seeing import Seen, list_words
from tests.bot.test_seeing import Colours, looking

DIM = 16


class Meanings:
    """A text model in which only those words have a meaning that a test gives one."""

    def __init__(self, meanings: Mapping[str, Sequence[float]]) -> None:
        chance = np.random.default_rng(7)
        self._vectors = chance.normal(scale=0.02, size=(len(list_words()), DIM))
        # All vectors of such models point much the same way.
        self._vectors[:, 0] = 1.0
        for word, parts in meanings.items():
            if word in list_words():
                self._vectors[list_words().index(word)] = self._meant(parts)
        self._asked = meanings

    def perceptor(self) -> str:
        return "meanings"

    async def knows_words(self, perceptor: str) -> bool:
        return True

    async def word_vectors(self, perceptor: str) -> Any:
        return (self._vectors / np.linalg.norm(self._vectors, axis=1)[:, None]).astype("f4")

    async def embed(self, pictures: Any = (), texts: Sequence[str] = (), **_: Any) -> Seen:
        self.texts = [*texts]
        found = [self._meant(self._asked.get(text, [1.0])) for text in texts]
        return Seen((), tuple((one / np.linalg.norm(one)).astype("f4") for one in found))

    def _meant(self, parts: Sequence[float]) -> Any:
        return np.array([1.0, *parts, *[0.0] * (DIM - 1 - len(parts))])


SEA = {
    "harbour song": (1.0, 1.0, 1.0),
    "sea": (1.0, 1.0, 0.0),
    "ocean": (1.0, 1.0, 0.02),
    "wharf": (0.0, 1.0, 1.0),
    "singing": (1.0, 0.0, 1.0),
}


async def test_the_nearest_come_first_and_are_unlike_each_other() -> None:
    found = await associations(Meanings(SEA), "harbour song", 3)
    # The four are all about as near, but “ocean” says what “sea” has said.
    assert {"wharf", "singing"} < set(found) and len({"sea", "ocean"} & set(found)) == 1


async def test_nothing_that_is_known_is_said_again() -> None:
    alike = dict.fromkeys(("lighthouse", "light", "a lamp", "glow", "lights"), (1.0,))
    found = await associations(Meanings(alike), "lighthouse", 5)
    assert not [word for word in found if "light" in word]
    found = await associations(Meanings(SEA), "harbour song", 3, besides=["the Sea"])
    assert "sea" not in found


async def test_an_article_is_no_part_of_what_is_meant() -> None:
    eyes = Meanings(SEA)
    for text, meant in (("A lighthouse", "lighthouse"), ("the", "the"), ("another", "another")):
        await associations(eyes, text, 1)
        assert eyes.texts == [meant]


async def test_as_many_as_are_wanted() -> None:
    eyes = Meanings(SEA)
    found = await associations(eyes, "ocean", MAX_ASSOCIATIONS)
    assert len(found) == len(set(found)) == MAX_ASSOCIATIONS
    assert len(await associations(eyes, "ocean", 1)) == 1
    for count in (0, MAX_ASSOCIATIONS + 1):
        with pytest.raises(InvalidRequestError, match="1 to 24"):
            await associations(eyes, "ocean", count)
    with pytest.raises(InvalidRequestError, match="go with"):
        await associations(eyes, "  ")


async def test_the_real_service_answers_or_says_why_not(tmp_path: Path) -> None:
    async with looking(tmp_path) as (seeing, eyes):
        assert isinstance(eyes, Colours)
        found = await associations(seeing, "red", 4)
        assert len(found) == 4 and "red" not in found
        eyes.perceptors = ()
        with pytest.raises(SchedulerError, match="no CLIP"):
            await associations(seeing, "red", 4)
