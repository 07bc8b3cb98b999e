"""Every parser that meets strangers."""

from __future__ import annotations

from tests.fuzz import files, messages, texts, wall
from tests.fuzz.running import Target


def all_targets() -> tuple[Target, ...]:
    """Return them; those of one kind stand together."""
    return (*texts.TARGETS, *files.TARGETS, *messages.TARGETS, *wall.TARGETS)
