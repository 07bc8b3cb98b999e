"""Which dreams may go to make room, and how much there is.

What must stay is said in one place (`_MAY_GO`) and asked twice: to choose what is to go, and in the
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

# Nothing that is not over; nothing that a card or a digest is still to show; no party that goes on
# or has published, with all that its theme holds; nothing of a game that is open; nothing that
# stands for a theme, or that an unfinished dream comes of or is drawn from; no portrait, which its
# person was told is kept until they take it back. Each is looked up by the dream, to which `+` and
# CROSS JOIN see: thousands may wait or be played with, and other readers wait for a page.
_MAY_GO = """
    dream.deleted_ms IS NULL AND dream.state IN ('done', 'failed', 'cancelled')
    AND dream.ended_ms < :before
    AND NOT EXISTS (
        SELECT 1 FROM delivery_dream JOIN delivery ON delivery.id = delivery_dream.delivery_id
        WHERE delivery_dream.dream_id = dream.id AND delivery.state = 'open'
    )
    AND NOT EXISTS (
        SELECT 1 FROM digest_dream JOIN digest ON digest.id = digest_dream.digest_id
        WHERE digest_dream.dream_id = dream.id AND digest.open
    )
    AND NOT EXISTS (
        SELECT 1 FROM party WHERE party.theme_id = dream.theme_id AND (
            party.ended_ms IS NULL OR party.stage = 'published'
            OR party.id IN (SELECT value FROM json_each(:bundles))
        )
    )
    AND NOT EXISTS (
        SELECT 1 FROM game WHERE game.dream_id = dream.id AND +game.state = 'open'
    )
    AND NOT EXISTS (
        SELECT 1 FROM game_entry CROSS JOIN game ON game.id = game_entry.game_id
        WHERE game_entry.dream_id = dream.id AND +game.state = 'open'
    )
    AND NOT EXISTS (
        SELECT 1 FROM game_choice CROSS JOIN game ON game.id = game_choice.game_id
        WHERE game_choice.dream_id = dream.id AND +game.state = 'open'
    )
    AND NOT EXISTS (
        SELECT 1 FROM theme WHERE theme.picture_sha256 = dream.image_sha256
        AND theme.picture_sha256 IS NOT NULL
    )
    AND NOT EXISTS (
        SELECT 1 FROM dream AS child
        WHERE child.parent_id = dream.id AND +child.state IN ('waiting', 'drawing')
    )
    AND NOT EXISTS (
        SELECT 1 FROM dream AS child
        WHERE child.init_sha256 = dream.image_sha256 AND +child.state IN ('waiting', 'drawing')
    )
    AND NOT EXISTS (
        SELECT 1 FROM dream_picture CROSS JOIN dream AS child ON child.id = dream_picture.dream_id
        WHERE dream_picture.sha256 = dream.image_sha256 AND +child.state IN ('waiting', 'drawing')
    )
    AND NOT EXISTS (SELECT 1 FROM portrait WHERE portrait.dream_id = dream.id)
    AND (:favourites = 0 OR NOT EXISTS (SELECT 1 FROM favourite WHERE dream_id = dream.id))
"""
_STAYS = """
    other.id <> dream.id AND (
        other.ended_ms IS NULL OR other.ended_ms >= :before
        OR EXISTS (SELECT 1 FROM portrait WHERE portrait.dream_id = other.id)
        OR :favourites AND EXISTS (SELECT 1 FROM favourite WHERE favourite.dream_id = other.id)
    )
"""
# What goes with a dream: its picture, what is behind its cover, what it is drawn from and towards,
# as far as nothing has it that stays when the dream goes.
_PICTURES = f"""
    FROM image WHERE image.sha256 IN (
        SELECT dream.image_sha256 UNION SELECT dream.init_sha256
        UNION SELECT sha256 FROM dream_picture WHERE dream_id = dream.id
        UNION SELECT original_sha256 FROM picture_check WHERE dream_id = dream.id
    )
    AND NOT EXISTS (SELECT 1 FROM game_entry WHERE image_sha256 = image.sha256)
    AND NOT EXISTS (
        SELECT 1 FROM dream AS other WHERE other.image_sha256 = image.sha256 AND {_STAYS}
    )
    AND NOT EXISTS (
        SELECT 1 FROM picture_check AS seen JOIN dream AS other ON other.id = seen.dream_id
        WHERE seen.original_sha256 = image.sha256 AND {_STAYS}
    )
    AND (
        image.sha256 IS dream.image_sha256
        OR NOT EXISTS (SELECT 1 FROM dream AS other WHERE other.image_sha256 = image.sha256)
        AND NOT EXISTS (SELECT 1 FROM theme WHERE picture_sha256 = image.sha256)
        AND NOT EXISTS (
            SELECT 1 FROM dream AS other WHERE other.init_sha256 = image.sha256 AND {_STAYS}
        )
        AND NOT EXISTS (
            SELECT 1 FROM dream_picture AS given JOIN dream AS other ON other.id = given.dream_id
            WHERE given.sha256 = image.sha256 AND {_STAYS}
        )
    )
"""  # noqa: S608 (own text)
# What several dreams share counts as the newest one's, for the oldest go first.
_BYTES = f"""
    coalesce((
        SELECT sum(size_bytes) {_PICTURES}
        AND NOT EXISTS (
            SELECT 1 FROM dream AS other
            WHERE other.image_sha256 = image.sha256 AND other.id > dream.id
        )
        AND NOT EXISTS (
            SELECT 1 FROM picture_check AS other
            WHERE other.original_sha256 = image.sha256 AND other.dream_id > dream.id
        )
        AND (
            image.sha256 IS dream.image_sha256  -- others say then that it is no longer kept
            OR NOT EXISTS (
                SELECT 1 FROM dream AS other
                WHERE other.init_sha256 = image.sha256 AND other.id > dream.id
            )
            AND NOT EXISTS (
                SELECT 1 FROM dream_picture AS other
                WHERE other.sha256 = image.sha256 AND other.dream_id > dream.id
            )
        )
    ), 0) + coalesce((
        SELECT sum(size_bytes) FROM dream_file AS file WHERE file.dream_id = dream.id
        AND NOT EXISTS (
            SELECT 1 FROM dream_file AS other
            WHERE other.sha256 = file.sha256 AND other.dream_id > dream.id
        )
    ), 0)
"""  # noqa: S608 (own text)
CANDIDATES = f"""
    SELECT dream.id, dream.theme_id, dream.created_ms, {_BYTES} AS bytes FROM dream
    WHERE dream.id > :after AND dream.id <= :upto AND {_MAY_GO} AND (
        :sized = 0 OR EXISTS (SELECT 1 {_PICTURES})
        OR EXISTS (SELECT 1 FROM dream_file WHERE dream_file.dream_id = dream.id)
    )
    ORDER BY dream.id
"""  # noqa: S608 (own text)
PAGE = """
    SELECT max(id) AS id FROM (SELECT id FROM dream WHERE id > :after ORDER BY id LIMIT :page)
"""
STILL = f"SELECT 1 FROM dream WHERE dream.id = :dream_id AND {_MAY_GO}"  # noqa: S608 (own text)
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
