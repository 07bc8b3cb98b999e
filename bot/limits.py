"""How much may wait at once, for a person and for everybody."""

from __future__ import annotations

from dataclasses import dataclass

from bot.errors import LimitError


@dataclass(frozen=True)
class Limits:
    """Bounds on what is asked. Counts are of dreams that are not over."""

    per_person: int = 20
    everybody: int = 500
    per_ask: int = 16
    prompt_length: int = 1000

    def check(self, count: int, *, own: int, everybody: int) -> None:
        """Say whether `count` more dreams may be taken.

        Raises:
            LimitError: the person, or everybody together, has too many waiting.
        """
        if own + count > self.per_person:
            have = "one dream" if own == 1 else f"{own} dreams"
            raise LimitError(
                f"You have {have} waiting, and {self.per_person} is the most at once. Wait for "
                "one to finish, or cancel one."
                if own
                else f"{count} dreams at once are more than the {self.per_person} that a person "
                "may have waiting. Ask for fewer."
            )
        if everybody + count > self.everybody:
            raise LimitError(
                f"The queue is full: {everybody} dreams are waiting already. Try again when some "
                "have finished.",
                retry_after_s=60.0,
            )
