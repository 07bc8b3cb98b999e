-- The log of what was decided about people and pictures is kept for a time, and no longer: entries
-- may go when they are old, never before, and are still not changed. What somebody did is found by
-- them, too.

DROP TRIGGER moderation_entry_is_not_deleted;

CREATE TRIGGER moderation_entry_is_not_deleted_early
BEFORE DELETE ON moderation_entry
WHEN OLD.at_ms > (CAST(strftime('%s', 'now') AS INTEGER) - 30 * 86400) * 1000
BEGIN
    SELECT RAISE(ABORT, 'what moderators did is append-only, and kept for thirty days at least');
END;

CREATE INDEX moderation_entry_by_person ON moderation_entry (person_id) WHERE person_id IS NOT NULL;
CREATE INDEX moderation_entry_by_who ON moderation_entry (by_id);
