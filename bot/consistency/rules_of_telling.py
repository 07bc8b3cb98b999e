"""Events and decisions can be understood, and each dream has one card in Discord."""

# ruff: noqa: S608 - every statement is put together of our own words

from __future__ import annotations

from bot.consistency.rule import APPEND_ONLY, FINAL, POSSIBLE, Rule
from bot.model import EventKind

_KINDS = ", ".join(f"'{kind}'" for kind in EventKind)

TOLD = (
    # --- what is appended can be understood -------------------------------------------------------
    Rule(
        "event-kind",
        f"SELECT id AS about, id AS key FROM stream_event WHERE kind NOT IN ({_KINDS})",
        "Event {about} is of no kind that this version knows.",
        cannot="If it was written by a newer version, install that one. " + APPEND_ONLY,
    ),
    Rule(
        "event-time",
        f"SELECT id AS about, id AS key FROM stream_event WHERE at_ms NOT {POSSIBLE}",
        "Event {about} happened at a time that cannot be, the stream says.",
        cannot=APPEND_ONLY,
    ),
    Rule(
        "event-stream",
        """
        SELECT event.id AS about, event.id AS key FROM stream_event AS event
        JOIN dream ON dream.id = event.dream_id WHERE dream.theme_id <> event.theme_id
        """,
        "Event {about} is of another stream than its dream.",
        cannot=APPEND_ONLY,
    ),
    Rule(
        "decision-time",
        f"SELECT id AS about, id AS key FROM moderation_entry WHERE at_ms NOT {POSSIBLE}",
        "Entry {about} of the log of decisions was made at a time that cannot be, the log says.",
        cannot="The log is append-only, so it stays: from before 1970 until what is old goes, from "
        "after 9999 for good.",
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
        WHERE delivery.state = 'settled' AND NOT {FINAL}
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
