"""Styles after a prompt's own words, and which are offered while somebody types."""

from __future__ import annotations

from functools import cache
from itertools import chain, zip_longest

from bot.model import Theme
from bot.modifiers import Kind, Modifier, kinds
from bot.prompts import PLACE, unwrap, wrap


def with_style(prompt: str, style: str, *, placed: bool = False) -> str:
    """Return the prompt with a style after the words of its first part, before their weight.

    With `placed` it comes after each of several prompts that lie side by side.
    """
    if not style.strip():
        return prompt
    around = Theme(id=0, slug="", title="", template=f"{PLACE}, {style.strip()}")
    return wrap(prompt, around, placed=placed)


def without_style(prompt: str, style: str, *, placed: bool = False) -> str:
    """Return the prompt to which `with_style` added this style."""
    return unwrap(prompt, f", {style.strip()}", placed=placed) if style.strip() else prompt


def complete_last(typed: str, count: int) -> list[tuple[str, str]]:
    """Return what the last of several styles in a row could become: (title, all of the styles).

    First those whose words begin with what was typed, then those that hold it, then those of a
    kind called so. While nothing is typed, the kinds take turns.
    """
    before, comma, last = typed.rpartition(",")
    kept = f"{before.strip()}, " if comma and before.strip() else ""
    wanted = last.strip().casefold()
    used = {one.strip().casefold() for one in before.split(",")}
    ranks: tuple[list[tuple[str, str]], ...] = ([], [], [])
    for kind, one in _in_turns():
        words = one.words.casefold()
        if words in used:
            continue
        offer = (f"{kept}{one.words} · {kind.title}", kept + one.words)
        if words.startswith(wanted):
            ranks[0].append(offer)
        elif wanted in words:
            ranks[1].append(offer)
        elif kind.title.casefold().startswith(wanted):
            ranks[2].append(offer)
    return [*chain(*ranks)][:count]


@cache
def _in_turns() -> tuple[tuple[Kind, Modifier], ...]:
    """Return all modifiers: the first of each kind, then the second of each, and so on."""
    columns = [[(kind, one) for one in kind.modifiers] for kind in kinds()]
    return tuple(entry for row in zip_longest(*columns) for entry in row if entry is not None)
