"""Who holds which picture, so that none goes that somebody is about to refer to.

Whoever comes to refer to a picture or file takes hold of it first, and lets go once the database
has its name. What is being removed is not taken hold of until that is over. So between “nothing
refers to it” and its removal nothing comes to refer to it, however long the removal takes.

Belongs to one event loop; nothing here blocks, or touches a file.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass


@dataclass
class _Hold:
    """By how many something is held, and whether it stays when nobody holds it any more.

    None while nobody has looked yet whether it was there before the first of them.
    """

    count: int = 0
    stays: bool | None = None


class Holds:
    """What is held, and what is just being removed. Names are SHA-256."""

    def __init__(self) -> None:
        self._holds: dict[str, _Hold] = {}
        self._removals: dict[str, asyncio.Event] = {}
        self._unwanted: set[str] = set()  # what was to be removed, and could not be

    async def take(self, sha256: str) -> None:
        """Hold something once more; waits while it is being removed."""
        while (removal := self._removals.get(sha256)) is not None:
            await removal.wait()
        self._holds.setdefault(sha256, _Hold()).count += 1

    def found(self, sha256: str, present: bool) -> None:
        """Note whether something that is held was there before it is written.

        What was there before the first who holds it is not ours to remove, unless nothing named it
        before, either. Nobody writes before this is noted, so the first to say it is right.
        """
        hold = self._holds[sha256]
        if hold.stays is None:
            hold.stays = present and sha256 not in self._unwanted

    def release(self, sha256: str, *, named: bool) -> bool | None:
        """Hold something once less. `named` says that something refers to it.

        Returns whether it stays; None where that is not to be decided now: others hold it, or
        nobody found out whether it was there, and so nobody wrote it.
        """
        hold = self._holds[sha256]
        hold.count -= 1
        hold.stays = True if named else hold.stays
        if hold.count > 0:
            return None
        del self._holds[sha256]
        if hold.stays is False:
            self._unwanted.add(sha256)
        return hold.stays

    def unneeded(self, sha256: str) -> None:
        """Note that nothing refers to something: it goes when it is let go, if that is so then."""
        if (hold := self._holds.get(sha256)) is not None:
            hold.stays = False

    def begin_removal(self, sha256: str) -> bool:
        """Keep something from being taken hold of until `end_removal`; say whether that is so.

        It is not where it is held, or just being removed already.
        """
        if sha256 in self._holds or sha256 in self._removals:
            return False
        self._removals[sha256] = asyncio.Event()
        return True

    def end_removal(self, sha256: str, *, settled: bool) -> None:
        """Let it be taken hold of again. It is `settled` where it is gone, or is to stay."""
        if settled:
            self._unwanted.discard(sha256)
        self._removals.pop(sha256).set()
