"""Who of all that wait goes next, and when. Pure: it is told the time, and knows no Discord.

The most urgent goes first, of those equally urgent the one that came first; and one time in
`AGED_ONE_IN` whoever has waited longest, however urgent the others are. So what is least urgent is
reached after at most `AGED_ONE_IN` turns for each that came before it, and what is most urgent is
held up by a fifth at most.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from itertools import count

AGED_ONE_IN = 5
_SPARE = 100


class Rate:
    """So many `a_second`, evenly, after a `burst`: never more than both together in a second.

    Evenly, because whoever counts them may begin a second elsewhere, and what is sent a second
    apart may arrive closer. This is the generic cell rate algorithm (ITU-T I.371).
    """

    def __init__(self, a_second: float, burst: int) -> None:
        self._apart_s = 1 / a_second
        self._ahead_s = (burst - 1) / a_second
        self._due_s = float("-inf")

    def wait_s(self, now_s: float) -> float:
        """Return in how many seconds the next may go."""
        return max(0.0, self._due_s - self._ahead_s - now_s)

    def went(self, now_s: float) -> None:
        """Note that one has gone."""
        self._due_s = max(self._due_s, now_s) + self._apart_s


class Turn:
    """One that waits. `rank` is how urgent it is: less is sooner."""

    def __init__(self, rank: int, nth: int) -> None:
        self.rank = rank
        self.nth = nth


class Turns:
    """All that wait for one thing."""

    def __init__(self) -> None:
        self._count = count()
        self._waiting: OrderedDict[Turn, None] = OrderedDict()  # whoever came first stands first
        # A heap. One that was hurried is there again, and one that has gone may still be.
        self._by_rank: list[tuple[int, int, Turn]] = []
        self._given = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, turn: Turn) -> bool:
        return turn in self._waiting

    def ask(self, rank: int) -> Turn:
        """Have one more wait."""
        turn = Turn(rank, next(self._count))
        self._waiting[turn] = None
        heapq.heappush(self._by_rank, (rank, turn.nth, turn))
        return turn

    def hurry(self, turn: Turn, rank: int) -> None:
        """Note that something has become more urgent; it keeps its age."""
        if turn in self._waiting and rank < turn.rank:
            turn.rank = rank
            heapq.heappush(self._by_rank, (rank, turn.nth, turn))

    def leave(self, turn: Turn) -> None:
        """Have one wait no more."""
        self._waiting.pop(turn, None)
        if len(self._by_rank) > 2 * len(self._waiting) + _SPARE:
            self._by_rank = [(turn.rank, turn.nth, turn) for turn in self._waiting]
            heapq.heapify(self._by_rank)

    def next(self) -> Turn | None:
        """Return whose turn it is, which waits no more; None where nothing waits."""
        if not self._waiting:
            return None
        self._given += 1
        if self._given % AGED_ONE_IN == 0:
            turn = next(iter(self._waiting))
        else:
            while self._by_rank[0][2] not in self._waiting:
                heapq.heappop(self._by_rank)
            turn = self._by_rank[0][2]
        self.leave(turn)
        return turn
