-- Themes, people, kept pictures, dreams, and the append-only stream of what happened.
-- Times are milliseconds since 1970 UTC.

CREATE TABLE theme (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    slug        TEXT    NOT NULL UNIQUE,
    title       TEXT    NOT NULL,
    topic       TEXT    NOT NULL DEFAULT '',
    template    TEXT    NOT NULL DEFAULT '{prompt}',
    modifiers   TEXT    NOT NULL DEFAULT '',
    negative    TEXT    NOT NULL DEFAULT '',
    engine      TEXT    NOT NULL DEFAULT '',
    model       TEXT    NOT NULL DEFAULT '',
    width       INTEGER,
    height      INTEGER,
    steps       INTEGER,
    weight      REAL    NOT NULL DEFAULT 1.0 CHECK (weight > 0),
    colour      TEXT    NOT NULL DEFAULT '#7c6cff',
    visibility  TEXT    NOT NULL DEFAULT 'public'
                CHECK (visibility IN ('public', 'link', 'private')),
    created_ms  INTEGER NOT NULL
) STRICT;

-- Names live here and nowhere else, so that they can be changed, or forgotten, in one place.
CREATE TABLE person (
    id             TEXT    PRIMARY KEY,
    name           TEXT    NOT NULL,
    first_seen_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A file in the library: a finished picture, or one that a dream started from.
CREATE TABLE image (
    sha256      TEXT    PRIMARY KEY CHECK (length(sha256) = 64),
    width       INTEGER NOT NULL,
    height      INTEGER NOT NULL,
    size_bytes  INTEGER NOT NULL,
    kept_ms     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Ids sort by the time of asking. `recipe` is the JSON of generation.protocol.Recipe.
CREATE TABLE dream (
    id            TEXT    PRIMARY KEY,
    ask_id        TEXT    NOT NULL,
    theme_id      INTEGER NOT NULL REFERENCES theme (id),
    person_id     TEXT    NOT NULL REFERENCES person (id),
    prompt        TEXT    NOT NULL,
    recipe        TEXT    NOT NULL CHECK (json_valid(recipe)),
    state         TEXT    NOT NULL
                  CHECK (state IN ('waiting', 'drawing', 'done', 'failed', 'cancelled')),
    step          INTEGER NOT NULL DEFAULT 0,
    attempt       INTEGER NOT NULL DEFAULT 0,
    parent_id     TEXT    REFERENCES dream (id),
    relation      TEXT,
    reason        TEXT    NOT NULL DEFAULT '',
    image_sha256  TEXT    REFERENCES image (sha256),
    init_sha256   TEXT    REFERENCES image (sha256),
    gpu_s         REAL    NOT NULL DEFAULT 0.0,
    score         REAL,
    created_ms    INTEGER NOT NULL,
    started_ms    INTEGER,
    ended_ms      INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX dream_by_theme ON dream (theme_id, id);
CREATE INDEX dream_by_parent ON dream (parent_id, id) WHERE parent_id IS NOT NULL;
CREATE INDEX dream_by_ask ON dream (ask_id, id);
CREATE INDEX dream_by_person ON dream (person_id, id);
CREATE INDEX dream_by_image ON dream (image_sha256) WHERE image_sha256 IS NOT NULL;
CREATE INDEX dream_by_init ON dream (init_sha256) WHERE init_sha256 IS NOT NULL;
CREATE INDEX dream_unfinished ON dream (id) WHERE state IN ('waiting', 'drawing');
CREATE INDEX dream_finished ON dream (theme_id, id) WHERE state = 'done';

-- A dream ends once: whoever comes second, by whatever path, changes nothing.
CREATE TRIGGER dream_ends_once
BEFORE UPDATE OF state ON dream
WHEN OLD.state IN ('done', 'failed', 'cancelled')
BEGIN
    SELECT RAISE(ABORT, 'a dream that has ended changes its state no more');
END;

-- What happened, in order, for ever. `payload` is JSON and never holds what a person said or is
-- called: those stand in rows that can be deleted, this cannot.
CREATE TABLE stream_event (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    theme_id   INTEGER NOT NULL REFERENCES theme (id),
    kind       TEXT    NOT NULL,
    dream_id   TEXT    REFERENCES dream (id),
    person_id  TEXT    REFERENCES person (id),
    at_ms      INTEGER NOT NULL,
    payload    TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(payload))
) STRICT;

CREATE INDEX stream_event_by_theme ON stream_event (theme_id, id);
CREATE INDEX stream_event_by_dream ON stream_event (dream_id, id) WHERE dream_id IS NOT NULL;

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
