"""The best of a channel's day: when it is due, and which pictures are in it.

A channel that has set an hour (`bot.settings`) has one digest for each day of its server's time
zone. That there is one, and of which pictures, is a row, written before anything is posted
(`bot.store.digests`); how it comes to Discord is known to `bot.delivery.digest_cards`. Invariants:

- a channel has at most one row for a local day, whoever asks for it and however often;
- the spans of two digests of a channel do not overlap, so no picture is in two of them;
- what was missed by `LATEST_MS` is left out, and not caught up with days later.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, time, timedelta

from bot import zones
from bot.channels import Channels
from bot.ids import now_ms
from bot.settings import DigestPlace, Settings
from bot.store import Store, digests
from bot.watching import Watching

log = logging.getLogger(__name__)

MOST = 9
"""How many pictures a digest shows."""
LATEST_MS = 12 * 3600 * 1000
_DAY = timedelta(days=1)
_SEAM_MS = 36 * 3600 * 1000  # an earlier digest that ended within it is gone on from

ParentOf = Callable[[DigestPlace], Awaitable[int | None]]
"""Returns the channel that a thread belongs to, None for what is no thread.

Raises `LookupError` where the place is gone.
"""


def moment_ms(day: date, hour: int, zone: str) -> int:
    """Return when the digest of a local day is due, in milliseconds since 1970 UTC.

    Where the clock leaves the hour out, that is an hour later by the clock; where the hour comes
    twice, the first time. Source: PEP 495, ``fold=0``.
    """
    return int(datetime.combine(day, time(hour), zones.zone(zone)).timestamp()) * 1000


def last_due(at_ms: int, hour: int, zone: str) -> date:
    """Return the last local day whose digest is due at a time, or was."""
    day = datetime.fromtimestamp(at_ms / 1000, zones.zone(zone)).date()
    # A zone may have left out a whole day: then two days are due at one moment.
    while moment_ms(day, hour, zone) > at_ms:
        day -= _DAY
    return day


def page_day(since_ms: int, until_ms: int) -> date:
    """Return the day in UTC, as the wall counts them, that most of a digest's span is in."""
    return datetime.fromtimestamp((since_ms + until_ms) / 2000, UTC).date()


class Digests:
    """Finds which digests are due, and writes them down."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        channels: Channels,
        *,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._store = store
        self._settings = settings
        self._channels = channels
        self._watching = Watching(store)
        self._clock = clock
        # By channel, which it has been looked at for last. Only saves reading the rows.
        self._done: dict[int, int] = {}

    @property
    def now_ms(self) -> int:
        """What time it is, in milliseconds since 1970 UTC."""
        return self._clock()

    async def order_due(self, parent_of: ParentOf) -> list[int]:
        """Write down every digest that is due and not there yet; return those to be posted.

        Every place has its turn, whatever goes wrong with another; then the first error is raised.

        Raises:
            DiskError, StoreError: nothing can be written at present; the rest is still due.
        """
        at_ms = self._clock()
        alike = defaultdict(list)
        for place in self._settings.digests():
            alike[place.hour, place.zone].append(place)
        ordered = []
        failed: Exception | None = None
        for (hour, zone), places in alike.items():
            day = last_due(at_ms, hour, zone)
            until_ms = moment_ms(day, hour, zone)
            if at_ms - until_ms > LATEST_MS:
                continue
            for place in places:
                if self._done.get(place.channel_id) == until_ms:
                    continue
                try:
                    digest_id = await self._order(place, day, until_ms, parent_of)
                except Exception as error:
                    log.info("Channel %s has no digest yet: %r", place.channel_id, error)
                    failed = failed or error
                    continue
                self._done[place.channel_id] = until_ms
                if digest_id is not None:
                    ordered.append(digest_id)
        if failed is not None:
            raise failed
        return ordered

    async def _order(
        self, place: DigestPlace, day: date, until_ms: int, parent_of: ParentOf
    ) -> int | None:
        """Write one down, if that is to be; return its id where it has something to show."""
        since_ms = moment_ms(day - _DAY, place.hour, place.zone)
        before_ms = await digests.newest_until(self._store, place.channel_id, until_ms)
        if before_ms is not None and before_ms >= until_ms - _SEAM_MS:
            since_ms = before_ms
        elif until_ms < await digests.set_ms(self._store, place.channel_id):
            return None  # the hour was set after it had struck: the next day's is the first
        if since_ms >= until_ms:
            return None
        try:
            parent_id = await parent_of(place)
        except LookupError:
            log.info("Channel %s, which is to have a digest, is not there", place.channel_id)
            return None
        theme = await self._channels.hung_on(place.channel_id, parent_id)
        found = await self._watching.best_within(
            theme.id, since_ms, until_ms, channel_id=place.channel_id, limit=MOST
        )
        async with self._store.write() as connection:
            digest_id = await digests.order(
                connection,
                guild_id=place.guild_id,
                channel_id=place.channel_id,
                theme_id=theme.id,
                day=day,
                since_ms=since_ms,
                until_ms=until_ms,
                dream_ids=found,
                now_ms=self._clock(),
            )
        return digest_id if found else None
