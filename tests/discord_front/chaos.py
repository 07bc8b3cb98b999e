"""People who do at random whatever can be done, while everything fails that can fail.

`python -m tests.discord_front.chaos --seconds 300 --seed 1` runs it by hand, on a folder of its
own, and prints what was wrong. The same seed makes the same people; what they come upon depends on
the bot's own pace, so a run is not repeated to the letter.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.discord_front import payloads, places, verdict
from tests.discord_front.looks import walk
from tests.discord_front.loopback import Discord
from tests.discord_front.nonsense import Nonsense
from tests.discord_front.partygoers import Partygoers, open_cards, wrong_about_parties
from tests.discord_front.payloads import ANN, CHANNEL, CHANNEL_B, Json
from tests.discord_front.rest import ATTACH, SEND, VIEW, Asked
from tests.discord_front.shipped import TOKEN, Bot

SETTINGS = """
[wall]
port = 0
[scheduler]
preview_interval_s = 0.2
[limits]
waiting_per_person = 6
"""
MESSAGES, MESSAGE = r"/channels/\d+/messages", r"/channels/\d+/messages/\d+"
Trouble = Callable[[], Awaitable[None]]
CROWD, _CROWD_FROM = 40, 100
_HELD = (CHANNEL, CHANNEL_B, places.ADULTS)  # whose permissions change in the middle
_LONG_S = 240.0  # a run so long has an outage of 90 s besides
START_S = 1.0  # how long a start may still keep the loop busy
_LIMITED = {"message": "You are being rate limited.", "retry_after": 0.3, "global": False}
_FAULTS: tuple[tuple[str, str, int, Json], ...] = (
    ("POST", MESSAGES, 502, {"after": True}),
    ("POST", MESSAGES, 500, {}),
    ("POST", MESSAGES, 429, {"body": _LIMITED}),
    ("POST", MESSAGES, 429, {"body": "<html>1015</html>", "via": False}),
    ("PATCH", MESSAGE, 503, {}),
    ("PATCH", MESSAGE, 500, {"after": True}),
    ("PATCH", MESSAGE, 429, {"body": _LIMITED}),
    ("DELETE", MESSAGE, 502, {"after": True}),
    ("PATCH", "/webhooks/.*/@original", 502, {}),
    ("PATCH", "/webhooks/.*/@original", 429, {"body": _LIMITED}),
    ("POST", "/interactions/.*/callback", 500, {}),
    ("POST", "/interactions/.*/callback", 503, {"after": True}),
)


@dataclass
class Chaos:
    """Everybody in a loopback Discord, and every trouble there is; `wrong` says what came of it."""

    bot: Bot
    discord: Discord
    seed: int
    people: int = 8
    asked: list[Asked] = field(default_factory=list)
    deleted: set[int] = field(default_factory=set)
    down: verdict.Down = field(default_factory=verdict.Down)
    did: Counter[str] = field(default_factory=Counter)
    slowest: Json | None = None
    _forms: list[tuple[int, Json, int]] = field(default_factory=list)
    _seen: dict[str, Json] = field(default_factory=dict)
    _since_s: float = 0.0
    _unlimited: bool = True

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.nonsense = Nonsense(self.chance, self.discord, self.people)
        goers = random.Random(f"{self.seed} parties")
        self.parties = Partygoers(goers, self.discord, self._note)
        self.shared = places.open_all(self.discord.rest, self.people)
        everything = int(payloads.ALL_PERMISSIONS)
        for number in range(1, self.people):  # Ann alone may do all
            rights = (0, 1 << 13, 1 << 5, everything) if number % 4 == 0 else (0,)
            self.discord.may[ANN + number] = (1 << 10 | 1 << 11) | self.chance.choice(rights)
            self.discord.speaks[ANN + number] = self.chance.choice(("en-US", "de", "fr"))

    async def start(self) -> None:
        """Start the bot, and remember from when on its loop is watched."""
        await self.bot.joined()
        self._since_s = time.monotonic() + START_S

    async def live(self, seconds: float, troubles: Sequence[Trouble]) -> None:
        """Let everybody do something all the time, and meet these troubles one after the other."""
        end_s = time.monotonic() + seconds
        tasks = [asyncio.create_task(self._person(ANN + n, end_s)) for n in range(self.people)]
        try:
            for trouble in troubles:
                await asyncio.sleep(seconds / (len(troubles) + 1))
                self.did[trouble.__name__] += 1
                await trouble()
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def settle(self, patience_s: float = 90.0) -> None:
        """Stop all troubles, end what is being drawn, and wait until nothing changes any more.

        `patience_s` is how long nothing may have come nearer to its end: after a long time there
        are hundreds of cards, and a channel takes one a second.
        """
        self.discord.faults.clear()
        for place in _HELD:
            await self.discord.permit(place, 0)
        fewest, end_s = sys.maxsize, 0.0
        while left := len(self._unended()) + self._open_cards():
            now_s = time.monotonic()
            if left < fewest:
                fewest, end_s = left, now_s + patience_s
            elif now_s > end_s:
                break
            for dream_id, person, place in self._unended():
                if self._age_s(dream_id) > 5.0:
                    end = self.discord.slash("cancel", by=person, place=place, dream=dream_id)
                    await self._note(end)
            await asyncio.sleep(1.0)
        await asyncio.sleep(1.0)
        self._watch_lag()

    def wrong(self) -> list[str]:
        """Return all that was not as it must be."""
        said = self.bot.said()
        return [
            *self.discord.mistakes_made(),
            *verdict.unanswered(self.asked, self.down),
            *verdict.wrong_about_posts(self.bot, self.discord, self.deleted),
            *wrong_about_parties(self.bot, self.discord, self.parties, self.deleted),
            *verdict.wrong_about_follow_ups(self.asked, self.discord, self.down),
            *verdict.beyond_limits(self.discord),
            *sorted(set(verdict.pings(self.discord.requests))),
            *verdict.secrets_told(said, self.asked),
            *verdict.mistakes_told(said),
            *verdict.slow(self.waits_s(), self.lag_s),
        ]

    @property
    def lag_s(self) -> float:
        """The longest that the event loop kept others waiting, in processor time."""
        return 0.0 if self.slowest is None else float(self.slowest["cpu_s"])

    def waits_s(self) -> list[float]:
        """Return how long acknowledgements took while the bot was there, shortest first."""
        return sorted(
            one.acknowledged_s - one.at_s
            for one in self.asked
            if one.acknowledged_s is not None and not self.down.covers(one)
        )

    # --- people ------------------------------------------------------------------------------

    async def _person(self, person: int, end_s: float) -> None:
        chance = random.Random(f"{self.seed} {person}")
        while time.monotonic() < end_s:
            for message in [*self.discord.rest.messages.values()]:
                self._seen[message["id"]] = message
            do = chance.choices(
                (self._command, self._type, self._press, self._menu, self._late, self._take_away,
                 self._party),
                (4, 2, 8, 1, 0.5, 0.15, 4),
            )[0]  # fmt: skip
            self.did[do.__name__.strip("_")] += 1
            await do(person)
            await asyncio.sleep(chance.uniform(0.1, 0.8))

    async def _command(self, person: int) -> None:
        if not self.discord.rest.commands:
            return
        name, options = self.nonsense.command()
        if (place := self._place(person, name)) is None:
            return
        await self._note(self.discord.slash(name, by=person, place=place, **options))

    async def _party(self, person: int) -> None:
        await self.parties.act(person)

    async def _type(self, person: int) -> None:
        if (found := self.nonsense.typed()) is None:
            return
        name, option, text = found
        if (place := self._place(person, name)) is None:
            return
        await self._note(self.discord.typing(name, option, text, by=person, place=place))

    async def _press(self, person: int) -> None:
        """Use a button or a menu of anything that was ever seen, as it was then; perhaps twice."""
        if not self._seen:
            return
        # What is new is pressed more often than what is old.
        seen = [*self._seen.values()]
        message = seen[-1 - min(int(self.chance.expovariate(0.1)), len(seen) - 1)]
        controls = [one for one in walk(message["components"]) if one["type"] in (2, 3)]
        controls = [one for one in controls if "custom_id" in one and not one.get("disabled")]
        if not controls:
            return
        control = self.chance.choice(controls)
        number = int(message["channel_id"])
        if (place := self.discord.rest.channels.get(number)) is None:
            return
        person = places.reader_of(place, number) or person
        uses: list[Callable[[], Awaitable[Asked]]] = []
        for _ in range(self.chance.choice((1, 1, 1, 2, 3))):
            if control["type"] == 2:
                uses.append(partial(self.discord.press_button, message, control, by=person))
            else:
                offered = [one["value"] for one in control["options"]]
                most = min(control.get("max_values", 1), len(offered))
                chosen = self.chance.sample(offered, self.chance.randint(1, most))
                uses.append(partial(self.discord.pick, message, control, chosen, by=person))
        if self.chance.random() < 0.5:  # at once
            for asked in await asyncio.gather(*(self._note(use()) for use in uses)):
                await self._fill(asked, person, number)
            return
        for use in uses:
            await self._fill(await self._note(use()), person, number)

    async def _menu(self, person: int) -> None:
        names = [one["name"] for one in self.discord.rest.commands if one.get("type") == 3]
        messages = [*self.discord.rest.messages.values()]
        if not names:
            return
        place = self.chance.choice([*self.shared, places.direct(person)])
        message = self.chance.choice([*messages[-20:], self.nonsense.message(place)])
        asked = await self._note(self.discord.choose(self.chance.choice(names), message, by=person))
        await self._fill(asked, person, int(message["channel_id"]))

    async def _late(self, person: int) -> None:
        """Send a form that was opened long ago, perhaps before the bot was started again."""
        if self._forms:
            by, form, place = self.chance.choice(self._forms)
            text = self.nonsense.words()
            await self._note(self.discord.submit(form, text, by=by, place=place))

    async def _take_away(self, person: int) -> None:
        """Delete a message as a moderator does in Discord itself."""
        if self.discord.rest.messages:
            number = self.chance.choice([*self.discord.rest.messages])
            self.deleted.add(number)
            del self.discord.rest.messages[number]

    async def _fill(self, asked: Asked, person: int, place: int) -> None:
        """Send the form that something opened, sometimes twice, and sometimes not at all."""
        form = (
            (asked.callback or {}).get("data") if (asked.callback or {}).get("type") == 9 else None
        )
        if form is not None:
            self._forms.append((person, form, place))
            for _ in range(self.chance.choice((0, 1, 1, 2))):
                text = self.nonsense.words()
                await self._note(self.discord.submit(form, text, by=person, place=place))

    async def _note(self, doing: Awaitable[Asked]) -> Asked:
        """Do something, wait a little for what comes of it, and remember it."""
        asked = await doing
        self.asked.append(asked)
        end_s = time.monotonic() + self.chance.choice((0.0, 0.5, 3.0))
        while time.monotonic() < end_s and asked.answer is None:
            if asked.callback is not None and asked.callback["type"] in (6, 8, 9):
                break
            await asyncio.sleep(0.05)
        if asked.answer is not None and asked.answer.get("components"):
            self._see_answer(asked)
        for message in [*self.discord.rest.follow_ups.values()]:
            self._seen[message["id"]] = message
        return asked

    def _see_answer(self, asked: Asked) -> None:
        """Remember an answer that only the asker saw, as a message whose buttons can be pressed."""
        assert asked.answer is not None
        place = int(asked.interaction["channel_id"])
        body = asked.answer | {"components": [*walk_controls(asked.answer["components"])]}
        made = payloads.message(payloads.snowflake(), place, body, [])
        made["flags"] |= 1 << 6
        self._seen[made["id"]] = made

    # --- troubles ----------------------------------------------------------------------------

    async def fail(self) -> None:
        """Have a few requests fail, of every kind but the acknowledgements twice."""
        for method, path, status, more in self.chance.sample(_FAULTS, 4):
            self.discord.fail(method, path, status, **more)

    async def crowd(self) -> None:
        """Have forty people more ask at once, in one channel."""
        place = self.chance.choice((CHANNEL, places.THREAD))
        people = range(ANN + _CROWD_FROM, ANN + _CROWD_FROM + CROWD)
        asks = [
            self.discord.slash("dream", by=by, place=place, prompt="a red fox", steps=3)
            for by in people
        ]
        if self.discord.rest.commands:
            await asyncio.gather(*map(self._note, asks))

    async def expire(self) -> None:
        """Have all tokens that there are be over, as after a quarter of an hour."""
        for one in [*self.discord.rest.asked.values()]:
            one.expired = one.expired or one.answer is not None or bool(one.follow_ups)

    async def cut(self) -> None:
        """Break a shard's connection."""
        await self.discord.gateway.cut(self.chance.randrange(self.discord.gateway.shards))

    async def reconnect(self) -> None:
        """Ask every shard to come back."""
        await self.discord.gateway.reconnect()

    async def invalidate(self) -> None:
        """Declare every session invalid for good."""
        gateway = self.discord.gateway
        with self._away():
            wanted = len(gateway.identifies) + gateway.shards
            gateway.identified_s.clear()
            await gateway.invalidate(resumable=False)
            await self.discord.until(lambda: len(gateway.identifies) >= wanted, "new sessions")

    async def outage(self) -> None:
        """Be gone for some seconds."""
        await self._out(self.chance.uniform(1.0, 6.0))

    async def long_outage(self) -> None:
        """Be gone for 90 s."""
        await self._out(90.0)

    async def _out(self, seconds: float) -> None:
        with self._away():
            await self.discord.out(seconds)
            await self.discord.until(
                lambda: self.discord.gateway.connected >= self.discord.gateway.shards, "the bot"
            )

    async def forbid(self) -> None:
        """Take permissions away in a channel, and give them back a little later."""
        place = self.chance.choice(_HELD)
        await self.discord.permit(place, self.chance.choice((SEND, ATTACH, VIEW)))
        await asyncio.sleep(self.chance.uniform(0.5, 3.0))
        await self.discord.permit(place, 0)

    async def kill(self) -> None:
        """End the bot as a power cut would, and start it again."""
        with self._away():
            self._watch_lag()
            await self.bot.kill()
            await self.start()

    async def stop(self) -> None:
        """Ask the bot to end, and start it again."""
        with self._away():
            self._watch_lag()
            assert await self.bot.stop() == 0, self.bot.said()[-2000:]
            await self.start()

    @contextmanager
    def _away(self) -> Iterator[None]:
        begun_s = time.monotonic()
        self.down.spans.append((begun_s, float("inf")))
        yield
        self.down.spans[-1] = (begun_s, time.monotonic() + START_S)

    # --- looking into the bot ----------------------------------------------------------------

    def _watch_lag(self) -> None:
        if (self.bot.folder / "lag.json").exists():
            rounds = [self.slowest, self.bot.slowest_round(self._since_s)]
            told = [one for one in rounds if one is not None]
            self.slowest = max(told, key=lambda one: float(one["cpu_s"]), default=None)

    def _rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        path = self.bot.folder / "data" / "dreamstream.db"
        with closing(sqlite3.connect(path, timeout=10)) as connection:
            return connection.execute(sql, values).fetchall()

    def _place(self, person: int, name: str) -> int | None:
        """Return where somebody uses a command; None where it is not offered in that place."""
        command = next(
            one for one in self.discord.rest.commands if one["name"] == name.split(" ")[0]
        )
        # Half of all in one channel, where it is crowded.
        place = self.chance.choice([*self.shared, places.direct(person), *[CHANNEL] * 6])
        rest = self.discord.rest
        invited = rest.invited(place)
        return place if places.offered(command, rest.channels[place], invited=invited) else None

    def _unended(self) -> list[tuple[str, int, int]]:
        rows = self._rows(
            "SELECT id, person_id, channel_id FROM dream WHERE state IN ('waiting', 'drawing') "
            "AND person_id LIKE 'discord:%'"
        )
        return [(dream, int(who.removeprefix("discord:")), place) for dream, who, place in rows]

    def _age_s(self, dream_id: str) -> float:
        [(created_ms,)] = self._rows("SELECT created_ms FROM dream WHERE id = ?", dream_id)
        return time.time() - float(created_ms) / 1000

    def _open_cards(self) -> int:
        """Return how many cards are not shown to their end, a party's that goes on left out."""
        of_dreams = self._rows("SELECT count(*) FROM delivery WHERE state = 'open'")
        return int(of_dreams[0][0]) + open_cards(self.bot)


def walk_controls(components: list[Json]) -> Iterator[Json]:
    """Yield the rows of buttons and menus there are, without pictures."""
    for one in walk(components):
        if one["type"] == 1:
            yield one


def report(chaos: Chaos, seconds: float) -> str:
    """Return what was done, and how fast it was answered."""
    waits = chaos.waits_s()
    requests = Counter(f"{one.method} {one.status}" for one in chaos.discord.requests)
    shown = {
        "seed": chaos.seed,
        "seconds": round(seconds),
        "interactions": len(chaos.asked),
        "p50_s": round(waits[len(waits) // 2], 3),
        "p99_s": round(waits[int(len(waits) * 0.99) - 1], 3),
        "max_s": round(waits[-1], 3),
        "lag_cpu_s": round(chaos.lag_s, 3),
        "did": dict(chaos.did),
        "requests": dict(requests),
        "cards": len(chaos.discord.rest.messages),
    }
    return "\n".join(f"{name}: {value}" for name, value in shown.items())


async def main(seconds: float, seed: int, people: int, folder: Path) -> int:
    """Run it by hand on a folder; return 1 if anything was wrong."""
    discord = Discord(TOKEN, shards=2)
    await discord.start()
    bot = Bot(folder, discord, SETTINGS, edit_gap_s=None)
    chaos = Chaos(bot, discord, seed, people)
    try:
        await chaos.start()
        kinds = [chaos.fail, chaos.fail, chaos.cut, chaos.reconnect, chaos.invalidate]
        kinds += [chaos.outage, chaos.forbid, chaos.kill, chaos.stop, chaos.expire, chaos.crowd]
        troubles = chaos.chance.choices(kinds, k=max(1, int(seconds / 8)))
        if seconds >= _LONG_S:
            middle = len(troubles) // 2
            troubles[middle:middle] = [chaos.crowd, chaos.long_outage, chaos.crowd]
        await chaos.live(seconds, troubles)
        await chaos.settle()
        await bot.stop()
    finally:
        await bot.kill()
        await discord.stop()
    print(report(chaos, seconds))
    wrong = Counter(chaos.wrong())
    for fault, times in wrong.most_common():
        print(f"WRONG ({times}): {fault}")
    if chaos.slowest is not None and chaos.lag_s >= verdict.LAG_S:
        print(f"The slowest round: {chaos.slowest['did']}\n{chaos.slowest['stack']}")
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    place = given.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    place.mkdir(parents=True, exist_ok=True)
    print(place)
    sys.exit(asyncio.run(main(given.seconds, given.seed, given.people, place)))
