"""Words that go with a word, as CLIP's text model has learnt it: near, and unlike each other.

The list is the one that pictures are described with (`bot.seeing`). Its vectors all point much the
same way, so their mean is taken off before anything is compared. Then words are chosen one by one
by maximal marginal relevance: near to what was asked for, and far from those chosen before.

Source: Carbonell & Goldstein, "The use of MMR, diversity-based reranking", SIGIR 1998; Mu &
Viswanath, "All-but-the-Top", ICLR 2018 (of which only the mean is used).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from bot.errors import InvalidRequestError
from bot.ranking import Eyes
from bot.seeing import check_text, list_words
from bot.sentences import say

if TYPE_CHECKING:
    from bot.vector_rows import Vector

MAX_ASSOCIATIONS = 24
_RELEVANCE = 0.7  # the rest is difference from what was chosen before
_POOL = (
    8  # chosen among so many times as many as are wanted: further ones have little to do with it
)
_WORD = re.compile(r"[^\W\d_]+")
_ARTICLES = frozenset({"a", "an", "the"})
_ARTICLE = re.compile(r"^(?:an?|the)\s+", re.IGNORECASE)
_MIN_STEM = 4


class WordEyes(Eyes, Protocol):
    """What embeds texts, and knows the word list's vectors; `bot.seeing` is it."""

    async def knows_words(self, perceptor: str) -> bool: ...

    async def word_vectors(self, perceptor: str) -> Vector: ...


async def associations(
    eyes: WordEyes, text: str, count: int = 12, *, besides: Sequence[str] = ()
) -> list[str]:
    """Return up to `count` words that go with a text, the nearest first.

    None of them repeats a word of the text or of `besides`, which are known already.

    Raises:
        InvalidRequestError: the text is empty or too long, or these are too many.
        SchedulerError: nothing can look at present.
        LimitError: too many wait for it.
    """
    text = check_text(text, "Say in 1 to {:,} characters what the words should go with.")
    if not 1 <= count <= MAX_ASSOCIATIONS:
        raise InvalidRequestError("count", say("Ask for 1 to {most} words.", most=MAX_ASSOCIATIONS))
    perceptor = eyes.perceptor()
    vectors = await eyes.word_vectors(perceptor)
    # An article would draw everything near that has one.
    bare = _ARTICLE.sub("", text)
    (asked,) = (await eyes.embed(texts=[bare], perceptor=perceptor)).texts
    known = {stem for one in (text, *besides) for stem in _stems(one)}
    return await asyncio.to_thread(_associated, vectors, asked, known, count)


def _associated(vectors: Vector, asked: Vector, known: set[str], count: int) -> list[str]:
    """Choose words by their unit vectors [words, dim] for one [dim]."""
    import numpy as np  # slow to load, and seldom needed

    mean = vectors.mean(axis=0)
    centred = vectors - mean
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    wanted = asked - mean
    wanted /= max(float(np.linalg.norm(wanted)), 1e-9)
    nearness = centred @ wanted
    words = list_words()
    pool: list[int] = []
    taken: set[str] = set()
    for row in nearness.argsort()[::-1]:
        stems = _stems(words[row])
        if any(_alike(stem, other) for stem in stems for other in known) or stems & taken:
            continue
        taken |= stems
        pool.append(int(row))
        if len(pool) == _POOL * count:
            break
    chosen: list[int] = []
    closest = np.full(len(pool), -1.0, dtype=np.float32)
    while pool and len(chosen) < count:
        marginal = _RELEVANCE * nearness[pool] - (1 - _RELEVANCE) * closest
        best = int(marginal.argmax()) if chosen else 0
        row = pool.pop(best)
        chosen.append(row)
        closest = np.maximum(np.delete(closest, best), centred[pool] @ centred[row])
    return [words[row] for row in chosen]


def _stems(text: str) -> set[str]:
    """Return a text's words without articles and the plural's ending."""
    words = (word.casefold() for word in _WORD.findall(text))
    return {
        word[:-1] if word.endswith("s") and len(word) > _MIN_STEM else word
        for word in words
        if word not in _ARTICLES
    }


def _alike(stem: str, other: str) -> bool:
    """Say whether one of two stems begins like the other: “light” and “lighthouse”."""
    short, long = sorted((stem, other), key=len)
    return stem == other or (len(short) >= _MIN_STEM and long.startswith(short))
