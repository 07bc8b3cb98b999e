"""Texts for the text tower: captions, prompts as people write them, WordNet's words and glosses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import numpy as np
import numpy.typing as npt

from training.captions import emoji_words, with_article
from training.fetch import package_dir
from training.filters import FILTERS
from training.pictures import COMMON, FURTHER
from training.scenery import COLOURS, Rng

_GLOSS_WORDS = 14
_TEMPLATES = (
    "{}", "a picture of {}", "an image of {}", "a photo of {}", "a drawing of {}",
    "{} in the style of a painting", "{}, highly detailed", "a beautiful {}", "a small {}",
    "a big {}", "{} at night", "{} at sunset", "{} in the forest", "{} on the beach",
    "{} under the sea", "{} in space", "{} by the sea", "{} in the city", "{} in the mountains",
    "the inside of {}", "a happy {}", "a sad {}", "an angry {}", "an old {}", "{} with a hat",
    "portrait of {}", "a world of {}", "{} made of glass", "{} and {}", "{} next to {}",
    "{} on top of {}", "{} riding {}", "two {}", "three {}", "a dream about {}", "{}, {}, {}",
    "the feeling of {}", "{} in the rain", "a giant {} over the city",
)  # fmt: skip


@cache
def wordnet() -> tuple[tuple[str, ...], tuple[str, ...], tuple[float, ...]]:
    """Return lemmas, their glosses, and odds that prefer short, common-looking nouns."""
    folder = package_dir("wordnet-base") / "usr/share/wordnet"
    lemmas, glosses, odds = [], [], []
    for part, weight in (("noun", 1.0), ("verb", 0.7), ("adj", 1.0), ("adv", 0.3)):
        for line in (folder / f"data.{part}").read_text(encoding="latin-1").splitlines():
            if line.startswith("  "):
                continue
            head, _, gloss = line.partition(" | ")
            fields = head.split()
            count = int(fields[3], 16)
            pointers = int(fields[4 + 2 * count])
            short = " ".join(re.split(r"[;\"]", gloss)[0].split()[:_GLOSS_WORDS])
            for i in range(count):
                lemma = fields[4 + 2 * i].replace("_", " ").split("(")[0]
                if lemma[0].isupper() and part == "noun":
                    factor = 0.15
                else:
                    factor = 1.0 if " " not in lemma else 0.35
                lemmas.append(lemma)
                glosses.append(short)
                odds.append(weight * factor * min(pointers, 12))
    return tuple(lemmas), tuple(glosses), tuple(odds)


@cache
def _wordnet_odds() -> npt.NDArray[np.float64]:
    odds = np.array(wordnet()[2])
    shares: npt.NDArray[np.float64] = np.cumsum(odds) / odds.sum()
    return shares


@cache
def nouns() -> tuple[str, ...]:
    """Return what pictures show: labels, tags, common nouns (repeated: they matter most)."""
    found = [words.label for words in emoji_words().values()]
    found += [tag for words in emoji_words().values() for tag in words.tags]
    return tuple(found) + (*sorted(COMMON), *sorted(FURTHER)) * 20


def _noun(rng: Rng) -> str:
    pool = nouns()
    if rng.random() < 0.25:
        return _lemma(rng)
    noun = pool[rng.integers(len(pool))]
    if rng.random() < 0.25:
        noun = f"{rng.choice(list(COLOURS))} {noun}"
    return with_article(noun) if rng.random() < 0.5 else noun


def _lemma(rng: Rng) -> str:
    return wordnet()[0][int(np.searchsorted(_wordnet_odds(), rng.random()))]


def text(rng: Rng, captions: list[str]) -> str:
    """Return one text: a caption (40 %), a prompt, a WordNet lemma or gloss."""
    draw = rng.random()
    if draw < 0.4:
        return captions[rng.integers(len(captions))]
    if draw < 0.65:
        template = _TEMPLATES[rng.integers(len(_TEMPLATES))]
        filled = template.format(*(_noun(rng) for _ in range(template.count("{}"))))
        if rng.random() < 0.2:
            phrases = list(FILTERS.values())[rng.integers(len(FILTERS))][1]
            filled = f"{rng.choice(phrases)} {filled}"
        return filled
    row = int(np.searchsorted(_wordnet_odds(), rng.random()))
    lemma, gloss = wordnet()[0][row], wordnet()[1][row]
    if draw < 0.85:
        return lemma
    return gloss if draw < 0.93 else f"{lemma}, {gloss}"


def texts(seed: int, captions: list[str], count: int) -> Iterator[list[str]]:
    """Yield seeded batches of texts without end."""
    rng = np.random.default_rng(seed)
    while True:
        yield [text(rng, captions) for _ in range(count)]
