"""What was deleted has left nothing behind but its tombstone."""

# ruff: noqa: S608 - every statement is put together of our own words

from __future__ import annotations

import msgspec

from bot.consistency.rule import (
    APPEND_ONLY,
    FINAL,
    Rule,
    appended,
    count_of,
    first_possible,
)
from bot.store.tombstones import NOTHING

_NOTHING = msgspec.json.encode(NOTHING).decode()


def _kept(table: str, column: str = "dream_id") -> Rule:
    return Rule(
        f"tombstone-{table}",
        f"""
        SELECT DISTINCT dream.id AS about, dream.id AS key FROM {table}
        JOIN dream ON dream.id = {table}.{column} WHERE dream.deleted_ms IS NOT NULL
        """,
        f"Dream {{about}} was deleted, and rows of {table} still know of it.",
        mend=f"DELETE FROM {table} WHERE {column} = :key",
        mended="They are removed.",
    )


DELETED = (
    # --- what was deleted is gone -----------------------------------------------------------------
    Rule(
        "deleted-never",
        f"""
        SELECT id AS about, id AS key FROM dream
        WHERE deleted_ms IS NOT NULL AND {count_of("deleted")} = 0
        """,
        "Dream {about} was deleted, and no event says so.",
        mend=appended(
            "'deleted'",
            first_possible("dream.deleted_ms", "dream.ended_ms", "dream.created_ms"),
            "dream.deleted_by",
            "'{}'",
        ),
        mended="The event is appended.",
    ),
    Rule(
        "deleted-not",
        f"""
        SELECT id AS about, id AS key FROM dream
        WHERE deleted_ms IS NULL AND {count_of("deleted")} > 0
        """,
        "Dream {about} was deleted, the stream says, and is still there.",
        cannot="Delete it again.",
    ),
    Rule(
        "deleted-twice",
        f"SELECT id AS about, id AS key FROM dream WHERE {count_of('deleted')} > 1",
        "Dream {about} was deleted more than once, the stream says.",
        cannot=APPEND_ONLY,
    ),
    Rule(
        "tombstone",
        """
        SELECT id AS about, id AS key FROM dream WHERE deleted_ms IS NOT NULL AND (
            prompt <> '' OR reason <> '' OR score IS NOT NULL OR image_sha256 IS NOT NULL
            OR init_sha256 IS NOT NULL OR studied IS NOT NULL
            OR json_extract(recipe, '$.prompt') <> ''
            OR json_extract(recipe, '$.engine') <> ''
        )
        """,
        "Dream {about} was deleted, and its row still has words, a recipe or a picture.",
        mend=f"""
        UPDATE dream SET prompt = '', reason = '', score = NULL, image_sha256 = NULL,
            init_sha256 = NULL, studied = NULL, recipe = '{_NOTHING}'
        WHERE id = :key
        """,
        mended="They are removed.",
    ),
    *(
        _kept(table)
        for table in (
            "dream_file",
            "dream_picture",
            "favourite",
            "dream_vector",
            "party_vote",
            "picture_check",
        )
    ),
    Rule(
        "tombstone-portrait",
        """
        SELECT dream.id AS about, dream.id AS key
        FROM portrait JOIN dream ON dream.id = portrait.dream_id
        WHERE dream.deleted_ms IS NOT NULL AND portrait.revoked_ms IS NULL
        """,
        "Dream {about} was deleted, and what somebody said about themselves for it is still there.",
        mend="""
        UPDATE portrait SET words = '', revoked_ms =
            (SELECT deleted_ms FROM dream WHERE id = :key) WHERE dream_id = :key
        """,
        mended="It is removed.",
    ),
    Rule(
        "steer-left",
        f"""
        SELECT pending_steer.id AS key, dream.id AS about FROM pending_steer
        JOIN dream ON dream.id = pending_steer.dream_id WHERE {FINAL}
        """,
        "Dream {about} is over, and a steer of it still waits for an answer.",
        mend="DELETE FROM pending_steer WHERE id = :key",
        mended="It is removed.",
    ),
)
