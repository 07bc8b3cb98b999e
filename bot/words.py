"""What both fronts put into the same words."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Say how long, as roughly as it is known."""
    if seconds < 2:
        return "a moment"
    if seconds < 10:
        return f"about {round(seconds)} s"
    if seconds < 57:
        return f"about {5 * round(seconds / 5)} s"
    if seconds < 55 * 60:
        return f"about {max(1, round(seconds / 60))} min"
    hours = max(1, round(seconds / 3600))
    return f"about {hours} hour{'s' if hours > 1 else ''}"
