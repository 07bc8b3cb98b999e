"""The sign-ins that were begun and are not over: so many, shared by the networks they are from.

Whoever has a network has more addresses than there is room: of IPv6 a site has 2¹⁶ that count as
one each. So where there is no room it is made in the network that has most, and within that again,
from the widest to the address. As long as somebody's networks have less than another at each of
these, nobody else's sign-ins push theirs out.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MOST = 4096
LASTS_S = 600.0


@dataclass(frozen=True)
class SignIn:
    """One that is underway, until a time in seconds; `networks` are the widest first."""

    secret_sha256: bytes
    verifier: str
    next: str
    until_s: float
    networks: tuple[str, ...]


class Underway:
    """At most `MOST`, by their states. Kept in memory: who comes from where is written nowhere."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sign_ins: OrderedDict[str, SignIn] = OrderedDict()  # as they were begun
        # Counted as they come and go: to count them all each time would cost milliseconds.
        self._counts: dict[tuple[str, ...], Counter[str]] = {}  # within a network, by the next
        self._states: dict[tuple[str, ...], dict[str, None]] = {}  # of an address

    def __len__(self) -> int:
        return len(self._sign_ins)

    def begin(
        self, state: str, secret_sha256: bytes, verifier: str, next: str, networks: tuple[str, ...]
    ) -> None:
        """Note a sign-in under a new state; all of them come with as many `networks`."""
        self._forget()
        if len(self._sign_ins) >= MOST:
            self._drop(self._least_missed(len(networks)))
        until_s = self._clock() + LASTS_S
        self._sign_ins[state] = SignIn(secret_sha256, verifier, next, until_s, networks)
        self._states.setdefault(networks, {})[state] = None
        for level, network in enumerate(networks):
            self._counts.setdefault(networks[:level], Counter())[network] += 1

    def take(self, state: str) -> SignIn | None:
        """Return a sign-in, which is over with that; None where it was already."""
        if state not in self._sign_ins:
            return None
        found = self._drop(state)
        return found if found.until_s > self._clock() else None

    def _forget(self) -> None:
        now = self._clock()
        while self._sign_ins:
            oldest = next(iter(self._sign_ins))
            if self._sign_ins[oldest].until_s > now:
                break
            self._drop(oldest)

    def _drop(self, state: str) -> SignIn:
        found = self._sign_ins.pop(state)
        networks = found.networks
        states = self._states[networks]
        del states[state]
        if not states:
            del self._states[networks]
        for level, network in enumerate(networks):
            counts = self._counts[networks[:level]]
            counts[network] -= 1
            if not counts[network]:
                del counts[network]
            if not counts:
                del self._counts[networks[:level]]
        return found

    def _least_missed(self, levels: int) -> str:
        """Return the oldest of the address that has most, in the network that has most."""
        within: tuple[str, ...] = ()
        for _ in range(levels):
            counts = self._counts[within]
            within = (*within, max(counts, key=counts.__getitem__))
        return next(iter(self._states[within]))
