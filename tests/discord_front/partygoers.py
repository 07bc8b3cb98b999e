"""People who hold parties by chance in the loopback Discord, and remember what they were told.

What the bot has told somebody that it kept must be kept, once; of what was never answered nobody
knows. `wrong_about_parties` says what is not so in the end.
"""

from __future__ import annotations

import asyncio
import random
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field

from discord import Locale

from bot.sentences import say
from bot.translations import in_language_of
from tests.discord_front import places
from tests.discord_front.looks import labels_of, text_of, walk
from tests.discord_front.loopback import Discord
from tests.discord_front.partying import cards_of, filled
from tests.discord_front.payloads import ANN, CHANNEL_B, Json
from tests.discord_front.rest import Asked
from tests.discord_front.shipped import Bot

PLACES = (CHANNEL_B, places.THREAD, places.ADULTS)
"""Where parties are held: in the channel of all, strangers would be refused whatever they ask."""
_BUTTON = re.compile(r"party:(?P<do>[a-z]+):(?P<party>[0-9a-z]+):(?P<card>\d+)")
_PAIR = re.compile(r"party-pair:(?P<which>[a-z]+):(?P<party>\w+):(?P<first>\w+):(?P<second>\w+)")
_LIKELY = {
    "join": 3.0, "say": 5.0, "sketch": 1.5, "grow": 1.0, "combine": 1.0, "compare": 4.0,
    "points": 3.0, "standing": 1.0, "choose": 2.0, "next": 1.2, "back": 0.2, "roles": 0.2,
    "end": 0.03,
}  # fmt: skip
_LEADING = ("next", "back", "choose", "end")  # mostly pressed by Ann, who opens them all
_SAID, _NOTED = "It was said.", "Noted."
_POINTS = "Your points are given. You have {left} left."
_BUDGET = 5
_PATIENCE_S = 3.0
_CARDS = """
    SELECT party_card.id, party_stage.stage, message_id, sends, open, party.ended_ms IS NULL,
        stage_id = (SELECT max(id) FROM party_stage AS each WHERE party_id = party.id)
    FROM party_card JOIN party_stage ON party_stage.id = stage_id
    JOIN party ON party.id = party_card.party_id
"""
Note = Callable[[Awaitable[Asked]], Awaitable[Asked]]


@dataclass
class Partygoers:
    """Everybody who may be at a party. `note` does something and remembers it."""

    chance: random.Random
    discord: Discord
    note: Note
    words: list[tuple[Asked, str, int, str]] = field(default_factory=list)
    points: list[tuple[Asked, str, int, Counter[str]]] = field(default_factory=list)
    pairs: list[tuple[Asked, str, int, tuple[str, str]]] = field(default_factory=list)

    async def act(self, person: int) -> None:
        """Open a party, or do something on the newest card of one."""
        if not any(one["name"] == "party" for one in self.discord.rest.commands):
            return
        cards = [
            card
            for place in PLACES
            for card in cards_of(self.discord, place)[-1:]
            if labels_of(card)
        ]
        if person == ANN and (not cards or self.chance.random() < 0.1):
            topic, place = self.chance.choice(("the sea", "Einsamkeit")), self.chance.choice(PLACES)
            asked = self.discord.slash("party start", by=ANN, place=place, topic=topic, minutes=0)
            await self.note(asked)
        elif cards:
            await self._use(self.chance.choice(cards), person)

    async def _use(self, card: Json, person: int) -> None:
        buttons = [
            (one, found)
            for one in walk(card["components"])
            if (found := _BUTTON.fullmatch(one.get("custom_id", "")))
        ]
        weights = [_LIKELY[found["do"]] for _, found in buttons]
        [(button, found)] = self.chance.choices(buttons, weights)
        if found["do"] in _LEADING and self.chance.random() < 0.8:
            person = ANN
        press = self.discord.press_button(card, button, by=person)
        asked = await self.note(press)
        await self._answered(asked)
        form = _form_of(asked)
        if form is not None:
            await self._fill(form, found["do"], found["party"], person, int(card["channel_id"]))
        elif asked.answer is not None and asked.answer.get("components"):
            await self._choose(card, asked, person)

    async def _fill(self, form: Json, do: str, party: str, person: int, place: int) -> None:
        given: dict[str, object] = {}
        for row in form["components"]:
            component = row["component"]
            if component["type"] == 3:
                least, most = component.get("min_values", 1), component.get("max_values", 1)
                values = [one["value"] for one in component["options"]]
                count = self.chance.randint(least, min(most, len(values)))
                given[component["custom_id"]] = self.chance.sample(values, count)
            else:
                given[component["custom_id"]] = f"word {self.chance.randrange(10**9)}"
        rows = filled(form, given)
        for _ in range(self.chance.choice((1, 1, 2))):  # some press twice
            asked = await self.note(
                self.discord.send_form(form["custom_id"], rows, by=person, place=place)
            )
            if do == "say":
                self.words.append((asked, party, person, str(given["words"])))
            elif do == "points":
                points = Counter(
                    value
                    for values in given.values()
                    for value in values  # type: ignore[attr-defined]
                )
                self.points.append((asked, party, person, points))
        await self._answered(asked)

    async def _choose(self, card: Json, asked: Asked, person: int) -> None:
        """Use what an answer offers: a menu of pictures, or two of them to compare, a few times."""
        for _ in range(3):
            answer = asked.answer or {}
            controls = [
                one
                for one in walk(answer.get("components") or [])
                if one["type"] in (2, 3)
                and "custom_id" in one
                and (person == ANN or not one["custom_id"].startswith("party:surely"))
            ]
            if not controls:
                return
            control: Json = {"id": 2} | self.chance.choice(controls)  # Discord gives each its own
            message = card | {"components": [{"type": 1, "id": 1, "components": [control]}]}
            if control["type"] == 3:
                offered = [one["value"] for one in control["options"]]
                low, high = control.get("min_values", 1), control.get("max_values", 1)
                chosen = self.chance.sample(offered, self.chance.randint(low, high))
                asked = await self.note(self.discord.pick(message, control, chosen, by=person))
                await self._answered(asked)
                form = _form_of(asked)
                if form is not None:
                    place = int(card["channel_id"])
                    await self._fill(form, "grow", "", person, place)
                return
            asked = await self.note(self.discord.press_button(message, control, by=person))
            if found := _PAIR.fullmatch(control["custom_id"]):
                pair = (found["first"], found["second"])
                self.pairs.append((asked, found["party"], person, pair))
            await self._answered(asked)

    async def _answered(self, asked: Asked) -> None:
        """Wait a while for what is answered."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                while asked.answer is None and _form_of(asked) is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

    def told(self, asked: Asked, person: int, template: str, **values: object) -> bool:
        """Say whether somebody was answered with a sentence, in their language."""
        answer = asked.answer or {}
        said = f"{answer.get('content') or ''} {text_of(answer) if 'components' in answer else ''}"
        locale = Locale(self.discord.speaks.get(person, "en-US"))
        return in_language_of(locale, say(template, **values)) in said


def _form_of(asked: Asked) -> Json | None:
    """Return the form that something opened."""
    callback = asked.callback or {}
    return callback["data"] if callback.get("type") == 9 else None


def wrong_about_parties(
    bot: Bot, discord: Discord, goers: Partygoers, deleted: set[int]
) -> Iterator[str]:
    """Yield what is wrong about parties: a card for each stage, and what was told to be kept.

    `deleted` are the messages that people have taken away.
    """
    with closing(sqlite3.connect(bot.folder / "data" / "dreamstream.db")) as connection:
        yield from _about_cards(connection, discord, deleted)
        yield from _about_words(connection, goers)
        yield from _about_votes(connection, goers)


def open_cards(bot: Bot) -> int:
    """Return how many cards of parties do not show yet what they are to show in the end."""
    with closing(sqlite3.connect(bot.folder / "data" / "dreamstream.db", timeout=10)) as connection:
        rows = connection.execute(_CARDS).fetchall()
    return sum(
        is_open and (not (going_on and newest) or message_id is None)
        for _, _, message_id, _, is_open, going_on, newest in rows
    )


def _about_cards(
    connection: sqlite3.Connection, discord: Discord, deleted: set[int]
) -> Iterator[str]:
    rows = connection.execute(_CARDS).fetchall()
    messages = Counter(message_id for _, _, message_id, *_ in rows if message_id is not None)
    yield from (f"the message {one} is of several cards" for one, n in messages.items() if n > 1)
    for card_id, stage, message_id, sends, is_open, going_on, newest in rows:
        about = f"the card {card_id} of a party ({stage}, {'newest' if newest else 'passed'})"
        current = bool(going_on and newest)
        if message_id in deleted:
            continue
        if bool(is_open) is not current:
            yield f"{about} is {'shown no more' if current else 'not shown to its end'}"
        message = discord.rest.messages.get(message_id)
        if message is None:
            if current or (sends and message_id is not None):
                yield f"{about} has no message"
        elif bool(labels_of(message)) is not current:
            yield f"{about} has the buttons {labels_of(message)}"
    missing = connection.execute(
        """
        SELECT id FROM party WHERE ended_ms IS NULL AND channel_id IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM party_card WHERE stage_id = (
                SELECT max(id) FROM party_stage WHERE party_id = party.id))
        """
    ).fetchall()
    yield from (f"the party {party_id} has no card for its stage" for (party_id,) in missing)


def _about_words(connection: sqlite3.Connection, goers: Partygoers) -> Iterator[str]:
    kept = Counter(
        connection.execute(
            """
            SELECT party_association.party_id, party_saying.person_id, words
            FROM party_saying JOIN party_association ON association_id = party_association.id
            """
        ).fetchall()
    )
    for asked, party_id, person, words in goers.words:
        times = kept[party_id, f"discord:{person}", words]
        if times > 1 or (not times and goers.told(asked, person, _SAID)):
            yield f"“{words}” was said and is kept {times} times"


def _about_votes(connection: sqlite3.Connection, goers: Partygoers) -> Iterator[str]:
    gone = {
        one for (one,) in connection.execute("SELECT id FROM dream WHERE deleted_ms IS NOT NULL")
    }
    points: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    pairs = set()
    for party_id, person_id, kind, one, other, value in connection.execute(
        "SELECT party_id, person_id, kind, dream_id, other_id, value FROM party_vote"
    ):
        if kind == "points":
            points[party_id, person_id][one] = value
        elif kind == "pair":
            pairs.add((party_id, person_id, *sorted((one, other))))
    for (_, person_id), given in points.items():
        if given.total() > _BUDGET:
            yield f"{person_id} has given {given.total()} points"
    last: dict[tuple[str, str], Counter[str] | None] = {}
    for asked, party_id, person, given in goers.points:
        key = (party_id, f"discord:{person}")
        if goers.told(asked, person, _POINTS, left=_BUDGET - given.total()):
            last[key] = given
        elif asked.answer is None:
            last[key] = None  # nobody knows
    for key, wanted in last.items():
        if wanted is not None:
            there = Counter({one: n for one, n in wanted.items() if one not in gone})
            if points[key] != there:
                yield f"{key[1]} was told that {there} are given, and {points[key]} are"
    for asked, party_id, person, pair in goers.pairs:
        kept = (party_id, f"discord:{person}", *sorted(pair)) in pairs
        if gone.isdisjoint(pair) and not kept and goers.told(asked, person, _NOTED):
            yield f"{person} was told that {pair} is noted, and it is not"
