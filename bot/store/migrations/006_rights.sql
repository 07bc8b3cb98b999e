-- Who may do what, what people like, and what was taken away.

-- A dream that was deleted leaves its row as a tombstone: without words, recipe or picture.
ALTER TABLE dream ADD COLUMN deleted_ms INTEGER;
ALTER TABLE dream ADD COLUMN deleted_by TEXT REFERENCES person (id);
-- Whether it may be seen outside the place where it was asked for.
ALTER TABLE dream ADD COLUMN published INTEGER NOT NULL DEFAULT 1;

-- Whether what a person asks for is published; what was asked before stays as it was.
ALTER TABLE person ADD COLUMN publishes INTEGER NOT NULL DEFAULT 1;

CREATE TABLE favourite (
    dream_id   TEXT    NOT NULL REFERENCES dream (id),
    person_id  TEXT    NOT NULL REFERENCES person (id),
    at_ms      INTEGER NOT NULL,
    PRIMARY KEY (dream_id, person_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX favourite_by_person ON favourite (person_id, at_ms);

-- Settings are JSON: bot.settings says what they hold, and reads those of older versions.
CREATE TABLE guild_settings (
    guild_id    INTEGER PRIMARY KEY,
    settings    TEXT    NOT NULL CHECK (json_valid(settings)),
    changed_ms  INTEGER NOT NULL
) STRICT;

CREATE TABLE channel_settings (
    channel_id  INTEGER PRIMARY KEY,
    guild_id    INTEGER NOT NULL,
    settings    TEXT    NOT NULL CHECK (json_valid(settings)),
    changed_ms  INTEGER NOT NULL
) STRICT;

CREATE INDEX channel_settings_by_guild ON channel_settings (guild_id);

-- People who may not ask for dreams in a server.
CREATE TABLE blocked_person (
    guild_id    INTEGER NOT NULL,
    person_id   TEXT    NOT NULL REFERENCES person (id),
    blocked_by  TEXT    NOT NULL REFERENCES person (id),
    reason      TEXT    NOT NULL DEFAULT '',
    at_ms       INTEGER NOT NULL,
    until_ms    INTEGER,
    PRIMARY KEY (guild_id, person_id)
) STRICT, WITHOUT ROWID;
