"""Time zones by their IANA names, as in ``Europe/Berlin``.

Source: the system's time zone database, or the one of the package ``tzdata`` where there is none
(PEP 615).
"""

from __future__ import annotations

from functools import cache
from zoneinfo import ZoneInfo, available_timezones

UTC = "UTC"


@cache
def names() -> dict[str, str]:
    """Return every zone's name by its name in lower case. The first call reads files: it blocks."""
    return {name.casefold(): name for name in sorted(available_timezones())}


@cache
def zone(name: str) -> ZoneInfo:
    """Return a zone; UTC for a name that this machine does not know."""
    return ZoneInfo(names().get(name.casefold(), UTC))


def offered(typed: str, most: int) -> list[str]:
    """Return the names that have what was typed in them, those that begin with it first."""
    wanted = typed.strip().casefold().replace(" ", "_")
    found = [
        (not key.startswith(wanted) and f"/{wanted}" not in key, key)
        for key in names()
        if wanted in key
    ]
    return [names()[key] for _, key in sorted(found)[:most]]
