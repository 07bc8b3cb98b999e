-- What a dream is drawn from besides its start, what was made besides its picture, where it was
-- asked for, and whether it waits until nobody else does.

ALTER TABLE dream ADD COLUMN background INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dream ADD COLUMN guild_id INTEGER;
ALTER TABLE dream ADD COLUMN channel_id INTEGER;

CREATE INDEX dream_unfinished_in_channel ON dream (channel_id)
WHERE state IN ('waiting', 'drawing') AND channel_id IS NOT NULL;

-- The mask and the further pictures that a recipe names; its start stands in the dream's row.
CREATE TABLE dream_picture (
    dream_id  TEXT NOT NULL REFERENCES dream (id),
    sha256    TEXT NOT NULL REFERENCES image (sha256),
    PRIMARY KEY (dream_id, sha256)
) STRICT, WITHOUT ROWID;

CREATE INDEX dream_picture_by_image ON dream_picture (sha256);

-- Films, drawings as SVG: files of the library that are no pictures.
CREATE TABLE dream_file (
    dream_id    TEXT    NOT NULL REFERENCES dream (id),
    name        TEXT    NOT NULL,
    media_type  TEXT    NOT NULL,
    sha256      TEXT    NOT NULL CHECK (length(sha256) = 64),
    size_bytes  INTEGER NOT NULL,
    PRIMARY KEY (dream_id, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX dream_file_by_content ON dream_file (sha256);
