"""How states, times and people are put into words on the wall."""

from __future__ import annotations

import time
import unicodedata
from datetime import UTC, datetime

from bot.model import Dream, DreamState, EventKind, Image, Live, Relation
from bot.words import duration

MAX_NAME = 40
RELATIONS = {
    Relation.REROLL: "another seed",
    Relation.VARIATION: "a variation",
    Relation.REMIX: "a remix",
    Relation.STEER: "steered",
    Relation.CONTINUE: "carried on",
    Relation.UPSCALE: "made larger",
    Relation.INPAINT: "painted over",
    Relation.BLEND: "a blend",
    Relation.EXPLORE: "a first look",
    Relation.ANIMATE: "filmed",
    Relation.GROW: "grown by words",
    Relation.COMBINE: "two put together",
    Relation.ENLARGE: "drawn larger",
}
SAID = {
    EventKind.ASKED: "Asked for: {}",
    EventKind.STEERED: "Steered: {}",
    EventKind.DONE: "Finished: {}",
    EventKind.FAILED: "Could not be drawn: {}",
    EventKind.CANCELLED: "Cancelled: {}",
    EventKind.DELETED: "A dream was deleted.",
}


def clean_name(text: str) -> str:
    """Return a name as it may be shown: one line, nothing invisible, not too long."""
    seen = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in text)
    return " ".join(seen.split())[:MAX_NAME].strip()


def place(number: int) -> str:
    """Say a place in the queue; 1 is next."""
    if number <= 1:
        return "next in line"
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    if number % 100 in (11, 12, 13):
        suffix = "th"
    return f"{number}{suffix} in line"


def standing(dream: Dream, live: Live | None) -> str:
    """Say in a few words how a dream stands."""
    if live is not None and not dream.state.final:
        return standing_live(live)
    return dream.state.value


def standing_live(live: Live) -> str:
    """Say in a few words how an unfinished dream stands."""
    if live.state is DreamState.WAITING:
        words = "waiting" if live.place is None else place(live.place)
        if live.background:
            words = "drawn when nobody waits"
        # A dream that was interrupted waits with steps already taken.
        if live.step:
            words = f"{words} · {live.step} of {live.steps} steps done"
    else:
        words = f"step {live.step} of {live.steps}"
    return words if live.eta_s is None else f"{words} · {duration(live.eta_s)}"


def phase(live: Live | None) -> int:
    """Say how far a dream is in quarters (0 to 3): how blurred its preview is shown."""
    if live is None or live.steps <= 0:
        return 0
    return min(3, 4 * live.step // live.steps)


def form(image: Image) -> str:
    """Name the shape a picture takes in the mosaic."""
    ratio = image.width / max(1, image.height)
    if ratio >= 2.2:
        return "panorama"
    if ratio >= 1.25:
        return "wide"
    return "tall" if ratio <= 0.8 else "square"


def moment(at_ms: int) -> str:
    """Return a time as people write it, in UTC."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return f"{at.day} {at:%B %Y, %H:%M} UTC"


def clock(at_ms: int) -> str:
    """Return the time of day, in UTC."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%H:%M} UTC"


def iso(at_ms: int) -> str:
    """Return a time as machines read it."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")


def ago(at_ms: int) -> str:
    """Say how long ago a time was."""
    seconds = max(0.0, time.time() - at_ms / 1000)
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{int(seconds / 60)} min ago"
    if seconds < 48 * 3600:
        hours = int(seconds / 3600)
        return f"{hours} hour{'s' if hours > 1 else ''} ago"
    return f"{int(seconds / 86400)} days ago"


def said(kind: EventKind, dream: Dream) -> str:
    """Say an event for people who listen to the page."""
    return SAID.get(kind, "{}").format(dream.prompt)
