-- Dreams of a study (bot/studies.py) have the words that each of them tried, empty for none.

ALTER TABLE dream ADD COLUMN studied TEXT;
