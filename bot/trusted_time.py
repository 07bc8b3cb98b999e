"""Whether the clock may be believed, by those who let go what is old.

One that is a year ahead would have a year's worth go at once. All who ask share what was noted, so
that whoever looks first after a jump makes the others wait, too.
"""

from __future__ import annotations

import logging

from bot.ids import now_ms
from bot.store import Store, facts

log = logging.getLogger(__name__)

_HOUR_MS = 3600 * 1000
DAY_MS = 24 * _HOUR_MS
LONGEST_PAUSE_MS = 7 * DAY_MS
"""Between two looks: after a longer one, either nobody was there or the clock is wrong."""
DOUBT_MS = DAY_MS
"""How long nothing goes by itself after that."""
_LOOKED, _FROM = "retention_looked_ms", "retention_from_ms"


async def is_sure_of_the_time(store: Store) -> bool:
    """Note that it is looked now, and say whether the clock may be believed.

    Where it has moved back, or on by more than a week since the last look, nothing goes for a day.

    Raises:
        DiskError, StoreError: nothing can be written at present.
    """
    now = now_ms()
    looked = int(await facts.get(store, _LOOKED) or now)
    begins = int(await facts.get(store, _FROM) or 0)
    if not -_HOUR_MS <= now - looked <= LONGEST_PAUSE_MS:
        begins = now + DOUBT_MS
        log.warning(
            "It was looked what is to go %.1f days ago, the clock says. In case it is wrong, "
            "nothing goes for a day.",
            (now - looked) / DAY_MS,
        )
    async with store.write() as connection:
        await facts.put(connection, _LOOKED, str(now))
        await facts.put(connection, _FROM, str(begins))
    return now >= begins
