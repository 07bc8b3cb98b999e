"""How Discord puts dreams into words: nothing that a person typed is taken for markup."""

from __future__ import annotations

import discord

from bot.model import Dream, DreamState, Live
from bot.text import shorten
from bot.words import duration

MAX_PROMPT = 600
MAX_STEER = 200
MAX_ALT = 1000
_BAR = 12


def plain(text: str, length: int) -> str:
    """Return what somebody typed, so that Discord shows it as it stands and calls nobody."""
    return discord.utils.escape_mentions(discord.utils.escape_markdown(shorten(text, length)))


def alt_text(dream: Dream) -> str:
    """Say what the picture is, for those who do not see it."""
    if dream.state is DreamState.DONE:
        return shorten(f"A picture drawn from the words: {dream.prompt}", MAX_ALT)
    return shorten(f"A picture that is still forming, from the words: {dream.prompt}", MAX_ALT)


def progress(step: int, steps: int) -> str:
    """Draw a bar, with the part that is done in hundredths."""
    part = min(1.0, step / steps) if steps > 0 else 0.0
    full = int(part * _BAR)
    return f"{'▰' * full}{'▱' * (_BAR - full)} {int(part * 100)} %"


def standing(dream: Dream, live: Live | None) -> str:
    """Say how an unfinished dream stands: its place or its progress, and when it should be done."""
    if live is None:
        return "Waiting"
    if live.state is DreamState.DRAWING:
        words = f"{progress(live.step, live.steps)} · step {live.step} of {live.steps}"
    else:
        words = "Waiting" if live.place is None else f"Waiting · {place(live.place)}"
        if live.step:  # it was interrupted
            words += f" · {live.step} of {live.steps} steps done"
    if live.eta_s is not None:
        words += f" · {duration(live.eta_s)}"
    return words


def place(number: int) -> str:
    """Say a place in the queue; 1 is next."""
    return "next in line" if number <= 1 else f"number {number} in line"


def details(dream: Dream, theme_title: str) -> str:
    """Say whose a dream is, and how it was drawn."""
    recipe = dream.recipe
    parts = [plain(dream.person.name, 40), plain(theme_title, 40)]
    if dream.state is DreamState.DONE:
        parts.append(f"{recipe.engine} · {recipe.model}")
        parts.append(f"{recipe.width}×{recipe.height}")
        parts.append(f"{recipe.last_step} step{'' if recipe.last_step == 1 else 's'}")
        parts.append(f"seed {recipe.seed}")
        parts.append(f"`{dream.id}`")
    return " · ".join(parts)
