"""Decide which card of a channel is sent next, and when, so that Discord's limits are kept.

Pure: it is told the time and tells what may be sent. A channel takes `BURST` new messages and as
many edits in `WINDOW_S`; a card is edited `FORMING_S` apart at the least, and one that only waits
in the queue less often. What shows an end goes first, then what was never shown, then what forms:
of those the one that has gone without for longest, so that nobody's dream holds up another's. It
does not know what a card shows: whatever is newest when its turn comes is sent.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import IntEnum

FORMING_S = 3.0
WAITING_S = 15.0
BURST = 5
WINDOW_S = 5.5
_LONG_AGO = float("-inf")


class Urgency(IntEnum):
    """What a card has to show: less is sooner."""

    END = 0
    NEW = 1
    FORMING = 2
    WAITING = 3


@dataclass
class _Card:
    """One message: what it has to show (None: nothing new), and when it was last shown."""

    urgency: Urgency | None = None
    posted: bool = False
    wanted_s: float = 0.0
    shown_s: float = _LONG_AGO
    not_before_s: float = _LONG_AGO

    @property
    def gap_s(self) -> float:
        return WAITING_S if self.urgency is Urgency.WAITING else FORMING_S

    def due_s(self) -> float:
        """Return when its turn comes, whatever the channel takes."""
        return max(self.wanted_s, self.not_before_s, self.shown_s + self.gap_s)

    def rank(self, now_s: float) -> tuple[int, float]:
        """Return what to sort by: less goes first."""
        assert self.urgency is not None
        if self.urgency < Urgency.FORMING:
            return self.urgency, self.wanted_s
        # By how many of its gaps it has gone without: what only waits gets a smaller share.
        last_s = max(self.shown_s, self.wanted_s - self.gap_s)
        return Urgency.FORMING, -(now_s - last_s) / self.gap_s


class _Window:
    """The times at which things were sent lately."""

    def __init__(self) -> None:
        self._sent_s: deque[float] = deque(maxlen=BURST)
        self._closed_s = _LONG_AGO  # Discord has said that it takes none before

    def add(self, now_s: float) -> None:
        self._sent_s.append(now_s)

    def close(self, until_s: float) -> None:
        self._closed_s = max(self._closed_s, until_s)

    def free_s(self) -> float:
        full_s = self._sent_s[0] + WINDOW_S if len(self._sent_s) == BURST else _LONG_AGO
        return max(full_s, self._closed_s)


class Pace:
    """The cards of one channel."""

    def __init__(self) -> None:
        self._cards: dict[int, _Card] = {}
        self._lately: dict[int, float] = {}  # when cards that are forgotten were shown last
        self._posts = _Window()
        self._edits = _Window()

    def assume_full(self, now_s: float) -> None:
        """Take it that all that may be sent was sent just now, as by a process before this."""
        for window in (self._posts, self._edits):
            for _ in range(BURST):
                window.add(now_s)

    def want(self, key: int, urgency: Urgency, now_s: float, *, posted: bool) -> None:
        """Note that a card has something new to show, as an edit where it has been posted."""
        if key not in self._cards:
            self._cards[key] = _Card(shown_s=self._lately.pop(key, _LONG_AGO))
        card = self._cards[key]
        card.posted = posted
        if card.urgency is None:
            card.urgency, card.wanted_s = urgency, now_s
        else:
            card.urgency = min(card.urgency, urgency)

    def urgency(self, key: int) -> Urgency:
        """Return how urgent it is to show a card that is wanted."""
        urgency = self._cards[key].urgency
        assert urgency is not None, "a card that nobody wants shown"
        return urgency

    def begin(self, key: int) -> None:
        """Note that a card is being sent: what is wanted from here on is sent again."""
        self._cards[key].urgency = None

    def sent(self, key: int, now_s: float, *, posted: bool) -> None:
        """Note that a card has been sent, by an edit where it had been posted before."""
        (self._edits if posted else self._posts).add(now_s)
        if key in self._cards:
            self._cards[key].shown_s = now_s
            self._cards[key].posted = True

    def tried(self, key: int, now_s: float, *, posted: bool, closed_s: float = 0.0) -> None:
        """Note an attempt that failed: it counts for all limits, as a new message and as an edit.

        For what was sent by an earlier attempt is found, or sent again under its nonce, and then
        edited; and what is too old for an edit is sent anew. `closed_s` is for how long Discord
        takes no new message, or no edit, of any card here.
        """
        for window in (self._posts, self._edits):
            window.add(now_s)
        (self._edits if posted else self._posts).close(now_s + closed_s)
        if key in self._cards:
            self._cards[key].shown_s = now_s

    def later(self, key: int, urgency: Urgency, now_s: float, delay_s: float) -> None:
        """Note that a card could not be sent, and when to try again."""
        if key in self._cards:
            self.want(key, urgency, now_s, posted=self._cards[key].posted)
            self._cards[key].not_before_s = now_s + delay_s

    def hurry(self, key: int) -> None:
        """Note that a card that could not be sent may be tried at once."""
        if key in self._cards:
            self._cards[key].not_before_s = _LONG_AGO

    def drop(self, key: int) -> None:
        """Forget a card, but for when it was shown: it may be taken up again at once."""
        card = self._cards.pop(key, None)
        if card is None or card.shown_s == _LONG_AGO:
            return
        since_s = card.shown_s - FORMING_S
        self._lately = {one: at for one, at in self._lately.items() if at > since_s}
        self._lately[key] = card.shown_s

    def next(self, now_s: float) -> tuple[int | None, float | None]:
        """Return the card to be sent now, or else in how many seconds to ask again.

        Neither means that nothing is wanted.
        """
        best: int | None = None
        soonest_s: float | None = None
        for key, card in self._cards.items():
            if card.urgency is None:
                continue
            window = self._edits if card.posted else self._posts
            due_s = max(card.due_s(), window.free_s())
            if due_s > now_s:
                soonest_s = due_s if soonest_s is None else min(soonest_s, due_s)
            elif best is None or card.rank(now_s) < self._cards[best].rank(now_s):
                best = key
        if best is not None:
            return best, None
        return None, None if soonest_s is None else soonest_s - now_s
