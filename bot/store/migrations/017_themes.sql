-- What a theme says besides: its own words, a preset, its bounds, who may ask in it, a picture that
-- stands for it, its subject and how it keeps to that, and whether it is over for good.

ALTER TABLE theme ADD COLUMN palette TEXT NOT NULL DEFAULT '';
ALTER TABLE theme ADD COLUMN preset TEXT NOT NULL DEFAULT '';
ALTER TABLE theme ADD COLUMN max_side INTEGER CHECK (max_side > 0);
ALTER TABLE theme ADD COLUMN max_steps INTEGER CHECK (max_steps > 0);
ALTER TABLE theme ADD COLUMN max_count INTEGER CHECK (max_count > 0);
ALTER TABLE theme ADD COLUMN asked_by TEXT NOT NULL DEFAULT 'everybody'
    CHECK (asked_by IN ('everybody', 'members', 'hosts'));
ALTER TABLE theme ADD COLUMN picture_sha256 TEXT REFERENCES image (sha256);
ALTER TABLE theme ADD COLUMN subject TEXT NOT NULL DEFAULT '';
ALTER TABLE theme ADD COLUMN holds TEXT NOT NULL DEFAULT 'off'
    CHECK (holds IN ('off', 'suggest', 'blend'));
ALTER TABLE theme ADD COLUMN strictness REAL NOT NULL DEFAULT 0.5
    CHECK (strictness BETWEEN 0 AND 1);
ALTER TABLE theme ADD COLUMN retired INTEGER NOT NULL DEFAULT 0;

CREATE INDEX theme_by_picture ON theme (picture_sha256) WHERE picture_sha256 IS NOT NULL;

-- What no longer stands for it is removed, unless something else names it.
CREATE TRIGGER theme_picture_goes
AFTER UPDATE OF picture_sha256 ON theme
WHEN OLD.picture_sha256 IS NOT NULL AND OLD.picture_sha256 IS NOT NEW.picture_sha256
BEGIN
    INSERT OR IGNORE INTO doomed_file (kind, sha256) VALUES ('picture', OLD.picture_sha256);
END;
