"""Which dreams may go to make room, and how much there is.

What must stay is said in one place (`_may_go`) and asked thrice: to choose what is to go; of what
shares its pictures and films, which make no room while they stay with another; and in the
transaction that takes it away, so that what has come to need it meanwhile keeps it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass

import aiosqlite
import msgspec

from bot.store import Store
from bot.store.images import naming

_PAGE = 500


def _may_go(dream: str) -> str:
    """Return, as SQL, whether the dream of an alias may go: true, false, or null for false.

    Nothing that is not over; nothing that a card or a digest is still to show; no party that goes
    on or has published, with all that its theme holds; nothing of a game that is open; nothing that
    stands for a theme, or that an unfinished dream comes of or is drawn from; no portrait, which
    its person was told is kept until they take it back. Each is looked up by the dream, to which
    `+` and CROSS JOIN see: thousands may wait or be played with, and other readers wait for a page.
    """
    return f"""
    {dream}.deleted_ms IS NULL AND {dream}.state IN ('done', 'failed', 'cancelled')
    AND {dream}.ended_ms < :before
    AND NOT EXISTS (
        SELECT 1 FROM delivery_dream JOIN delivery ON delivery.id = delivery_dream.delivery_id
        WHERE delivery_dream.dream_id = {dream}.id AND delivery.state = 'open'
    )
    AND NOT EXISTS (
        SELECT 1 FROM digest_dream JOIN digest ON digest.id = digest_dream.digest_id
        WHERE digest_dream.dream_id = {dream}.id AND digest.open
    )
    AND NOT EXISTS (
        SELECT 1 FROM party WHERE party.theme_id = {dream}.theme_id AND (
            party.ended_ms IS NULL OR party.stage = 'published'
            OR party.id IN (SELECT value FROM json_each(:bundles))
        )
    )
    AND NOT EXISTS (
        SELECT 1 FROM game WHERE game.dream_id = {dream}.id AND +game.state = 'open'
    )
    AND NOT EXISTS (
        SELECT 1 FROM game_entry CROSS JOIN game ON game.id = game_entry.game_id
        WHERE game_entry.dream_id = {dream}.id AND +game.state = 'open'
    )
    AND NOT EXISTS (
        SELECT 1 FROM game_choice CROSS JOIN game ON game.id = game_choice.game_id
        WHERE game_choice.dream_id = {dream}.id AND +game.state = 'open'
    )
    AND NOT EXISTS (
        SELECT 1 FROM theme WHERE theme.picture_sha256 = {dream}.image_sha256
        AND theme.picture_sha256 IS NOT NULL
    )
    AND NOT EXISTS (
        SELECT 1 FROM dream AS child
        WHERE child.parent_id = {dream}.id AND +child.state IN ('waiting', 'drawing')
    )
    AND NOT EXISTS (
        SELECT 1 FROM dream AS child
        WHERE child.init_sha256 = {dream}.image_sha256 AND +child.state IN ('waiting', 'drawing')
    )
    AND NOT EXISTS (
        SELECT 1 FROM dream_picture CROSS JOIN dream AS child ON child.id = dream_picture.dream_id
        WHERE dream_picture.sha256 = {dream}.image_sha256
        AND +child.state IN ('waiting', 'drawing')
    )
    AND NOT EXISTS (SELECT 1 FROM portrait WHERE portrait.dream_id = {dream}.id)
    AND (
        :favourites = 0
        OR NOT EXISTS (SELECT 1 FROM favourite WHERE favourite.dream_id = {dream}.id)
    )
    """  # noqa: S608 (own text)


# What was deleted names nothing any more.
_STAYS = f"({_may_go('other')}) IS NOT TRUE"
# What of a page's dreams may go. What goes with each is its picture, what is behind its cover, what
# it is drawn from and towards, and its files, as far as nothing has it that stays when the dream
# goes. Whether something stays that has a picture is asked once for it, not for each dream that
# has it: hundreds may be drawn from one.
_GOING = f"""
    going AS MATERIALIZED (
        SELECT dream.id, dream.theme_id, dream.created_ms, dream.image_sha256, dream.init_sha256
        FROM dream WHERE dream.id > :after AND dream.id <= :upto AND {_may_go("dream")}
    ),
    named (dream_id, sha256, own) AS (
        SELECT id, image_sha256, 1 FROM going WHERE image_sha256 IS NOT NULL
        UNION SELECT id, init_sha256, init_sha256 IS image_sha256 FROM going
            WHERE init_sha256 IS NOT NULL
        UNION SELECT id, sha256, sha256 IS image_sha256 FROM going
            CROSS JOIN dream_picture ON dream_picture.dream_id = going.id
        UNION SELECT id, original_sha256, original_sha256 IS image_sha256 FROM going
            CROSS JOIN picture_check ON picture_check.dream_id = going.id
            WHERE original_sha256 IS NOT NULL
    ),
    held AS MATERIALIZED (
        SELECT one.sha256, one.own FROM (SELECT DISTINCT sha256, own FROM named) AS one
        WHERE EXISTS (SELECT 1 FROM game_entry WHERE image_sha256 = one.sha256)
        OR EXISTS (
            SELECT 1 FROM dream AS other WHERE other.image_sha256 = one.sha256 AND {_STAYS}
        )
        OR EXISTS (
            SELECT 1 FROM picture_check AS seen
            CROSS JOIN dream AS other ON other.id = seen.dream_id
            WHERE seen.original_sha256 = one.sha256 AND {_STAYS}
        )
        OR NOT one.own AND (  -- else others say then that it is no longer kept
            EXISTS (SELECT 1 FROM dream AS other WHERE other.image_sha256 = one.sha256)
            OR EXISTS (SELECT 1 FROM theme WHERE picture_sha256 = one.sha256)
            OR EXISTS (
                SELECT 1 FROM dream AS other WHERE other.init_sha256 = one.sha256 AND {_STAYS}
            )
            OR EXISTS (
                SELECT 1 FROM dream_picture AS given
                CROSS JOIN dream AS other ON other.id = given.dream_id
                WHERE given.sha256 = one.sha256 AND {_STAYS}
            )
        )
    ),
    picture AS MATERIALIZED (
        SELECT dream_id, sha256, own FROM named
        WHERE (sha256, own) NOT IN (SELECT sha256, own FROM held)
    )
"""  # noqa: S608 (own text)
_FILES = f"""
    FROM dream_file AS file WHERE file.dream_id = going.id AND NOT EXISTS (
        SELECT 1 FROM dream_file AS given CROSS JOIN dream AS other ON other.id = given.dream_id
        WHERE given.sha256 = file.sha256 AND other.id <> going.id AND {_STAYS}
    )
"""  # noqa: S608 (own text)
# What several dreams share counts as the newest one's, for the oldest go first.
_BYTES = f"""
    coalesce((
        SELECT sum(image.size_bytes)
        FROM picture CROSS JOIN image ON image.sha256 = picture.sha256
        WHERE picture.dream_id = going.id
        AND NOT EXISTS (
            SELECT 1 FROM dream AS other
            WHERE other.image_sha256 = picture.sha256 AND other.id > going.id
        )
        AND NOT EXISTS (
            SELECT 1 FROM picture_check AS other
            WHERE other.original_sha256 = picture.sha256 AND other.dream_id > going.id
        )
        AND (
            picture.own
            OR NOT EXISTS (
                SELECT 1 FROM dream AS other
                WHERE other.init_sha256 = picture.sha256 AND other.id > going.id
            )
            AND NOT EXISTS (
                SELECT 1 FROM dream_picture AS other
                WHERE other.sha256 = picture.sha256 AND other.dream_id > going.id
            )
        )
    ), 0) + coalesce((
        SELECT sum(file.size_bytes) {_FILES} AND NOT EXISTS (
            SELECT 1 FROM dream_file AS other
            WHERE other.sha256 = file.sha256 AND other.dream_id > going.id
        )
    ), 0)
"""  # noqa: S608 (own text)
CANDIDATES = f"""
    WITH {_GOING}
    SELECT going.id, going.theme_id, going.created_ms, {_BYTES} AS bytes FROM going
    WHERE :sized = 0 OR EXISTS (SELECT 1 FROM picture WHERE picture.dream_id = going.id)
    OR EXISTS (SELECT 1 {_FILES})
    ORDER BY going.id
"""  # noqa: S608 (own text)
PAGE = """
    SELECT max(id) AS id FROM (SELECT id FROM dream WHERE id > :after ORDER BY id LIMIT :page)
"""
STILL = f"SELECT 1 FROM dream WHERE dream.id = :dream_id AND {_may_go('dream')}"  # noqa: S608
# Less what is only still to be removed, for as long as the library's store does not answer, say:
# else every look would take further dreams for it.
TOTAL = f"""
    SELECT coalesce((SELECT sum(size_bytes) FROM image), 0) - coalesce((
        SELECT sum(size_bytes) FROM doomed_file JOIN image ON image.sha256 = doomed_file.sha256
        WHERE doomed_file.kind = 'picture' AND NOT {naming("doomed_file.sha256")}
    ), 0) + coalesce(
        (SELECT sum(size_bytes) FROM (SELECT DISTINCT sha256, size_bytes FROM dream_file)), 0
    ) AS bytes
"""  # noqa: S608 (own text)


@dataclass(frozen=True)
class Bounds:
    """What is asked: of dreams that ended before a time, keeping these parties' and favourites.

    With `sized` of those alone that take room, be it with others.
    """

    before_ms: int
    bundles: Collection[str] = ()
    favourites: bool = True
    sized: bool = False

    def values(self) -> dict[str, object]:
        """Return them as the queries take them."""
        return {
            "before": self.before_ms,
            "bundles": msgspec.json.encode(sorted(self.bundles)).decode(),
            "favourites": self.favourites,
        }


@dataclass(frozen=True)
class Candidate:
    """A dream that may go, and how many bytes go with it once the older ones have gone."""

    dream_id: str
    theme_id: int
    created_ms: int
    bytes: int


async def candidates(
    store: Store, bounds: Bounds, *, page: int = _PAGE
) -> AsyncIterator[Candidate]:
    """Yield the dreams that may go, the oldest first.

    A page of dreams is looked at in one query, however few of them may go: others read between.
    """
    after = ""
    while True:
        row = await store.read_one(PAGE, {"after": after, "page": page})
        if row is None or row["id"] is None:
            return
        values = {**bounds.values(), "after": after, "upto": row["id"], "sized": bounds.sized}
        for found in await store.read(CANDIDATES, values):
            yield Candidate(found["id"], found["theme_id"], found["created_ms"], found["bytes"])
        after = row["id"]


async def may_go_now(connection: aiosqlite.Connection, dream_id: str, bounds: Bounds) -> bool:
    """Say within a transaction whether a dream may still go."""
    values = {**bounds.values(), "dream_id": dream_id}
    return bool(await connection.execute_fetchall(STILL, values))


async def total_bytes(store: Store) -> int:
    """Return how many bytes the pictures and the files take that are not just being removed."""
    row = await store.read_one(TOTAL)
    return 0 if row is None else int(row["bytes"])
