"""The word lists of the prompt grammar: ``__name__`` takes one of them (`bot.prompts`).

A list that has been shipped is not changed: the same seed would choose another word. New ones are
welcome. Artists are long in the public domain.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from bot.errors import InvalidRequestError
from bot.sentences import say
from bot.text import clean, shorten, visible

OWN = "palette"
"""The name of a theme's own list: ``__palette__`` in the prompts of that theme."""
MAX_WORDS = 60
MAX_WORD = 40
_MEANINGFUL = "/:>\\_{|}→"  # signs that do something in a prompt (docs/prompts.md)
_MAX_TYPED = 2 * MAX_WORDS * MAX_WORD

PALETTES: Mapping[str, Sequence[str]] = {
    "colour": (
        "crimson", "amber", "golden", "emerald", "turquoise", "indigo", "violet", "rose",
        "ivory", "silver", "copper", "ink black",
    ),
    "light": (
        "at dawn", "in morning mist", "at noon", "at golden hour", "at dusk", "by moonlight",
        "by candlelight", "under northern lights", "backlit", "in soft window light",
    ),
    "mood": (
        "calm", "lonely", "joyful", "ominous", "dreamy", "solemn", "playful", "melancholy",
        "tense", "tender",
    ),
    "season": ("in spring", "in summer", "in autumn", "in winter"),
    "weather": (
        "in fog", "in rain", "in snow", "in a thunderstorm", "under a clear sky",
        "under heavy clouds", "in the wind",
    ),
    "technique": (
        "oil on canvas", "watercolour", "charcoal drawing", "woodcut", "etching", "pastel",
        "gouache", "mosaic", "stained glass", "ink wash", "linocut", "embroidery",
    ),
    "place": (
        "a forest", "a harbour", "a desert", "a mountain pass", "an old town", "a greenhouse",
        "a lighthouse", "a library", "a railway station", "an island", "a cave", "a garden",
    ),
    "animal": (
        "fox", "owl", "cat", "whale", "stag", "heron", "bear", "hare", "raven", "tortoise",
        "moth", "octopus",
    ),
    "planet": (
        "a planet of oceans", "a planet of ice", "a desert planet", "a planet of storms",
        "a volcanic planet", "a ringed planet", "a planet of crystal", "a planet of forests",
        "a planet with two suns", "a tidally locked planet",
    ),
    "landform": (
        "canyons", "dunes", "glaciers", "geysers", "salt flats", "sea cliffs", "lava fields",
        "table mountains", "river deltas", "craters",
    ),
    "coat": (
        "black", "white", "tabby", "ginger", "tortoiseshell", "grey", "calico", "silver",
    ),
    "door": (
        "a wooden door", "an archway", "a garden gate", "a revolving door", "a trapdoor",
        "a church portal", "a round door", "a doorway without a door", "a red front door",
        "a cellar door", "a paper screen", "a bronze gate",
    ),
    "artist": (
        "Vincent van Gogh", "Claude Monet", "Katsushika Hokusai", "Rembrandt", "J. M. W. Turner",
        "Caspar David Friedrich", "Berthe Morisot", "Hilma af Klint", "Albrecht Dürer",
        "Utagawa Hiroshige", "Mary Cassatt", "Paul Cézanne", "Hieronymus Bosch",
        "Johannes Vermeer", "Odilon Redon", "William Blake",
    ),
    "object": (
        "a teapot", "a chair", "a bicycle", "a lamp", "a violin", "a boot", "an umbrella",
        "a clock", "a key", "a loaf of bread", "a typewriter", "a lemon",
    ),
    "viewpoint": (
        "seen from afar", "seen from above", "from close by", "from below", "through a window",
        "reflected in water", "in the distance", "from inside",
    ),
}  # fmt: skip


def listed(text: str) -> tuple[str, ...]:
    """Return the words and phrases of a theme's palette: those between commas and line ends.

    Each stands once, as it is shown and drawn.

    Raises:
        InvalidRequestError: there are too many, or one is too long or would mean something else
            within a prompt.
    """
    if len(text) > _MAX_TYPED:  # before a very long text is read to its end
        raise InvalidRequestError("palette", _too_many())
    found = dict.fromkeys(part for one in re.split(r"[,\r\n]", text) if visible(part := clean(one)))
    for word in found:
        if len(word) > MAX_WORD:
            raise InvalidRequestError(
                "palette",
                say(
                    "“{word}” is too long for a palette: {most} characters at most.",
                    word=shorten(word, 24),
                    most=MAX_WORD,
                ),
            )
        if not set(word).isdisjoint(_MEANINGFUL):
            raise InvalidRequestError(
                "palette",
                say(
                    "“{word}” cannot stand in a palette: {signs} mean something in a prompt. "
                    "Leave them out.",
                    word=word,
                    signs=" ".join(_MEANINGFUL),
                ),
            )
    if len(found) > MAX_WORDS:
        raise InvalidRequestError("palette", _too_many())
    return tuple(found)


@lru_cache(maxsize=64)
def palettes_of(palette: str) -> Mapping[str, Sequence[str]]:
    """Return the word lists that hold in a theme with this palette: its own, and those shipped."""
    return {**PALETTES, OWN: listed(palette)} if palette else PALETTES


def _too_many() -> str:
    return say("A palette has at most {most} words and phrases. Leave some out.", most=MAX_WORDS)
