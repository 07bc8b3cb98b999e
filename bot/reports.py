"""What the scheduler process says of unfinished dreams, and what follows from it.

Its messages and its deaths come one at a time, in order. Of a dream that has ended, or whose end
is being written down, nothing is heard any more.
"""

from __future__ import annotations

import logging

import aiosqlite
import msgspec

from bot import logs
from bot.active import Active
from bot.ids import now_ms
from bot.model import DreamState
from bot.monitoring import metrics
from bot.store import dream_states as rows
from bot.unfinished import Unfinished
from generation import protocol

log = logging.getLogger(__name__)

_OfADream = (
    protocol.Started
    | protocol.Progress
    | protocol.Checkpoint
    | protocol.Steered
    | protocol.Refused
    | protocol.Finished
    | protocol.Cancelled
    | protocol.Failed
)

_NOT_OF_A_DREAM = (
    protocol.Welcome
    | protocol.CannotStart
    | protocol.Beat
    | protocol.Figures
    | protocol.Embedded
    | protocol.Workers
)


class Reports:
    """Hears the scheduler process."""

    def __init__(self, unfinished: Unfinished) -> None:
        self._unfinished = unfinished
        self._quarantine = unfinished.quarantine
        self._note = unfinished.note

    async def on_down(self, suspects: tuple[str, ...], reason: str, outside: bool = False) -> None:
        """Note that the scheduler process died, and who was in the step it died in."""
        log.warning("The scheduler process is gone: %s; in its last step: %s", reason, suspects)
        await self._fell(self._unfinished.all(), suspects, outside=outside)

    async def _dropped(self, message: protocol.Dropped) -> None:
        """Note that one of several workers is gone, and hand over again what it had."""
        suspects = message.suspects
        log.warning("A worker is gone: %s In its last step: %s", message.reason, suspects)
        known = map(self._unfinished.get, message.job_ids)
        dreams = [active for active in known if active is not None]
        await self._fell(dreams, suspects, outside=message.outside)
        self._unfinished.hand_over(dreams)

    async def _fell(
        self, dreams: list[Active], suspects: tuple[str, ...], *, outside: bool
    ) -> None:
        """Note that dreams are drawn no more, and give up who was in too many crashes."""
        suspected: list[Active] = []
        given_up: list[tuple[Active, str]] = []
        for active in dreams:
            active.epoch = None
            if active.ending:
                continue
            self._unfinished.show(active, state=DreamState.WAITING, place=None, eta_s=None)
            if active.dream.id in suspects:
                attempt, verdict = self._quarantine.fell(
                    active.dream, active.live.step, alone=len(suspects) == 1, outside=outside
                )
                active.dream = msgspec.structs.replace(active.dream, attempt=attempt)
                suspected.append(active)
                if verdict:
                    given_up.append((active, verdict))

        async def write(connection: aiosqlite.Connection) -> None:
            await rows.to_waiting(connection, [active.dream.id for active in dreams])
            for active in suspected:
                await rows.set_attempt(connection, active.dream.id, active.dream.attempt)

        await self._note(write)
        for active, verdict in given_up:
            self._unfinished.end(active, DreamState.FAILED, verdict)

    async def _absolve(self, active: Active, step: int) -> None:
        """Hold no crash against a dream that got past where it fell."""
        if self._quarantine.cleared(active.dream, step):
            active.dream = msgspec.structs.replace(active.dream, attempt=0)
            await self._note(lambda connection: rows.set_attempt(connection, active.dream.id, 0))

    async def on_message(self, message: protocol.ToBot) -> None:
        """Note what the scheduler process says of a dream."""
        if isinstance(message, protocol.Queue):
            for place in message.waiting:
                waiting = self._unfinished.get(place.job_id)
                if waiting is not None and waiting.live.state is DreamState.WAITING:
                    self._unfinished.show(waiting, place=place.place, eta_s=place.ends_in_s)
            return
        if isinstance(message, protocol.Dropped):
            await self._dropped(message)
            return
        if isinstance(message, _NOT_OF_A_DREAM):
            return
        active = self._unfinished.get(message.job_id)
        if active is None or active.ending:
            return  # it has ended already
        with logs.about(dream=active.dream.id, ask=active.dream.ask_id):
            await self._on_message_of(active, message)

    async def _on_message_of(self, active: Active, message: _OfADream) -> None:
        match message:
            case protocol.Started():
                await self._started(active, message)
            case protocol.Progress():
                if message.preview is not None:
                    metrics.PREVIEWS.inc()
                    if not active.previewed:
                        active.previewed = True
                        metrics.first_preview(active.dream)
                self._unfinished.show(
                    active,
                    state=DreamState.DRAWING,
                    step=message.step,
                    steps=message.steps,
                    place=None,
                    eta_s=message.ends_in_s,
                    preview_version=self._unfinished.take_preview(
                        active, message.preview, message.step, message.steps
                    ),
                )
            case protocol.Checkpoint():
                self._unfinished.handover.keep(active, message)
                await self._absolve(active, message.step)
            case protocol.Steered():
                if await self._unfinished.steering.taken(active, message):
                    self._unfinished.show(active, notice=active.note)
            case protocol.Refused():
                self._unfinished.show(active, notice=message.reason)
                await self._unfinished.steering.refused(active)
            case protocol.Finished():
                self._unfinished.finish(active, message)
            case protocol.Cancelled():
                # A cancelled dream has ended before the drawer is asked: nobody wanted this.
                self._unfinished.try_again(active, "Drawing it was broken off.")
            case protocol.Failed():
                self._failed(active, message)

    async def _started(self, active: Active, message: protocol.Started) -> None:
        log.info("Dream %s is being drawn, from step %d", active.dream.id, message.step)
        active.heard(message.notices)
        self._unfinished.show(
            active,
            state=DreamState.DRAWING,
            step=message.step,
            place=None,
            eta_s=None,
            notice=active.note,
        )
        await self._note(
            lambda connection: rows.to_drawing(connection, active.dream.id, message.step, now_ms())
        )

    def _failed(self, active: Active, message: protocol.Failed) -> None:
        log.warning("Dream %s: %s (%s)", active.dream.id, message.reason, message.detail)
        if message.retry:
            self._unfinished.try_again(active, message.reason)
        else:
            self._unfinished.end(active, DreamState.FAILED, message.reason)
