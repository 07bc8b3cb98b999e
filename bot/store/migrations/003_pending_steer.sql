-- Steers that were accepted and that the scheduler process has not answered yet. They are sent
-- again to every new process, in the order of their ids, and go with their dream's end.

CREATE TABLE pending_steer (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    dream_id     TEXT    NOT NULL REFERENCES dream (id),
    person_id    TEXT    NOT NULL REFERENCES person (id),
    prompt       TEXT    NOT NULL,
    glide_steps  INTEGER NOT NULL,
    asked_ms     INTEGER NOT NULL
) STRICT;

CREATE INDEX pending_steer_by_dream ON pending_steer (dream_id);

CREATE TRIGGER pending_steer_ends_with_its_dream
AFTER UPDATE OF state ON dream
WHEN NEW.state IN ('done', 'failed', 'cancelled')
BEGIN
    DELETE FROM pending_steer WHERE dream_id = NEW.id;
END;
