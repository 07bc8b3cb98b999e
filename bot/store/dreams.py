"""Dreams, one row each, as they are looked up. `bot.store.dream_states` changes them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import aiosqlite
import msgspec

from bot.ids import first_at, now_ms
from bot.model import Dream, DreamState, File, Image, Person, PictureCheck, Relation
from bot.sentences import Sentence, say
from bot.store import Row, Store
from generation.protocol import Recipe

_SELECT = """
    SELECT dream.*, person.name AS person_name, image.width AS image_width,
           image.height AS image_height, image.size_bytes AS image_size_bytes,
           behind.sha256 AS behind_sha256, behind.width AS behind_width,
           behind.height AS behind_height, behind.size_bytes AS behind_size_bytes,
           picture_check.setting AS veil,
           (SELECT json_group_array(json_object('name', name, 'media_type', media_type,
                                                'sha256', sha256, 'size_bytes', size_bytes))
            FROM dream_file WHERE dream_id = dream.id AND behind.sha256 IS NULL) AS files
    FROM dream
    JOIN person ON person.id = dream.person_id
    LEFT JOIN image ON image.sha256 = dream.image_sha256
    LEFT JOIN picture_check ON picture_check.dream_id = dream.id
    LEFT JOIN image AS behind ON behind.sha256 = picture_check.original_sha256
"""
_UNFINISHED = "dream.state IN ('waiting', 'drawing')"

BY_ID = f"{_SELECT} WHERE dream.id = ?"
BY_IDS = f"{_SELECT} WHERE dream.id IN (SELECT value FROM json_each(?))"  # noqa: S608 (own text)
BY_ASK = f"{_SELECT} WHERE dream.ask_id = ? ORDER BY dream.id"
UNFINISHED = f"{_SELECT} WHERE {_UNFINISHED} ORDER BY dream.id"
# The plus keeps SQLite from walking through everything the theme ever had.
UNFINISHED_IN_THEME = f"{_SELECT} WHERE +dream.theme_id = ? AND {_UNFINISHED} ORDER BY dream.id"
_SHOWN = "dream.state = 'done' AND dream.deleted_ms IS NULL AND dream.published"
FINISHED = f"{_SELECT} WHERE {_SHOWN} AND dream.id < ? ORDER BY dream.id DESC LIMIT ?"
FINISHED_IN_THEME = f"""
    {_SELECT} WHERE dream.theme_id = ? AND {_SHOWN} AND dream.id < ?
    ORDER BY dream.id DESC LIMIT ?
"""
# The plus keeps to the person's own dreams; those asked for since a time are a part of its index.
FAILED = f"""
    {_SELECT} WHERE dream.person_id = ? AND dream.id >= ? AND +dream.theme_id = ?
    AND dream.state = 'failed' AND dream.deleted_ms IS NULL AND dream.ended_ms >= ?
    AND NOT EXISTS (SELECT 1 FROM dream AS again WHERE again.parent_id = dream.id)
    ORDER BY dream.id DESC LIMIT ?
"""  # noqa: S608 (own text)
OF_PERSON = f"""
    {_SELECT} WHERE dream.person_id = ? AND dream.id < ? AND dream.deleted_ms IS NULL
    ORDER BY dream.id DESC LIMIT ?
"""
CHILDREN = f"{_SELECT} WHERE dream.parent_id = ? ORDER BY dream.id LIMIT ?"
ANCESTORS = f"""
    WITH RECURSIVE line (id, parent_id, distance) AS (
        SELECT id, parent_id, 0 FROM dream WHERE id = ?
        UNION ALL
        SELECT dream.id, dream.parent_id, line.distance + 1
        FROM line JOIN dream ON dream.id = line.parent_id
        WHERE line.distance < ?
    )
    {_SELECT} JOIN line ON line.id = dream.id
    WHERE line.distance > 0 ORDER BY line.distance
"""  # noqa: S608 (own text)
COUNT_UNFINISHED = """
    SELECT count(*) AS everybody, coalesce(sum(person_id = ?), 0) AS own
    FROM dream WHERE state IN ('waiting', 'drawing') AND background = ?
"""
# The plus keeps to the person's dreams of that time, which are a part of its index. Ids go on from
# those that a wrong clock has dated later: when they were asked for says the row.
PLACES_TAKEN = """
    SELECT
        (SELECT count(*) FROM dream WHERE state IN ('waiting', 'drawing')
         AND +person_id = :person_id AND guild_id = :guild_id AND background = :background) AS own,
        (SELECT count(*) FROM dream WHERE state IN ('waiting', 'drawing')
         AND channel_id = :channel_id AND background = :background) AS channel,
        (SELECT count(*) FROM dream WHERE person_id = :person_id AND id >= :since
         AND created_ms BETWEEN :since_ms AND :now_ms
         AND guild_id = :guild_id AND background = :background AND state <> 'failed'
         AND NOT (state = 'cancelled' AND started_ms IS NULL)
         AND NOT EXISTS (SELECT 1 FROM picture_check WHERE dream_id = dream.id
                         AND setting = 'refuse' AND original_sha256 IS NOT NULL)) AS hour
"""
OF_IMAGE = f"{_SELECT} WHERE dream.image_sha256 = ? ORDER BY dream.id DESC LIMIT ?"
# As the index dream_by_seed has it, to the sign.
OF_SEED = f"""
    {_SELECT} WHERE json_extract(dream.recipe, '$.seed') = ? AND dream.state = 'done'
    ORDER BY dream.id DESC LIMIT ?
"""
PUBLISHED = "SELECT id, published, checked_as, guild_id, channel_id FROM dream WHERE ask_id = ?"
FILES_OF = "SELECT name, media_type, sha256, size_bytes FROM dream_file WHERE dream_id = ?"
PROMPTS = """
SELECT id, prompt FROM (
    SELECT id, prompt FROM dream
    WHERE theme_id = ? AND image_sha256 IS NOT NULL AND deleted_ms IS NULL
        AND (published OR channel_id = ?)
    ORDER BY id DESC LIMIT ?
) WHERE instr(lower(prompt), ?) LIMIT ?
"""
# So many rows take the one connection that reads some tens of milliseconds.
MOST_READ, MOST_HAVING = 20_000, 5_000
LAST_ID = "SELECT max(id) AS id FROM dream"

PAST_EVERY_ID = "~"  # sorts after every dream's id

_COVERED = {
    PictureCheck.SPOILER: say("Covered by the picture check: look at it only if you want to."),
    PictureCheck.BLUR: say(
        "Covered by the picture check: who asked for it and moderators can see it."
    ),
    PictureCheck.REFUSE: say(
        "Not shown: the picture check takes it for one for adults. It does not count for anybody's "
        "limits; a moderator can release it."
    ),
}


def said_of_cover(veil: PictureCheck | None) -> Sentence | None:
    """Return what is said with a cover, None where there is none."""
    return None if veil is None else _COVERED[veil]


async def count_unfinished(
    connection: aiosqlite.Connection, person_id: str, *, background: bool = False
) -> tuple[int, int]:
    """Return how many dreams of everybody, and of this person, are not over.

    Either of those that are drawn in the background, or of the rest.
    """
    (row,) = await connection.execute_fetchall(COUNT_UNFINISHED, (person_id, background))
    return int(row["everybody"]), int(row["own"])


async def unfinished_now(
    store: Store, person_id: str, *, background: bool = False
) -> tuple[int, int]:
    """Return the same as `count_unfinished` of what has been committed."""
    row = await store.read_one(COUNT_UNFINISHED, (person_id, background))
    assert row is not None
    return int(row["everybody"]), int(row["own"])


async def places_taken(
    connection: aiosqlite.Connection,
    person_id: str,
    guild_id: int,
    channel_id: int,
    since_ms: int,
    *,
    background: bool = False,
) -> tuple[int, int, int]:
    """Count what limits are set on in a server, with what has just been inserted.

    Either what is drawn in the background, or the rest.

    Returns the dreams that are not over, of the person in the server and of all in the channel;
    and those that the person asked for in the server since a time, but for what failed, or was
    cancelled before it was begun.
    """
    (row,) = await connection.execute_fetchall(
        PLACES_TAKEN,
        {
            "person_id": person_id,
            "guild_id": guild_id,
            "channel_id": channel_id,
            "since": first_at(since_ms),
            "since_ms": since_ms,
            "now_ms": now_ms(),
            "background": background,
        },
    )
    return int(row["own"]), int(row["channel"]), int(row["hour"])


async def as_kept_now(connection: aiosqlite.Connection, dreams: Iterable[Dream]) -> list[Dream]:
    """Return dreams of one ask with what has been said of where they are shown, and how."""
    dreams = list(dreams)
    rows = await connection.execute_fetchall(PUBLISHED, (dreams[0].ask_id,))
    kept = {row["id"]: row for row in rows}
    return [
        msgspec.structs.replace(
            dream,
            published=bool(kept[dream.id]["published"]),
            checked_as=_setting(kept[dream.id]["checked_as"]),
            guild_id=kept[dream.id]["guild_id"],
            channel_id=kept[dream.id]["channel_id"],
        )
        for dream in dreams
    ]


async def files_of(store: Store, dream_id: str) -> tuple[File, ...]:
    """Return what was made besides a dream's picture, also where a cover stands for that."""
    return tuple(
        File(
            name=row["name"],
            media_type=row["media_type"],
            sha256=row["sha256"],
            size_bytes=row["size_bytes"],
        )
        for row in await store.read(FILES_OF, (dream_id,))
    )


async def by_id(store: Store, dream_id: str) -> Dream | None:
    """Return the dream with this id, if there is one."""
    row = await store.read_one(BY_ID, (dream_id,))
    return None if row is None else from_row(row)


async def by_ids(store: Store, dream_ids: Collection[str]) -> list[Dream]:
    """Return those of the dreams with these ids that there are."""
    ids = msgspec.json.encode(list(dream_ids)).decode()
    return [from_row(row) for row in await store.read(BY_IDS, (ids,))]


async def prompts(
    store: Store, theme_id: int, *, having: str = "", channel_id: int | None = None
) -> list[tuple[str, str]]:
    """Return the ids and prompts of a theme's pictures, newest first, of the newest `MOST_READ`.

    Only what is published counts, or kept to the channel, and of that what has `having` in its
    prompt: lower-case ASCII, of which SQLite alone knows the case.
    """
    found = await store.read(PROMPTS, (theme_id, channel_id, MOST_READ, having, MOST_HAVING))
    return [(row["id"], row["prompt"]) for row in found]


async def of_image(store: Store, sha256: str, limit: int = 20) -> list[Dream]:
    """Return the dreams whose picture has this name, newest first."""
    return [from_row(row) for row in await store.read(OF_IMAGE, (sha256, limit))]


async def of_seed(store: Store, seed: int, limit: int = 200) -> list[Dream]:
    """Return the finished dreams that were drawn with a seed, newest first."""
    return [from_row(row) for row in await store.read(OF_SEED, (seed, limit))]


async def by_ask(store: Store, ask_id: str) -> list[Dream]:
    """Return the dreams that were asked for together."""
    return [from_row(row) for row in await store.read(BY_ASK, (ask_id,))]


async def is_shown_now(connection: aiosqlite.Connection, dream_id: str, sha256: str) -> bool:
    """Say, within a transaction, whether everybody may see a dream, and this picture of it."""
    return bool(
        await connection.execute_fetchall(
            """
            SELECT 1 FROM dream
            WHERE id = ? AND image_sha256 = ? AND published AND deleted_ms IS NULL
            """,
            (dream_id, sha256),
        )
    )


async def unfinished(store: Store, theme_id: int | None = None) -> list[Dream]:
    """Return the dreams of a theme, or of all, that are not over, oldest first."""
    if theme_id is None:
        rows: Collection[Row] = await store.read(UNFINISHED)
    else:
        rows = await store.read(UNFINISHED_IN_THEME, (theme_id,))
    return [from_row(row) for row in rows]


async def finished(
    store: Store, theme_id: int | None, before: str | None, limit: int
) -> list[Dream]:
    """Return the published dreams that have a picture, newest first, before the one named."""
    before = before or PAST_EVERY_ID
    if theme_id is None:
        rows = await store.read(FINISHED, (before, limit))
    else:
        rows = await store.read(FINISHED_IN_THEME, (theme_id, before, limit))
    return [from_row(row) for row in rows]


async def failed(
    store: Store, theme_id: int, person_id: str, *, asked_ms: int, ended_ms: int, limit: int
) -> list[Dream]:
    """Return a person's dreams that failed since a time and have no child, newest first.

    Those that were asked for before `asked_ms` are left out.
    """
    values = (person_id, first_at(asked_ms), theme_id, ended_ms, limit)
    return [from_row(row) for row in await store.read(FAILED, values)]


async def ancestors(store: Store, dream_id: str, limit: int = 100) -> list[Dream]:
    """Return the dream's parent, its parent, and so on."""
    return [from_row(row) for row in await store.read(ANCESTORS, (dream_id, limit))]


async def of_person(store: Store, person_id: str, before: str, limit: int) -> list[Dream]:
    """Return what a person asked for and is still there, newest first, before the one named."""
    return [from_row(row) for row in await store.read(OF_PERSON, (person_id, before, limit))]


async def children(store: Store, dream_id: str, limit: int = 200) -> list[Dream]:
    """Return the dreams that came of this one, oldest first."""
    return [from_row(row) for row in await store.read(CHILDREN, (dream_id, limit))]


async def last_id(store: Store) -> str:
    """Return the newest dream's id, empty if there is none."""
    row = await store.read_one(LAST_ID)
    return "" if row is None else row["id"] or ""


def from_row(row: Row) -> Dream:
    """Read a dream from a row of the queries above."""
    recipe = msgspec.json.decode(row["recipe"], type=Recipe)
    sha256 = row["image_sha256"]
    image = None
    if sha256 is not None:
        image = Image(
            sha256=sha256,
            width=row["image_width"],
            height=row["image_height"],
            size_bytes=row["image_size_bytes"],
        )
    behind = veil = None
    if row["behind_sha256"] is not None:
        veil = PictureCheck(row["veil"])
        behind = Image(
            sha256=row["behind_sha256"],
            width=row["behind_width"],
            height=row["behind_height"],
            size_bytes=row["behind_size_bytes"],
        )
    return Dream(
        id=row["id"],
        ask_id=row["ask_id"],
        theme_id=row["theme_id"],
        person=Person(row["person_id"], row["person_name"]),
        prompt=row["prompt"],
        recipe=recipe,
        state=DreamState(row["state"]),
        step=row["step"],
        attempt=row["attempt"],
        parent_id=row["parent_id"],
        relation=None if row["relation"] is None else Relation(row["relation"]),
        reason=" ".join(filter(None, (row["reason"], said_of_cover(veil)))),
        image=image,
        files=msgspec.json.decode(row["files"], type=tuple[File, ...]),
        gpu_s=row["gpu_s"],
        score=row["score"],
        background=bool(row["background"]),
        studied=row["studied"],
        guild_id=row["guild_id"],
        channel_id=row["channel_id"],
        published=bool(row["published"]),
        init_kept=recipe.init_sha256 is None or row["init_sha256"] is not None,
        checked_as=_setting(row["checked_as"]),
        veil=veil,
        behind=behind,
        deleted_ms=row["deleted_ms"],
        created_ms=row["created_ms"],
        started_ms=row["started_ms"],
        ended_ms=row["ended_ms"],
    )


def _setting(text: str | None) -> PictureCheck | None:
    return None if text is None else PictureCheck(text)
