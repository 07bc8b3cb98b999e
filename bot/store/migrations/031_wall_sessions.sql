-- Who is signed in at the wall. The cookie holds a token; here is its SHA-256 alone, so that nobody
-- who reads the database can come as somebody else.

CREATE TABLE wall_session (
    token_sha256  TEXT    PRIMARY KEY,
    person_id     TEXT    NOT NULL REFERENCES person (id),
    created_ms    INTEGER NOT NULL,
    until_ms      INTEGER NOT NULL CHECK (until_ms > created_ms)
) STRICT, WITHOUT ROWID;

CREATE INDEX wall_session_by_person ON wall_session (person_id, created_ms);
