-- The best of a channel's day: what was asked for from `since_ms` to before `until_ms`, on the local
-- day `day`. A row without dreams says that there was nothing to be posted.

-- `sends` counts the messages begun: where it is above 0 and `message_id` NULL, one may be there
-- that is not known. `shown` is a digest of what the message is known to show. It is open until the
-- message shows what it is to show, and again from the deletion of a picture.
CREATE TABLE digest (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    guild_id    INTEGER NOT NULL,
    channel_id  INTEGER NOT NULL,
    theme_id    INTEGER NOT NULL REFERENCES theme (id),
    day         TEXT    NOT NULL,
    since_ms    INTEGER NOT NULL,
    until_ms    INTEGER NOT NULL,
    message_id  INTEGER,
    sends       INTEGER NOT NULL DEFAULT 0,
    shown       TEXT    NOT NULL DEFAULT '',
    open        INTEGER NOT NULL DEFAULT 1 CHECK (open IN (0, 1)),
    created_ms  INTEGER NOT NULL,
    UNIQUE (channel_id, day)
) STRICT;

CREATE INDEX digest_open ON digest (id) WHERE open = 1;

CREATE TABLE digest_dream (
    digest_id  INTEGER NOT NULL REFERENCES digest (id),
    dream_id   TEXT    NOT NULL REFERENCES dream (id),
    position   INTEGER NOT NULL,
    PRIMARY KEY (digest_id, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX digest_dream_by_dream ON digest_dream (dream_id);
