"""Every unfinished dream, from its acceptance to its one end.

The database knows which dreams are unfinished and what they are; this keeps how each stands at
the moment, hands it to the drawer whenever there is one, and writes down its end. Invariants:

- a dream is here from the commit that accepted it to the commit that ended it, so whatever dies,
  it is submitted again from its newest checkpoint;
- its end is written by `bot.endings` alone: the first one counts.

This module does not know what may be asked, or by whom: that is `bot.dreams`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import aiosqlite
import msgspec

from bot.active import Active
from bot.checkpoints import Checkpoints
from bot.disk import TROUBLE, DiskWatch
from bot.drawing import Drawer
from bot.endings import Endings
from bot.errors import LimitError, NotFoundError
from bot.feed import Feed
from bot.handover import Handover
from bot.ids import now_ms
from bot.library import BadPictureError, Library
from bot.model import Dream, DreamState, EventKind, Person, Theme
from bot.quarantine import Quarantine
from bot.side_tasks import SideTasks
from bot.store import Store, events, people, steers
from bot.store import dreams as rows
from generation import protocol
from generation.protocol import Recipe

log = logging.getLogger(__name__)

MAX_STEERS_WAITING = 100
RETRY_DELAYS_S = (2.0, 10.0, 30.0)
STOP_S = 10.0


_NOT_OF_A_DREAM = protocol.Welcome | protocol.CannotStart | protocol.Beat | protocol.Embedded


class Unfinished:
    """What is being drawn or waits for it. The drawer's reports go to `on_message`."""

    def __init__(
        self,
        store: Store,
        library: Library,
        feed: Feed,
        drawer: Drawer,
        disk: DiskWatch,
        checkpoints: Checkpoints,
        retry_delays_s: tuple[float, ...] = RETRY_DELAYS_S,
    ) -> None:
        self._store = store
        self._feed = feed
        self._drawer = drawer
        self._disk = disk
        self._retry_delays_s = retry_delays_s
        self._quarantine = Quarantine()
        self._handover = Handover(store, library, drawer, disk, self._quarantine, checkpoints)
        self._endings = Endings(store, library, disk)
        self._active: dict[str, Active] = {}
        self._tasks = SideTasks()
        self._finishing = SideTasks()

    # --- what there is -----------------------------------------------------------------------

    def get(self, dream_id: str) -> Active | None:
        """Return how an unfinished dream stands."""
        return self._active.get(dream_id)

    def present(self, dream: Dream) -> Dream:
        """Return a dream from the database with what has happened to it since."""
        active = self._active.get(dream.id)
        if active is None or dream.state.final:
            return dream
        return msgspec.structs.replace(dream, state=active.live.state, step=active.live.step)

    async def start(self, themes: Iterable[Theme]) -> None:
        """Take up what an earlier process left unfinished."""
        streams = {theme.id: theme.slug for theme in themes}
        await self._note(rows.to_waiting)
        for dream in await rows.unfinished(self._store):
            self._active[dream.id] = Active(dream, streams[dream.theme_id], resumed=True)
        for steer in await steers.pending(self._store):
            if steer.dream_id in self._active:
                self._active[steer.dream_id].steers.append(steer)
        await self._handover.sweep(self._active)
        if self._drawer.up:
            await self._submit_all()

    async def stop(self) -> None:
        """Write down what has ended, within reason, and leave the rest to the next start.

        Whatever is reported after this is not heard.
        """
        if self._disk.trouble is None:
            await self._finishing.wait(STOP_S)
        await self._finishing.stop()
        await self._tasks.stop()
        await self._handover.stop()
        self._active.clear()

    def add(self, dreams: Iterable[Dream], theme: Theme, notice: str = "") -> None:
        """Take dreams whose acceptance has been committed."""
        added = [Active(dream, theme.slug, notice) for dream in dreams]
        for active in added:
            self._active[active.dream.id] = active
            self._feed.publish(active.live)
        self._tasks.spawn(self._submit_each(added))

    # --- to the drawer -----------------------------------------------------------------------

    async def on_up(self) -> None:
        """Hand every dream to a new scheduler process."""
        self._handover.new_process()
        await self._submit_all()

    async def _submit_all(self) -> None:
        await self._submit_each([self._active[dream_id] for dream_id in sorted(self._active)])

    async def _submit_each(self, dreams: Iterable[Active]) -> None:
        """Hand dreams to the scheduler process if it has not got them yet, in order."""
        for active in dreams:
            await self._submit(active)

    async def _submit(self, active: Active) -> None:
        try:
            await self._handover.submit(active)
        except NotFoundError:
            reason = "The picture that this dream starts from is no longer kept."
            self._end(active, DreamState.FAILED, reason)

    # --- from the drawer ---------------------------------------------------------------------

    async def on_down(self, suspects: tuple[str, ...], reason: str, outside: bool = False) -> None:
        """Note that the scheduler process died, and who was in the step it died in."""
        log.warning("The scheduler process is gone: %s; in its last step: %s", reason, suspects)
        suspected: list[Active] = []
        given_up: list[tuple[Active, str]] = []
        for active in self._active.values():
            active.epoch = None
            if active.ending:
                continue
            self._show(active, state=DreamState.WAITING, place=None, eta_s=None)
            if active.dream.id in suspects:
                attempt, verdict = self._quarantine.fell(
                    active.dream, active.live.step, alone=len(suspects) == 1, outside=outside
                )
                active.dream = msgspec.structs.replace(active.dream, attempt=attempt)
                suspected.append(active)
                if verdict:
                    given_up.append((active, verdict))

        async def write(connection: aiosqlite.Connection) -> None:
            await rows.to_waiting(connection)
            for active in suspected:
                await rows.set_attempt(connection, active.dream.id, active.dream.attempt)

        await self._note(write)
        for active, verdict in given_up:
            self._end(active, DreamState.FAILED, verdict)

    async def _absolve(self, active: Active, step: int) -> None:
        """Hold no crash against a dream that got past where it fell."""
        if self._quarantine.cleared(active.dream, step):
            active.dream = msgspec.structs.replace(active.dream, attempt=0)
            await self._note(lambda connection: rows.set_attempt(connection, active.dream.id, 0))

    async def on_message(self, message: protocol.ToBot) -> None:
        """Note what the scheduler process says of a dream."""
        if isinstance(message, protocol.Queue):
            for place in message.waiting:
                waiting = self._active.get(place.job_id)
                if waiting is not None and waiting.live.state is DreamState.WAITING:
                    self._show(waiting, place=place.place, eta_s=place.ends_in_s)
            return
        if isinstance(message, _NOT_OF_A_DREAM):
            return
        active = self._active.get(message.job_id)
        if active is None or active.ending:
            return  # it has ended already
        match message:
            case protocol.Started():
                await self._started(active, message)
            case protocol.Progress():
                if message.preview is not None:
                    active.preview = message.preview
                self._show(
                    active,
                    state=DreamState.DRAWING,
                    step=message.step,
                    steps=message.steps,
                    place=None,
                    eta_s=message.ends_in_s,
                    preview_version=active.live.preview_version + (message.preview is not None),
                )
            case protocol.Checkpoint():
                self._handover.keep(active, message)
                await self._absolve(active, message.step)
            case protocol.Steered():
                await self._steered(active, message)
            case protocol.Refused():
                await self._refused(active, message)
            case protocol.Finished():
                active.ending = True
                # It counts even if the picture cannot be kept and is drawn again.
                active.dream = msgspec.structs.replace(active.dream, gpu_s=message.gpu_s)
                self._finishing.spawn(self._finish(active, message))
            case protocol.Cancelled():
                # A cancelled dream has ended before the drawer is asked: nobody wanted this.
                self._try_again(active, "Drawing it was broken off.")
            case protocol.Failed():
                self._failed(active, message)

    async def _started(self, active: Active, message: protocol.Started) -> None:
        self._show(
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

    async def steer(self, active: Active, person: Person, prompt: str, glide_steps: int) -> bool:
        """Keep a steer and hand it over; say whether the dream was unfinished.

        Once this returns the steer is sent to every scheduler process until one has answered it.

        Raises:
            LimitError: too many of this dream wait for an answer.
            DiskError, StoreError: nothing can be kept at present.
        """
        at_ms = now_ms()
        try:
            async with self._store.write() as connection:
                if len(active.steers) >= MAX_STEERS_WAITING:
                    raise LimitError("This dream has many steers waiting. Try again in a moment.")
                await people.upsert(connection, person, at_ms)
                steer = await steers.insert(
                    connection, active.dream.id, person, prompt, glide_steps, at_ms
                )
        except TROUBLE as error:
            self._disk.report(error)
            raise
        if steer is None:
            return False
        self._handover.steer(active, steer)
        return True

    async def _refused(self, active: Active, message: protocol.Refused) -> None:
        asked = active.steer_refused()
        self._show(active, notice=message.reason)
        if asked is not None:
            steer_id = asked.id
            await self._note(lambda connection: steers.delete(connection, steer_id))

    async def _steered(self, active: Active, message: protocol.Steered) -> None:
        recipe = active.dream.recipe
        asked = active.steer_taken(message.steer)
        if message.steer in recipe.steers and asked is None:
            return
        if message.steer not in recipe.steers:
            recipe = msgspec.structs.replace(recipe, steers=(*recipe.steers, message.steer))
        active.dream = msgspec.structs.replace(active.dream, recipe=recipe)
        person = active.dream.person if asked is None else asked.person
        self._show(active, notice=active.note)

        async def write(connection: aiosqlite.Connection) -> None:
            at_ms = now_ms()
            if asked is not None:
                await steers.delete(connection, asked.id)
            await people.upsert(connection, person, at_ms)
            if await rows.set_recipe(connection, active.dream.id, recipe):
                await events.append(
                    connection,
                    EventKind.STEERED,
                    active.dream.theme_id,
                    at_ms,
                    dream_id=active.dream.id,
                    person_id=person.id,
                    payload={"step": message.steer.step},
                )

        await self._note(write)

    def _failed(self, active: Active, message: protocol.Failed) -> None:
        log.warning("Dream %s: %s (%s)", active.dream.id, message.reason, message.detail)
        if message.retry:
            self._try_again(active, message.reason)
        else:
            self._end(active, DreamState.FAILED, message.reason)

    def _try_again(self, active: Active, reason: str) -> None:
        """Submit a dream again after a while, the last time from its beginning; or give up."""
        if active.retries >= len(self._retry_delays_s):
            self._end(active, DreamState.FAILED, reason)
            return
        delay_s = self._retry_delays_s[active.retries]
        active.retries += 1
        active.anew = active.retries == len(self._retry_delays_s)
        active.epoch = None
        active.ending = False
        self._show(active, state=DreamState.WAITING, place=None, eta_s=None, notice=reason)
        self._tasks.spawn(self._submit_later(active, delay_s))

    async def _submit_later(self, active: Active, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        await self._disk.well()
        await self._submit(active)

    # --- the end -----------------------------------------------------------------------------

    async def _finish(self, active: Active, message: protocol.Finished) -> None:
        """Keep the picture and end the dream, or let it be drawn again."""
        # Whoever lets it go on, once it has ended, finds its last checkpoint.
        await self._handover.saved(active)
        try:
            kept = await self._endings.done_surely(
                active,
                message,
                self._licence(message.recipe),
                lambda notice: self._show(active, notice=notice),
            )
        except BadPictureError as error:
            log.error("Dream %s: %s", active.dream.id, error)
            self._try_again(active, "The picture came out damaged.")
        except Exception:  # a mistake of ours must not leave the dream without an end
            log.exception("Dream %s cannot be ended", active.dream.id)
            self._try_again(active, "The picture could not be kept.")
        else:
            if kept:
                self._forget(active, done=True)
            else:
                self._resume(active)

    async def cancel(self, active: Active, person: Person) -> bool:
        """End a dream unfinished; say whether it had not ended before.

        Raises:
            DiskError, StoreError: nothing can be kept at present.
        """
        active.ending = True  # nothing is told of it from here on
        try:
            first = await self._endings.without_picture(
                active.dream, DreamState.CANCELLED, person=person
            )
        except BaseException:
            self._resume(active)
            raise
        self._forget(active)
        if first and self._drawer.up:
            self._drawer.cancel(active.dream.id)
        return first

    async def forget_checkpoint(self, dream_id: str) -> None:
        """Remove what is kept of a dream that is over, to go on from."""
        await self._handover.forget(dream_id)

    def _resume(self, active: Active) -> None:
        """Let a dream go on whose end could not be written down; what was reported is lost."""
        if not active.ended.is_set():
            active.ending, active.epoch = False, None
            self._tasks.spawn(self._submit_later(active, 0.0))

    def _end(self, active: Active, state: DreamState, reason: str = "") -> None:
        """Let a dream end without a picture, as soon as that can be written down."""
        active.ending = True
        self._tasks.spawn(self._end_surely(active, state, reason))

    async def _end_surely(self, active: Active, state: DreamState, reason: str) -> None:
        await self._endings.without_picture_surely(active.dream, state, reason)
        self._forget(active)

    def _forget(self, active: Active, *, done: bool = False) -> None:
        """Let go of a dream whose end has been committed."""
        active.ending = True
        self._active.pop(active.dream.id, None)
        self._quarantine.forget(active.dream.id)
        active.ended.set()
        self._tasks.spawn(self._handover.clean(active, done=done))

    # --- small things ------------------------------------------------------------------------

    async def _note(self, write: Callable[[aiosqlite.Connection], Awaitable[object]]) -> None:
        """Write down what is good to have in the database, but can be done without."""
        try:
            async with self._store.write() as connection:
                await write(connection)
        except TROUBLE as error:
            self._disk.report(error)

    def _show(self, active: Active, **changes: Any) -> None:
        """Change how a dream stands and tell whoever watches, if it is a change."""
        if active.ended.is_set():
            return
        live = msgspec.structs.replace(active.live, **changes)
        if live != active.live:
            active.live = live
            self._feed.publish(live)

    def _licence(self, recipe: Recipe) -> str:
        for engine in self._drawer.engines:
            for model in engine.models:
                if (engine.name, model.name) == (recipe.engine, recipe.model):
                    return model.licence
        return ""
