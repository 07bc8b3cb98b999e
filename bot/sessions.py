"""Who is signed in, and until when.

A session is 32 random bytes that one browser has. Kept is their SHA-256, so that whoever reads the
database, or a backup of it, cannot come as somebody else; being random, they need no slower hash.
A restart keeps everybody signed in. A backup that is put back signs everybody out, or else it would
bring back what was signed out since.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable

from bot.ids import now_ms
from bot.model import Person
from bot.store import Store, people
from bot.store import wall_sessions as rows

DAY_MS = 24 * 3600 * 1000
MOST = 20
"""In how many browsers a person can be signed in; of more, the ones they signed in to last."""
SKEW_MS = 10 * 60 * 1000
"""A session from further ahead than this was begun by a clock that has been put right since."""
_TOKEN_BYTES = 32
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


class Sessions:
    """The sessions there are, each good for `days`."""

    def __init__(
        self, store: Store, *, days: float = 30.0, clock: Callable[[], int] = now_ms
    ) -> None:
        self._store = store
        self._clock = clock
        self.lasts_ms = int(days * DAY_MS)

    async def begin(self, person: Person, instead_of: str = "") -> str:
        """Sign a person in, under a new token, which is returned; an earlier one ends.

        Raises:
            DiskError, StoreError: nothing can be kept at present.
        """
        token, now = secrets.token_urlsafe(_TOKEN_BYTES), self._clock()
        async with self._store.write() as connection:
            await people.upsert(connection, person, now)
            await rows.delete_over(connection, now)
            await rows.delete(connection, _hash(instead_of))
            await rows.insert(
                connection,
                _hash(token),
                person.id,
                now_ms=now,
                until_ms=now + self.lasts_ms,
                most=MOST,
            )
        return token

    async def person_of(self, token: str) -> Person | None:
        """Return who is signed in by a token at this moment; None where nobody is.

        Raises:
            StoreError: the database cannot be read.
        """
        if not _TOKEN.fullmatch(token):
            return None
        now = self._clock()
        return await rows.person_of(
            self._store, _hash(token), created_by_ms=now + SKEW_MS, now_ms=now
        )

    async def count(self, person: Person) -> int:
        """Return in how many browsers a person is signed in."""
        return await rows.count(self._store, person.id, self._clock())

    async def end(self, token: str) -> None:
        """Sign a browser out. Once this returns, its token is good for nothing.

        Raises:
            DiskError, StoreError: nothing can be written at present; it is signed in as before.
        """
        async with self._store.write() as connection:
            await rows.delete(connection, _hash(token))

    async def end_all(self, person: Person) -> None:
        """Sign a person out wherever they are signed in; raises as `end` does."""
        async with self._store.write() as connection:
            await rows.delete_of(connection, person.id)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
