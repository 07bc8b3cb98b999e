-- One message can show several dreams that were asked for together. The delivery's own `dream_id`
-- is the first of them; these are all of them, in the order in which they are shown.

CREATE TABLE delivery_dream (
    delivery_id  INTEGER NOT NULL REFERENCES delivery (id),
    dream_id     TEXT    NOT NULL REFERENCES dream (id),
    position     INTEGER NOT NULL,
    PRIMARY KEY (delivery_id, dream_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX delivery_dream_by_dream ON delivery_dream (dream_id);

INSERT INTO delivery_dream (delivery_id, dream_id, position) SELECT id, dream_id, 0 FROM delivery;
