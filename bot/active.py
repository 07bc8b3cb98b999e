"""What is known of one unfinished dream beside its row."""

from __future__ import annotations

import asyncio

import msgspec

from bot.model import Dream, DreamState, Live, PendingSteer
from generation.protocol import Checkpoint, Steer


class Active:
    """How an unfinished dream stands. Lives from its acceptance to its end.

    `epoch` is the scheduler process that has it, None where none has. `ending` says that its end is
    being written down: nothing else may happen to it. `resumable` says that there may be a
    checkpoint, `anew` that it is not to be used again. `previewed` says that its first preview has
    come. `missed` counts how often in a row it could not be handed over since a picture was out of
    reach, `missing_since_s` says since when by the monotonic clock. `steers` wait for an answer,
    oldest first; they are in the database too.
    """

    def __init__(self, dream: Dream, stream: str, note: str = "", *, resumed: bool = False) -> None:
        self.dream = dream
        self.stream = stream
        self._note = note
        self.resumable = resumed
        self.previewed = resumed  # or may have been, by an earlier process
        self.live = Live(
            dream_id=dream.id,
            theme_id=dream.theme_id,
            state=DreamState.WAITING,
            step=dream.step,
            steps=dream.recipe.last_step,
            notice=note,
            background=dream.background,
        )
        self.preview: bytes | None = None
        self.epoch: int | None = None
        self.submitting = asyncio.Lock()
        self.ending = False
        self.ended = asyncio.Event()
        self.retries = 0
        self.missed = 0
        self.missing_since_s = 0.0
        self.anew = False
        self.unsaved: Checkpoint | None = None
        self.saving: asyncio.Task[None] | None = None
        self.steers: list[PendingSteer] = []

    @property
    def note(self) -> str:
        """The notice while all is well: how what was asked for, and its recipe, were read."""
        return " ".join(filter(None, (self._note, self.dream.reason)))

    def heard(self, notices: tuple[str, ...]) -> None:
        """Take in what whatever draws says of how the recipe is read."""
        self.dream = msgspec.structs.replace(self.dream, reason=" ".join(notices))

    def steer_taken(self, steer: Steer) -> PendingSteer | None:
        """Let go of the oldest steer that this one answers, and return it.

        An engine may have bounded its glide.
        """
        alike = [asked for asked in self.steers if asked.prompt == steer.prompt]
        exact = [asked for asked in alike if asked.glide_steps == steer.glide_steps]
        bounded = [asked for asked in alike if asked.glide_steps > steer.glide_steps]
        for asked in (*exact, *bounded):
            self.steers.remove(asked)
            return asked
        return None

    def steer_refused(self) -> PendingSteer | None:
        """Let go of the oldest steer, and return it: they are answered in order."""
        return self.steers.pop(0) if self.steers else None
