-- Who made a theme, and where, is asked in the transaction that accepts a dream in it; and a theme has
-- few events of its own among all those of its stream.

CREATE INDEX stream_event_of_theme ON stream_event (theme_id, person_id) WHERE kind = 'theme';
