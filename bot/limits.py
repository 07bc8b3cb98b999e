"""How much may wait at once, for a person and for everybody."""

from __future__ import annotations

from dataclasses import dataclass

from bot.errors import LimitError
from bot.sentences import Sentence, say


@dataclass(frozen=True)
class Limits:
    """Bounds on what is asked. Counts are of dreams that are not over.

    What is drawn in the background has bounds of its own, and is not counted with the rest. A
    network is asked for each of the `prompt_parts` in every step.
    """

    per_person: int = 20
    everybody: int = 500
    per_ask: int = 16
    prompt_length: int = 1000
    prompt_parts: int = 32
    background_per_person: int = 200
    background_everybody: int = 2000
    background_per_ask: int = 100

    def most_at_once(self, *, background: bool) -> int:
        """Return how many dreams one ask may have."""
        return self.background_per_ask if background else self.per_ask

    def check(self, count: int, *, own: int, everybody: int, background: bool = False) -> None:
        """Say whether `count` more dreams may be taken; `own` and `everybody`'s are of their kind.

        Raises:
            LimitError: the person, or everybody together, has too many waiting.
        """
        per_person = self.background_per_person if background else self.per_person
        if own + count > per_person:
            raise LimitError(
                _too_many(count, own, per_person, background=background)
                if own
                else say(
                    "{count} dreams at once are more than the {most} that a person may have "
                    "waiting{where}. Ask for fewer.",
                    count=count,
                    most=per_person,
                    where=_where(background=background),
                )
            )
        if everybody + count > (self.background_everybody if background else self.everybody):
            raise LimitError(
                say(
                    "The queue is full: {count} dreams are waiting already. Try again when some "
                    "have finished.",
                    count=everybody,
                ),
                retry_after_s=60.0,
            )


def _too_many(count: int, own: int, most: int, *, background: bool) -> Sentence:
    left = most - own
    room = (
        say(", so that {left} more can be asked for, not {count}", left=left, count=count)
        if left > 0
        else ""
    )
    return say(
        "You have {have} waiting{where}, and {most} is the most at once{room}. Wait for one to "
        "finish, or cancel one.",
        have=say("one dream") if own == 1 else say("{count} dreams", count=own),
        where=_where(background=background),
        most=most,
        room=room,
    )


def _where(*, background: bool) -> str:
    return say(" in the background") if background else ""
