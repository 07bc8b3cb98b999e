"""How Discord puts dreams into words: nothing that a person typed is taken for markup."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import discord

from bot.errors import DreamstreamError
from bot.model import Dream, DreamState, Live
from bot.studies import label_of, subject_of
from bot.text import shorten
from bot.translations import in_language_of
from bot.words import duration

MAX_PROMPT = 600
MAX_STEER = 200
MAX_ALT = 1000
IN_BACKGROUND = "drawn when nobody else waits"
_BAR = 12
# What Discord takes for markup, or for a mention, a time or an emoji of its own. Links stay as they
# are, but brackets end them: whatever is between those would be shown in place of an address. The
# closing one would end the brackets of a link of ours, into which it is put.
_MARKUP = re.compile(
    r"(?P<link>https?://[^\s<>\[\]()|*`\\]+)|(?P<sign>[\\*_~`|\[\]<])"
    r"|(?P<before>^[ \t]*)(?P<first>[>#-])",
    re.MULTILINE,
)


def plain(text: str, length: int) -> str:
    """Return what somebody typed, so that Discord shows it as it stands and calls nobody.

    It has `length` signs at the most, with those that keep it from being taken for markup.
    """
    kept = length
    while len(shown := _escaped(shorten(text, kept))) > length:
        kept -= max(1, (len(shown) - length) // 2)
    return shown


def sentence(error: DreamstreamError, locale: discord.Locale) -> str:
    """Return what an error says to a reader; it may repeat what somebody typed."""
    return _escaped(in_language_of(locale, error.sentence))


def _escaped(text: str) -> str:
    return discord.utils.escape_mentions(_MARKUP.sub(_as_it_stands, text))


def _as_it_stands(found: re.Match[str]) -> str:
    return found["link"] or f"{found['before'] or ''}\\{found['sign'] or found['first']}"


def alt_text(dream: Dream, number: int = 1, count: int = 1, *, film: bool = False) -> str:
    """Say what a picture is, for those who do not see it; with its number where it is of many."""
    forming = "" if dream.state is DreamState.DONE else " that is still forming"
    what = "A picture" if count == 1 else f"Picture {number} of {count}"
    drawn = ", " if forming else " drawn "
    if film:
        what = f"A film of how {'a' if count == 1 else 'this'} picture formed"
        if dream.recipe.journey is not None:
            what = "A film of a journey"
        drawn = ", "
    return shorten(f"{what}{forming}{drawn}from the words: {dream.prompt}", MAX_ALT)


def alt_text_of_sheet(prompt: str, first: int, last: int, count: int) -> str:
    """Say what a contact sheet is, for those who do not see it."""
    which = f"Pictures {first} to {last} of {count}" if last > first else f"Picture {first}"
    return shorten(f"{which}, small and numbered, from the words: {prompt}", MAX_ALT)


def alt_text_of_study(dreams: Sequence[Dream]) -> str:
    """Say what a study's sheet is, for those who do not see it."""
    labels = ", ".join(map(label_of, dreams))
    subject = subject_of(dreams[0])
    return shorten(
        f"{len(dreams)} pictures of the same, {subject}, each labelled: {labels}", MAX_ALT
    )


def progress(step: int, steps: int) -> str:
    """Draw a bar, with the part that is done in hundredths."""
    part = min(1.0, step / steps) if steps > 0 else 0.0
    full = int(part * _BAR)
    return f"{'▰' * full}{'▱' * (_BAR - full)} {int(part * 100)} %"


def standing(dream: Dream, live: Live | None) -> str:
    """Say how an unfinished dream stands: its place or its progress, and when it should be done."""
    if live is None:
        return f"Waiting · {IN_BACKGROUND}" if dream.background else "Waiting"
    if live.state is DreamState.DRAWING:
        words = f"{progress(live.step, live.steps)} · step {live.step} of {live.steps}"
    else:
        words = "Waiting" if live.place is None else f"Waiting · {place(live.place)}"
        if live.background:
            words = f"Waiting · {IN_BACKGROUND}"
        if live.step:  # it was interrupted
            words += f" · {live.step} of {live.steps} steps done"
    if live.eta_s is not None:
        words += f" · {duration(live.eta_s)}"
    return words


def is_first_look(dream: Dream) -> bool:
    """Say whether a dream is over before its last step, to be gone on with where it is liked."""
    return dream.recipe.until_step is not None


def _first_look(dream: Dream) -> str:
    return f"first look, step {dream.recipe.last_step} of {dream.recipe.steps}"


def place(number: int) -> str:
    """Say a place in the queue; 1 is next."""
    return "next in line" if number <= 1 else f"number {number} in line"


def state(dream: Dream, live: Live | None) -> str:
    """Say in a few words how one of several dreams stands."""
    match dream.state:
        case DreamState.DONE:
            if is_first_look(dream):
                return f"{_first_look(dream)} · seed {dream.recipe.seed}"
            return f"done · seed {dream.recipe.seed}"
        case DreamState.FAILED:
            return f"could not be drawn: {plain(dream.reason, 120)}".rstrip(": ")
        case DreamState.CANCELLED:
            return "cancelled"
        case _:
            return standing(dream, live)


def tally(dreams: Sequence[Dream], lives: Sequence[Live | None]) -> str:
    """Say how many dreams stand together: a bar over all, how many are done, and when all are."""
    count = Counter(dream.state for dream in dreams)
    parts = [f"{count[DreamState.DONE]} of {len(dreams)} done"]
    for one, said in (
        (DreamState.DRAWING, "forming"),
        (DreamState.WAITING, "waiting"),
        (DreamState.FAILED, "could not be drawn"),
        (DreamState.CANCELLED, "cancelled"),
    ):
        if count[one]:
            parts.append(f"{count[one]} {said}")
    if all(dream.state.final for dream in dreams):
        return " · ".join(parts)
    shares = [_share(dream, live) for dream, live in zip(dreams, lives, strict=True)]
    if any(dream.background for dream in dreams):
        parts.append(IN_BACKGROUND)
    etas = [live.eta_s for live in lives if live is not None and live.eta_s is not None]
    if etas:
        parts.append(duration(max(etas)))
    return " · ".join([progress(round(1000 * sum(shares)), 1000 * len(shares)), *parts])


def _share(dream: Dream, live: Live | None) -> float:
    if dream.state.final:
        return 1.0
    return 0.0 if live is None or live.steps < 1 else live.step / live.steps


def several(dreams: Sequence[Dream], theme_title: str) -> str:
    """Say whose several dreams are, and how they are drawn."""
    first = dreams[0]
    recipe = first.recipe
    parts = [plain(first.person.name, 40), plain(theme_title, 40)]
    if all(dream.state.final for dream in dreams):
        parts.append(f"{recipe.engine} · {recipe.model}")
        parts.append(f"{recipe.width}×{recipe.height}")
    parts.append(f"`{first.id}`")
    return " · ".join(parts)


def details(dream: Dream, theme_title: str) -> str:
    """Say whose a dream is, and how it was drawn."""
    recipe = dream.recipe
    parts = [plain(dream.person.name, 40), plain(theme_title, 40)]
    if dream.state is DreamState.DONE:
        parts.append(f"{recipe.engine} · {recipe.model}")
        parts.append(f"{recipe.width}×{recipe.height}")
        if is_first_look(dream):
            parts.append(_first_look(dream))
        else:
            parts.append(f"{recipe.last_step} step{'' if recipe.last_step == 1 else 's'}")
        parts.append(f"seed {recipe.seed}")
        parts.append(f"`{dream.id}`")
    return " · ".join(parts)
