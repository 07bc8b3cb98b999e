"""Hundreds of dreams through the whole program, while everything around it fails.

`python -m tests.faults.soak --dreams 2000 --seed 1` starts the shipped program on a folder, with a
Discord on loopback and a quick fake engine, and has people ask until so many dreams are accepted.
Meanwhile the bot and its drawing process are killed and frozen, at any moment and at any write; the
disk is full, read-only and broken; the database is locked; the clock jumps; Discord fails. Then all
is well again, what is left is drawn, and it is proved that nothing was lost (`wrong`). The last
line is JSON. The same seed makes the same people and troubles; what these come upon depends on the
program's own pace.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image as Pillow

from bot.recipes import read_recipe
from generation.protocol import Recipe
from tests.discord_front import payloads, verdict
from tests.discord_front.loopback import Discord
from tests.discord_front.payloads import ANN, CHANNEL, GUILD
from tests.discord_front.shipped import TOKEN
from tests.fakes.engine import expected_colour
from tests.faults.engines import ENDINGS, mood
from tests.faults.program import FaultyBot
from tests.faults.proof import FINAL, Seen, wrong_with
from tests.faults.troubles import Troubles
from tests.program import dreamstream

SETTINGS = """
[wall]
port = 0
[limits]
waiting_per_person = 200
waiting_total = 2000
[storage]
least_free_mib = 0
warn_free_gib = 0.0
"""
UNCHECKED = '[safety]\npicture_check = "off"\n'
PEOPLE, PLACES = 12, 10
MOST_UNFINISHED = 48
PATIENCE_S = 120.0
MOODS = {
    "plain": 60.0,
    "hangs once": 1.0,
    "hungry once": 1.0,
    "hungry": 0.3,
    "no number": 2.0,
    "heavy": 2.0,
    "too heavy": 1.0,
    "stumbles": 1.0,
    "poison": 1.0,
    "stuck": 0.3,
}
"""What is asked for, and how often; each at least once."""


@dataclass
class Soak:
    """See the module's docstring."""

    folder: Path
    seed: int
    dreams: int
    settings: str = SETTINGS
    moods: Mapping[str, float] = field(default_factory=lambda: MOODS)
    most_s: float = float("inf")
    starts: int = 0
    failed_changes: int = 0
    _enough: bool = False
    _coming: int = 0
    _ends: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    _wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.discord = Discord(TOKEN)
        for number in range(1, PLACES):
            place = CHANNEL + 100 + number
            self.discord.rest.channels[place] = payloads.channel(place, GUILD)
        self.bot = FaultyBot(self.folder, self.discord, self.settings)
        self.troubles = Troubles(self.bot, self.discord, self.chance)

    @property
    def accepted(self) -> int:
        """How many dreams were accepted."""
        return len(self._ends)

    @property
    def places(self) -> list[int]:
        """The channels in which people ask."""
        return [CHANNEL, *(CHANNEL + 100 + number for number in range(1, PLACES))]

    async def run(self, troubles: Sequence[str] = ()) -> list[str]:
        """Live through all of it; return what is wrong.

        The `troubles` are named, and come one after the other; without names there are all, as
        many as come while people ask.
        """
        await self.discord.start()
        try:
            await self._keep_up()
            async with asyncio.TaskGroup() as together:
                for one in range(PEOPLE):
                    together.create_task(self._person(ANN + one))
                together.create_task(self._trouble(troubles))
                await self._accept()
            await self._settle()
            if await self.bot.stop() != 0:
                self._wrong.append("asked to end, it did not exit with 0")
        finally:
            await self.bot.kill()
            await self.discord.stop()
            if self.bot.faults is not None:
                self.failed_changes = self.bot.faults.hits
                self.bot.faults.close()
        return [*self.troubles.wrong, *self._wrong, *self._judge()]

    # --- people ------------------------------------------------------------------------------

    async def _person(self, person: int) -> None:
        chance = random.Random(f"{self.seed} {person}")
        first = [*self.moods][person - ANN : person - ANN + 1]
        while first or not self._enough:
            await asyncio.sleep(chance.uniform(0.05, 0.5))
            busy = self._left() + self._coming > MOST_UNFINISHED
            if busy or self.troubles.frozen or not self.bot.is_up:
                continue
            (what,) = first or chance.choices([*self.moods], [*self.moods.values()])
            count = chance.choice((1, 2, 4, 6)) if what == "plain" else 1
            self._coming += count
            await self.discord.slash(
                "dream", by=person, place=chance.choice(self.places), count=count,
                prompt=f"{what} {chance.random()}", steps=chance.choice((6, 8, 15, 40)),
            )  # fmt: skip
            first = []

    async def _accept(self) -> None:
        """Wait until so many dreams are accepted, or the time is over."""
        end_s = time.monotonic() + self.most_s
        while time.monotonic() < end_s:
            if len(self._look()) >= self.dreams:
                break
            await asyncio.sleep(0.3)
        self._enough = True

    def states(self) -> Counter[str]:
        """Return how many dreams are in which state."""
        return Counter(state for state, _ in self._ends.values())

    def _left(self) -> int:
        return sum(state not in FINAL for state, _ in self._ends.values())

    def _look(self) -> dict[str, tuple[str, str | None]]:
        """Remember what is in the database; what was over once must stay as it is."""
        known = len(self._ends)
        for dream_id, state, sha256 in self.bot.rows("SELECT id, state, image_sha256 FROM dream"):
            before = self._ends.get(dream_id)
            if before is not None and before[0] in FINAL and before != (state, sha256):
                self._wrong.append(f"{dream_id} was {before} and is {(state, sha256)}")
            self._ends[dream_id] = (state, sha256)
        self._coming = max(0, self._coming - (len(self._ends) - known))
        return self._ends

    # --- troubles ----------------------------------------------------------------------------

    async def _trouble(self, named: Sequence[str]) -> None:
        for trouble in self.troubles.one_after_the_other(named):
            await asyncio.sleep(self.chance.uniform(0.2, 4.0))
            if self._enough and not named:
                return
            self._look()
            await trouble()
            await self._keep_up()

    async def _keep_up(self) -> None:
        """Start the bot if it is not there, on a disk that is well again."""
        if not self.bot.is_up:
            if self.bot.faults is not None:
                self.bot.faults.heal()
            self.starts += 1
            await self.bot.joined()
            self._coming = 0  # what was asked of the one before, and not accepted, is lost

    # --- the end -----------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Let all be well, and wait until everything is over and shown."""
        self.discord.faults.clear()
        self.discord.slow = None
        if self.bot.faults is not None:
            self.bot.faults.heal()
            self.bot.faults.set_clock(0.0)
        fewest, end_s = sys.maxsize, 0.0
        while True:
            await self._keep_up()
            self._look()
            left = self._left()
            (open_cards,) = self.bot.rows("SELECT count(*) FROM delivery WHERE state = 'open'")[0]
            if not left + open_cards:
                return
            if left + open_cards < fewest:
                fewest, end_s = left + open_cards, time.monotonic() + PATIENCE_S
            elif time.monotonic() > end_s:
                self._wrong.append(f"{left} dreams do not end, {open_cards} cards stay open")
                return
            await asyncio.sleep(0.3)

    def _judge(self) -> Iterator[str]:
        """Yield all that is wrong now that nothing runs any more."""
        accepted = set(self._ends)
        done = [one for one, (state, _) in self._ends.items() if state == "done"]
        yield from wrong_with(self.bot.data, Seen(accepted, done))
        yield from verdict.wrong_about_posts(self.bot, self.discord, set())
        yield from _unforeseen(self.bot.said())
        for row in self.bot.rows("SELECT id, prompt, state, reason, image_sha256 FROM dream"):
            yield from self._wrong_with_dream(*row)
        with closing(sqlite3.connect(self.bot.data / "dreamstream.db")) as connection:
            (shown,) = connection.execute(
                "SELECT count(DISTINCT dream_id) FROM delivery_dream"
            ).fetchone()
        if shown != len(accepted):
            yield f"{len(accepted)} dreams were accepted, and {shown} are on cards"

    def _wrong_with_dream(
        self, dream_id: str, prompt: str, state: str, reason: str, sha256: str | None
    ) -> Iterator[str]:
        if state != ENDINGS[mood(prompt)]:
            yield f"{dream_id} ({prompt}) is {state}: {reason}"
        if sha256 is not None:
            path = self.bot.data / "library" / "images" / sha256[:2] / f"{sha256}.png"
            png = path.read_bytes()
            recipe = read_recipe(png)
            assert recipe is not None
            with Pillow.open(BytesIO(png)) as picture:
                pixel = picture.convert("RGB").getpixel((0, 0))
            if pixel != _expected(recipe):
                yield f"{dream_id} is not what its recipe draws"


def _expected(recipe: Recipe) -> tuple[int, int, int]:
    return expected_colour(msgspec.structs.replace(recipe, prompt=recipe.prompt))


def _unforeseen(said: str) -> Iterator[str]:
    """Yield the tracebacks of a log that end in no error of ours: those have a sentence."""
    for traceback in verdict.mistakes_told(said):
        if not re.search(r"^bot\.errors\.\w+: ", traceback, re.MULTILINE):
            yield traceback


def doctor(folder: Path) -> Iterator[str]:
    """Yield what the command finds that people have for it."""
    done = dreamstream("doctor", "--deep", folder=folder)
    if done.returncode:
        yield f"doctor --deep: {done.stdout}{done.stderr}"


def report(soak: Soak, wrong: list[str], seconds: float) -> dict[str, Any]:
    """Return what happened, as one object."""
    states = soak.states()
    return {
        "verdict": "wrong" if wrong else "nothing lost",
        "seed": soak.seed,
        "dreams": soak.accepted,
        "states": dict(states),
        "seconds": round(seconds),
        "starts": soak.starts,
        "troubles": soak.troubles.had.total(),
        "troubled": dict(soak.troubles.had.most_common()),
        "messages": len(soak.discord.rest.messages),
        "failed_changes": soak.failed_changes,
        "wrong": len(wrong),
    }


def main() -> int:
    """Run it by hand; return 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dreams", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="ask for so long at the most")
    parser.add_argument("--unchecked", action="store_true", help="leave the picture check out")
    parser.add_argument("--folder", type=Path, help="where it lives, and stays")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(folder, flush=True)
    begun_s = time.monotonic()
    soak = Soak(
        folder,
        given.seed,
        given.dreams,
        SETTINGS + UNCHECKED * given.unchecked,
        most_s=given.minutes * 60 if given.minutes else float("inf"),
    )
    wrong = [*asyncio.run(soak.run()), *doctor(folder)]
    for fault, times in Counter(wrong).most_common():
        print(f"WRONG ({times}): {fault}")
    print(json.dumps(report(soak, wrong, time.monotonic() - begun_s)))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
