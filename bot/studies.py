"""Studies: one subject drawn with several words in turn, alike in everything else.

All dreams of a study have one seed and one ask. Each keeps which words it tried
(`Dream.studied`, empty for the subject alone), so that they can be shown side by side with labels.
"What does this word do?" is the study of nothing and that word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bot.errors import InvalidRequestError
from bot.model import Dream
from bot.modifiers import find_kind, kinds
from bot.options import side_by_side
from bot.sentences import say
from bot.styles import without_style
from bot.text import clean, shorten, visible

MAX_STUDY = 16
"""How many pictures a study has at the most; one ask takes so many."""
USUAL_STUDY = 9
MAX_WORDS = 80
_SPLIT = re.compile(r"[,;\n]")
_SIGNS = re.compile(r"[|{}:\\]|__")  # they would do more to the prompt than being said in it


def check_study(words: Iterable[str]) -> tuple[str, ...]:
    """Return what a study tries, cleaned and each once; nothing where it is none.

    Raises:
        InvalidRequestError: it is too little or too much, or not plain words.
    """
    found: dict[str, str] = {}
    for one in map(clean, words):
        found.setdefault(one.casefold(), one)
    study = tuple(found.values())
    if not study:
        return ()
    if not 2 <= len(study) <= MAX_STUDY:
        raise InvalidRequestError(
            "words",
            say("A study tries 2 to {most} different words, not {count}.", most=MAX_STUDY,
                count=len(study)),
        )  # fmt: skip
    for one in study:
        check_words(one)
    return study


def check_words(words: str) -> str:
    """Return words that can be tried, cleaned; empty ones stand for the subject alone.

    Raises:
        InvalidRequestError: they are too long, or hold signs that mean something in a prompt.
    """
    words = clean(words)
    if len(words) > MAX_WORDS:
        raise InvalidRequestError(
            "words",
            say("Words to be tried have {most} characters at the most. Shorten them.",
                most=MAX_WORDS),
        )  # fmt: skip
    if _SIGNS.search(words) or (words and not visible(words)):
        raise InvalidRequestError(
            "words", say("Words to be tried are plain. Leave out {signs}.", signs="| : { } \\ __")
        )
    return words


def split_words(text: str) -> list[str]:
    """Return the words of a list as people type it: between commas, semicolons or lines."""
    return [one for one in map(clean, _SPLIT.split(text)) if one]


def study_of(words: Sequence[str]) -> tuple[str, ...]:
    """Return the study of these words: of a single one, with it and without it."""
    return ("", *words) if len({one.casefold() for one in words}) == 1 else tuple(words)


def words_of_kind(name: str, count: int = USUAL_STUDY) -> list[str]:
    """Return a kind's commonest words for a study.

    Raises:
        InvalidRequestError: there is no such kind.
    """
    kind = find_kind(name)
    if kind is None:
        titles = ", ".join(one.title for one in kinds())
        raise InvalidRequestError("kind", say("The kinds are: {kinds}.", kinds=titles))
    return [one.words for one in kind.modifiers[: min(count, MAX_STUDY)]]


def is_study(dreams: Sequence[Dream]) -> bool:
    """Say whether dreams are some of a study."""
    return len(dreams) > 1 and all(dream.studied is not None for dream in dreams)


def subject_of(dream: Dream) -> str:
    """Return what a study is of: a dream's prompt without the words that it tried."""
    placed = side_by_side(dream.recipe.settings)
    return without_style(dream.prompt, dream.studied or "", placed=placed)


def label_of(dream: Dream, length: int = MAX_WORDS) -> str:
    """Return what stands at a dream of a study: the words it tried."""
    return shorten(dream.studied or "without", length)
