"""Keep Discord up to date: every dream that was asked for there is shown there, to its end.

What is to be shown is a row (`bot.store.deliveries`), written together with the dream. The feed
says what happens; how a card looks is read anew whenever its turn comes, so it never shows less
than what is known. Invariants:

- a row stays open until its message is known to show the dream's end, or it can never be shown;
- all open rows are taken up at the start, and those made later come with the feed's events, which
  are followed from the last position that was written down: nothing falls between.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, replace

from bot.delivery.card import Face
from bot.delivery.lane import Lane
from bot.delivery.pace import Urgency
from bot.delivery.pictures import fitting
from bot.delivery.sender import NeverError, Sender, TooLargeError, TryLaterError
from bot.errors import DreamstreamError, NotFoundError
from bot.front import Front
from bot.ids import now_ms
from bot.model import DreamState, EventKind, Live, StreamEvent
from bot.store import deliveries, facts
from bot.store.deliveries import DeliveryRow, DeliveryState

log = logging.getLogger(__name__)

POSITION = "delivery.position"
STOP_S = 5.0
RETRY_S = 1.0
FIRST_DELAY_S = 5.0
MAX_DELAY_S = 600.0
MAX_OUTAGE_DELAY_S = 15.0
PATIENCE_MS = 24 * 3600 * 1000
_MAX_AT_ONCE = 16
_MIN_LIMIT_BYTES = 64 * 1024
_ENDINGS = (EventKind.DONE, EventKind.FAILED, EventKind.CANCELLED)


@dataclass
class _Card:
    row: DeliveryRow
    looks: object = None
    failures: int = 0
    limit_bytes: int | None = None


class Delivery:
    """The cards in Discord, from `start` to `stop`."""

    def __init__(self, front: Front, sender: Sender) -> None:
        self._front = front
        self._sender = sender
        self._cards: dict[int, _Card] = {}
        self._of_dream: dict[str, set[int]] = {}
        self._lanes: dict[int, Lane] = {}
        self._at_once = asyncio.Semaphore(_MAX_AT_ONCE)
        self._position = 0
        self._listener: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take up every card that does not show its dream's end yet, and follow the feed."""
        store = self._front.store
        kept = await facts.get(store, POSITION)
        self._position = await self._front.feed.last_id() if kept is None else int(kept)
        for row in await deliveries.open_rows(store):
            await self._take(row)
        self._listener = asyncio.create_task(self._listen(), name="discord-delivery")

    async def stop(self) -> None:
        """Let what is being sent arrive, within reason. The rest is taken up at the next start."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.cancel()
        with suppress(asyncio.CancelledError):
            await listener
        lanes = [*self._lanes.values()]
        await asyncio.gather(*(lane.stop(STOP_S) for lane in lanes))
        with suppress(DreamstreamError):
            async with self._front.store.write() as connection:
                await facts.put(connection, POSITION, str(self._position))

    def hurry(self, guild_id: int | None = None) -> None:
        """Try again at once what could not be shown, in one guild or in all."""
        for key, card in self._cards.items():
            if card.failures and guild_id in (None, card.row.guild_id):
                card.failures = 0
                self._lane(card.row.channel_id).hurry(key)

    @property
    def unsettled(self) -> int:
        """How many cards do not show their dream's end yet."""
        return len(self._cards)

    # --- what happens ------------------------------------------------------------------------

    async def _listen(self) -> None:
        while True:
            try:
                async with self._front.feed.listen(None, after=self._position) as updates:
                    async for update in updates:
                        if isinstance(update, Live):
                            self._moved(update)
                        else:
                            await self._happened(update)
                            self._position = update.id
            except DreamstreamError as error:
                log.warning("Discord's cards cannot be kept up to date: %s", error)
                await asyncio.sleep(RETRY_S)

    async def _happened(self, event: StreamEvent) -> None:
        if event.dream_id is None:
            return
        if event.kind is EventKind.ASKED:
            for row in await deliveries.open_rows(self._front.store, event.dream_id):
                await self._take(row)
        elif event.kind in _ENDINGS:
            self._want(event.dream_id, Urgency.END)
        else:
            self._want(event.dream_id, Urgency.FORMING)

    def _moved(self, live: Live) -> None:
        forming = live.state is DreamState.DRAWING
        self._want(live.dream_id, Urgency.FORMING if forming else Urgency.WAITING)

    def _want(self, dream_id: str, urgency: Urgency) -> None:
        for key in self._of_dream.get(dream_id, ()):
            row = self._cards[key].row
            posted = row.message_id is not None
            self._lane(row.channel_id).want(key, urgency, posted=posted)

    async def _take(self, row: DeliveryRow) -> None:
        if row.id in self._cards:
            return
        dream = await self._front.dreams.get(row.dream_id)
        self._cards[row.id] = _Card(row)
        self._of_dream.setdefault(row.dream_id, set()).add(row.id)
        urgency = Urgency.END if dream.state.final else Urgency.NEW
        posted = row.message_id is not None
        self._lane(row.channel_id).want(row.id, urgency, posted=posted)

    def _lane(self, channel_id: int) -> Lane:
        if channel_id not in self._lanes:
            self._lanes[channel_id] = Lane(self._show)
        return self._lanes[channel_id]

    # --- showing it --------------------------------------------------------------------------

    async def _show(self, lane: Lane, key: int) -> None:
        """Show a card as it is now. Whatever goes wrong holds up no other card."""
        card = self._cards[key]
        try:
            await self._attempt(lane, card)
        except TooLargeError:
            self._step_down(card)
            lane.later(key, Urgency.END, 0.0)
        except (TryLaterError, DreamstreamError) as error:
            log.warning("Dream %s cannot be shown yet: %s", card.row.dream_id, error)
            outage = isinstance(error, TryLaterError) and error.outage
            self._try_later(lane, card, MAX_OUTAGE_DELAY_S if outage else MAX_DELAY_S)
        except Exception:  # a mistake of ours
            log.exception("The card of dream %s cannot be shown", card.row.dream_id)
            self._try_later(lane, card, MAX_DELAY_S)

    async def _attempt(self, lane: Lane, card: _Card) -> None:
        face = await self._face(card)
        if face.looks != card.looks:
            posted = card.row.message_id is not None
            try:
                async with self._at_once:
                    card.row = await self._sender.show(card.row, face)
            except NeverError as error:
                await self._give_up(card, error)
                return
            except TryLaterError as error:
                lane.tried(posted=posted)
                if now_ms() - card.row.created_ms <= PATIENCE_MS:
                    raise
                await self._give_up(card, error)
                return
            lane.sent(card.row.id, posted=posted)
            card.looks, card.failures = face.looks, 0
        if face.dream.state.final:
            await self._close(card, DeliveryState.SETTLED, shown=face.dream.state)

    async def _face(self, card: _Card) -> Face:
        front, row = self._front, card.row
        dream = await front.dreams.get(row.dream_id)
        theme = await front.themes.by_id(dream.theme_id)
        if not dream.state.final:
            preview = front.dreams.preview(dream.id)
            return Face(
                dream,
                theme,
                live=front.dreams.live(dream.id),
                picture=None if preview is None else preview[1],
                steerable=front.steerable(dream.recipe.engine),
            )
        return await self._last_face(card, Face(dream, theme))

    async def _last_face(self, card: _Card, face: Face) -> Face:
        if face.dream.image is None:
            return face
        limit_bytes = self._sender.limit_bytes(card.row.guild_id)
        if card.limit_bytes is not None:
            limit_bytes = min(limit_bytes, card.limit_bytes)
        library = self._front.library
        try:
            png = await library.read(face.dream.image.sha256)
        except NotFoundError:
            return replace(face, note="Its picture is no longer kept.")
        upload = await library.run(fitting, png, limit_bytes)
        if upload is None:
            return replace(face, note="Its picture is too large for this channel.")
        note = "Made smaller to fit here; the original is kept." if upload.lessened else ""
        return replace(face, picture=upload.data, suffix=upload.suffix, note=note)

    def _step_down(self, card: _Card) -> None:
        """Allow less than what was just refused."""
        limit_bytes = card.limit_bytes or self._sender.limit_bytes(card.row.guild_id)
        card.limit_bytes = max(limit_bytes // 2, _MIN_LIMIT_BYTES)

    def _try_later(self, lane: Lane, card: _Card, longest_s: float) -> None:
        delay_s = min(longest_s, FIRST_DELAY_S * 2 ** min(card.failures, 10))
        card.failures += 1
        urgency = Urgency.NEW if card.row.message_id is None else Urgency.FORMING
        lane.later(card.row.id, urgency, delay_s)

    async def _give_up(self, card: _Card, error: Exception) -> None:
        log.warning("Dream %s will not be shown in Discord: %s", card.row.dream_id, error)
        await self._close(card, DeliveryState.GIVEN_UP, reason=str(error))

    async def _close(
        self, card: _Card, state: DeliveryState, *, shown: str = "", reason: str = ""
    ) -> None:
        row = card.row
        async with self._front.store.write() as connection:
            await deliveries.close(connection, row.id, state, now_ms(), shown=shown, reason=reason)
            await facts.put(connection, POSITION, str(self._position))
        self._cards.pop(row.id, None)
        self._of_dream.get(row.dream_id, set()).discard(row.id)
        if not self._of_dream.get(row.dream_id):
            self._of_dream.pop(row.dream_id, None)
        self._lane(row.channel_id).drop(row.id)
