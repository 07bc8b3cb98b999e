-- Portraits: what somebody said about themselves, that they agreed to it, and until when. The words
-- go with the dream; that they were there is kept, and is never undone.

CREATE TABLE portrait (
    dream_id      TEXT    PRIMARY KEY REFERENCES dream (id),
    person_id     TEXT    NOT NULL REFERENCES person (id),
    words         TEXT    NOT NULL,
    reach         TEXT    NOT NULL CHECK (reach IN ('self', 'channel', 'stream')),
    consented_ms  INTEGER NOT NULL,
    revoked_ms    INTEGER,
    CHECK ((revoked_ms IS NULL) = (words <> ''))
) STRICT, WITHOUT ROWID;

CREATE INDEX portrait_by_person ON portrait (person_id, dream_id) WHERE revoked_ms IS NULL;

CREATE TRIGGER portrait_is_revoked_for_good BEFORE UPDATE ON portrait
WHEN old.revoked_ms IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a portrait that was revoked stays so'); END;
