"""What must hold of the rows, one rule each: a query that finds what breaks it, and the mend.

A query returns an `about` (what is named to the reader) and a `key`; a mend is a statement that
gets the `key` as ``:key`` and the present time as ``:now``. It is done only while the query still
finds the `key`; what one mend brings to light the next round finds.
"""

# ruff: noqa: S608 - every statement is put together of this module's own words

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from bot.model import EventKind
from bot.store.tombstones import NOTHING

_FINAL = "dream.state IN ('done', 'failed', 'cancelled')"
_ENDINGS = "('done', 'failed', 'cancelled')"
_NOTHING = msgspec.json.encode(NOTHING).decode()
_KINDS = ", ".join(f"'{kind}'" for kind in EventKind)
_APPEND_ONLY = "The stream is append-only, so it stays. It does no harm but to what is counted."


@dataclass(frozen=True)
class Rule:
    """`says` has a place for ``{about}``. Where there is no `mend`, `cannot` says what to do."""

    name: str
    find: str
    says: str
    mend: str = ""
    cannot: str = ""
    mended: str = ""


def _events(*kinds: str) -> str:
    named = ", ".join(f"'{kind}'" for kind in kinds)
    return f"(SELECT count(*) FROM stream_event WHERE dream_id = dream.id AND kind IN ({named}))"


def _append(kind: str, at: str, person: str, payload: str) -> str:
    return f"""
        INSERT INTO stream_event (theme_id, kind, dream_id, person_id, at_ms, payload)
        SELECT dream.theme_id, {kind}, dream.id, {person}, {at}, {payload}
        FROM dream LEFT JOIN image ON image.sha256 = dream.image_sha256 WHERE dream.id = :key
    """


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


RULES = (
    # --- every dream that was accepted is in the stream, once ------------------------------------
    Rule(
        "asked-never",
        f"SELECT id AS about, id AS key FROM dream WHERE {_events('asked')} = 0",
        "Dream {about} is not in the stream: no event says that it was asked for.",
        mend=_append(
            "'asked'",
            "dream.created_ms",
            "dream.person_id",
            "CASE WHEN dream.published THEN json_object('ask_id', dream.ask_id) "
            "ELSE json_object('ask_id', dream.ask_id, 'published', json('false')) END",
        ),
        mended="The event is appended.",
    ),
    Rule(
        "asked-twice",
        f"SELECT id AS about, id AS key FROM dream WHERE {_events('asked')} > 1",
        "Dream {about} was asked for more than once, the stream says.",
        cannot=_APPEND_ONLY,
    ),
    # --- and ends once, as its row says ----------------------------------------------------------
    Rule(
        "ended-never",
        f"""
        SELECT id AS about, id AS key FROM dream
        WHERE {_FINAL} AND {_events("done", "failed", "cancelled")} = 0
        """,
        "Dream {about} is over, and no event says so.",
        mend=_append(
            "dream.state",
            "coalesce(dream.ended_ms, dream.created_ms)",
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
        WHERE {_events("done", "failed", "cancelled")} > 1
        """,
        "Dream {about} ended more than once, the stream says.",
        cannot=_APPEND_ONLY,
    ),
    Rule(
        "ended-otherwise",
        f"""
        SELECT dream.id AS about, dream.id AS key FROM dream
        JOIN stream_event AS event ON event.dream_id = dream.id
        WHERE {_FINAL} AND event.kind IN {_ENDINGS} AND event.kind <> dream.state
        """,
        "Dream {about} ended in one way by its row and in another by the stream.",
        cannot=_APPEND_ONLY,
    ),
    Rule(
        "over-unknown",
        f"""
        SELECT dream.id AS about, dream.id AS key FROM dream
        JOIN stream_event AS event ON event.dream_id = dream.id
        WHERE NOT {_FINAL} AND (event.kind IN ('failed', 'cancelled') OR event.kind = 'done' AND
            EXISTS (SELECT 1 FROM image WHERE sha256 = json_extract(event.payload, '$.sha256')))
        GROUP BY dream.id
        """,
        "Dream {about} is over by the stream and not by its row: it would be drawn again.",
        mend="""
        UPDATE dream SET (state, ended_ms, image_sha256) = (
            SELECT kind, at_ms, json_extract(payload, '$.sha256') FROM stream_event
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
        WHERE NOT {_FINAL} AND event.kind = 'done' AND NOT EXISTS
            (SELECT 1 FROM image WHERE sha256 = json_extract(event.payload, '$.sha256'))
        GROUP BY dream.id
        """,
        "Dream {about} was done by the stream, and neither its row nor its picture is.",
        cannot="It is drawn again at the next start; then the stream says twice that it is done.",
    ),
    Rule(
        "ended-when",
        f"SELECT id AS about, id AS key FROM dream WHERE {_FINAL} AND ended_ms IS NULL",
        "Dream {about} is over, and when is not known.",
        mend="""
        UPDATE dream SET ended_ms = coalesce(
            (SELECT max(at_ms) FROM stream_event WHERE dream_id = dream.id AND kind = dream.state),
            started_ms, created_ms
        ) WHERE id = :key
        """,
        mended="The event's time is taken.",
    ),
    Rule(
        "ended-early",
        f"SELECT id AS about, id AS key FROM dream WHERE NOT {_FINAL} AND ended_ms IS NOT NULL",
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
    # --- what was deleted is gone -----------------------------------------------------------------
    Rule(
        "deleted-never",
        f"""
        SELECT id AS about, id AS key FROM dream
        WHERE deleted_ms IS NOT NULL AND {_events("deleted")} = 0
        """,
        "Dream {about} was deleted, and no event says so.",
        mend=_append("'deleted'", "dream.deleted_ms", "dream.deleted_by", "'{}'"),
        mended="The event is appended.",
    ),
    Rule(
        "deleted-not",
        f"""
        SELECT id AS about, id AS key FROM dream
        WHERE deleted_ms IS NULL AND {_events("deleted")} > 0
        """,
        "Dream {about} was deleted, the stream says, and is still there.",
        cannot="Delete it again.",
    ),
    Rule(
        "deleted-twice",
        f"SELECT id AS about, id AS key FROM dream WHERE {_events('deleted')} > 1",
        "Dream {about} was deleted more than once, the stream says.",
        cannot=_APPEND_ONLY,
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
        for table in ("dream_file", "dream_picture", "favourite", "dream_vector", "party_vote")
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
        JOIN dream ON dream.id = pending_steer.dream_id WHERE {_FINAL}
        """,
        "Dream {about} is over, and a steer of it still waits for an answer.",
        mend="DELETE FROM pending_steer WHERE id = :key",
        mended="It is removed.",
    ),
    # --- events say what can be understood --------------------------------------------------------
    Rule(
        "event-kind",
        f"SELECT id AS about, id AS key FROM stream_event WHERE kind NOT IN ({_KINDS})",
        "Event {about} is of no kind that this version knows.",
        cannot="If it was written by a newer version, install that one. " + _APPEND_ONLY,
    ),
    Rule(
        "event-stream",
        """
        SELECT event.id AS about, event.id AS key FROM stream_event AS event
        JOIN dream ON dream.id = event.dream_id WHERE dream.theme_id <> event.theme_id
        """,
        "Event {about} is of another stream than its dream.",
        cannot=_APPEND_ONLY,
    ),
    # --- one card in Discord for each dream -------------------------------------------------------
    Rule(
        "delivery-without",
        """
        SELECT delivery.id AS about, delivery.id AS key FROM delivery WHERE NOT EXISTS (
            SELECT 1 FROM delivery_dream
            WHERE delivery_id = delivery.id AND dream_id = delivery.dream_id
        )
        """,
        "Card {about} in Discord does not show the dream that it was made for.",
        mend="""
        INSERT INTO delivery_dream (delivery_id, dream_id, position)
        SELECT id, dream_id, coalesce(
            (SELECT max(position) + 1 FROM delivery_dream WHERE delivery_id = delivery.id), 0
        ) FROM delivery WHERE id = :key
        """,
        mended="It does.",
    ),
    Rule(
        "delivery-early",
        f"""
        SELECT DISTINCT delivery.id AS about, delivery.id AS key FROM delivery
        JOIN delivery_dream ON delivery_id = delivery.id
        JOIN dream ON dream.id = delivery_dream.dream_id
        WHERE delivery.state = 'settled' AND NOT {_FINAL}
        """,
        "Card {about} in Discord is taken to show the end of dreams that are not over.",
        mend="UPDATE delivery SET state = 'open', changed_ms = :now WHERE id = :key",
        mended="It is shown anew.",
    ),
    Rule(
        "delivery-unsent",
        """
        SELECT id AS about, id AS key FROM delivery WHERE state = 'settled' AND message_id IS NULL
        """,
        "Card {about} in Discord is taken to be shown, and no message of it is known.",
        mend="UPDATE delivery SET state = 'open', changed_ms = :now WHERE id = :key",
        mended="It is looked for, and shown.",
    ),
    Rule(
        "delivery-twice",
        """
        SELECT delivery_dream.dream_id AS about, delivery_dream.dream_id AS key
        FROM delivery_dream JOIN delivery ON delivery.id = delivery_dream.delivery_id
        GROUP BY delivery_dream.dream_id, delivery.channel_id HAVING count(*) > 1
        """,
        "Dream {about} is on more than one card of one channel in Discord.",
        cannot="Remove one of the two messages there, if it is there twice.",
    ),
)
