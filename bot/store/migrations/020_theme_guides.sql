-- The guide to the theme of a channel in Discord: one pinned message.

-- `sends` counts the messages begun: where it is above 0 and `message_id` NULL, one may be there
-- that is not known. `shown` is a digest of what the message is known to show.
CREATE TABLE theme_guide (
    channel_id  INTEGER PRIMARY KEY,
    guild_id    INTEGER NOT NULL,
    message_id  INTEGER,
    sends       INTEGER NOT NULL DEFAULT 0,
    pinned      INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),
    shown       TEXT    NOT NULL DEFAULT '',
    created_ms  INTEGER NOT NULL
) STRICT;
