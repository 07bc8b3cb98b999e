-- What a quiet stream may dream by itself: dreams a day (0: nothing), seconds of drawing a day, after
-- how many minutes without an ask, and whether also while nobody watches.

ALTER TABLE theme ADD COLUMN autopilot INTEGER NOT NULL DEFAULT 0;
ALTER TABLE theme ADD COLUMN autopilot_seconds INTEGER NOT NULL DEFAULT 1800;
ALTER TABLE theme ADD COLUMN autopilot_quiet INTEGER NOT NULL DEFAULT 10;
ALTER TABLE theme ADD COLUMN autopilot_alone INTEGER NOT NULL DEFAULT 0;
