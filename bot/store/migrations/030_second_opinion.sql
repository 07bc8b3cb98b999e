-- What CLIP says of a picture, 0 to 1, beside the check's own network; null where it was not asked.

ALTER TABLE picture_check ADD COLUMN second REAL;
