"""Messages that are done with, and are to show their dreams once more: a ♥ more, another right.

Nothing of this must be seen: what fails is not tried again, and what was wished for before a
restart is forgotten.
"""

from __future__ import annotations

import logging
from collections import OrderedDict

from bot.delivery.lane import Lane
from bot.delivery.open_cards import OpenCards
from bot.delivery.pace import Urgency
from bot.delivery.sender import NeverError, TooLargeError, TryLaterError
from bot.delivery.showing import Showing
from bot.errors import DreamstreamError
from bot.store.deliveries import DeliveryRow
from bot.unforeseen import Errors

log = logging.getLogger(__name__)

_MAX_REPAINTED = 256


class Repaints:
    """What is to be shown once more, beside the cards that are open."""

    def __init__(self, showing: Showing, cards: OpenCards) -> None:
        self._showing = showing
        self._cards = cards
        self._errors = Errors("repaints", log)
        self._wanted: dict[int, DeliveryRow] = {}
        self._repainted: OrderedDict[int, Lane] = OrderedDict()

    def want(self, lane: Lane, row: DeliveryRow) -> None:
        """Have a row's message shown once more, in its turn."""
        self._wanted[row.id] = row
        lane.want(row.id, Urgency.WAITING, posted=True)

    def forget(self, key: int) -> None:
        """Leave a row to its open card."""
        self._wanted.pop(key, None)

    async def show(self, lane: Lane, key: int) -> None:
        """Show a message once more, if that is wanted; where it fails, what is there is as good."""
        row = self._wanted.pop(key, None)
        if row is None:
            return
        try:
            await self._showing.repaint(row)
        except (NeverError, TryLaterError, TooLargeError, DreamstreamError) as error:
            log.info("The card of dream %s stays as it is: %s", row.dream_id, error)
        except Exception as error:  # a mistake of ours
            self._errors.tell(error, "The card of dream %s stays as it is", row.dream_id)
        self._note(lane, key)

    def _note(self, lane: Lane, key: int) -> None:
        """Let the lane remember when, so that the next time is not too soon; not for ever."""
        lane.sent(key, posted=True)
        self._repainted[key] = lane
        self._repainted.move_to_end(key)
        if len(self._repainted) > _MAX_REPAINTED:
            oldest, its_lane = self._repainted.popitem(last=False)
            if oldest not in self._cards:
                its_lane.drop(oldest)
