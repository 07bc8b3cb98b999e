"""How many unfinished dreams were asked for from one address.

A guest is a cookie, which anybody may drop for another; an address is not had so easily. Kept in
memory: who asked is written down by nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from bot.errors import LimitError


class Addresses:
    """Bounds what is asked for from one address at `most`; `unfinished` tells of a dream."""

    def __init__(self, most: int, unfinished: Callable[[str], bool]) -> None:
        self._most = most
        self._unfinished = unfinished
        self._dreams: dict[str, set[str]] = {}
        self._asking: Counter[str] = Counter()

    @contextmanager
    def room_for(self, count: int, address: str) -> Iterator[Callable[[Iterable[str]], None]]:
        """Keep room while dreams are asked for; call what is given with the ids they got.

        Raises:
            LimitError: too many from this address are not over.
        """
        self._forget()
        waiting = len(self._dreams.get(address, ())) + self._asking[address]
        # More at once than there is room for at all: refused by the limits that everybody has.
        if waiting and waiting + count > self._most:
            raise LimitError(
                f"From where you are, {waiting} dreams are waiting, and {self._most} is the most "
                "at once. Wait for some to finish.",
                30,
            )
        self._asking[address] += count
        try:
            yield self._dreams.setdefault(address, set()).update
        finally:
            self._asking[address] -= count

    def _forget(self) -> None:
        """Forget dreams that are over, and addresses that have none."""
        for address, dreams in list(self._dreams.items()):
            dreams.intersection_update([dream for dream in dreams if self._unfinished(dream)])
            if not dreams and not self._asking[address]:
                del self._dreams[address], self._asking[address]
