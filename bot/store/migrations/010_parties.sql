-- Parties: a theme made for an evening, its members, what they said, drew and voted.

CREATE TABLE party (
    id                TEXT    PRIMARY KEY,
    code              TEXT    NOT NULL UNIQUE,
    theme_id          INTEGER NOT NULL UNIQUE REFERENCES theme (id),
    topic             TEXT    NOT NULL,
    stage             TEXT    NOT NULL CHECK (stage IN
                      ('gather', 'sketch', 'elaborate', 'choose', 'finale', 'published')),
    guild_id          INTEGER,
    channel_id        INTEGER,
    settings          TEXT    NOT NULL CHECK (json_valid(settings)),
    created_ms        INTEGER NOT NULL,
    stage_started_ms  INTEGER NOT NULL,
    stage_minutes     INTEGER NOT NULL CHECK (stage_minutes >= 0),
    -- When the host is to be told that the stage has lasted; NULL where they have been.
    due_ms            INTEGER,
    -- When somebody last did something.
    active_ms         INTEGER NOT NULL,
    ended_ms          INTEGER
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX party_in_channel ON party (channel_id)
WHERE ended_ms IS NULL AND channel_id IS NOT NULL;
CREATE INDEX party_open ON party (id) WHERE ended_ms IS NULL;

-- Which stage began when.
CREATE TABLE party_stage (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    party_id  TEXT    NOT NULL REFERENCES party (id),
    stage     TEXT    NOT NULL,
    at_ms     INTEGER NOT NULL
) STRICT;

CREATE INDEX party_stage_by_party ON party_stage (party_id, id);

CREATE TABLE party_member (
    party_id   TEXT    NOT NULL REFERENCES party (id),
    person_id  TEXT    NOT NULL REFERENCES person (id),
    role       TEXT    NOT NULL CHECK (role IN
               ('host', 'prompt_master', 'art_expert', 'facilitator', 'guest')),
    joined_ms  INTEGER NOT NULL,
    left_ms    INTEGER,
    removed    INTEGER NOT NULL DEFAULT 0,
    credited   INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (party_id, person_id)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX party_has_one_host ON party_member (party_id) WHERE role = 'host';

-- `folded` is the words as they are compared. Hidden words are gone: both are empty.
CREATE TABLE party_association (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    party_id   TEXT    NOT NULL REFERENCES party (id),
    person_id  TEXT    NOT NULL REFERENCES person (id),
    kind       TEXT    NOT NULL CHECK (kind IN ('idea', 'style', 'artist')),
    words      TEXT    NOT NULL,
    folded     TEXT    NOT NULL,
    at_ms      INTEGER NOT NULL,
    hidden     INTEGER NOT NULL DEFAULT 0 CHECK (hidden = 0 OR words = '')
) STRICT;

CREATE UNIQUE INDEX party_association_once ON party_association (party_id, kind, folded)
WHERE hidden = 0;
CREATE INDEX party_association_by_party ON party_association (party_id, id);

-- Everybody who said so, the first one too.
CREATE TABLE party_saying (
    association_id  INTEGER NOT NULL REFERENCES party_association (id),
    person_id       TEXT    NOT NULL REFERENCES person (id),
    at_ms           INTEGER NOT NULL,
    PRIMARY KEY (association_id, person_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX party_saying_by_person ON party_saying (person_id, at_ms);

-- A party's dreams: in which stage each was asked for, and the one it was combined with.
CREATE TABLE party_dream (
    party_id  TEXT NOT NULL REFERENCES party (id),
    dream_id  TEXT NOT NULL REFERENCES dream (id),
    stage     TEXT NOT NULL,
    other_id  TEXT REFERENCES dream (id),
    PRIMARY KEY (dream_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX party_dream_by_party ON party_dream (party_id, dream_id);
CREATE INDEX party_dream_by_other ON party_dream (other_id) WHERE other_id IS NOT NULL;

CREATE TABLE party_dream_association (
    dream_id        TEXT    NOT NULL REFERENCES dream (id),
    association_id  INTEGER NOT NULL REFERENCES party_association (id),
    PRIMARY KEY (dream_id, association_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX party_dream_association_by_association ON party_dream_association (association_id);

-- A favourite has no other. A pair stands once, the lesser id first: `value` is 1 where that one
-- was preferred, -1 where the other, 0 where neither.
CREATE TABLE party_vote (
    party_id   TEXT    NOT NULL REFERENCES party (id),
    person_id  TEXT    NOT NULL REFERENCES person (id),
    kind       TEXT    NOT NULL CHECK (kind IN ('favourite', 'pair', 'points')),
    dream_id   TEXT    NOT NULL REFERENCES dream (id),
    other_id   TEXT    NOT NULL DEFAULT '',
    value      INTEGER NOT NULL,
    at_ms      INTEGER NOT NULL,
    PRIMARY KEY (party_id, person_id, kind, dream_id, other_id),
    CHECK (kind <> 'pair' OR (dream_id < other_id AND value BETWEEN -1 AND 1)),
    CHECK (kind = 'pair' OR (other_id = '' AND value > 0))
) STRICT, WITHOUT ROWID;

CREATE INDEX party_vote_by_dream ON party_vote (dream_id);
CREATE INDEX party_vote_by_other ON party_vote (other_id) WHERE other_id <> '';

-- A deleted dream's votes go with it.
CREATE TRIGGER party_vote_goes_with_its_dream
AFTER UPDATE OF deleted_ms ON dream
WHEN NEW.deleted_ms IS NOT NULL
BEGIN
    DELETE FROM party_vote WHERE dream_id = NEW.id OR other_id = NEW.id;
END;

-- The chosen dreams on their way to their largest: drawn anew, then upscaled. Over once `done`.
CREATE TABLE party_finale (
    party_id      TEXT    NOT NULL REFERENCES party (id),
    dream_id      TEXT    NOT NULL REFERENCES dream (id),
    person_id     TEXT    NOT NULL REFERENCES person (id),
    redrawn_id    TEXT    REFERENCES dream (id),
    upscaled_id   TEXT    REFERENCES dream (id),
    done          INTEGER NOT NULL DEFAULT 0,
    at_ms         INTEGER NOT NULL,
    PRIMARY KEY (party_id, dream_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX party_finale_under_way ON party_finale (party_id) WHERE done = 0;
