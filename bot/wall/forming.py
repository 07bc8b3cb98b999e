"""Which unfinished dreams have a card on a stream's page, where more wait than a page can hold.

The first `SHOWN` that were asked for, whatever is being drawn, and a visitor's own. The rest is a
number. A page and its event stream decide by the same rule, each for itself.
"""

from __future__ import annotations

from collections.abc import Iterable

from bot.model import Dream, DreamState, Person

SHOWN = 60


class Forming:
    """The unfinished dreams of a stream, oldest first, and which of them one page shows.

    `visitor` is everybody that the visitor is.
    """

    def __init__(self, visitor: Iterable[Person], dreams: Iterable[Dream] = ()) -> None:
        self._visitor_ids = frozenset(one.id for one in visitor)
        self._waiting: dict[str, None] = {}  # without a card
        self.cards: dict[str, None] = {}
        for dream in dreams:
            self.add(dream.id, dream.person.id, drawn=dream.state is DreamState.DRAWING)

    @property
    def hidden(self) -> int:
        """How many have no card."""
        return len(self._waiting)

    def add(self, dream_id: str, person_id: str, *, drawn: bool = False) -> bool:
        """Note a dream that is not over, and say whether it has a card."""
        if dream_id in self.cards:
            return True
        if len(self.cards) < SHOWN or drawn or person_id in self._visitor_ids:
            self._waiting.pop(dream_id, None)
            self.cards[dream_id] = None
            return True
        self._waiting[dream_id] = None
        return False

    def begin(self, dream_id: str) -> bool:
        """Note that a dream is being drawn, and say whether it gets a card for it."""
        if dream_id not in self._waiting:
            return False
        del self._waiting[dream_id]
        self.cards[dream_id] = None
        return True

    def end(self, dream_id: str) -> str | None:
        """Note that a dream is over; return the one that gets a card in its place."""
        self._waiting.pop(dream_id, None)
        self.cards.pop(dream_id, None)
        if not self._waiting or len(self.cards) >= SHOWN:
            return None
        following = next(iter(self._waiting))
        self.begin(following)
        return following
