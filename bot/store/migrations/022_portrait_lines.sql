-- Of which portraits a dream comes, however far back: recorded as it is accepted, and never taken
-- away, so that deleting what lies between them does not part them.

CREATE TABLE portrait_line (
    dream_id     TEXT NOT NULL REFERENCES dream (id),
    portrait_id  TEXT NOT NULL REFERENCES portrait (dream_id),
    PRIMARY KEY (dream_id, portrait_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX portrait_line_by_portrait ON portrait_line (portrait_id, dream_id);

INSERT INTO portrait_line (dream_id, portrait_id)
WITH RECURSIVE line (dream_id, portrait_id) AS (
    SELECT dream_id, dream_id FROM portrait
    UNION
    SELECT child.id, line.portrait_id FROM line
    JOIN dream ON dream.id = line.dream_id
    JOIN dream AS child ON (
        child.parent_id = dream.id
        OR child.init_sha256 = dream.image_sha256
        OR child.id IN (SELECT dream_id FROM dream_picture WHERE sha256 = dream.image_sha256)
    )
)
SELECT dream_id, portrait_id FROM line WHERE dream_id <> portrait_id;
