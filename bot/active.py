"""What is known of one unfinished dream beside its row."""

from __future__ import annotations

import asyncio
from collections import deque

from bot.model import Dream, DreamState, Live, Person
from generation.protocol import Checkpoint

MAX_STEERS_WAITING = 100


class Active:
    """How an unfinished dream stands. Lives from its acceptance to its end.

    `epoch` is the scheduler process that has it, None where none has. `ending` says that its end
    is being written down: nothing else may happen to it. `resumable` says that there may be a
    checkpoint, `anew` that it is not to be used again. `note` is the notice while all is well.
    """

    def __init__(self, dream: Dream, stream: str, note: str = "", *, resumed: bool = False) -> None:
        self.dream = dream
        self.stream = stream
        self.note = note
        self.resumable = resumed
        self.live = Live(
            dream_id=dream.id,
            theme_id=dream.theme_id,
            state=DreamState.WAITING,
            step=dream.step,
            steps=dream.recipe.steps,
            notice=note,
        )
        self.preview: bytes | None = None
        self.epoch: int | None = None
        self.submitting = asyncio.Lock()
        self.ending = False
        self.ended = asyncio.Event()
        self.retries = 0
        self.anew = False
        self.unsaved: Checkpoint | None = None
        self.saving: asyncio.Task[None] | None = None
        self._steers: deque[tuple[str, Person]] = deque(maxlen=MAX_STEERS_WAITING)

    def steer_asked(self, prompt: str, person: Person) -> None:
        """Remember who asked for a steer that the scheduler has not answered."""
        self._steers.append((prompt, person))

    def steer_taken(self, prompt: str) -> Person:
        """Return who asked for this steer: its author where that is not known."""
        for asked in self._steers:
            if asked[0] == prompt:
                self._steers.remove(asked)
                return asked[1]
        return self.dream.person
