"""Plain word lists beside this file, for people to edit."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent


def lines(name: str) -> list[str]:
    """Return a list's lines, without comments and blanks."""
    text = (_FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


@cache
def word_list(name: str) -> frozenset[str]:
    """Return a list's words."""
    return frozenset(word for line in lines(name) for word in line.split())
