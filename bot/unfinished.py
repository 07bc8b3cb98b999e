"""Every unfinished dream, from its acceptance to its one end.

The database knows which dreams are unfinished and what they are; this keeps how each stands at
the moment, hands it to the drawer whenever there is one, and writes down its end. Invariants:

- a dream is here from the commit that accepted it to the commit that ended it, so whatever dies,
  it is submitted again from its newest checkpoint;
- its end is written by `bot.endings` alone: the first one counts, and whoever comes later goes by
  that.

This module does not know what may be asked, or by whom: that is `bot.dreams`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

import msgspec

from bot import logs
from bot.active import Active
from bot.checking.previews import Previews
from bot.checking.service import PictureChecks
from bot.checkpoints import Checkpoints
from bot.disk import TROUBLE, DiskWatch
from bot.drawing import Drawer
from bot.endings import UNFORESEEN, Endings
from bot.errors import NotFoundError, OutOfReachError
from bot.feed import Feed
from bot.handover import Handover
from bot.library import BadPictureError, Library, UnreadableError
from bot.model import Dream, DreamState, Person, Theme
from bot.monitoring import metrics
from bot.notes import Notes
from bot.quarantine import Quarantine
from bot.side_tasks import SideTasks
from bot.steering import Steering
from bot.store import Store, dream_states, steers
from bot.store import dreams as rows
from bot.unforeseen import Errors
from generation import protocol
from generation.protocol import Recipe

log = logging.getLogger(__name__)

RETRY_DELAYS_S = (2.0, 10.0, 30.0)
MOST_MISSED, MISSED_FOR_S = 20, 600.0
"""How often, and for how long, a picture may be out of reach of a store that takes and gives others
meanwhile. What is missed in an outage does not count: while that lasts nothing is tried."""
LONGEST_MISSED_S = 30.0
MISSED = "The picture that this dream starts from cannot be had at present. It is tried again."
GIVEN_UP = (
    "The picture that this dream starts from could not be had, however often it was tried. Ask "
    "again later, or bring the picture along."
)
STOP_S = 10.0


class Unfinished:
    """What is being drawn or waits for it."""

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
        self.quarantine = Quarantine()
        self.handover = Handover(store, library, drawer, disk, self.quarantine, checkpoints)
        self.note = Notes(store, disk)
        self.steering = Steering(store, disk, self.handover, self.note)
        self._endings = Endings(store, library, disk)
        self._previews: Previews | None = None
        self._active: dict[str, Active] = {}
        self._tasks = SideTasks()
        self._errors = Errors("dreams", log)
        self._finishing = SideTasks()

    def check_pictures(self, checks: PictureChecks) -> None:
        """Have finished pictures, and previews, checked from now on before anybody sees them."""
        self._endings.judge = checks.judge
        self._previews = Previews(checks, self._show_preview)

    # --- what there is -----------------------------------------------------------------------

    def get(self, dream_id: str) -> Active | None:
        """Return how an unfinished dream stands."""
        return self._active.get(dream_id)

    def all(self) -> list[Active]:
        """Return how all of them stand."""
        return [*self._active.values()]

    def present(self, dream: Dream) -> Dream:
        """Return a dream from the database with what has happened to it since."""
        active = self._active.get(dream.id)
        if active is None or dream.state.final:
            return dream
        return msgspec.structs.replace(dream, state=active.live.state, step=active.live.step)

    async def start(self, themes: Iterable[Theme]) -> None:
        """Take up what an earlier process left unfinished."""
        streams = {theme.id: theme.slug for theme in themes}
        await self.note(dream_states.to_waiting)
        for dream in await rows.unfinished(self._store):
            self._active[dream.id] = Active(dream, streams[dream.theme_id], resumed=True)
        for steer in await steers.pending(self._store):
            if steer.dream_id in self._active:
                self._active[steer.dream_id].steers.append(steer)
        await self.handover.sweep(self._active)
        if self._drawer.up:
            await self._submit_all()

    async def stop(self) -> None:
        """Write down what has ended, within reason, and leave the rest to the next start.

        Whatever is reported after this is not heard.
        """
        if self._disk.trouble is None:
            await self._finishing.wait(STOP_S)
        await self._finishing.stop()
        if self._previews is not None:
            await self._previews.stop()
        await self._tasks.stop()
        await self.handover.stop()
        self._active.clear()

    def add(self, dreams: Iterable[Dream], theme: Theme, notice: str = "") -> None:
        """Take dreams whose acceptance has been committed."""
        added = [Active(dream, theme.slug, notice) for dream in dreams]
        for active in added:
            self._active[active.dream.id] = active
            dream = active.dream
            metrics.accepted(dream)
            with logs.about(dream=dream.id, ask=dream.ask_id):
                log.info("Dream %s was accepted, for %s", dream.id, dream.recipe.engine)
            self._feed.publish(active.live)
        self._tasks.spawn(self._submit_each(added))

    # --- to the drawer -----------------------------------------------------------------------

    async def on_up(self) -> None:
        """Hand every dream to a new scheduler process."""
        self.handover.new_process()
        await self._submit_all()

    def hand_over(self, dreams: Iterable[Active]) -> None:
        """Hand dreams over again that the scheduler process has lost."""
        self._tasks.spawn(self._submit_each([*dreams]))

    async def _submit_all(self) -> None:
        await self._submit_each([self._active[dream_id] for dream_id in sorted(self._active)])

    async def _submit_each(self, dreams: Iterable[Active]) -> None:
        """Hand dreams to the scheduler process if it has not got them yet, in order."""
        for active in dreams:
            await self._submit(active)

    async def _submit(self, active: Active) -> None:
        try:
            handed_over = await self.handover.submit(active)
        except UnreadableError:
            self.try_again(active, "The picture that this dream starts from cannot be read.")
        except NotFoundError:
            reason = "The picture that this dream starts from is no longer kept."
            self.end(active, DreamState.FAILED, reason)
        except OutOfReachError as error:
            self._tasks.keep(
                partial(self._missed, active, error),
                f"Dream {active.dream.id} waits for its picture",
                name="missed",
            )
        except TROUBLE as error:
            self._disk.report(error)
            self._tasks.spawn(self._submit_later(active, 0.0))
        except Exception as error:  # neither this nor those behind it may wait for ever
            self._errors.tell(error, "Dream %s cannot be handed over", active.dream.id)
            self.try_again(active, UNFORESEEN)
        else:
            if handed_over:
                active.missed = 0
                if active.live.notice == MISSED:
                    self.show(active, notice=active.note)

    async def _missed(self, active: Active, error: OutOfReachError) -> None:
        """Submit a dream again once its picture may be had; give it up where that is no use.

        In an outage it waits as everybody does. One picture that cannot be had is no outage: its
        dream comes back to it by itself, less and less often, and nobody else is held up.
        """
        self.show(active, notice=MISSED)
        if await self._disk.is_outage():
            self._tasks.spawn(self._submit_later(active, 0.0))
            return
        if active.missed == 0:
            log.warning("Dream %s waits for its picture: %s", active.dream.id, error)
            active.missing_since_s = time.monotonic()
        active.missed += 1
        missing_s = time.monotonic() - active.missing_since_s
        if active.missed >= MOST_MISSED and missing_s >= MISSED_FOR_S:
            log.error("Dream %s is given up: %s", active.dream.id, error)
            self.end(active, DreamState.FAILED, GIVEN_UP)
            return
        delay_s = min(2.0 ** min(active.missed, 10), LONGEST_MISSED_S)
        self._tasks.spawn(self._submit_later(active, delay_s))

    def try_again(self, active: Active, reason: str) -> None:
        """Submit a dream again after a while, the last time from its beginning; or give up."""
        if active.ended.is_set():
            return
        if active.retries >= len(self._retry_delays_s):
            self.end(active, DreamState.FAILED, reason)
            return
        delay_s = self._retry_delays_s[active.retries]
        active.retries += 1
        active.anew = active.retries == len(self._retry_delays_s)
        active.epoch = None
        active.ending = False
        self.show(active, state=DreamState.WAITING, place=None, eta_s=None, notice=reason)
        self._tasks.spawn(self._submit_later(active, delay_s))

    async def _submit_later(self, active: Active, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        await self._disk.well()
        await self._submit(active)

    # --- the end -----------------------------------------------------------------------------

    def finish(self, active: Active, message: protocol.Finished) -> None:
        """Keep the picture and end the dream, or let it be drawn again."""
        active.ending = True
        # It counts even if the picture cannot be kept and is drawn again.
        active.dream = msgspec.structs.replace(active.dream, gpu_s=message.gpu_s)
        self._finishing.spawn(self._finish(active, message))

    async def _finish(self, active: Active, message: protocol.Finished) -> None:
        try:
            # Whoever lets it go on, once it has ended, finds its last checkpoint.
            await self.handover.saved(active)
            state = await self._endings.done_surely(
                active,
                message,
                self._licence(message.recipe),
                lambda notice: self.show(active, notice=notice),
            )
        except BadPictureError as error:
            log.error("Dream %s: %s", active.dream.id, error)
            self.try_again(active, "The picture came out damaged.")
        except Exception as error:  # a mistake of ours must not leave the dream without an end
            self._errors.tell(error, "Dream %s cannot be ended", active.dream.id)
            self.try_again(active, "The picture could not be kept.")
        else:
            if state is None:
                self._resume(active)
            else:
                self._forget(active, state)

    async def cancel(self, active: Active, person: Person) -> bool:
        """End a dream unfinished; say whether it had not ended before.

        Raises:
            DiskError, StoreError: nothing can be kept at present.
        """
        # Until that is written down all goes on, for it may fail: no picture, no steer's answer
        # that comes meanwhile is to be lost.
        state, first = await self._endings.without_picture(
            active.dream, DreamState.CANCELLED, person=person
        )
        self._forget(active, state)
        if first and self._drawer.up:
            self._drawer.cancel(active.dream.id)
        return first

    async def forget_checkpoint(self, dream_id: str) -> None:
        """Remove what is kept of a dream that is over, to go on from."""
        await self.handover.forget(dream_id)

    def _resume(self, active: Active) -> None:
        """Have a dream drawn again whose picture could not be kept."""
        if not active.ended.is_set():
            active.ending, active.epoch = False, None
            self._tasks.spawn(self._submit_later(active, 0.0))

    def end(self, active: Active, state: DreamState, reason: str = "") -> None:
        """Let a dream end without a picture, as soon as that can be written down."""
        active.ending = True
        self._tasks.spawn(self._end_surely(active, state, reason))

    async def _end_surely(self, active: Active, state: DreamState, reason: str) -> None:
        ended = await self._endings.without_picture_surely(active.dream, state, reason)
        self._forget(active, ended.state)

    def _forget(self, active: Active, state: DreamState) -> None:
        """Let go of a dream of which `state` has been committed as its end, the first time."""
        if active.ended.is_set():
            return
        active.ending = True
        dream, done = active.dream, state is DreamState.DONE
        self._active.pop(dream.id, None)
        metrics.ended(dream, state)
        with logs.about(dream=dream.id, ask=dream.ask_id):
            log.info("Dream %s is %s", dream.id, state.value)
        self.quarantine.forget(dream.id)
        active.ended.set()
        self._tasks.spawn(self.handover.clean(active, done=done))

    # --- small things ------------------------------------------------------------------------

    def show(self, active: Active, **changes: Any) -> None:
        """Change how a dream stands and tell whoever watches, if it is a change."""
        if active.ended.is_set():
            return
        live = msgspec.structs.replace(active.live, **changes)
        if live != active.live:
            active.live = live
            self._feed.publish(live)

    def take_preview(self, active: Active, webp: bytes | None, step: int, steps: int) -> int:
        """Keep a preview if it may be shown at once; return the number of the newest that may."""
        previews = self._previews
        if webp is not None and (
            previews is None or previews.let_through(active, webp, step, steps)
        ):
            active.preview = webp
            return active.live.preview_version + 1
        return active.live.preview_version

    def _show_preview(self, active: Active, webp: bytes) -> None:
        active.preview = webp
        self.show(active, preview_version=active.live.preview_version + 1)

    def _licence(self, recipe: Recipe) -> str:
        for engine in self._drawer.engines:
            for model in engine.models:
                if (engine.name, model.name) == (recipe.engine, recipe.model):
                    return model.licence
        return ""
