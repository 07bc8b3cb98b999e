-- Where finished pictures lie in the space of a model that looks at them: unit vectors as
-- little-endian float16. Ids rise, so that they are read a piece at a time. A row of its own kind
-- of table: as part of an index each would take an overflow page.

CREATE TABLE dream_vector (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    dream_id   TEXT    NOT NULL REFERENCES dream (id),
    perceptor  TEXT    NOT NULL,
    vector     BLOB    NOT NULL CHECK (length(vector) > 0 AND length(vector) % 2 = 0),
    UNIQUE (dream_id, perceptor)
) STRICT;

-- What a picture looked like goes with it, whoever deletes it.
CREATE TRIGGER dream_vector_goes_with_its_picture
AFTER UPDATE OF deleted_ms ON dream
WHEN NEW.deleted_ms IS NOT NULL
BEGIN
    DELETE FROM dream_vector WHERE dream_id = NEW.id;
END;
