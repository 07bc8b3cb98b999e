"""What must hold of the rows, one rule each: a query that finds what breaks it, and the mend.

A query returns an `about` (what is named to the reader) and a `key`; a mend is a statement that
gets the `key` as ``:key`` and the present time as ``:now``. It is done only while the query still
finds the `key`; what one mend brings to light the next round finds.
"""

# ruff: noqa: S608 - every statement is put together of our own words

from __future__ import annotations

from dataclasses import dataclass

FINAL = "dream.state IN ('done', 'failed', 'cancelled')"
ENDINGS = "('done', 'failed', 'cancelled')"
TIME_OF_ID = "time_of_id"
"""SQL's name for the time that an id begins with, given as a BLOB; NULL of what is no id."""
POSSIBLE = "BETWEEN 0 AND 253402300799999"
"""From 1970 to the end of the year 9999: what has no date cannot be shown."""
BY_ITS_ID = f"{TIME_OF_ID}(CAST(dream.id AS BLOB))"
"""The time in a dream's id."""
APPEND_ONLY = "The stream is append-only, so it stays. It does no harm but to what is counted."


@dataclass(frozen=True)
class Rule:
    """`says` has a place for ``{about}``. Where there is no `mend`, `cannot` says what to do."""

    name: str
    find: str
    says: str
    mend: str = ""
    cannot: str = ""
    mended: str = ""


def count_of(*kinds: str) -> str:
    """Return what counts a dream's events of some kinds, for a query over `dream`."""
    named = ", ".join(f"'{kind}'" for kind in kinds)
    return f"(SELECT count(*) FROM stream_event WHERE dream_id = dream.id AND kind IN ({named}))"


def first_possible(*times: str) -> str:
    """Return the first of some times, SQL over `dream`, that can be; else that in the dream's id.

    The stream is append-only: a time that cannot be would stay in it, and be taken from it.
    """
    bounded = ", ".join(f"iif({time} {POSSIBLE}, {time}, NULL)" for time in times)
    return f"coalesce({bounded}, {BY_ITS_ID})"


def appended(kind: str, at: str, person: str, payload: str) -> str:
    """Return the mend that appends an event to the dream `key`; each part is SQL over its row."""
    return f"""
        INSERT INTO stream_event (theme_id, kind, dream_id, pseudonym, at_ms, payload)
        SELECT dream.theme_id, {kind}, dream.id,
               (SELECT pseudonym FROM person WHERE id = {person}), {at}, {payload}
        FROM dream LEFT JOIN image ON image.sha256 = dream.image_sha256 WHERE dream.id = :key
    """
