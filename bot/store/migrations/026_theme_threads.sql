-- The threads that are made for themes in Discord: at most one for a theme in a channel or a forum.

-- `sends` counts the messages begun: where it is above 0 and `message_id` NULL, one may be there
-- that is not known. The thread has the id of its message. `shown` is a digest of what the message
-- is known to show. A row that is `gone` stays until its message says so.
CREATE TABLE theme_thread (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    theme_id    INTEGER NOT NULL REFERENCES theme (id),
    guild_id    INTEGER NOT NULL,
    parent_id   INTEGER NOT NULL,
    forum       INTEGER NOT NULL CHECK (forum IN (0, 1)),
    name        TEXT    NOT NULL,
    message_id  INTEGER,
    sends       INTEGER NOT NULL DEFAULT 0,
    shown       TEXT    NOT NULL DEFAULT '',
    made        INTEGER NOT NULL DEFAULT 0 CHECK (made IN (0, 1)),
    gone        INTEGER NOT NULL DEFAULT 0 CHECK (gone IN (0, 1)),
    created_ms  INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX theme_thread_in_use ON theme_thread (parent_id, theme_id) WHERE gone = 0;
