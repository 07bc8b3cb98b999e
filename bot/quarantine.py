"""Which dream keeps ending the scheduler process, and when to give it up.

A dream that was in the step in which the process died is *suspect*: it is drawn alone until past
that step, so that the next death accuses nobody else. What it was alone in is held against it,
until a checkpoint shows that it got past; two crashes are enough. A kill from outside may be
anybody's (an administrator's, or of the kernel for want of memory), so it takes more of these.
This module knows neither the database nor the process.
"""

from __future__ import annotations

from dataclasses import dataclass

from bot.model import Dream

MAX_CRASHES = 2
MAX_KILLS = 4
"""After so many kills from outside, alone and without getting further, a dream is given up."""

CRASHED = (
    "Stopped: this dream was being drawn at two crashes in a row, so it is not tried again. "
    "Other settings, or a smaller size, may work."
)
KILLED = (
    "Stopped: the drawing process was killed again and again while it drew this dream, perhaps "
    "for want of memory, so it is not tried again. A smaller size may work."
)


@dataclass
class Standing:
    """What is held against one dream.

    `attempt` counts crashes: one in company counts as the first at most, one alone in full.
    `kills` counts deaths from outside while it was alone. `step` is the furthest at which it
    stood at any of them.
    """

    attempt: int = 0
    kills: int = 0
    step: int = 0
    suspect: bool = False

    def fell(self, step: int, *, alone: bool, outside: bool) -> str:
        """Note that the process died with it at `step`; say why it is given up, or nothing."""
        self.step = max(self.step, step)
        self.suspect = True
        if outside:
            self.kills += alone
            return KILLED if self.kills >= MAX_KILLS else ""
        self.attempt = self.attempt + 1 if alone else max(self.attempt, 1)
        return CRASHED if self.attempt >= MAX_CRASHES else ""

    def passed(self, step: int) -> bool:
        """Whether a checkpoint at `step` shows that it got past where it fell."""
        return self.suspect and step > self.step


class Quarantine:
    """What is held against the unfinished dreams; most have nothing."""

    def __init__(self) -> None:
        self._standings: dict[str, Standing] = {}

    def standing(self, dream: Dream) -> Standing:
        """Return a dream's standing; one that was suspect in an earlier bot process still is."""
        known = self._standings.get(dream.id)
        return known or Standing(dream.attempt, step=dream.step, suspect=dream.attempt > 0)

    def fell(self, dream: Dream, step: int, *, alone: bool, outside: bool) -> tuple[int, str]:
        """Note that the process died with it; return its attempts, and why it is given up."""
        standing = self._standings[dream.id] = self.standing(dream)
        reason = standing.fell(step, alone=alone, outside=outside)
        return standing.attempt, reason

    def cleared(self, dream: Dream, step: int) -> bool:
        """Say whether a checkpoint at `step` ends a suspicion, which is then forgotten."""
        passed = self.standing(dream).passed(step)
        if passed:
            self.forget(dream.id)
        return passed

    def forget(self, dream_id: str) -> None:
        """Hold nothing against a dream any more."""
        self._standings.pop(dream_id, None)
