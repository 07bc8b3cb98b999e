"""What holds in games: bounds, scores and places, and which words are the same. Pure.

A score says how much nearer CLIP finds a picture to a text than to texts about anything: cosines
themselves are alike for good and bad drawings, and differ between models.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Sequence

from bot.errors import InvalidRequestError
from bot.games.model import Entry, GameKind, Standing
from bot.sentences import say
from bot.text import clean, visible

MIN_SECONDS, MAX_SECONDS = 30, 24 * 3600
SECONDS = {GameKind.DRAW: 600, GameKind.SAY: 300, GameKind.GUESS: 120}
"""How long a round lasts, where nothing is said."""
TRIES = {GameKind.DRAW: 5, GameKind.SAY: 5, GameKind.GUESS: 1}
"""How often one person may try in a round."""
MIN_CHOICES, MAX_CHOICES, USUAL_CHOICES = 2, 6, 4
MAX_ENTRIES = 200
MAX_TEXT = 200
MAX_PROMPT = 300

MIDDLE_Z = 1.0
STEEPNESS = 0.9
_LEAST_SPREAD = 0.005  # below this a picture, such as a blank one, is near to nothing
WRITING_COSTS = 10.0
"""What words in a picture cost, beside that they are not counted."""

SAME_WORDS = 0.6
# Signs that mean something in prompts: such words are neither asked for nor offered.
_GRAMMAR = frozenset("|{}_:→>\\\n")
_WORD = re.compile(r"\w+")
_FILLERS = frozenset(
    (
        "a", "an", "the", "of", "in", "on", "at", "by", "with", "and", "or", "to", "from", "for",
        "is", "are", "its", "it", "this", "that", "over", "under", "into", "as",
    )
)  # fmt: skip


def check_seconds(seconds: float) -> int:
    """Return how long a round lasts, in seconds.

    Raises:
        InvalidRequestError: it is too short or too long.
    """
    if not math.isfinite(seconds) or not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise InvalidRequestError("time", "A round lasts from half a minute to 24 hours.")
    return round(seconds)


def check_choices(count: int) -> int:
    """Return how many prompts there are to choose from.

    Raises:
        InvalidRequestError: they are too few or too many.
    """
    if isinstance(count, bool) or not MIN_CHOICES <= count <= MAX_CHOICES:
        raise InvalidRequestError(
            "choices",
            say(
                "There can be {fewest} to {most} prompts to choose from.",
                fewest=MIN_CHOICES,
                most=MAX_CHOICES,
            ),
        )
    return count


def check_prompt(text: str) -> str:
    """Return what is to be drawn, cleaned.

    Raises:
        InvalidRequestError: it is empty, too long, or says more than plain words do.
    """
    text = clean(text[: 4 * MAX_PROMPT])
    if not visible(text) or len(text) > MAX_PROMPT:
        raise InvalidRequestError(
            "prompt", say("Say in 1 to {most} letters what is to be drawn.", most=MAX_PROMPT)
        )
    if not is_plain(text):
        raise InvalidRequestError(
            "prompt", "Say in plain words what is to be drawn, without weights and alternatives."
        )
    return text


def check_text(text: str) -> str:
    """Return what somebody says of a picture, cleaned.

    Raises:
        InvalidRequestError: it is empty or too long.
    """
    text = clean(text[: 4 * MAX_TEXT])
    if not visible(text) or len(text) > MAX_TEXT:
        raise InvalidRequestError(
            "text", say("Say in 1 to {most} letters what the picture shows.", most=MAX_TEXT)
        )
    return text


def is_plain(prompt: str) -> bool:
    """Say whether a prompt is words alone, without weights, parts and alternatives."""
    return _GRAMMAR.isdisjoint(prompt)


# --- scores ------------------------------------------------------------------------------------


def score(cosine: float, background: Sequence[float]) -> float:
    """Return how well a picture fits a text, 0 to 100.

    `cosine` is theirs; those of the `background` are of the same picture with texts about
    anything. In standard deviations above their mean, on a logistic curve: 50 is `MIDDLE_Z` of
    them, and better is always more, as far as a decimal shows it.
    """
    spread = max(_LEAST_SPREAD, statistics.pstdev(background))
    z = (cosine - statistics.fmean(background)) / spread
    return round(100 / (1 + math.exp(-STEEPNESS * (z - MIDDLE_Z))), 1)


def with_writing(whole: float, blotted: float) -> float:
    """Return the score of a picture in which there are words.

    `whole` is the picture's own, `blotted` that of the picture without its words: they win
    nothing, and cost something.
    """
    return round(max(0.0, min(whole, blotted) - WRITING_COSTS), 1)


def standings(entries: Iterable[Entry]) -> tuple[Standing, ...]:
    """Return how entries stand: better scores first, equal ones at one place, in order of time.

    One without a score stands behind all that have one.
    """
    ordered = sorted(entries, key=lambda one: (-_worth(one), one.at_ms, one.id))
    found: list[Standing] = []
    for number, entry in enumerate(ordered, 1):
        ties = found and _worth(found[-1].entry) == _worth(entry)
        found.append(Standing(place=found[-1].place if ties else number, entry=entry))
    return tuple(found)


def _worth(entry: Entry) -> float:
    return -1.0 if entry.score is None else entry.score


# --- words -------------------------------------------------------------------------------------


def words_of(text: str) -> frozenset[str]:
    """Return the words that a text is about, without case and fillers."""
    return frozenset(_WORD.findall(text.casefold())) - _FILLERS


def alike(one: str, other: str) -> float:
    """Return the part, 0 to 1, of the words of two texts that both have."""
    first, second = words_of(one), words_of(other)
    if not first | second:
        return 1.0
    return len(first & second) / len(first | second)


def repeats(text: str, prompt: str) -> bool:
    """Say whether a text is nearly the prompt: so much of each is in the other, or all of it."""
    wanted = words_of(prompt)
    return alike(text, prompt) >= SAME_WORDS or (len(wanted) > 1 and wanted <= words_of(text))
