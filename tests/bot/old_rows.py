"""Rows as each version of the database could hold them, by the number of the migration.

What a version added is filled in right after its migration, so that every later one meets rows.
"""

from __future__ import annotations

import msgspec

from generation.protocol import Recipe

DONE, WAITING, FAILED, CANCELLED, AT_PARTY = (f"{number:016d}" for number in range(1, 6))
PICTURE, START, FILM, LOST = (sign * 64 for sign in "abcd")
ANN, BOB = "guest:ann", "discord:1"
PARTY, GAME, ENTRY = "p" * 16, "g" * 16, "e" * 16


def _recipe(**more: object) -> str:
    plain = {"engine": "clip", "model": "m", "prompt": "a fox", "width": 64, "height": 64,
             "steps": 9, "seed": 1}  # fmt: skip
    recipe = msgspec.convert(plain | more, Recipe)
    return msgspec.json.encode(recipe).decode()


def _dream(dream_id: str, state: str, *, theme: int = 1, **more: object) -> str:
    """Return the statements for a dream and its events."""
    row = {
        "id": dream_id, "ask_id": dream_id, "theme_id": theme, "person_id": ANN, "prompt": "a fox",
        "recipe": _recipe(), "state": state, "created_ms": 1,
    } | more  # fmt: skip
    payload = f'{{"sha256":"{PICTURE}","width":64,"height":64}}' if state == "done" else "{}"
    happened = [("asked", "{}"), (state, payload)][: 1 if state == "waiting" else 2]
    statements = [_insert("dream", row)]
    for kind, said in happened:
        event = {"theme_id": theme, "kind": kind, "dream_id": dream_id, "person_id": ANN,
                 "at_ms": 1, "payload": said}  # fmt: skip
        statements.append(_insert("stream_event", event))
    return "\n".join(statements)


def _insert(table: str, row: dict[str, object]) -> str:
    return f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(map(repr, row.values()))});"


OLD_ROWS: dict[int, str] = {
    1: f"""
        INSERT INTO theme (slug, title, created_ms) VALUES ('open', 'Open', 1), ('party', 'P', 1);
        INSERT INTO person (id, name, first_seen_ms) VALUES ('{ANN}', 'Ann', 1), ('{
        BOB
    }', 'Bob', 1);
        INSERT INTO image VALUES ('{PICTURE}', 64, 64, 10, 1), ('{START}', 64, 64, 10, 1);
        {_dream(DONE, "done", image_sha256=PICTURE, step=9, ended_ms=2)}
        {
        _dream(
            WAITING,
            "waiting",
            parent_id=DONE,
            relation="variation",
            init_sha256=START,
            recipe=_recipe(init_sha256=START, picture_sha256s=[PICTURE]),
        )
    }
        {_dream(FAILED, "failed", reason="It broke.", ended_ms=2)}
        {_dream(CANCELLED, "cancelled", ended_ms=2)}
        {_dream(AT_PARTY, "done", theme=2, image_sha256=PICTURE, step=9, ended_ms=2)}
    """,
    2: f"""
        INSERT INTO channel_theme VALUES (70, 7, 1, 1);
        INSERT INTO delivery (dream_id, guild_id, channel_id, message_id, sends, shown, state,
                              created_ms, changed_ms)
        VALUES ('{DONE}', 7, 70, 900, 1, 'done', 'settled', 1, 2),
               ('{WAITING}', 7, 70, NULL, 0, '', 'open', 1, 1);
        INSERT INTO fact VALUES ('delivery.position', '3');
    """,
    3: f"""
        INSERT INTO pending_steer (dream_id, person_id, prompt, glide_steps, asked_ms)
        VALUES ('{WAITING}', '{ANN}', 'a wolf', 5, 1);
    """,
    4: f"""
        INSERT INTO dream_picture VALUES ('{WAITING}', '{PICTURE}');
        INSERT INTO dream_file VALUES ('{DONE}', 'film.mp4', 'video/mp4', '{FILM}', 10);
    """,
    6: f"""
        INSERT INTO favourite VALUES ('{DONE}', '{BOB}', 2);
        INSERT INTO guild_settings VALUES (7, '{{}}', 1);
        INSERT INTO channel_settings VALUES (70, 7, '{{}}', 1);
        INSERT INTO blocked_person VALUES (7, '{BOB}', '{ANN}', '', 1, NULL);
    """,
    7: f"""
        INSERT INTO moderation_entry (guild_id, act, by_id, person_id, at_ms)
        VALUES (7, 'blocked', '{ANN}', '{BOB}', 1);
    """,
    8: f"INSERT INTO doomed_file VALUES ('file', '{LOST}');",
    9: f"""
        INSERT INTO dream_vector (dream_id, perceptor, vector) VALUES ('{DONE}', 'clip', X'003C');
    """,
    10: f"""
        INSERT INTO party (id, code, theme_id, topic, stage, settings, created_ms, stage_started_ms,
                           stage_minutes, active_ms)
        VALUES ('{PARTY}', 'CODE', 2, 'foxes', 'finale', '{{}}', 1, 1, 10, 1);
        INSERT INTO party_stage (party_id, stage, at_ms) VALUES ('{PARTY}', 'finale', 1);
        INSERT INTO party_member (party_id, person_id, role, joined_ms)
        VALUES ('{PARTY}', '{ANN}', 'host', 1), ('{PARTY}', '{BOB}', 'guest', 1);
        INSERT INTO party_association (id, party_id, person_id, kind, words, folded, at_ms)
        VALUES (1, '{PARTY}', '{BOB}', 'idea', 'a den', 'a den', 1);
        INSERT INTO party_saying VALUES (1, '{BOB}', 1);
        INSERT INTO party_dream VALUES ('{PARTY}', '{AT_PARTY}', 'sketch', NULL);
        INSERT INTO party_dream_association VALUES ('{AT_PARTY}', 1);
        INSERT INTO party_vote VALUES ('{PARTY}', '{BOB}', 'points', '{AT_PARTY}', '', 3, 1);
        INSERT INTO party_finale VALUES ('{PARTY}', '{AT_PARTY}', '{ANN}', NULL, NULL, 0, 1);
    """,
    12: f"INSERT INTO party_card (party_id, stage_id, created_ms) VALUES ('{PARTY}', 1, 1);",
    15: f"INSERT INTO portrait VALUES ('{DONE}', '{ANN}', 'red hair', 'stream', 1, NULL);",
    16: f"""
        INSERT INTO digest (id, guild_id, channel_id, theme_id, day, since_ms, until_ms, created_ms)
        VALUES (1, 7, 70, 1, '1970-01-01', 0, 86400000, 1);
        INSERT INTO digest_dream VALUES (1, '{DONE}', 0);
    """,
    19: f"""
        INSERT INTO game VALUES ('{GAME}', 1, 'guess', '{ANN}', 'open', 'a fox', '{DONE}', 1, 1, 7,
                                 70, NULL, 0, 1, 0, 'clip', 9, 1, NULL);
        INSERT INTO game_choice VALUES ('{GAME}', 0, 'a fox', '{DONE}');
        INSERT INTO game_entry VALUES ('{ENTRY}', '{GAME}', '{BOB}', '', 0, NULL, NULL, 50.0, 0, 1,
                                       1, NULL, NULL);
        INSERT INTO game_try VALUES ('{GAME}', '{BOB}', 1);
        INSERT INTO game_heart VALUES ('{ENTRY}', '{ANN}', 1);
        INSERT INTO game_card (game_id, created_ms) VALUES ('{GAME}', 1);
    """,
    20: "INSERT INTO theme_guide (channel_id, guild_id, created_ms) VALUES (70, 7, 1);",
    24: f"""
        INSERT INTO picture_check (dream_id, setting, verdict, nsfw, checked_ms)
        VALUES ('{DONE}', 'spoiler', 'clear', 0.1, 1);
    """,
    26: """
        INSERT INTO theme_thread (theme_id, guild_id, parent_id, forum, name, created_ms)
        VALUES (1, 7, 70, 0, 'Open', 1);
    """,
    27: """
        INSERT INTO person (id, name, first_seen_ms) VALUES ('guest:eve', '', 1);
        INSERT INTO forgotten_person VALUES ('guest:eve', 1, 2);
    """,
    31: f"INSERT INTO wall_session VALUES ('{'5e' * 32}', '{ANN}', 1, 2);",
}
