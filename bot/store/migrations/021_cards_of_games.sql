-- What changes a card that shows a result counts its revision up, in the same transaction. A card
-- is closed only at the revision that it was shown at, so that no change is lost while it is sent.
ALTER TABLE game_card ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE party_card ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;

-- As before; and the game's card is shown anew, and what was said of a picture goes with its game.
DROP TRIGGER game_loses_its_dream;
CREATE TRIGGER game_loses_its_dream
AFTER UPDATE OF deleted_ms ON dream
WHEN NEW.deleted_ms IS NOT NULL
BEGIN
    UPDATE game_card SET open = 1, revision = revision + 1
    WHERE (open = 1 OR message_id IS NOT NULL) AND game_id IN (
        SELECT id FROM game WHERE dream_id = NEW.id
        UNION SELECT game_id FROM game_choice WHERE dream_id = NEW.id
        UNION SELECT game_id FROM game_entry WHERE dream_id = NEW.id
    );
    UPDATE game_entry SET text = '', choice = NULL, score = NULL, withdrawn_ms = NEW.deleted_ms,
                          withdrawn_by = NEW.deleted_by
    WHERE withdrawn_ms IS NULL AND image_sha256 IS NULL AND game_id IN (
        SELECT id FROM game WHERE dream_id = NEW.id AND state = 'open'
    );
    UPDATE game SET prompt = '', state = iif(state = 'open', 'called_off', state),
                    ended_ms = coalesce(ended_ms, NEW.deleted_ms)
    WHERE dream_id = NEW.id;
    UPDATE game_choice SET words = '' WHERE dream_id = NEW.id;
    DELETE FROM game_heart WHERE entry_id IN (SELECT id FROM game_entry WHERE dream_id = NEW.id);
    UPDATE game_entry SET score = NULL, withdrawn_ms = NEW.deleted_ms, withdrawn_by = NEW.deleted_by
    WHERE dream_id = NEW.id AND withdrawn_ms IS NULL;
END;
