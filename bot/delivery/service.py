"""Keep Discord up to date: every dream that was asked for there is shown there, to its end.

What is to be shown is a row (`bot.store.deliveries`), written together with its dreams. The feed
says what happens; how a card looks is read anew whenever its turn comes, so it never shows less
than what is known. Invariants:

- a row stays open until its message is known to show the end of all its dreams, or it can never
  be shown; it is open again from the deletion of one of them until the message shows it no more;
- all open rows are taken up at the start, and those made later come with the feed's events, which
  are followed from the last position that was written down: nothing falls between.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from bot import logs
from bot.delivery.faces import Faces
from bot.delivery.followups import FollowUps
from bot.delivery.lane import Lane
from bot.delivery.open_cards import Card, OpenCards
from bot.delivery.pace import Urgency
from bot.delivery.posting import PATIENCE_S
from bot.delivery.repaints import Repaints
from bot.delivery.sender import NeverError, Sender, TooLargeError, TryLaterError
from bot.delivery.showing import Showing
from bot.delivery.whole_bot import WholeBot
from bot.errors import DreamstreamError
from bot.following import Following
from bot.front import Front
from bot.ids import now_ms
from bot.model import ENDINGS, DreamState, EventKind, Live, StreamEvent
from bot.side_tasks import SideTasks
from bot.store import deliveries, facts
from bot.store import dreams as rows
from bot.store.deliveries import DeliveryRow, DeliveryState
from bot.unforeseen import Errors

log = logging.getLogger(__name__)

POSITION = "delivery.position"
STOP_S = 5.0
FIRST_DELAY_S = 3.0
MAX_DELAY_S = 600.0
MAX_OUTAGE_DELAY_S = 15.0
DELETED = "Its dreams were deleted."


class Companion(Protocol):
    """Other messages that keep the same channels' turns, under keys of their own."""

    @property
    def keys(self) -> range:
        """Which keys in a lane are theirs."""

    async def start(self) -> None:
        """Begin, before anything is sent."""

    async def stop(self) -> None:
        """Want nothing any more."""

    async def show(self, lane: Lane, key: int) -> None:
        """Show what the key stands for, whose turn it is."""

    def hurry(self) -> None:
        """Try again at once what could not be shown."""


class Delivery:
    """The cards in Discord, from `start` to `stop`."""

    def __init__(
        self,
        front: Front,
        sender: Sender,
        faces: Faces,
        follow_ups: FollowUps,
        whole: WholeBot | None = None,
    ) -> None:
        self._front = front
        self._whole = whole
        self._follow_ups = follow_ups
        self._cards = OpenCards()
        self._showing = Showing(sender, faces)
        self._repaints = Repaints(self._showing, self._cards)
        self._lanes: dict[int, Lane] = {}
        self._closing = 0
        self._following = Following(front.feed, self._happened, self._moved)
        self._wishes: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        self._tasks = SideTasks()
        self._errors = Errors("dream-cards", log)
        self._started = False
        self._when_deleted: list[Callable[[str], Awaitable[None]]] = []
        self.companions: tuple[Companion, ...] = ()

    async def start(self) -> None:
        """Take up every card that does not show its dreams' ends yet, and follow the feed."""
        store = self._front.store
        kept = await facts.get(store, POSITION)
        last_id = await self._front.feed.last_id()
        self._following.position = last_id if kept is None else int(kept)
        for row in await deliveries.open_rows(store):
            await self._take(row)
        for companion in self.companions:
            await companion.start()
        self._front.moderation.on_favourite(self.refresh)
        if self._front.reviews is not None:
            self._front.reviews.on_change(self.refresh)
        self._started = True
        trouble = "Discord's cards cannot be kept up to date"
        self._tasks.keep(self._following.run, trouble, name="discord-delivery")
        self._tasks.keep(self._grant, "Cards cannot be shown again", name="discord-delivery-wishes")

    async def stop(self) -> None:
        """Let what is being sent arrive, within reason. The rest is taken up at the next start."""
        self._front.moderation.no_more(self.refresh)
        if self._front.reviews is not None:
            self._front.reviews.no_more(self.refresh)
        if not self._started:
            return
        self._started = False
        await self._tasks.stop()
        for companion in self.companions:
            await companion.stop()
        lanes = [*self._lanes.values()]
        stops = (lane.stop(STOP_S) for lane in lanes)
        await asyncio.gather(self._follow_ups.stop(), *stops)
        with suppress(DreamstreamError):
            async with self._front.store.write() as connection:
                await facts.put(connection, POSITION, str(self._following.position))

    def on_deleted(self, watcher: Callable[[str], Awaitable[None]]) -> None:
        """Call `watcher` with the id of every dream that was deleted, also before a crash."""
        self._when_deleted.append(watcher)

    def refresh(self, dream_id: str) -> None:
        """Have the messages that are done with a dream show it once more, as it is now.

        Not for what must be seen: it is not tried again.
        """
        if self._started:
            self._wishes.put_nowait(lambda: self._refresh(dream_id))

    def answered(self, interaction_id: int) -> None:
        """Note that the asker has had an answer, so that a follow-up comes after it."""

        async def begin() -> None:
            self._follow_ups.answered(interaction_id)

        self._wishes.put_nowait(begin)

    def hurry(self, guild_id: int | None = None) -> None:
        """Try again at once what could not be shown, in one guild or in all."""
        for card in self._cards:
            if card.failures and guild_id in (None, card.row.guild_id):
                card.failures = 0
                self.lane(card.row.channel_id).hurry(card.row.id)
        for companion in self.companions:
            companion.hurry()

    @property
    def unsettled(self) -> int:
        """How many cards do not show their dreams' ends yet."""
        return len(self._cards) + self._closing

    # --- what happens ------------------------------------------------------------------------

    async def _happened(self, event: StreamEvent) -> None:
        if event.dream_id is None:
            return
        if event.kind is EventKind.ASKED:
            self._follow_ups.accepted(event.dream_id)
            if not self._cards.of_dream(event.dream_id):
                for row in await deliveries.open_rows(self._front.store, event.dream_id):
                    await self._take(row)
        elif event.kind is EventKind.DELETED:
            if not event.retired:
                await self._deleted(event.dream_id)
        elif event.kind in ENDINGS:
            self._ended(event.dream_id)
        else:
            self._want(event.dream_id, Urgency.FORMING)

    async def _deleted(self, dream_id: str) -> None:
        """Have the messages that show a dream show it no more."""
        store = self._front.store
        if done := [row for row in await deliveries.of_dream(store, dream_id) if not row.open]:
            async with store.write() as connection:
                for row in done:
                    await deliveries.reopen(connection, row.id, now_ms())
        for row in await deliveries.open_rows(store, dream_id):
            await self._take(row)
        self._want(dream_id, Urgency.END)
        for watcher in self._when_deleted:
            await watcher(dream_id)

    def _moved(self, live: Live) -> None:
        forming = live.state is DreamState.DRAWING
        self._want(live.dream_id, Urgency.FORMING if forming else Urgency.WAITING)

    def _ended(self, dream_id: str) -> None:
        for card in self._cards.of_dream(dream_id):
            card.unfinished.discard(dream_id)
            self._want_card(card, Urgency.FORMING if card.unfinished else Urgency.END)
        self._follow_ups.want(dream_id, Urgency.END)

    def _want(self, dream_id: str, urgency: Urgency) -> None:
        self._follow_ups.want(dream_id, urgency)
        for card in self._cards.of_dream(dream_id):
            self._want_card(card, urgency)

    def _want_card(self, card: Card, urgency: Urgency) -> None:
        self.lane(card.row.channel_id).want(card.row.id, urgency, posted=card.posted)

    async def _take(self, row: DeliveryRow) -> None:
        """Take up an open row, or dreams that have come onto one that was taken before."""
        card = self._cards.hold(row)
        dreams = await rows.by_ids(self._front.store, card.row.dream_ids)
        card.unfinished = {dream.id for dream in dreams if not dream.state.final}
        self._want_card(card, Urgency.NEW if card.unfinished else Urgency.END)

    def lane(self, channel_id: int) -> Lane:
        """Return a channel's turn-taking."""
        if channel_id not in self._lanes:
            self._lanes[channel_id] = Lane(self._show, whole=self._whole)
            if not self._started:  # taken up from a process that may have sent until just now
                self._lanes[channel_id].assume_full()
        return self._lanes[channel_id]

    async def _grant(self) -> None:
        """Do what was wished for, apart from the interactions that it came from."""
        while True:
            wish = await self._wishes.get()
            try:
                await wish()
            except DreamstreamError as error:
                log.warning("A card cannot be shown again: %s", error)

    async def _refresh(self, dream_id: str) -> None:
        for row in await deliveries.of_dream(self._front.store, dream_id):
            if row.message_id is not None and row.id not in self._cards:
                self._repaints.want(self.lane(row.channel_id), row)

    # --- showing it --------------------------------------------------------------------------

    async def _show(self, lane: Lane, key: int) -> None:
        """Show a card as it is now. Whatever goes wrong holds up no other card."""
        for companion in self.companions:
            if key in companion.keys:
                await companion.show(lane, key)
                return
        card = self._cards.get(key)
        if card is None:
            await self._repaints.show(lane, key)
            return
        self._repaints.forget(key)
        with logs.about(dream=card.row.dream_id, channel=card.row.channel_id):
            await self._show_card(lane, card)

    async def _show_card(self, lane: Lane, card: Card) -> None:
        key = card.row.id
        try:
            await self._attempt(lane, card)
        except TooLargeError:
            lane.tried(key, posted=card.posted)
            lane.later(key, Urgency.END, 0.0)
        except (TryLaterError, DreamstreamError) as error:
            log.warning("The card of dream %s cannot be shown yet: %s", card.row.dream_id, error)
            if isinstance(error, TryLaterError) and error.after_s is not None:
                lane.later(key, Urgency.FORMING if card.posted else Urgency.NEW, error.after_s)
                return
            outage = isinstance(error, TryLaterError) and error.outage
            self._try_later(lane, card, MAX_OUTAGE_DELAY_S if outage else MAX_DELAY_S)
        except Exception as error:  # a mistake of ours
            self._errors.tell(error, "The card of dream %s cannot be shown", card.row.dream_id)
            self._try_later(lane, card, MAX_DELAY_S)

    async def _attempt(self, lane: Lane, card: Card) -> None:
        try:
            face = await self._showing.bring(lane, card)
        except NeverError as error:
            lane.tried(card.row.id, posted=card.posted)  # a refusal counts for the limits, too
            await self._give_up(card, str(error))
            return
        except TryLaterError as error:
            lane.tried(card.row.id, posted=card.posted, closed_s=error.closed_s)
            if card.failing_s is None:
                card.failing_s = time.monotonic()
            if time.monotonic() - card.failing_s <= PATIENCE_S:
                raise
            await self._give_up(card, str(error))
            return
        if face is None:
            await self._close(card, DeliveryState.GIVEN_UP, reason=DELETED)
        elif face.over:
            there = len(face.shown)
            await self._close(card, DeliveryState.SETTLED, shown=face.state, there=there)

    def _try_later(self, lane: Lane, card: Card, longest_s: float) -> None:
        delay_s = min(longest_s, FIRST_DELAY_S * 2 ** min(card.failures, 10))
        card.failures += 1
        urgency = Urgency.FORMING if card.posted else Urgency.NEW
        lane.later(card.row.id, urgency, delay_s)

    async def _give_up(self, card: Card, reason: str) -> None:
        log.warning("Dream %s will not be shown in Discord: %s", card.row.dream_id, reason)
        await self._close(card, DeliveryState.GIVEN_UP, reason=reason)

    async def _close(
        self,
        card: Card,
        state: DeliveryState,
        *,
        shown: str = "",
        reason: str = "",
        there: int | None = None,
    ) -> None:
        """Close a card's row, unless it has something else to show by now.

        The card is let go of before: what happens to its dreams meanwhile takes the row up anew.
        """
        row = card.row
        self._cards.let_go(card)
        self._closing += 1
        try:
            async with self._front.store.write() as connection:
                closed = await deliveries.close(
                    connection, row, state, now_ms(), shown=shown, reason=reason, there=there
                )
                await facts.put(connection, POSITION, str(self._following.position))
        except BaseException:
            self._cards.put_back(card)
            raise
        finally:
            self._closing -= 1
        if not closed:
            row = await deliveries.by_id(self._front.store, row.id)
            if row.open:
                await self._take(row)
        if row.id not in self._cards:
            self.lane(row.channel_id).drop(row.id)
