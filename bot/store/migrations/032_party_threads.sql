-- Whether the party that a theme was made for is held in a thread, or the theme only hangs there.
ALTER TABLE theme_thread ADD COLUMN for_party INTEGER NOT NULL DEFAULT 0 CHECK (for_party IN (0, 1));
