-- What moderators did, for good: who, what, to whom, when. `detail` is JSON and never holds what
-- a person said or is called, like the payload of the stream's events.

CREATE TABLE moderation_entry (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    guild_id    INTEGER NOT NULL,
    act         TEXT    NOT NULL,
    by_id       TEXT    NOT NULL REFERENCES person (id),
    person_id   TEXT    REFERENCES person (id),
    dream_id    TEXT    REFERENCES dream (id),
    channel_id  INTEGER,
    at_ms       INTEGER NOT NULL,
    detail      TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(detail))
) STRICT;

CREATE INDEX moderation_entry_by_guild ON moderation_entry (guild_id, id);

CREATE TRIGGER moderation_entry_is_not_changed
BEFORE UPDATE ON moderation_entry
BEGIN
    SELECT RAISE(ABORT, 'what moderators did is append-only');
END;

CREATE TRIGGER moderation_entry_is_not_deleted
BEFORE DELETE ON moderation_entry
BEGIN
    SELECT RAISE(ABORT, 'what moderators did is append-only');
END;

-- INSERT OR REPLACE deletes without asking the trigger above.
CREATE TRIGGER moderation_entry_is_not_replaced
BEFORE INSERT ON moderation_entry
WHEN EXISTS (SELECT 1 FROM moderation_entry WHERE id = NEW.id)
BEGIN
    SELECT RAISE(ABORT, 'what moderators did is append-only');
END;

-- Tombstones whose files may still have to be removed are looked for at every start.
CREATE INDEX dream_deleted ON dream (deleted_ms) WHERE deleted_ms IS NOT NULL;
