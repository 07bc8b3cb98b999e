"""Which prompts a guess offers beside the right one. Pure.

They are near to it, so that the picture has to be looked at, and not so near that two of them say
the same. Other pictures' prompts come first; where a stream has too few, the word lists help out.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from bot.games.rules import SAME_WORDS, alike, words_of
from bot.palettes import PALETTES

TOO_NEAR, FAR = 0.8, 0.3
"""Of cosines between prompts, each without what all texts have in common."""
_MADE_TRIES = 200
_WHATEVER = ("place", "landform", "door", "planet")
_HOW = ("light", "weather", "season")


def shuffled(choices: Sequence[str], seed: int) -> list[str]:
    """Return choices in the order that a game's seed has them."""
    found = list(choices)
    random.Random(seed).shuffle(found)
    return found


def decoys(
    answer: str,
    candidates: Sequence[str],
    nearness: Sequence[float],
    between: Sequence[Sequence[float]],
    count: int,
) -> list[int]:
    """Return which candidates stand beside the right answer: near to it, but not too near.

    `nearness` is each one's cosine with the answer, `between` [candidates, candidates] that of
    any two; candidates come in order of preference. Those between `FAR` and `TOO_NEAR` are taken,
    then those that are farther, the nearest first. None says what the answer or another one says.
    Fewer than `count` come back where there are no more.
    """
    fits = [
        index
        for index, text in enumerate(candidates)
        if nearness[index] < TOO_NEAR and not _same(text, answer)
    ]
    near = [index for index in fits if nearness[index] >= FAR]
    far = sorted((index for index in fits if nearness[index] < FAR), key=lambda i: -nearness[i])
    chosen: list[int] = []
    for index in [*near, *far]:
        if len(chosen) == count:
            break
        if all(
            between[index][other] < TOO_NEAR and not _same(candidates[index], candidates[other])
            for other in chosen
        ):
            chosen.append(index)
    return chosen


def _same(one: str, other: str) -> bool:
    """Say whether one of two prompts may be true of whatever the other one is true of."""
    first, second = words_of(one), words_of(other)
    return first <= second or second <= first or alike(one, other) >= SAME_WORDS


def made_up(answer: str, count: int, dice: random.Random) -> list[str]:
    """Return prompts of the word lists: the answer with a phrase exchanged, and others."""
    found: dict[str, None] = {}
    held = [
        (phrase, others)
        for others in PALETTES.values()
        for phrase in others
        if _place_of(phrase).search(answer)
    ]
    for _ in range(_MADE_TRIES if held else 0):
        if len(found) >= count // 2:
            break
        phrase, others = dice.choice(held)
        other = dice.choice([one for one in others if one != phrase])
        found[_place_of(phrase).sub(other, answer, count=1)] = None
    for _ in range(_MADE_TRIES):
        if len(found) >= count:
            break
        what = dice.choice(PALETTES[dice.choice(_WHATEVER)])
        found[f"{what} {dice.choice(PALETTES[dice.choice(_HOW)])}"] = None
    return list(found)


def _place_of(phrase: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(phrase)}(?!\w)")
