"""How a prompt could fit a theme: other words for it, made of what was typed and of the theme's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bot.journeys import ARROW
from bot.model import Theme
from bot.palettes import listed
from bot.prompts import wanted
from bot.text import shorten

LONGEST = 160
_PALETTE_WORDS = 6


def candidates(prompt: str, subject: str, theme: Theme) -> list[str]:
    """Return prompts that may fit, those first that keep most of what was typed.

    They take what was typed as it stands, and join it in ways that read well in many languages.
    """
    parts = [words for words, _ in wanted(prompt)]
    typed = shorten(parts[0] if parts else prompt, LONGEST)
    # What is marked in a prompt would mean something else in the middle of another.
    typed = typed.replace("|", " ").replace("_", " ").strip(" .:;,")
    mine = [word for word in listed(theme.palette) if word.casefold() not in typed.casefold()]
    mine = mine[:_PALETTE_WORDS]
    found = [
        f"{typed}, {subject}",
        f"{subject}, {typed}",
        *(f"{typed}, {word}, {subject}" for word in mine[:2]),
        *(f"{subject}, {word}" for word in mine),
        subject,
        # Of a long prompt the subject alone changes too little.
        f"{subject}, {typed}, {subject}",
    ]
    return list(dict.fromkeys(found))


def with_subject(subject: str, weight: float) -> str:
    """Return a subject as a part of a prompt with a weight."""
    plain = subject.replace("\\", "\\\\").replace("|", "\\|").replace(":", "\\:")
    return f"{plain}:{weight:g}"


def placed_in_journey(stops: Sequence[str], instead: Mapping[str, Sequence[str]]) -> list[str]:
    """Return whole journeys in which every far stop is exchanged for what would fit there."""
    most = max(len(some) for some in instead.values())
    return [
        ARROW.join(
            instead[stop][min(nth, len(instead[stop]) - 1)] if stop in instead else stop
            for stop in stops
        )
        for nth in range(most)
    ]
