"""A dream was asked for once and ends once, in its row as in the stream, with its picture."""

# ruff: noqa: S608 - every statement is put together of our own words

from __future__ import annotations

from bot.consistency.rule import (
    APPEND_ONLY,
    BY_ITS_ID,
    ENDINGS,
    FINAL,
    POSSIBLE,
    Rule,
    appended,
    count_of,
    first_possible,
)

ENDED = (
    # --- every dream that was accepted is in the stream, once ------------------------------------
    Rule(
        "asked-never",
        f"SELECT id AS about, id AS key FROM dream WHERE {count_of('asked')} = 0",
        "Dream {about} is not in the stream: no event says that it was asked for.",
        mend=appended(
            "'asked'",
            first_possible("dream.created_ms"),
            "dream.person_id",
            "CASE WHEN dream.published THEN json_object('ask_id', dream.ask_id) "
            "ELSE json_object('ask_id', dream.ask_id, 'published', json('false')) END",
        ),
        mended="The event is appended.",
    ),
    Rule(
        "asked-twice",
        f"SELECT id AS about, id AS key FROM dream WHERE {count_of('asked')} > 1",
        "Dream {about} was asked for more than once, the stream says.",
        cannot=APPEND_ONLY,
    ),
    # --- and ends once, as its row says ----------------------------------------------------------
    Rule(
        "ended-never",
        f"""
        SELECT id AS about, id AS key FROM dream
        WHERE {FINAL} AND {count_of("done", "failed", "cancelled")} = 0
        """,
        "Dream {about} is over, and no event says so.",
        mend=appended(
            "dream.state",
            first_possible("dream.ended_ms", "dream.created_ms"),
            "dream.person_id",
            "CASE WHEN image.sha256 IS NULL THEN '{}' ELSE json_object('sha256', image.sha256, "
            "'width', image.width, 'height', image.height) END",
        ),
        mended="The event is appended.",
    ),
    Rule(
        "ended-twice",
        f"""
        SELECT id AS about, id AS key FROM dream
        WHERE {count_of("done", "failed", "cancelled")} > 1
        """,
        "Dream {about} ended more than once, the stream says.",
        cannot=APPEND_ONLY,
    ),
    Rule(
        "ended-otherwise",
        f"""
        SELECT dream.id AS about, dream.id AS key FROM dream
        JOIN stream_event AS event ON event.dream_id = dream.id
        WHERE {FINAL} AND event.kind IN {ENDINGS} AND event.kind <> dream.state
        """,
        "Dream {about} ended in one way by its row and in another by the stream.",
        cannot=APPEND_ONLY,
    ),
    Rule(
        "over-unknown",
        f"""
        SELECT dream.id AS about, dream.id AS key FROM dream
        JOIN stream_event AS event ON event.dream_id = dream.id
        WHERE NOT {FINAL} AND (event.kind IN ('failed', 'cancelled') OR event.kind = 'done' AND
            EXISTS (SELECT 1 FROM image WHERE sha256 = json_extract(event.payload, '$.sha256')))
        GROUP BY dream.id
        """,
        "Dream {about} is over by the stream and not by its row: it would be drawn again.",
        mend=f"""
        UPDATE dream SET (state, ended_ms, image_sha256) = (
            SELECT kind, {first_possible("at_ms", "dream.created_ms")},
                json_extract(payload, '$.sha256')
            FROM stream_event
            WHERE dream_id = :key AND kind IN ('done', 'failed', 'cancelled') ORDER BY id LIMIT 1
        )
        WHERE id = :key
        """,
        mended="Its row says so, too.",
    ),
    Rule(
        "over-lost",
        f"""
        SELECT dream.id AS about, dream.id AS key FROM dream
        JOIN stream_event AS event ON event.dream_id = dream.id
        WHERE NOT {FINAL} AND event.kind = 'done' AND NOT EXISTS
            (SELECT 1 FROM image WHERE sha256 = json_extract(event.payload, '$.sha256'))
        GROUP BY dream.id
        """,
        "Dream {about} was done by the stream, and neither its row nor its picture is.",
        cannot="It is drawn again at the next start; then the stream says twice that it is done.",
    ),
    Rule(
        "ended-when",
        f"SELECT id AS about, id AS key FROM dream WHERE {FINAL} AND ended_ms IS NULL",
        "Dream {about} is over, and when is not known.",
        mend=f"""
        UPDATE dream SET ended_ms = coalesce(
            (SELECT max(at_ms) FROM stream_event
                WHERE dream_id = dream.id AND kind = dream.state AND at_ms {POSSIBLE}),
            {first_possible("dream.started_ms", "dream.created_ms")}
        ) WHERE id = :key
        """,
        mended="The event's time is taken, or else that of its row or in its id.",
    ),
    Rule(
        "impossible-time",
        f"""
        SELECT id AS about, id AS key FROM dream
        WHERE created_ms NOT {POSSIBLE} OR started_ms NOT {POSSIBLE} OR ended_ms NOT {POSSIBLE}
            OR deleted_ms NOT {POSSIBLE}
        """,
        "Dream {about} was asked for, begun, over or deleted at a time that cannot be.",
        mend=f"""
        UPDATE dream SET
            created_ms = iif(created_ms {POSSIBLE}, created_ms, coalesce((
                SELECT at_ms FROM stream_event
                WHERE dream_id = :key AND kind = 'asked' AND at_ms {POSSIBLE} LIMIT 1
            ), {BY_ITS_ID}, created_ms)),
            started_ms = iif(started_ms {POSSIBLE}, started_ms, NULL),
            ended_ms = iif(ended_ms {POSSIBLE}, ended_ms, (
                SELECT at_ms FROM stream_event
                WHERE dream_id = :key AND kind = dream.state AND at_ms {POSSIBLE} LIMIT 1
            )),
            deleted_ms = iif(deleted_ms NOT {POSSIBLE}, coalesce((
                SELECT at_ms FROM stream_event
                WHERE dream_id = :key AND kind = 'deleted' AND at_ms {POSSIBLE} LIMIT 1
            ), {first_possible("dream.ended_ms", "dream.created_ms")}, deleted_ms), deleted_ms)
        WHERE id = :key
        """,
        mended="The stream's time is taken, or else another of its row, or that in its id.",
        cannot="Put a backup back, if one has it: dreamstream restore.",
    ),
    Rule(
        "ended-early",
        f"SELECT id AS about, id AS key FROM dream WHERE NOT {FINAL} AND ended_ms IS NOT NULL",
        "Dream {about} is not over, and has a time at which it was.",
        mend="UPDATE dream SET ended_ms = NULL WHERE id = :key",
        mended="That is taken away.",
    ),
    Rule(
        "picture-none",
        """
        SELECT id AS about, id AS key FROM dream WHERE state = 'done' AND image_sha256 IS NULL
        AND deleted_ms IS NULL AND EXISTS (
            SELECT 1 FROM stream_event AS event
            JOIN image ON image.sha256 = json_extract(event.payload, '$.sha256')
            WHERE event.dream_id = dream.id AND event.kind = 'done'
        )
        """,
        "Dream {about} is done, and names no picture; the stream does.",
        mend="""
        UPDATE dream SET image_sha256 = (
            SELECT json_extract(payload, '$.sha256') FROM stream_event
            WHERE dream_id = :key AND kind = 'done' ORDER BY id LIMIT 1
        ) WHERE id = :key
        """,
        mended="It names that one.",
    ),
    Rule(
        "picture-lost",
        """
        SELECT id AS about, id AS key FROM dream WHERE state = 'done' AND image_sha256 IS NULL
        AND deleted_ms IS NULL AND NOT EXISTS (
            SELECT 1 FROM stream_event AS event
            JOIN image ON image.sha256 = json_extract(event.payload, '$.sha256')
            WHERE event.dream_id = dream.id AND event.kind = 'done'
        )
        """,
        "Dream {about} is done, and which picture is its is known nowhere.",
        cannot="Draw it again (its recipe is kept), or delete it.",
    ),
    Rule(
        "picture-without-end",
        """
        SELECT id AS about, id AS key FROM dream
        WHERE state <> 'done' AND image_sha256 IS NOT NULL
        """,
        "Dream {about} has a picture, and is not done.",
        mend="UPDATE dream SET image_sha256 = NULL WHERE id = :key",
        mended="It names none any more; the file, if nothing else names it, is put aside.",
    ),
)
