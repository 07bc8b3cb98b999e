"""The rendered sets side by side: which pictures there are, what they are called, how to draw one.

Everything random is a function of a numpy generator.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from training.captions import Words, names
from training.lists import word_list
from training.render import Rgba, set_paths
from training.scenery import Rng
from training.sources import ICON_SETS, IconSet

COMMON = word_list("common_nouns")
FURTHER = word_list("further_nouns")
_COMMON_SHARE = 0.65
"""Of the pictures that are picked by noun, how many by a common one."""


@dataclass(frozen=True)
class Named:
    """The pictures of one noun, with the odds that each is drawn."""

    indices: npt.NDArray[np.int64]
    odds: npt.NDArray[np.float64]

    @classmethod
    def of(cls, indices: list[int], weights: list[float]) -> Named:
        """Weigh pictures as their sets are weighed."""
        own = np.array([weights[i] for i in indices])
        return cls(np.array(indices), np.cumsum(own) / own.sum())

    def pick(self, rng: Rng) -> int:
        """Return a picture's index."""
        return int(self.indices[np.searchsorted(self.odds, rng.random())])


class Pictures:
    """Every rendered set, side by side, with the odds that each picture is drawn."""

    def __init__(self, sets: tuple[IconSet, ...] = ICON_SETS) -> None:
        self.pixels: list[npt.NDArray[np.uint8]] = []
        self.words: list[Words] = []
        self.where: list[tuple[int, int]] = []
        self.sets: list[IconSet] = []
        weights = []
        for icon_set in sets:
            pixel_path, word_path = set_paths(icon_set)
            if not word_path.exists():
                continue
            number = len(self.sets)
            self.sets.append(icon_set)
            self.pixels.append(np.load(pixel_path, mmap_mode="r"))
            for row, entry in enumerate(json.loads(word_path.read_text())):
                found = Words(entry["label"], tuple(entry["tags"]), entry["weight"])
                self.words.append(found)
                self.where.append((number, row))
                factor = max(found.weight, 1.3) * 3 if _is_common(found) else found.weight
                weights.append(icon_set.weight * factor)
        if not self.words:
            raise FileNotFoundError("no pictures yet; run: python -m training render")
        self.odds = np.cumsum(weights) / np.sum(weights)

    @cached_property
    def things(self) -> npt.NDArray[np.int64]:
        """Indices of pictures with a short name, fit to be one of several in a scene."""
        return np.array(
            [
                i
                for i, words in enumerate(self.words)
                if _is_thing(words) and self.sets[self.where[i][0]].weight >= 0.5
            ]
        )

    @cached_property
    def by_noun(self) -> tuple[dict[str, Named], dict[str, Named]]:
        """Pictures that are called just so, for the common and for the further nouns."""
        found: dict[str, list[int]] = {}
        for index, words in enumerate(self.words):
            called = {*names(words.label), words.label.removesuffix(" face")}
            for noun in called & (COMMON | FURTHER):
                found.setdefault(noun, []).append(index)
        weights = [self.sets[number].weight for number, _ in self.where]

        def named(nouns: Iterable[str]) -> dict[str, Named]:
            return {n: Named.of(found[n], weights) for n in sorted(nouns) if n in found}

        return named(COMMON), named(FURTHER)

    def pick(self, rng: Rng) -> int:
        """Return a picture's index, by its odds."""
        return int(np.searchsorted(self.odds, rng.random()))

    def pick_named(self, rng: Rng) -> tuple[int, str]:
        """Return a picture and its noun: every noun of a list is as likely as the others."""
        common, further = self.by_noun
        chosen = common if rng.random() < _COMMON_SHARE or not further else further
        if not chosen:  # a cache with few pictures
            index = self.pick(rng)
            return index, self.name(index, rng)
        noun = str(rng.choice(list(chosen)))
        return chosen[noun].pick(rng), noun

    def pick_thing(self, rng: Rng) -> tuple[int, str]:
        """Return a picture fit for a scene and what to call it, mostly by a common noun."""
        if rng.random() < 0.8:
            return self.pick_named(rng)
        index = int(self.things[rng.integers(len(self.things))])
        return index, self.name(index, rng)

    def rgba(self, index: int) -> Rgba:
        """Return [128, 128, 4] uint8."""
        number, row = self.where[index]
        return np.asarray(self.pixels[number][row])

    def name(self, index: int, rng: Rng) -> str:
        """Return what to call a picture: its label or a synonym."""
        return str(rng.choice(names(self.words[index].label)))

    def style_share(self, index: int) -> float:
        """Return how often a caption of the picture names its style."""
        return self.sets[self.where[index][0]].style_share

    def styles(self, index: int) -> tuple[str, ...]:
        """Return the style words of the picture's set."""
        return self.sets[self.where[index][0]].styles


def _is_common(words: Words) -> bool:
    return any(
        name.split()[-1] in COMMON
        for name in (*names(words.label), words.label.removesuffix(" face"))
    )


def _is_thing(words: Words) -> bool:
    parts = words.label.split()
    drawn_often = words.weight >= 0.7 or _is_common(words)
    return len(parts) <= 2 and drawn_often and not {"face", "hand", "finger"} & set(parts)
