"""The cards that do not show their dreams' ends yet, found by their rows and by their dreams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from bot.store.deliveries import DeliveryRow


@dataclass
class Card:
    """A row that is open.

    `tried` says that a message may have been sent from here. `failing_s` is since when it cannot
    be shown, if it cannot, by the monotonic clock. `room_bytes` is what a file may have, where that
    is less than usual.
    """

    row: DeliveryRow
    unfinished: set[str] = field(default_factory=set)
    looks: object = None
    tried: bool = False
    failures: int = 0
    failing_s: float | None = None
    room_bytes: int | None = None

    @property
    def posted(self) -> bool:
        """Whether its message is known."""
        return self.row.message_id is not None


class OpenCards:
    """Each open row's card, once."""

    def __init__(self) -> None:
        self._by_key: dict[int, Card] = {}
        self._of_dream: dict[str, set[int]] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Card]:
        return iter([*self._by_key.values()])

    def __contains__(self, key: int) -> bool:
        return key in self._by_key

    def get(self, key: int) -> Card | None:
        """Return a row's card."""
        return self._by_key.get(key)

    def of_dream(self, dream_id: str) -> list[Card]:
        """Return the cards that show a dream."""
        return [self._by_key[key] for key in self._of_dream.get(dream_id, ())]

    def hold(self, row: DeliveryRow) -> Card:
        """Return a row's card, which from now on shows those dreams too that have come onto it."""
        card = self._by_key.setdefault(row.id, Card(row))
        if len(row.dream_ids) > len(card.row.dream_ids):
            card.row = msgspec.structs.replace(card.row, dream_ids=row.dream_ids)
        self._index(card)
        return card

    def put_back(self, card: Card) -> None:
        """Hold a card that was let go of, unless its row has been taken up anew."""
        self._index(self._by_key.setdefault(card.row.id, card))

    def let_go(self, card: Card) -> None:
        """Forget a card."""
        self._by_key.pop(card.row.id, None)
        for dream_id in card.row.dream_ids:
            keys = self._of_dream.get(dream_id, set())
            keys.discard(card.row.id)
            if not keys:
                self._of_dream.pop(dream_id, None)

    def _index(self, card: Card) -> None:
        for dream_id in card.row.dream_ids:
            self._of_dream.setdefault(dream_id, set()).add(card.row.id)
