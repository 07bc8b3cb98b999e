"""Look at the rows: whether the file is whole, its schema complete, and every rule kept. Blocks."""

# ruff: noqa: S608 - names of tables and columns are the schema's own

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import cache, partial

import msgspec

from bot.backup.database import foreign_keys
from bot.consistency.model import FIRST, Fault
from bot.consistency.rule import TIME_OF_ID, Rule
from bot.consistency.rules_of_deletions import DELETED
from bot.consistency.rules_of_ends import ENDED
from bot.consistency.rules_of_telling import TOLD
from bot.ids import is_id, now_ms, time_of
from bot.store.migrate import shipped, statements
from bot.store.people import PARTED
from bot.store.soundness import faults
from bot.store.texts import readable
from generation.protocol import Recipe

# Rows that say nothing once what they are about is gone.
_LEAVES = (
    "delivery_dream",
    "digest_dream",
    "dream_file",
    "dream_picture",
    "dream_vector",
    "favourite",
    "game_heart",
    "party_dream_association",
    "party_saying",
    "party_vote",
    "pending_steer",
    "picture_check",
)
_SOMEBODY = "Somebody"


def damage(connection: sqlite3.Connection) -> Iterator[Fault]:
    """Yield what SQLite itself finds wrong with the file; nothing else is to be believed then."""
    for verdict in faults(connection):
        yield Fault(
            "damaged",
            verdict,
            f"The database is damaged: {verdict}.",
            cannot="Put a backup back: dreamstream restore.",
        )


def look(connection: sqlite3.Connection) -> Iterator[Fault]:
    """Yield what is wrong with the rows of a database that is whole and of this version."""
    connection.create_function(TIME_OF_ID, 1, _time_of_id, deterministic=True)
    yield from _schema(connection)
    yield from _references(connection)
    for rule in (*ENDED, *DELETED, *TOLD):
        yield from _broken(connection, rule)
    yield from _recipes(connection)


def _time_of_id(data: bytes) -> int | None:
    text = readable(data)
    return time_of(text) if is_id(text) else None


def _broken(connection: sqlite3.Connection, rule: Rule) -> Iterator[Fault]:
    for row in connection.execute(rule.find).fetchall():
        yield Fault(
            rule.name,
            str(row["about"]),
            rule.says.format(about=row["about"]),
            partial(_mend, connection, rule, row["key"]) if rule.mend else None,
            rule.cannot,
        )


def _mend(connection: sqlite3.Connection, rule: Rule, key: object) -> str:
    still = connection.execute(f"SELECT 1 FROM ({rule.find}) WHERE key = ?", (key,)).fetchone()
    if still is None:
        return "It is mended with something else."
    connection.execute(rule.mend, {"key": key, "now": now_ms()})
    return rule.mended


def _schema(connection: sqlite3.Connection) -> Iterator[Fault]:
    """Yield what differs from a database made anew: the guards are a part of what is trusted."""
    wanted = _wanted()
    found = _objects(connection)
    for key, sql in wanted.items():
        kind, name = key
        if key not in found and kind in ("index", "trigger"):
            yield Fault(
                "schema",
                name,
                f"The {kind} {name} of the database is missing.",
                partial(_make, connection, sql),
                order=FIRST,
            )
        elif found.get(key) != sql:
            yield Fault(
                "schema",
                name,
                f"The {kind} {name} of the database is not as this version makes it.",
                cannot="Put a backup back: dreamstream restore.",
            )


@cache
def _wanted() -> dict[tuple[str, str], str]:
    """Return what a database of this version consists of."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as new:
        for migration in shipped():
            for statement in statements(migration.sql):
                new.execute(statement)
        return _objects(new)


def _objects(connection: sqlite3.Connection) -> dict[tuple[str, str], str]:
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {(row[0], row[1]): row[2] for row in rows if not row[1].startswith("sqlite_")}


def _make(connection: sqlite3.Connection, sql: str) -> str:
    connection.execute(sql)
    return "It is made."


def _references(connection: sqlite3.Connection) -> Iterator[Fault]:
    """Yield where rows point at rows that are not there."""
    for child, column, parent, target in foreign_keys(connection):
        yield from _dangling(connection, child, column, parent, target)


def _dangling(
    connection: sqlite3.Connection, child: str, column: str, parent: str, target: str
) -> Iterator[Fault]:
    lost = f"""
        {column} IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM {parent} AS other WHERE other.{target} = {child}.{column})
    """
    found = connection.execute(
        f"SELECT DISTINCT {column} AS key FROM {child} WHERE {lost}"
    ).fetchall()
    for row in found:
        mend = None
        if parent == "person":
            mend = partial(_name_somebody, connection, row["key"], target)
        elif child in _LEAVES:
            sql = f"DELETE FROM {child} WHERE {column} = ? AND {lost}"
            mend = partial(_change, connection, sql, row["key"], "It is removed.")
        elif (child, column) in _FORGOTTEN:
            sql = f"UPDATE {child} SET {column} = NULL WHERE {column} = ? AND {lost}"
            mend = partial(_change, connection, sql, row["key"], "It points there no more.")
        yield Fault(
            "reference",
            f"{child}.{column}",
            f"A row of {child} points at {row['key']} ({column}), and no {parent} is that.",
            mend,
            "Put a backup back, if one has it: dreamstream restore.",
        )


# What a dream or a theme can do without. A picture of which only the row is lost is found in the
# library before this is mended (`bot.consistency.files`).
_FORGOTTEN = (
    ("dream", "parent_id"),
    ("dream", "init_sha256"),
    ("theme", "picture_sha256"),
    ("party_dream", "other_id"),
    ("party_finale", "redrawn_id"),
    ("party_finale", "upscaled_id"),
)


def _change(connection: sqlite3.Connection, sql: str, key: object, mended: str) -> str:
    connection.execute(sql, (key,))
    return mended


def _name_somebody(connection: sqlite3.Connection, key: str, target: str) -> str:
    if target == "pseudonym":
        connection.execute(
            "INSERT OR IGNORE INTO person (id, name, first_seen_ms, pseudonym) VALUES (?, ?, ?, ?)",
            (PARTED + key, _SOMEBODY, now_ms(), key),
        )
        return f"They are “{_SOMEBODY}”, of whom nothing else is known."
    connection.execute(
        "INSERT OR IGNORE INTO person (id, name, first_seen_ms) VALUES (?, ?, ?)",
        (key, _SOMEBODY, now_ms()),
    )
    return f"They are known as “{_SOMEBODY}” until they ask again."


def _recipes(connection: sqlite3.Connection) -> Iterator[Fault]:
    """Yield the dreams whose recipe cannot be read, or starts from another picture than the row."""
    decoder = msgspec.json.Decoder(Recipe)
    rows: Iterable[sqlite3.Row] = connection.execute(
        "SELECT id, recipe, init_sha256 FROM dream WHERE deleted_ms IS NULL"
    )
    for row in rows:
        try:
            recipe = decoder.decode(row["recipe"])
        except msgspec.MsgspecError as error:
            yield Fault(
                "recipe",
                row["id"],
                f"The recipe of dream {row['id']} cannot be read: {error}.",
                cannot="Put a backup back, or delete the dream.",
            )
            continue
        if row["init_sha256"] not in (None, recipe.init_sha256):
            yield Fault(
                "start",
                row["id"],
                f"Dream {row['id']} starts from another picture than its recipe says.",
                partial(
                    _change,
                    connection,
                    "UPDATE dream SET init_sha256 = (SELECT sha256 FROM image WHERE sha256 = "
                    "json_extract(recipe, '$.init_sha256')) WHERE id = ?",
                    row["id"],
                    "It starts from what the recipe says.",
                ),
            )
