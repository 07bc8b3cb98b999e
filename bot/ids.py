"""Ids of dreams: they sort by time, go into any address, and are not to be guessed."""

from __future__ import annotations

import secrets
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
TIME_LENGTH = 9  # 45 bits of milliseconds: until the year 3084
RANDOM_LENGTH = 7  # 35 bits
LENGTH = TIME_LENGTH + RANDOM_LENGTH
MOST_AHEAD_MS = 24 * 3600 * 1000
"""How far ids go on from one that is dated later than now; see `IdMaker`."""
EARLIEST_MS = 1_767_225_600_000
"""The beginning of 2026: a clock that says less has lost the time."""


def now_ms() -> int:
    """Return the time, in milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


class IdMaker:
    """Makes ids that rise strictly, also when the clock is set back or two come at once.

    Only where it is set back by more than a day, to a time that can be, they begin anew there: the
    clock was ahead before, and to go on would date all that comes as wrongly, for years perhaps.
    """

    def __init__(self, newest: str = "") -> None:
        self._last_ms = time_of(newest) if newest else 0

    def next(self) -> str:
        """Return a new id, greater than every one before."""
        now = now_ms()
        ahead = now >= EARLIEST_MS and self._last_ms - now > MOST_AHEAD_MS
        self._last_ms = now if ahead else max(now, self._last_ms + 1)
        return _digits(self._last_ms, TIME_LENGTH) + _digits(
            secrets.randbits(5 * RANDOM_LENGTH), RANDOM_LENGTH
        )


def time_of(dream_id: str) -> int:
    """Return the milliseconds since 1970 that an id begins with."""
    value = 0
    for digit in dream_id[:TIME_LENGTH]:
        value = value * 32 + ALPHABET.index(digit)
    return value


def first_at(at_ms: int) -> str:
    """Return what sorts before every id that was made at this time or later."""
    return _digits(max(0, at_ms), TIME_LENGTH)


def is_id(text: str) -> bool:
    """Say whether a text has the form of an id."""
    return len(text) == LENGTH and all(sign in ALPHABET for sign in text)


def _digits(value: int, length: int) -> str:
    signs = []
    for _ in range(length):
        value, digit = divmod(value, 32)
        signs.append(ALPHABET[digit])
    return "".join(reversed(signs))
