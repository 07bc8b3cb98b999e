-- Whether the check of pictures, and nothing else, has kept a dream from the wall: once somebody has
-- looked and found nothing, or a moderator has said so, it may go there. Until now that was every
-- picture without a cover in which something was found, or at which nobody had looked.

ALTER TABLE picture_check ADD COLUMN off_wall INTEGER NOT NULL DEFAULT 0 CHECK (off_wall IN (0, 1));

UPDATE picture_check SET off_wall = 1
WHERE verdict <> 'clear' AND original_sha256 IS NULL AND decision IS NULL;
