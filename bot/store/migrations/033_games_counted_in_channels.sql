-- Whether a game is the one of its channel, and has a card there. One that is begun elsewhere is judged
-- by the rules of a channel and counts there, and is played where it was begun. Until now every game
-- with a channel was the one of it.
ALTER TABLE game ADD COLUMN carded INTEGER NOT NULL DEFAULT 0 CHECK (carded IN (0, 1));

UPDATE game SET carded = 1 WHERE channel_id IS NOT NULL;

DROP INDEX game_in_channel;
CREATE UNIQUE INDEX game_in_channel ON game (channel_id) WHERE state = 'open' AND carded;
