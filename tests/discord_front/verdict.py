"""What must hold of everything that happened in the loopback Discord, once it has settled."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from discord import Locale

from bot.delivery.interactions import WENT_WRONG
from bot.translations import LANGUAGES, in_language_of
from tests.discord_front.looks import walk
from tests.discord_front.loopback import Discord, Request
from tests.discord_front.payloads import Json
from tests.discord_front.rest import Asked
from tests.discord_front.shipped import TOKEN, Bot

ACKNOWLEDGED_S = 3.0
P99_S = 1.0
LAG_S = 0.05
EDIT_GAP_S = 2.8  # 3 s, less what two requests may differ in on their way
WINDOW_S, IN_WINDOW = 5.0, 5
_UNFINISHED = ("waiting", "drawing")
_CARD = re.compile(r"/channels/(\d+)/messages(/\d+)?")
_WENT_WRONG = tuple(
    in_language_of(one, WENT_WRONG) for one in (Locale.american_english, *LANGUAGES)
)


@dataclass
class Down:
    """When the bot could not be reached, or not answer: what was asked then may be lost."""

    spans: list[tuple[float, float]] = field(default_factory=list)

    def covers(self, asked: Asked) -> bool:
        """Whether an interaction fell into such a time, or its 3 s reached into it."""
        end_s = asked.at_s + ACKNOWLEDGED_S
        return any(begun <= end_s and asked.at_s <= ended for begun, ended in self.spans)


def unanswered(asked: Iterable[Asked], down: Down) -> Iterator[str]:
    """Yield the interactions that were left without an acknowledgement, or without an answer."""
    for one in asked:
        if down.covers(one):
            continue
        name = _named(one)
        if one.acknowledged_s is None:
            yield f"{name} was not acknowledged"
        elif one.acknowledged_s - one.at_s > ACKNOWLEDGED_S:
            yield f"{name} was acknowledged after {one.acknowledged_s - one.at_s:.2f} s"
        elif one.callback and one.callback["type"] == 5 and one.answer is None:
            yield f"{name} was left thinking"
        elif one.answer and str(one.answer.get("content")).startswith(_WENT_WRONG):
            yield f"{name} met a mistake of ours"


def wrong_about_posts(bot: Bot, discord: Discord, deleted: set[int]) -> Iterator[str]:
    """Yield what is wrong about cards: each is there once, closed, and no others.

    Those of parties and games, guides to themes, and digests may be there, too.

    `deleted` are the messages that people have taken away.
    """
    with closing(sqlite3.connect(bot.folder / "data" / "dreamstream.db")) as connection:
        rows = connection.execute(
            """
            SELECT dream.id, dream.state, dream.deleted_ms, delivery.state, delivery.message_id
            FROM dream JOIN delivery_dream AS shown ON shown.dream_id = dream.id
            JOIN delivery ON delivery.id = delivery_id
            """
        ).fetchall()
        twice = connection.execute(
            "SELECT dream_id FROM delivery_dream GROUP BY dream_id HAVING count(*) > 1"
        ).fetchall()
        others = connection.execute(
            """
            SELECT message_id FROM party_card UNION SELECT message_id FROM theme_guide
            UNION SELECT message_id FROM game_card UNION SELECT message_id FROM digest
            UNION SELECT message_id FROM theme_thread
            """
        ).fetchall()
    for (dream_id,) in twice:
        yield f"the dream {dream_id} is on two cards"
    known = {message_id for (message_id,) in others}
    for dream_id, state, deleted_ms, card_state, message_id in rows:
        about = f"the dream {dream_id} ({state}, its card {card_state})"
        known.add(message_id)
        if state in _UNFINISHED:
            yield f"{about} did not end"
        if card_state == "open":
            yield f"{about} is not shown to its end"
        elif card_state == "given_up" and deleted_ms is None and message_id not in deleted:
            yield f"{about} was given up"
        there = message_id in discord.rest.messages
        if there and deleted_ms is None and not _tells_of(discord, message_id):
            yield f"{about} has a message that tells of nothing"
        if not there and deleted_ms is None and message_id not in deleted:
            yield f"{about} has no message"
    for number in set(discord.rest.messages) - known:
        yield f"no card knows of the message {number}"


def wrong_about_follow_ups(asked: Iterable[Asked], discord: Discord, down: Down) -> Iterator[str]:
    """Yield what is wrong about cards that the asker alone sees: one for each ask, to its end.

    They end with the process, and with the token.
    """
    for one in asked:
        there = [number for number in one.follow_ups if number in discord.rest.follow_ups]
        if len(there) > 1:
            yield f"{_named(one)} has {len(there)} follow-ups"
        if one.expired or any(ended >= one.at_s for _, ended in down.spans):
            continue
        for number in there:
            if not _is_over(discord.rest.follow_ups[number]):
                yield f"{_named(one)} is not shown to its end to who asked"


def slow(waits_s: Sequence[float], lag_s: float) -> Iterator[str]:
    """Yield what took too long; `waits_s` are those for acknowledgements, shortest first."""
    if waits_s and (p99_s := waits_s[int(len(waits_s) * 0.99) - 1]) >= P99_S:
        yield f"of 100 acknowledgements one took {p99_s:.2f} s or longer; {P99_S:.0f} s is allowed"
    if lag_s >= LAG_S:
        most_ms = LAG_S * 1000
        yield f"the event loop was busy for {lag_s * 1000:.0f} ms at once, not under {most_ms:.0f}"


def _tells_of(discord: Discord, message_id: int) -> bool:
    return _is_over(discord.rest.messages[message_id])


def _is_over(message: Json) -> bool:
    labels = [one.get("label") for one in walk(message["components"])]
    return "Cancel" not in labels and "Cancel all" not in labels


def beyond_limits(discord: Discord) -> Iterator[str]:
    """Yield the requests that were more than Discord, or we ourselves, allow."""
    assert discord.limits is not None
    yield from (f"{one} was over Discord's limit" for one in discord.limits.exceeded)
    channels: dict[tuple[str, str], list[Request]] = defaultdict(list)
    messages: dict[str, list[float]] = defaultdict(list)
    for one in discord.requests:
        found = _CARD.fullmatch(one.path)
        if not found or one.method not in ("POST", "PATCH"):
            continue
        channels[one.method, found[1]].append(one)
        messages[one.path].append(one.at_s)
    for (method, channel), sent in channels.items():
        for place, sixth in enumerate(sent[IN_WINDOW:]):
            six = sent[place : place + IN_WINDOW + 1]
            if sixth.at_s - six[0].at_s < WINDOW_S:
                told = ", ".join(f"{one.at_s - six[0].at_s:.2f} s: {one.status}" for one in six)
                yield f"six times {method} in {channel}, at {six[0].at_s:.2f}: {told}"
                break
    for path, times in messages.items():
        shortest = min((b - a for a, b in pairwise(times)), default=EDIT_GAP_S)
        if path.count("/") == 4 and shortest < EDIT_GAP_S:
            yield f"two edits within {shortest:.2f} s of {path}"


def pings(requests: Iterable[Request]) -> Iterator[str]:
    """Yield the requests that might call somebody: whose mentions are not held back."""
    for one in requests:
        if one.method not in ("POST", "PATCH") or not isinstance(one.body, dict):
            continue
        said: Any = one.body
        if one.path.endswith("/callback"):
            if one.body["type"] not in (4, 7):
                continue
            said = one.body["data"]
        if not (said.get("content") or said.get("components") or said.get("embeds")):
            continue
        held = said.get("allowed_mentions")
        if held is None or any(held.get(kind) for kind in ("parse", "users", "roles")):
            path = re.sub(r"\d{6,}|token-\d+", "…", one.path)
            yield f"{one.method} {path} says {held} about mentions"


def secrets_told(said: str, asked: Iterable[Asked]) -> Iterator[str]:
    """Yield the secrets that stand in the log."""
    if TOKEN in said or TOKEN.rsplit(".", 1)[1] in said:
        yield "the bot's token is in the log"
    told = set(re.findall(r"token-\d+", said))
    yield from sorted(told & {one.interaction["token"] for one in asked})


def mistakes_told(said: str) -> Iterator[str]:
    """Yield the tracebacks of a log."""
    for found in re.finditer(r"^.*\n(?:.*\n)?Traceback(?:.*\n){1,60}?^\w.*$", said, re.MULTILINE):
        yield found[0][-1500:]


def _named(asked: Asked) -> str:
    data = asked.interaction["data"]
    text = json.dumps({k: v for k, v in data.items() if k not in ("resolved", "id")})
    return f"{asked.interaction['type']} {text[:240]}"
