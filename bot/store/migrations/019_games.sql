-- Games: a round, the prompts that a guess offers, what people entered, and who likes it.

-- `prompt` is what is to be drawn, else the picture's own words. It is empty once it was called
-- off, or its picture was deleted.
CREATE TABLE game (
    id              TEXT    PRIMARY KEY,
    theme_id        INTEGER NOT NULL REFERENCES theme (id),
    kind            TEXT    NOT NULL CHECK (kind IN ('draw', 'say', 'guess')),
    host_id         TEXT    NOT NULL REFERENCES person (id),
    state           TEXT    NOT NULL CHECK (state IN ('open', 'over', 'called_off')),
    prompt          TEXT    NOT NULL,
    dream_id        TEXT    REFERENCES dream (id),
    seed            INTEGER NOT NULL,
    machine         INTEGER NOT NULL CHECK (machine IN (0, 1)),
    guild_id        INTEGER,
    channel_id      INTEGER,
    parent_id       INTEGER,
    age_restricted  INTEGER NOT NULL CHECK (age_restricted IN (0, 1)),
    published       INTEGER NOT NULL CHECK (published IN (0, 1)),
    host_knows      INTEGER NOT NULL CHECK (host_knows IN (0, 1)),
    perceptor       TEXT    NOT NULL,
    ends_ms         INTEGER NOT NULL,
    created_ms      INTEGER NOT NULL,
    ended_ms        INTEGER,
    CHECK ((state = 'open') = (ended_ms IS NULL))
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX game_in_channel ON game (channel_id)
WHERE state = 'open' AND channel_id IS NOT NULL;
CREATE INDEX game_open ON game (ends_ms) WHERE state = 'open';
CREATE INDEX game_by_theme ON game (theme_id, id);
CREATE INDEX game_by_dream ON game (dream_id) WHERE dream_id IS NOT NULL;

CREATE TABLE game_choice (
    game_id   TEXT    NOT NULL REFERENCES game (id),
    place     INTEGER NOT NULL,
    words     TEXT    NOT NULL,
    dream_id  TEXT    REFERENCES dream (id),
    PRIMARY KEY (game_id, place)
) STRICT, WITHOUT ROWID;

CREATE INDEX game_choice_by_dream ON game_choice (dream_id) WHERE dream_id IS NOT NULL;

-- A person's best. One that was withdrawn is a tombstone: its words and picture are gone.
CREATE TABLE game_entry (
    id            TEXT    PRIMARY KEY,
    game_id       TEXT    NOT NULL REFERENCES game (id),
    person_id     TEXT    NOT NULL REFERENCES person (id),
    text          TEXT    NOT NULL,
    choice        INTEGER,
    image_sha256  TEXT    REFERENCES image (sha256),
    dream_id      TEXT    REFERENCES dream (id),
    score         REAL    CHECK (score BETWEEN 0 AND 100),
    writing       INTEGER NOT NULL CHECK (writing IN (0, 1)),
    published     INTEGER NOT NULL CHECK (published IN (0, 1)),
    at_ms         INTEGER NOT NULL,
    withdrawn_ms  INTEGER,
    withdrawn_by  TEXT,
    CHECK (withdrawn_ms IS NULL OR (text = '' AND image_sha256 IS NULL AND score IS NULL))
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX game_entry_of_person ON game_entry (game_id, person_id)
WHERE withdrawn_ms IS NULL;
CREATE INDEX game_entry_by_game ON game_entry (game_id, id);
CREATE INDEX game_entry_by_image ON game_entry (image_sha256) WHERE image_sha256 IS NOT NULL;
CREATE INDEX game_entry_by_dream ON game_entry (dream_id) WHERE dream_id IS NOT NULL;

-- Who withdraws does not get their tries back.
CREATE TABLE game_try (
    game_id    TEXT    NOT NULL REFERENCES game (id),
    person_id  TEXT    NOT NULL REFERENCES person (id),
    tries      INTEGER NOT NULL CHECK (tries >= 0),
    PRIMARY KEY (game_id, person_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE game_heart (
    entry_id   TEXT    NOT NULL REFERENCES game_entry (id),
    person_id  TEXT    NOT NULL REFERENCES person (id),
    at_ms      INTEGER NOT NULL,
    PRIMARY KEY (entry_id, person_id)
) STRICT, WITHOUT ROWID;

-- The one message of each game in Discord. As of `party_card`.
CREATE TABLE game_card (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    game_id     TEXT    NOT NULL UNIQUE REFERENCES game (id),
    message_id  INTEGER,
    sends       INTEGER NOT NULL DEFAULT 0,
    shown       TEXT    NOT NULL DEFAULT '',
    open        INTEGER NOT NULL DEFAULT 1 CHECK (open IN (0, 1)),
    created_ms  INTEGER NOT NULL
) STRICT;

CREATE INDEX game_card_open ON game_card (id) WHERE open = 1;

-- A deleted dream's words and picture go from games, too.
CREATE TRIGGER game_loses_its_dream
AFTER UPDATE OF deleted_ms ON dream
WHEN NEW.deleted_ms IS NOT NULL
BEGIN
    UPDATE game SET prompt = '', state = iif(state = 'open', 'called_off', state),
                    ended_ms = coalesce(ended_ms, NEW.deleted_ms)
    WHERE dream_id = NEW.id;
    UPDATE game_choice SET words = '' WHERE dream_id = NEW.id;
    DELETE FROM game_heart WHERE entry_id IN (SELECT id FROM game_entry WHERE dream_id = NEW.id);
    UPDATE game_entry SET score = NULL, withdrawn_ms = NEW.deleted_ms, withdrawn_by = NEW.deleted_by
    WHERE dream_id = NEW.id AND withdrawn_ms IS NULL;
END;
