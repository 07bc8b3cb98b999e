-- A theme that is paused takes no further asks.

ALTER TABLE theme ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
