"""Finished pictures in order of how near they are to a text, as CLIP sees them.

Scores of one order are cosines by one model with one text. An engine that judged its pictures
itself is believed where all of them were drawn alike, for then it used the same model and the same
words for each; else all are looked at anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from bot.errors import InvalidRequestError, NotFoundError
from bot.model import Dream, DreamState
from bot.prompts import wanted
from bot.seeing import LIMIT_S, Seen, check_text
from generation.protocol import MAX_EMBEDDED_PICTURES, Recipe

MOST = 200
_TOO_FEW = "There is nothing to rank: fewer than two of these are finished."
_NO_WORDS = "These were drawn without words. Say by which words they are to be ranked."


class Eyes(Protocol):
    """What looks at pictures; `bot.seeing` is it."""

    def perceptor(self) -> str: ...

    async def embed(
        self,
        pictures: Sequence[bytes] = (),
        texts: Sequence[str] = (),
        *,
        perceptor: str | None = None,
        limit_s: float = LIMIT_S,
    ) -> Seen: ...


class Pictures(Protocol):
    """Where pictures are kept; `bot.library` is it."""

    async def read(self, sha256: str) -> bytes: ...


@dataclass(frozen=True)
class Ranked:
    """A dream and the cosine, -1 to 1, of its picture with the text."""

    dream: Dream
    score: float


async def rank(
    dreams: Sequence[Dream], eyes: Eyes, pictures: Pictures, text: str = ""
) -> list[Ranked]:
    """Return those of the dreams that have a picture, the nearest to a text first.

    Without a text it is what they were asked for: the weighted mean over the parts of the first
    one's words that it was to come near to. Of equal scores the earlier dream is first.

    Raises:
        InvalidRequestError: fewer than two have a picture, or there are no words, or too many.
        SchedulerError, LimitError: nothing can look at present.
    """
    # What stands in an image that is covered is its cover.
    done = [
        one
        for one in dreams
        if one.state is DreamState.DONE and one.image is not None and one.veil is None
    ]
    if len(done) < 2:
        raise InvalidRequestError("dream", _TOO_FEW)
    if text:
        text = check_text(text, "Say in 1 to {:,} characters what they should show.")
        scores = await _look(done[:MOST], [(text, 1.0)], eyes, pictures)
    else:
        scores = own_scores(done)
        if not scores:
            parts = wanted(_asked(done[0].recipe) or done[0].prompt)
            if not parts:
                raise InvalidRequestError("text", _NO_WORDS)
            scores = await _look(done[:MOST], parts, eyes, pictures)
    found = [Ranked(one, scores[one.id]) for one in done if one.id in scores]
    if len(found) < 2:  # the others' pictures are gone
        raise InvalidRequestError("dream", _TOO_FEW)
    return sorted(found, key=lambda one: -one.score)


def own_scores(dreams: Sequence[Dream]) -> dict[str, float]:
    """Return the scores that their engine gave to all of them, nothing where they differ."""
    if len({_manner(dream.recipe) for dream in dreams}) > 1:
        return {}
    scores = {dream.id: dream.score for dream in dreams if dream.score is not None}
    return scores if len(scores) == len(dreams) else {}


def _manner(recipe: Recipe) -> bytes:
    """Return what is the same for recipes whose pictures are judged by one model and text."""
    # Not what only leads there: the seed, the start, the size, how far it is drawn.
    said = (recipe.engine, recipe.model, _asked(recipe), recipe.settings, recipe.picture_sha256s)
    return msgspec.json.encode(said, order="deterministic")


def _asked(recipe: Recipe) -> str:
    return recipe.steers[-1].prompt if recipe.steers else recipe.prompt


async def _look(
    dreams: Sequence[Dream], parts: Sequence[tuple[str, float]], eyes: Eyes, pictures: Pictures
) -> dict[str, float]:
    """Return the mean cosine of each picture that is there with the parts, by their weights."""
    perceptor = eyes.perceptor()
    texts = (await eyes.embed(texts=[words for words, _ in parts], perceptor=perceptor)).texts
    whole = sum(weight for _, weight in parts)
    scores: dict[str, float] = {}
    # Some at a time, so that not all of a hundred pictures are in memory at once.
    for first in range(0, len(dreams), MAX_EMBEDDED_PICTURES):
        some: list[tuple[Dream, bytes]] = []
        for dream in dreams[first : first + MAX_EMBEDDED_PICTURES]:
            assert dream.image is not None
            try:
                some.append((dream, await pictures.read(dream.image.sha256)))
            except NotFoundError:
                continue  # one that is gone must not cost the others their order
        seen = await eyes.embed([data for _, data in some], perceptor=perceptor)
        for (dream, _), vector in zip(some, seen.pictures, strict=True):
            if vector is not None:
                cosines = (
                    weight * float(vector @ text)
                    for (_, weight), text in zip(parts, texts, strict=True)
                )
                scores[dream.id] = sum(cosines) / whole
    return scores
