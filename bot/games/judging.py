"""How near pictures and texts of a game are, as CLIP sees them, and what the machine itself says.

A score depends on the picture, the text and the model alone: the texts that it is compared with
are always the same ones.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot.errors import InvalidRequestError
from bot.games import choices, rules
from bot.games.writing import look
from bot.library import Library
from bot.seeing import Seeing
from generation.protocol import MAX_EMBEDDED_TEXTS

if TYPE_CHECKING:
    from bot.vector_rows import Vector

BACKGROUND = (
    "an oil painting", "a drawing of an animal", "a portrait of a woman", "a portrait of a man",
    "a landscape with mountains", "a ship at sea", "a forest", "a house", "a city at night",
    "a flower", "a tree in a field", "a dog", "a cat", "a bird", "a fish", "a horse",
    "a car on a road", "a train", "an aeroplane in the sky", "a castle on a hill", "a bridge",
    "a table with fruit", "a cup of coffee", "a chair in a room", "a door", "a window", "a clock",
    "a book", "a musical instrument", "a child playing", "people dancing", "a crowd in a street",
    "a robot", "a dragon", "a planet in space", "stars in the night sky", "the sun over the sea",
    "a snowy mountain", "a desert", "a waterfall", "a garden", "an abstract pattern",
    "a black and white sketch", "a red circle", "a blue square", "a blank sheet of paper",
    "a photograph of food", "a machine",
)  # fmt: skip
"""Texts about anything, which no game asks for in particular."""
WORDS_SAID = 4
_TEXTS_KEPT = 256
_UNREADABLE = "The picture cannot be read. Send it as PNG or JPEG."


@dataclass(frozen=True)
class Judged:
    """What a picture is worth, 0 to 100, and whether words were found in it."""

    score: float
    writing: bool


class Judge:
    """Scores with one model at a time, the one that a game names."""

    def __init__(self, seeing: Seeing, library: Library) -> None:
        self._seeing = seeing
        self._library = library
        self._texts: OrderedDict[tuple[str, str], Vector] = OrderedDict()

    def perceptor(self) -> str:
        """Return the model that scores new games.

        Raises:
            SchedulerError: nothing can look at present, and why.
        """
        return self._seeing.perceptor()

    async def drawing(self, perceptor: str, picture: bytes, prompt: str) -> Judged:
        """Return how well a drawing fits a prompt.

        Words in it win nothing, and cost something. A sheet with nothing but words is worth 0.

        Raises:
            InvalidRequestError: it cannot be read.
            SchedulerError: nothing can look at present.
            LimitError: too many wait for it.
        """
        try:
            found = await self._library.run(look, picture)
        except OSError as error:
            raise InvalidRequestError("picture", _UNREADABLE) from error
        writing = found.blotted is not None
        if found.blank:
            return Judged(0.0, writing)
        pictures = [picture] if found.blotted is None else [picture, found.blotted]
        seen = await self._pictures(perceptor, pictures)
        worth = [await self._score(perceptor, vector, prompt) for vector in seen]
        return Judged(rules.with_writing(*worth) if writing else worth[0], writing)

    async def saying(self, perceptor: str, picture: bytes, text: str) -> float:
        """Return how well a text says what a picture shows, 0 to 100.

        Raises:
            As `drawing` does.
        """
        (vector,) = await self._pictures(perceptor, [picture])
        return await self._score(perceptor, vector, text)

    async def words_for(self, picture: bytes) -> str:
        """Return what the machine says of one of our pictures: the words that are nearest to it.

        Raises:
            As `drawing` does.
        """
        found = await self._seeing.describe(picture, WORDS_SAID, own=True)
        return ", ".join(word for word, _ in found)

    async def choice_for(self, perceptor: str, picture: bytes, texts: Sequence[str]) -> int:
        """Return which of the texts the machine takes for a picture's own.

        Raises:
            As `drawing` does.
        """
        (vector,) = await self._pictures(perceptor, [picture])
        cosines = [float(vector @ text) for text in await self._read(perceptor, texts)]
        return cosines.index(max(cosines))

    async def decoys(
        self, perceptor: str, answer: str, candidates: Sequence[str], count: int
    ) -> list[int]:
        """Return which candidates, in order of preference, stand beside an answer.

        Raises:
            SchedulerError, LimitError: as `drawing` does.
        """
        candidates = candidates[: MAX_EMBEDDED_TEXTS - 1]
        read = await self._read(perceptor, [answer, *candidates])
        # Many models put all texts close together: what they have in common says nothing.
        common = sum(await self._read(perceptor, BACKGROUND)) / len(BACKGROUND)
        own, *others = [_unit(vector - common) for vector in read]
        nearness = [float(own @ other) for other in others]
        between = [[float(one @ other) for other in others] for one in others]
        return choices.decoys(answer, candidates, nearness, between, count)

    async def _score(self, perceptor: str, picture: Vector, text: str) -> float:
        own, *others = await self._read(perceptor, [text, *BACKGROUND])
        return rules.score(float(picture @ own), [float(picture @ other) for other in others])

    async def _pictures(self, perceptor: str, pictures: Sequence[bytes]) -> list[Vector]:
        seen = await self._seeing.embed(pictures, perceptor=perceptor)
        found = [vector for vector in seen.pictures if vector is not None]
        if len(found) < len(pictures):
            raise InvalidRequestError("picture", _UNREADABLE)
        return found

    async def _read(self, perceptor: str, texts: Sequence[str]) -> list[Vector]:
        """Return the vectors [dim] of texts; those that were asked for lately are kept."""
        known = {text: self._texts.get((perceptor, text)) for text in texts}
        missing = [text for text, vector in known.items() if vector is None]
        if missing:
            read = (await self._seeing.embed(texts=missing, perceptor=perceptor)).texts
            for text, seen in zip(missing, read, strict=True):
                known[text] = self._texts[perceptor, text] = seen
        found: list[Vector] = []
        for text in texts:
            vector = known[text]
            assert vector is not None
            self._texts[perceptor, text] = vector
            self._texts.move_to_end((perceptor, text))
            found.append(vector)
        while len(self._texts) > _TEXTS_KEPT:
            self._texts.popitem(last=False)
        return found


def _unit(vector: Vector) -> Vector:
    length = float((vector @ vector) ** 0.5)
    return vector / length if length else vector
