-- The check of pictures: how the place where a dream was asked for wants its picture checked (null
-- where nothing was said), and what was found, a row for each picture that was looked at or is to be.
-- While `original_sha256` names a picture, the dream's own is a cover that stands for it.

ALTER TABLE dream ADD COLUMN checked_as TEXT
    CHECK (checked_as IN ('off', 'spoiler', 'blur', 'refuse'));

CREATE TABLE picture_check (
    dream_id         TEXT    PRIMARY KEY REFERENCES dream (id),
    setting          TEXT    NOT NULL CHECK (setting IN ('spoiler', 'blur', 'refuse')),
    verdict          TEXT    NOT NULL CHECK (verdict IN ('clear', 'flagged', 'unchecked')),
    nsfw             REAL,
    original_sha256  TEXT    REFERENCES image (sha256),
    decision         TEXT    CHECK (decision IN ('released', 'confirmed')),
    decided_by       TEXT    REFERENCES person (id),
    tries            INTEGER NOT NULL DEFAULT 0,
    checked_ms       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX picture_check_by_original ON picture_check (original_sha256)
    WHERE original_sha256 IS NOT NULL;
CREATE INDEX picture_check_unchecked ON picture_check (dream_id) WHERE verdict = 'unchecked';
