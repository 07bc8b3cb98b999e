"""Games and their choices.

What people enter in them is kept by `game_entries`. Queries take the store, or the connection of a
transaction to see what that has changed already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import aiosqlite
import msgspec

from bot.games.model import Game, GameKind, GameState
from bot.model import Person
from bot.store import Row, Store, game_cards, game_entries
from bot.store.parties import Source, fetch

_SELECT = """
    SELECT game.*, person.name AS host_name, image.sha256, image.width, image.height,
           image.size_bytes,
           (SELECT json_group_array(words) FROM
            (SELECT words FROM game_choice WHERE game_id = game.id ORDER BY place)) AS choices
    FROM game
    JOIN person ON person.id = game.host_id
    LEFT JOIN dream ON dream.id = game.dream_id
    LEFT JOIN image ON image.sha256 = dream.image_sha256
"""
BY_ID = f"{_SELECT} WHERE game.id = ?"
OPEN_IN = f"{_SELECT} WHERE game.channel_id = ? AND game.state = 'open' AND game.carded"
OPEN = f"{_SELECT} WHERE game.state = 'open' ORDER BY game.ends_ms"
RECENT = f"""
    {_SELECT} WHERE game.theme_id = ? AND game.published AND game.state = 'over'
    ORDER BY game.id DESC LIMIT ?
"""
RUNNING = f"""
    {_SELECT} WHERE game.theme_id = ? AND game.published AND game.state = 'open'
    ORDER BY game.id DESC
"""
HOSTED = "SELECT count(*) AS count FROM game WHERE state = 'open' AND host_id = ?"
OF_DREAM = """
    SELECT id FROM game WHERE dream_id = :dream_id
    UNION SELECT game_id FROM game_choice WHERE dream_id = :dream_id
    UNION SELECT game_id FROM game_entry WHERE dream_id = :dream_id
"""
GUESSED = "SELECT prompt FROM game WHERE theme_id = ? AND kind = 'guess' AND prompt <> ''"
LAST_ID = """
    SELECT max(coalesce((SELECT max(id) FROM game), ''),
               coalesce((SELECT max(id) FROM game_entry), '')) AS id
"""
# What a guess may be made of: the newest, once each. The channel's own counts in it. What somebody
# said about themselves is nothing to guess, and what is covered nobody has seen.
PROMPTS = """
    SELECT id, prompt, person_id FROM dream
    WHERE theme_id = ? AND state = 'done' AND deleted_ms IS NULL AND image_sha256 IS NOT NULL
    AND (published OR channel_id = ?)
    AND NOT EXISTS (SELECT 1 FROM portrait WHERE portrait.dream_id = dream.id)
    AND NOT EXISTS (SELECT 1 FROM portrait_line WHERE portrait_line.dream_id = dream.id)
    AND NOT EXISTS (SELECT 1 FROM picture_check
                    WHERE picture_check.dream_id = dream.id AND original_sha256 IS NOT NULL)
    ORDER BY id DESC LIMIT ?
"""
_COLUMNS: Final = (
    "id", "theme_id", "kind", "state", "prompt", "dream_id", "seed", "machine", "guild_id",
    "channel_id", "parent_id", "carded", "age_restricted", "published", "host_knows", "perceptor",
    "ends_ms", "created_ms", "ended_ms",
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """A finished picture's own words, and who asked for it."""

    dream_id: str
    prompt: str
    person_id: str


async def insert(
    connection: aiosqlite.Connection, game: Game, choices: Sequence[tuple[str, str | None]]
) -> None:
    """Add a game, whose host is known already; of a choice, its words and its dream, if any."""
    marks = ", ".join("?" for _ in _COLUMNS)
    await connection.execute(
        f"INSERT INTO game (host_id, {', '.join(_COLUMNS)}) VALUES (?, {marks})",  # noqa: S608
        (game.host.id, *(getattr(game, name) for name in _COLUMNS)),
    )
    await connection.executemany(
        "INSERT INTO game_choice (game_id, place, words, dream_id) VALUES (?, ?, ?, ?)",
        [(game.id, place, *choice) for place, choice in enumerate(choices)],
    )


async def by_id(source: Source, game_id: str) -> Game | None:
    """Return a game, if there is one with this id."""
    return next(iter(await _games(source, BY_ID, (game_id,))), None)


async def open_in(source: Source, channel_id: int) -> Game | None:
    """Return the game that is going on in a channel and has a card there, if there is one."""
    return next(iter(await _games(source, OPEN_IN, (channel_id,))), None)


async def open_ones(source: Source) -> list[Game]:
    """Return the games that are going on, the one that ends first first."""
    return await _games(source, OPEN)


async def recent(source: Source, theme_id: int, limit: int) -> list[Game]:
    """Return a theme's published games that have a result, newest first."""
    return await _games(source, RECENT, (theme_id, limit))


async def running(source: Source, theme_id: int) -> list[Game]:
    """Return a theme's published games that are going on, newest first."""
    return await _games(source, RUNNING, (theme_id,))


async def count_hosted(source: Source, person_id: str) -> int:
    """Return how many games that somebody opened are going on."""
    (row,) = await fetch(source, HOSTED, (person_id,))
    return int(row["count"])


async def of_dream(store: Store, dream_id: str) -> list[str]:
    """Return the games in which a dream has any part."""
    return [row["id"] for row in await store.read(OF_DREAM, {"dream_id": dream_id})]


async def guessed(source: Source, theme_id: int) -> list[str]:
    """Return the prompts that were to be guessed in a theme before."""
    return [row["prompt"] for row in await fetch(source, GUESSED, (theme_id,))]


async def prompts(source: Source, theme_id: int, channel_id: int | None, limit: int) -> list[Asked]:
    """Return the words of a theme's newest pictures that may be shown in a channel."""
    rows = await fetch(source, PROMPTS, (theme_id, channel_id, limit))
    return [Asked(row["id"], row["prompt"], row["person_id"]) for row in rows]


async def set_perceptor(connection: aiosqlite.Connection, game_id: str, perceptor: str) -> None:
    """Record which model scores a game; the first one stays."""
    await connection.execute(
        "UPDATE game SET perceptor = ? WHERE id = ? AND perceptor = ''", (perceptor, game_id)
    )


async def end(
    connection: aiosqlite.Connection, game_id: str, state: GameState, now_ms: int
) -> bool:
    """End a game; say whether it was open. How often the forgotten tried is kept no longer."""
    cursor = await connection.execute(
        "UPDATE game SET state = ?, ended_ms = ? WHERE id = ? AND state = 'open'",
        (state, now_ms, game_id),
    )
    await _forget_tries(connection, game_id)
    return cursor.rowcount == 1


async def bury(connection: aiosqlite.Connection, game_id: str, by: str, now_ms: int) -> None:
    """Take away a game's words and all that was entered in it."""
    await connection.execute(
        """
        UPDATE game SET state = 'called_off', prompt = '', ended_ms = coalesce(ended_ms, ?)
        WHERE id = ?
        """,
        (now_ms, game_id),
    )
    await connection.execute("UPDATE game_choice SET words = '' WHERE game_id = ?", (game_id,))
    await _forget_tries(connection, game_id)
    await game_cards.reopen(connection, game_id)
    for entry in await game_entries.of_game(connection, game_id):
        await game_entries.withdraw(connection, entry.id, by, now_ms)


async def _forget_tries(connection: aiosqlite.Connection, game_id: str) -> None:
    await connection.execute(
        "DELETE FROM game_try WHERE game_id = ? "
        "AND person_id IN (SELECT person_id FROM forgotten_person)",
        (game_id,),
    )


async def last_id(store: Store) -> str:
    """Return the newest id of a game or an entry, empty if there is none."""
    row = await store.read_one(LAST_ID)
    return "" if row is None else row["id"]


async def _games(source: Source, sql: str, parameters: Sequence[object] = ()) -> list[Game]:
    return [_game(row) for row in await fetch(source, sql, parameters)]


def _game(row: Row) -> Game:
    return Game(
        id=row["id"],
        theme_id=row["theme_id"],
        kind=GameKind(row["kind"]),
        host=Person(row["host_id"], row["host_name"]),
        state=GameState(row["state"]),
        prompt=row["prompt"],
        dream_id=row["dream_id"],
        image=game_entries.image(row),
        choices=tuple(msgspec.json.decode(row["choices"], type=list[str])),
        seed=row["seed"],
        machine=bool(row["machine"]),
        guild_id=row["guild_id"],
        channel_id=row["channel_id"],
        parent_id=row["parent_id"],
        carded=bool(row["carded"]),
        age_restricted=bool(row["age_restricted"]),
        published=bool(row["published"]),
        host_knows=bool(row["host_knows"]),
        perceptor=row["perceptor"],
        ends_ms=row["ends_ms"],
        created_ms=row["created_ms"],
        ended_ms=row["ended_ms"],
    )
