"""The word lists of the prompt grammar: ``__name__`` takes one of them (`bot.prompts`).

A list that has been shipped is not changed: the same seed would choose another word. New ones are
welcome. Artists are long in the public domain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
