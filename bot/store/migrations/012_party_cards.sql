-- The cards of parties in Discord: one for each time a stage began.

-- `sends` counts the messages begun: where it is above 0 and `message_id` NULL, one may be there
-- that is not known. `shown` is a digest of what the message is known to show. A card is open until
-- its message shows that its stage, or the party, is over.
CREATE TABLE party_card (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    party_id    TEXT    NOT NULL REFERENCES party (id),
    stage_id    INTEGER NOT NULL UNIQUE REFERENCES party_stage (id),
    message_id  INTEGER,
    sends       INTEGER NOT NULL DEFAULT 0,
    shown       TEXT    NOT NULL DEFAULT '',
    open        INTEGER NOT NULL DEFAULT 1 CHECK (open IN (0, 1)),
    created_ms  INTEGER NOT NULL
) STRICT;

CREATE INDEX party_card_open ON party_card (party_id) WHERE open = 1;
