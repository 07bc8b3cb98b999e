-- What can never be changed names people by a random pseudonym that means nothing outside the row of
-- the person: once nobody's row says whose it is any more, what stays cannot be led back to anybody.

CREATE TABLE person_new (
    id             TEXT    PRIMARY KEY,
    name           TEXT    NOT NULL,
    first_seen_ms  INTEGER NOT NULL,
    publishes      INTEGER NOT NULL DEFAULT 1,
    pseudonym      TEXT    NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(16))))
) STRICT, WITHOUT ROWID;

INSERT INTO person_new (id, name, first_seen_ms, publishes, pseudonym)
SELECT id, name, first_seen_ms, publishes, lower(hex(randomblob(16))) FROM person;

DROP TABLE person;
ALTER TABLE person_new RENAME TO person;

CREATE TABLE stream_event_new (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    theme_id   INTEGER NOT NULL REFERENCES theme (id),
    kind       TEXT    NOT NULL,
    dream_id   TEXT    REFERENCES dream (id),
    pseudonym  TEXT    REFERENCES person (pseudonym),
    at_ms      INTEGER NOT NULL,
    payload    TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(payload))
) STRICT;

INSERT INTO stream_event_new (id, theme_id, kind, dream_id, pseudonym, at_ms, payload)
SELECT event.id, theme_id, kind, dream_id, person.pseudonym, at_ms, payload
FROM stream_event AS event LEFT JOIN person ON person.id = event.person_id ORDER BY event.id;

DROP TABLE stream_event;
ALTER TABLE stream_event_new RENAME TO stream_event;

CREATE INDEX stream_event_by_theme ON stream_event (theme_id, id);
CREATE INDEX stream_event_by_dream ON stream_event (dream_id, id) WHERE dream_id IS NOT NULL;
CREATE INDEX stream_event_of_theme ON stream_event (theme_id, pseudonym) WHERE kind = 'theme';

CREATE TRIGGER stream_event_is_not_changed
BEFORE UPDATE ON stream_event
BEGIN
    SELECT RAISE(ABORT, 'the stream is append-only');
END;

CREATE TRIGGER stream_event_is_not_deleted
BEFORE DELETE ON stream_event
BEGIN
    SELECT RAISE(ABORT, 'the stream is append-only');
END;

-- INSERT OR REPLACE deletes without asking the trigger above.
CREATE TRIGGER stream_event_is_not_replaced
BEFORE INSERT ON stream_event
WHEN EXISTS (SELECT 1 FROM stream_event WHERE id = NEW.id)
BEGIN
    SELECT RAISE(ABORT, 'the stream is append-only');
END;

CREATE TABLE moderation_entry_new (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    guild_id      INTEGER NOT NULL,
    act           TEXT    NOT NULL,
    by_pseudonym  TEXT    NOT NULL REFERENCES person (pseudonym),
    pseudonym     TEXT    REFERENCES person (pseudonym),
    dream_id      TEXT    REFERENCES dream (id),
    channel_id    INTEGER,
    at_ms         INTEGER NOT NULL,
    detail        TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(detail))
) STRICT;

INSERT INTO moderation_entry_new
    (id, guild_id, act, by_pseudonym, pseudonym, dream_id, channel_id, at_ms, detail)
SELECT entry.id, guild_id, act, by.pseudonym, person.pseudonym, dream_id, channel_id, at_ms, detail
FROM moderation_entry AS entry
JOIN person AS by ON by.id = entry.by_id
LEFT JOIN person ON person.id = entry.person_id ORDER BY entry.id;

-- Old entries may have gone: no new one has an id that was another's.
DELETE FROM sqlite_sequence WHERE name = 'moderation_entry_new';
INSERT INTO sqlite_sequence (name, seq)
SELECT 'moderation_entry_new', seq FROM sqlite_sequence WHERE name = 'moderation_entry';

DROP TABLE moderation_entry;
ALTER TABLE moderation_entry_new RENAME TO moderation_entry;

CREATE INDEX moderation_entry_by_guild ON moderation_entry (guild_id, id);
CREATE INDEX moderation_entry_by_person ON moderation_entry (pseudonym) WHERE pseudonym IS NOT NULL;
CREATE INDEX moderation_entry_by_who ON moderation_entry (by_pseudonym);

CREATE TRIGGER moderation_entry_is_not_changed
BEFORE UPDATE ON moderation_entry
BEGIN
    SELECT RAISE(ABORT, 'what moderators did is append-only');
END;

CREATE TRIGGER moderation_entry_is_not_deleted_early
BEFORE DELETE ON moderation_entry
WHEN OLD.at_ms > (CAST(strftime('%s', 'now') AS INTEGER) - 30 * 86400) * 1000
BEGIN
    SELECT RAISE(ABORT, 'what moderators did is append-only, and kept for thirty days at least');
END;

-- INSERT OR REPLACE deletes without asking the triggers above.
CREATE TRIGGER moderation_entry_is_not_replaced
BEFORE INSERT ON moderation_entry
WHEN EXISTS (SELECT 1 FROM moderation_entry WHERE id = NEW.id)
BEGIN
    SELECT RAISE(ABORT, 'what moderators did is append-only');
END;

-- Whose a portrait is may change when somebody is parted from their id; that it was revoked may not.
DROP TRIGGER portrait_is_revoked_for_good;

CREATE TRIGGER portrait_is_revoked_for_good
BEFORE UPDATE OF dream_id, words, reach, consented_ms, revoked_ms ON portrait
WHEN old.revoked_ms IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a portrait that was revoked stays so'); END;
