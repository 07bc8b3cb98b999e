"""What the database has about a person: rows, by table, without what is anybody else's."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from bot.store import Row, Store

OWNED = {
    "person": ("id",),
    "dream": ("person_id",),
    "pending_steer": ("person_id",),
    "favourite": ("person_id",),
    "portrait": ("person_id",),
    "party_member": ("person_id",),
    "party_association": ("person_id",),
    "party_saying": ("person_id",),
    "party_vote": ("person_id",),
    "party_finale": ("person_id",),
    "game": ("host_id",),
    "game_entry": ("person_id",),
    "game_try": ("person_id",),
    "game_heart": ("person_id",),
    "blocked_person": ("person_id",),
    "moderation_entry": ("person_id", "by_id"),
    "stream_event": ("person_id",),
    "forgotten_person": ("person_id",),
}
"""Tables, and their columns by which a row is about a person."""
BESIDE = {"picture_check": ("decided_by",)}
"""Tables that name people, whose rows are about something else."""
_INTERNAL = {
    "party_association": ("folded",),
    "game": ("perceptor",),
}
_JSON = {"recipe", "detail", "payload"}
_PERSON = re.compile(r"(discord|guest|local):.+")
_ELSE = "somebody else"
_PAGE = 500


async def rows_about(store: Store, table: str, person_id: str) -> AsyncIterator[dict[str, Any]]:
    """Yield a table's rows about a person, as they are kept.

    Who else is in them is only called somebody else.

    Raises:
        StoreError: the database cannot be read.
    """
    mine = " OR ".join(f"{column} = :person_id" for column in OWNED[table])
    sql = f"SELECT * FROM {table} WHERE {mine} LIMIT {_PAGE} OFFSET :start"  # noqa: S608 (own text)
    start = 0
    while page := await store.read(sql, {"person_id": person_id, "start": start}):
        for row in page:
            found = _told(table, row, person_id)
            for name in _JSON & found.keys():
                found[name] = msgspec.json.decode(found[name])
            yield found
        start += len(page)


def _told(table: str, row: Row, person_id: str) -> dict[str, Any]:
    hidden: tuple[str, ...] = _INTERNAL.get(table, ())
    if table == "game" and row["state"] == "open":
        hidden += ("prompt", "seed", "dream_id")  # the answer, which who opened it may not know
    return {
        name: _ELSE if _is_another(name, row[name], person_id) else row[name]
        for name in row.keys()  # noqa: SIM118 - a row is no mapping
        if name not in hidden
    }


def _is_another(column: str, value: object, person_id: str) -> bool:
    named = column in ("person_id", "by_id", "deleted_by", "withdrawn_by", "blocked_by", "host_id")
    return named and isinstance(value, str) and value != person_id and bool(_PERSON.match(value))
