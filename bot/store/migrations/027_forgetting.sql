-- Who wanted to be forgotten, and whether all of it is done: what a crash interrupts goes on at the
-- next start, and a backup that is put back forgets what was asked before `asked_ms` once more.

CREATE TABLE forgotten_person (
    person_id  TEXT    PRIMARY KEY REFERENCES person (id),
    asked_ms   INTEGER NOT NULL,
    done_ms    INTEGER
) STRICT, WITHOUT ROWID;
