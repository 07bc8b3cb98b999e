-- Finds the dream of a picture whose recipe came back with it. Seeds are drawn from four milliards,
-- so few dreams share one.

CREATE INDEX dream_by_seed ON dream (json_extract(recipe, '$.seed'), id) WHERE state = 'done';
