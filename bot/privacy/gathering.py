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
    "moderation_entry": ("pseudonym", "by_pseudonym"),
    "stream_event": ("pseudonym",),
    "forgotten_person": ("person_id",),
    "wall_session": ("person_id",),
}
"""Tables, and their columns by which a row is about a person."""
OF_DREAMS = ("picture_check",)
"""Tables whose rows are about a person's dreams: about who asked for the one in `dream_id`."""
BESIDE = {"picture_check": ("decided_by",)}
"""Tables that name people, whose rows are about something else."""
_INTERNAL = {
    "party_association": ("folded",),
    "game": ("perceptor",),
    "wall_session": ("token_sha256",),
    "picture_check": ("original_sha256",),
}
_JSON = {"recipe", "detail", "payload"}
_PERSON = re.compile(r"(discord|guest|local|gone):.+")
_PSEUDONYMS = ("pseudonym", "by_pseudonym")
_ELSE = "somebody else"
_PAGE = 100


async def pages_about(
    store: Store, table: str, person_id: str, page: int = _PAGE
) -> AsyncIterator[list[Row]]:
    """Yield a table's rows about a person, as they are kept, a page at a time in the key's order.

    A page goes on behind the last one's key, so that what is deleted meanwhile makes none be left
    out.

    Raises:
        StoreError: the database cannot be read.
    """
    of_key = await store.read(
        "SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk", (table,)
    )
    key = [row["name"] for row in of_key]
    names, last = ", ".join(key), ", ".join(f":key{place}" for place in range(len(key)))
    if table in OF_DREAMS:
        mine = "dream_id IN (SELECT id FROM dream WHERE person_id = :person_id)"
    else:
        mine = " OR ".join(f"{column} = {_mine(column)}" for column in OWNED[table])
    first = f"SELECT * FROM {table} WHERE ({mine})"  # noqa: S608 (own text)
    end = f" ORDER BY {names} LIMIT {page}"
    found = await store.read(first + end, {"person_id": person_id})
    while found:
        yield found
        after = {f"key{place}": found[-1][name] for place, name in enumerate(key)}
        found = await store.read(
            f"{first} AND ({names}) > ({last}){end}", {"person_id": person_id, **after}
        )


def _mine(column: str) -> str:
    if column in _PSEUDONYMS:
        return "(SELECT pseudonym FROM person WHERE id = :person_id)"
    return ":person_id"


async def known_as(store: Store, person_id: str) -> frozenset[str]:
    """Return what a person is called by in the rows: their id, and their pseudonym.

    Raises:
        StoreError: the database cannot be read.
    """
    row = await store.read_one("SELECT pseudonym FROM person WHERE id = ?", (person_id,))
    return frozenset({person_id} if row is None else {person_id, row["pseudonym"]})


def told(table: str, rows: list[Row], own: frozenset[str]) -> list[dict[str, Any]]:
    """Return rows as their person is told them: who else is in them is called somebody else.

    `own` is what they are called by (`known_as`). Decodes their JSON: where there are many, not on
    the event loop.
    """
    pages = [_told(table, row, own) for row in rows]
    for found in pages:
        for name in _JSON & found.keys():
            found[name] = msgspec.json.decode(found[name])
    return pages


def _told(table: str, row: Row, own: frozenset[str]) -> dict[str, Any]:
    hidden: tuple[str, ...] = _INTERNAL.get(table, ())
    if table == "game" and row["state"] == "open":
        hidden += ("prompt", "seed", "dream_id")  # the answer, which who opened it may not know
    return {
        name: _ELSE if _is_another(name, row[name], own) else row[name]
        for name in row.keys()  # noqa: SIM118 - a row is no mapping
        if name not in hidden
    }


def _is_another(column: str, value: object, own: frozenset[str]) -> bool:
    if column in _PSEUDONYMS:
        return value is not None and value not in own
    named = column in (
        "person_id",
        "deleted_by",
        "withdrawn_by",
        "blocked_by",
        "host_id",
        "decided_by",
    )
    return named and isinstance(value, str) and value not in own and bool(_PERSON.match(value))
