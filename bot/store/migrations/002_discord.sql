-- Discord: which channel carries which theme, what has been posted where, and small facts that
-- must outlive the process. Ids of Discord (snowflakes) are whole numbers of 64 bits.

CREATE TABLE channel_theme (
    channel_id  INTEGER PRIMARY KEY,
    guild_id    INTEGER NOT NULL,
    theme_id    INTEGER NOT NULL REFERENCES theme (id),
    bound_ms    INTEGER NOT NULL
) STRICT;

CREATE INDEX channel_theme_by_theme ON channel_theme (theme_id);

-- A dream that is to be shown in a channel, by one message. `message_id` is NULL until it is
-- known; `sends` counts the messages that were begun, so that one may be there that is not known.
-- `replaced_id` is an older message that is still to be taken away. `shown` is the state of the
-- dream that the message is known to show.
CREATE TABLE delivery (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    dream_id     TEXT    NOT NULL REFERENCES dream (id),
    guild_id     INTEGER NOT NULL,
    channel_id   INTEGER NOT NULL,
    message_id   INTEGER,
    replaced_id  INTEGER,
    sends        INTEGER NOT NULL DEFAULT 0,
    shown        TEXT    NOT NULL DEFAULT '',
    state        TEXT    NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'settled', 'given_up')),
    reason       TEXT    NOT NULL DEFAULT '',
    created_ms   INTEGER NOT NULL,
    changed_ms   INTEGER NOT NULL,
    UNIQUE (dream_id, channel_id)
) STRICT;

CREATE INDEX delivery_open ON delivery (id) WHERE state = 'open';
CREATE INDEX delivery_by_message ON delivery (message_id) WHERE message_id IS NOT NULL;

-- Facts under a name: the hash of the commands that Discord knows, the last event that was seen.
CREATE TABLE fact (
    name   TEXT PRIMARY KEY,
    value  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
