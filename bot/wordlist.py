"""Find blocked words in what people type, also where they are written to get past.

A text is read as words, each as it stands and folded: case, accents, letters of other alphabets
that look the same, and digits among letters that stand for one. Whole words are compared, so
that a blocked word does not reach into another; a term that ends in ``*`` is found at the
beginning of words. What is caught besides: letters one by one (“b a d”, “b.a.d”) and letters held
down (“baaaad”). Terms in scripts that put no spaces between words are found anywhere.

Sources: Unicode Standard Annex #15 (normalisation forms) and Technical Standard #39 (skeletons of
confusables), of whose table the few look-alikes here are a choice.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

MAX_TERM = 60
_MIN_SPELT = 3  # letters that stand alone make a word from so many on
_MAX_READINGS = 8

_Phrase = tuple[str, ...]

# Cyrillic, Greek and other small letters, after case folding, as the Latin ones they look like.
_LOOKALIKES = str.maketrans(
    "авекмнорстухіјѕԁԛԝһӏɡαβεικνορτυχıøđłħ",
    "abekmhopctyxijsdqwhlgabeiknoptuxiodlh",
)
# Small capitals; letters with hooks and bars; a few of Greek, Armenian, Cherokee and Lisu.
_LOOKALIKES |= str.maketrans(
    "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ"
    "ɑɩɓƈɗƒɠɦƙɱɲɳƥɾʂƭʐŧƀɨʉ"
    "ηγσοոսհցօ"
    "ᎠᎡᎢᎥᎩᎪᎫᎬᎳᎷᎻᎽᏀᏃᏏᏔᏙᏚᏞᏟᏢᏦᏴ"
    "ꓐꓑꓓꓔꓖꓗꓙꓚꓜꓝꓟꓠꓡꓢꓣꓦꓧꓪꓫꓬꓮꓰꓲꓳꓴ",
    "abcdefghijklmnoprstuvwyz"
    "aibcdfghkmnnprstztbiu"
    "nyoonuhgo"
    "drtiyajewmhygzbwvslcpkb"
    "bpdtgkjczfmnlsrvhwxyaeiou",
)
# Letters that nothing is seen of, and places for more of them (UAX #44: Default Ignorable).
_UNSEEN = re.compile("[\u115f\u1160\u2065\u3164\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]")
_DIGITS = {
    "0": "o",
    "1": "il",
    "2": "z",
    "3": "e",
    "4": "a",
    "5": "s",
    "6": "g",
    "7": "t",
    "8": "b",
    "9": "g",
    "@": "a",
    "$": "s",
    "!": "i",
    "€": "e",
    "£": "l",
}
# Letters in circles and boxes that no normalisation takes out: U+1F130 on, and the flags' letters.
_BOXED = {
    first + index: chr(ord("a") + index)
    for first in (0x1F130, 0x1F150, 0x1F170, 0x1F1E6)
    for index in range(26)
}
# Begins at the first of several signs alone, so that a long row of them is tried once.
_WORD = re.compile(r"(?<![@$])[@$]*[^\W_]+(?:[@$!€£]+[^\W_]+)*[@$]*")
_HELD = re.compile(r"(.)\1{2,}")
_DOUBLED = re.compile(r"(.)\1+")
_NO_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
_SHORT_WORDS = "aio"  # letters that are words, and may stand before or after one that is spelt


@dataclass(frozen=True)
class Words:
    """A list of terms, made ready to be looked for. Make one with `Words.of`.

    `phrases` are found as whole words, `prefixes` are how they begin and `beginners` their first
    words; `beginnings` are found at the beginning of words, and those that
    stand `anywhere` even within words; `held` are single words without doubled letters.
    """

    phrases: frozenset[_Phrase] = frozenset()
    prefixes: frozenset[_Phrase] = frozenset()
    beginners: frozenset[str] = frozenset()
    beginnings: tuple[str, ...] = ()
    anywhere: tuple[str, ...] = ()
    held: frozenset[str] = frozenset()
    spelt: frozenset[str] = frozenset()

    @classmethod
    def of(cls, terms: Iterable[str]) -> Words:
        """Make a list of these terms ready. Those without a letter or digit are left out."""
        return _made(tuple(terms))

    def within(self, text: str, exceptions: Iterable[str] = ()) -> bool:
        """Say whether a text holds one of the terms outside of the `exceptions`."""
        exceptions = tuple(exceptions)
        words = words_of(text)
        spared = _spared(words, exceptions)
        return (
            any(not spared.issuperset(found) for found in self._spans(words))
            or self._spelt_out(words, spared)
            or self._anywhere(text, exceptions)
        )

    def _spans(self, words: Sequence[str]) -> Iterator[range]:
        """Yield where the terms are, as the indices of their words."""
        readings = [_readings(word) for word in words]
        for begin, first in enumerate(readings):
            if any(self._alone(reading) for reading in first):
                yield range(begin, begin + 1)
            if self.beginners.isdisjoint(first):
                continue
            phrases: list[_Phrase] = [()]
            for end in range(begin, len(readings)):
                phrases = [
                    longer
                    for phrase in phrases
                    for reading in readings[end]
                    if (longer := (*phrase, reading)) in self.prefixes
                ]
                if not phrases:
                    break
                if any(phrase in self.phrases for phrase in phrases):
                    yield range(begin, end + 1)

    def _alone(self, reading: str) -> bool:
        if reading.startswith(self.beginnings):
            return True
        return bool(_HELD.search(reading)) and _DOUBLED.sub(r"\1", reading) in self.held

    def _spelt_out(self, words: Sequence[str], spared: set[int]) -> bool:
        for run in _runs_of_letters(words, spared):
            whole = {run, run.lstrip(_SHORT_WORDS), run.rstrip(_SHORT_WORDS)}
            whole.add(run.strip(_SHORT_WORDS))
            if whole & self.spelt or any(word.startswith(self.beginnings) for word in whole):
                return True
        return False

    def _anywhere(self, text: str, exceptions: Iterable[str]) -> bool:
        if not self.anywhere:
            return False
        whole = fold(text)
        for exception in exceptions:
            whole = whole.replace(fold(exception) or "\0", "\0")
        return any(term in whole for term in self.anywhere)


def has_letters(term: str) -> bool:
    """Say whether a term can be found at all."""
    return bool(words_of(term))


def fold(text: str) -> str:
    """Return a text without case, accents and invisible signs, in the letters it looks like."""
    text = _UNSEEN.sub("", text.translate(_BOXED))
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    kept = (sign for sign in decomposed if unicodedata.category(sign) not in ("Mn", "Me", "Cf"))
    return unicodedata.normalize("NFC", "".join(kept)).translate(_LOOKALIKES)


@lru_cache(maxsize=1)
def unsafe_words() -> tuple[str, ...]:
    """Return the terms that are for adults, as they are shipped."""
    text = resources.files("bot").joinpath("unsafe_words.txt").read_text(encoding="utf-8")
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return tuple(line for line in lines if line)


@lru_cache(maxsize=256)
def _made(terms: tuple[str, ...]) -> Words:
    phrases: set[_Phrase] = set()
    beginnings: set[str] = set()
    anywhere: set[str] = set()
    for term in terms:
        words = tuple(fold(word) for word in words_of(term))
        if not words:
            continue
        if any(unicodedata.name(sign, "").startswith(_NO_SPACES) for sign in term):
            anywhere.add(fold(term).rstrip("* "))
        elif term.rstrip().endswith("*") and len(words) == 1:
            beginnings.add(words[0])
        else:
            phrases.add(words)
    return Words(
        phrases=frozenset(phrases),
        prefixes=frozenset(
            phrase[:length] for phrase in phrases for length in range(1, len(phrase) + 1)
        ),
        beginners=frozenset(phrase[0] for phrase in phrases),
        beginnings=tuple(sorted(beginnings)),
        anywhere=tuple(sorted(anywhere)),
        held=frozenset(_DOUBLED.sub(r"\1", phrase[0]) for phrase in phrases if len(phrase) == 1),
        spelt=frozenset(word for phrase in phrases if len(word := "".join(phrase)) >= _MIN_SPELT),
    )


@lru_cache(maxsize=256)
def words_of(text: str) -> _Phrase:
    """Return a text's words as they stand, but for case and forms of the same letter."""
    seen = _UNSEEN.sub("", text)
    visible = "".join(sign for sign in seen if unicodedata.category(sign) != "Cf")
    text = unicodedata.normalize("NFKC", visible.translate(_BOXED)).casefold()
    # Accents that belong to no letter would take words apart.
    kept = "".join(sign for sign in text if unicodedata.category(sign) not in ("Mn", "Me"))
    return tuple(_WORD.findall(kept))


@lru_cache(maxsize=4096)
def _readings(word: str) -> frozenset[str]:
    """Return a word folded; where it has digits, with them read as letters, and without those
    around it."""
    word = fold(word)
    readings = {word}
    if any(sign.isalpha() for sign in word):
        readings.add(word.strip("0123456789"))
        spelt = [""]
        for sign in word:
            letters = _DIGITS.get(sign, sign)
            spelt = [start + letter for start in spelt for letter in letters][:_MAX_READINGS]
        readings.update(spelt)
    return frozenset(readings)


def _runs_of_letters(words: Sequence[str], spared: set[int]) -> Iterator[str]:
    """Yield what is spelt out, letter by letter."""
    run, letters = "", 0
    for index, word in enumerate((*words, "")):
        if len(word) == 1 and index not in spared:
            sign = fold(word)
            letters += sign.isalpha()
            run += _DIGITS.get(sign, sign)[:1]
        else:
            if letters and len(run) >= _MIN_SPELT:
                yield run
            run, letters = "", 0


def _spared(words: _Phrase, exceptions: tuple[str, ...]) -> set[int]:
    """Return which words of a text are within an exception, as that is written."""
    spared: set[int] = set()
    by_first = _by_first_word(exceptions)
    for begin, word in enumerate(words):
        for wanted in by_first.get(word, ()):
            if words[begin : begin + len(wanted)] == wanted:
                spared.update(range(begin, begin + len(wanted)))
    return spared


@lru_cache(maxsize=256)
def _by_first_word(exceptions: tuple[str, ...]) -> dict[str, tuple[_Phrase, ...]]:
    found: defaultdict[str, tuple[_Phrase, ...]] = defaultdict(tuple)
    for exception in exceptions:
        words = words_of(exception)
        if words:
            found[words[0]] += (words,)
    return dict(found)
