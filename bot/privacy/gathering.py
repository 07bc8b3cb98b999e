"""What the database has about a person: rows, by table, without what is anybody else's."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from bot.store import Row, Store
from generation.protocol import Recipe

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
# Of one step a dream may have several: events and recipe have them in the same order.
STEERED = """
    SELECT event.id, event.dream_id, event.at_ms, event.step, dream.recipe, (
        SELECT json_group_array(other.id) FROM stream_event AS other
        WHERE other.dream_id = event.dream_id
        AND other.kind = 'steered' AND json_extract(other.payload, '$.step') = event.step
    ) AS of_step
    FROM (
        SELECT id, dream_id, at_ms, json_extract(payload, '$.step') AS step FROM stream_event
        WHERE pseudonym = (SELECT pseudonym FROM person WHERE id = :person_id)
        AND kind = 'steered' AND id > :after
    ) AS event
    JOIN dream ON dream.id = event.dream_id
    WHERE dream.person_id <> :person_id AND dream.deleted_ms IS NULL
    ORDER BY event.id LIMIT :page
"""
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


async def pages_of_steers(
    store: Store, person_id: str, page: int = _PAGE
) -> AsyncIterator[list[Row]]:
    """Yield the steers of others' dreams that a person asked for, for `told_steers`, in order.

    Raises:
        StoreError: the database cannot be read.
    """
    after = 0
    while found := await store.read(
        STEERED, {"person_id": person_id, "after": after, "page": page}
    ):
        yield found
        after = found[-1]["id"]


def told_steers(rows: list[Row]) -> list[dict[str, Any]]:
    """Return a person's steers as they are told them: their own words, and nothing of the dream's.

    Decodes recipes: not on the event loop.
    """
    found = []
    for row in rows:
        recipe = msgspec.json.decode(row["recipe"], type=Recipe)
        events = sorted(msgspec.json.decode(row["of_step"], type=list[int]))
        steers = [steer for steer in recipe.steers if steer.step == row["step"]]
        if len(set(steers)) == 1:
            [steer] = set(steers)
        elif len(steers) == len(events):
            steer = steers[events.index(row["id"])]
        else:  # one was asked for twice, and which nobody knows: it may be another's words
            continue
        found.append(
            {
                "dream_id": row["dream_id"],
                "step": steer.step,
                "prompt": steer.prompt,
                "glide_steps": steer.glide_steps,
                "at_ms": row["at_ms"],
            }
        )
    return found


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
