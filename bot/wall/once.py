"""What is made once for everybody who asks for it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Once(Generic[K, V]):
    """Keeps what was made under each key until it is forgotten: the newest `most`.

    Iterating it gives the keys there are.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._made: OrderedDict[K, asyncio.Task[V]] = OrderedDict()

    def __iter__(self) -> Iterator[K]:
        return iter(self._made)

    def __contains__(self, key: object) -> bool:
        return key in self._made

    async def get(self, key: K, make: Callable[[], Coroutine[None, None, V]]) -> V:
        """Return what is kept under a key, or is being made; else, or if that failed, make it.

        Raises:
            Exception: whatever `make` raises, to all who wait for it.
        """
        task = self._made.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._made[key] = asyncio.create_task(make())
            while len(self._made) > self._most:
                self._made.popitem(last=False)
        # Shielded: who hangs up meanwhile must not take it from the others.
        return await asyncio.shield(task)

    def forget(self, key: K) -> None:
        """Keep nothing under a key."""
        self._made.pop(key, None)

    def clear(self) -> None:
        """Keep nothing."""
        self._made.clear()
