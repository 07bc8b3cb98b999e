-- Files of the library that nothing names any more since something was deleted, until they are
-- known to be gone. `kind` is the folder: pictures with their thumbnails, or other files.

CREATE TABLE doomed_file (
    kind    TEXT NOT NULL CHECK (kind IN ('picture', 'file')),
    sha256  TEXT NOT NULL CHECK (length(sha256) = 64),
    PRIMARY KEY (kind, sha256)
) STRICT, WITHOUT ROWID;

DROP INDEX dream_deleted;
