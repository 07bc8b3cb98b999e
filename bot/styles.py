"""Words that give a picture its style, offered while somebody types."""

from __future__ import annotations

from functools import cache
from importlib import resources

from bot.model import Theme
from bot.prompts import PLACE, wrap


@cache
def list_styles() -> tuple[str, ...]:
    """Return the styles that are offered, the commonest first."""
    text = resources.files("bot").joinpath("data/styles.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def with_style(prompt: str, style: str, *, placed: bool = False) -> str:
    """Return the prompt with a style after the words of its first part, before their weight.

    With `placed` it comes after each of several prompts that lie side by side.
    """
    if not style.strip():
        return prompt
    around = Theme(id=0, slug="", title="", template=f"{PLACE}, {style.strip()}")
    return wrap(prompt, around, placed=placed)


def complete_last(typed: str, count: int) -> list[str]:
    """Return what the last of several styles in a row could become, with those before it.

    Those that begin with what was typed go before those that merely hold it.
    """
    before, comma, last = typed.rpartition(",")
    kept = f"{before.strip()}, " if comma and before.strip() else ""
    wanted = last.strip().casefold()
    used = {one.strip().casefold() for one in before.split(",")}
    found = [
        style
        for style in list_styles()
        if wanted in style.casefold() and style.casefold() not in used
    ]
    found.sort(key=lambda style: not style.casefold().startswith(wanted))
    return [kept + style for style in found[:count]]
