"""A bot process to be killed: it asks, draws, cancels, fails and deletes, and says what it did.

Each line of its output is a word and a dream: ``accepted`` once `ask` has returned, ``done``
once a listener was told that the picture is there, ``deleted`` once `delete` has returned. Run
with a folder and a number for chance.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

from bot.errors import DreamstreamError
from bot.limits import Limits
from bot.model import EventKind, StreamEvent
from bot.rights import Actor
from generation.protocol import Checkpoint, Failed, Job, Started
from tests.bot.drawer import ANN, Services, finished, png, request, services


def say(word: str, dream_id: str | None) -> None:
    print(word, dream_id, flush=True)


class RestlessDrawer:
    """Draws what is submitted, badly."""

    def __init__(self, s: Services, chance: random.Random) -> None:
        self.s, self.chance = s, chance
        self.begun: set[int] = set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                for job in list(self.s.drawer.submitted):
                    if id(job) not in self.begun:
                        self.begun.add(id(job))
                        tasks.create_task(self.draw(job))
                await asyncio.sleep(0.002)

    async def draw(self, job: Job) -> None:
        tell = self.s.dreams.on_message
        await asyncio.sleep(self.chance.random() * 0.02)
        await tell(Started(job.id, 1))
        for step in (10, 20):
            await asyncio.sleep(self.chance.random() * 0.01)
            await tell(Checkpoint(job.id, step, bytes([step]) * self.chance.randint(0, 40_000)))
        if self.chance.random() < 0.2:
            await tell(
                Failed(job_id=job.id, reason="Out of luck.", retry=self.chance.random() < 0.5)
            )
        else:
            await tell(finished(job, f"rgb({self.chance.randrange(256)},0,0)"))
            if self.chance.random() < 0.3:
                await tell(finished(job, "blue"))


async def ask(s: Services, chance: random.Random) -> None:
    while True:
        try:
            count = chance.randint(1, 3)
            init = png(8, 8) if chance.random() < 0.2 else None
            made = await s.dreams.ask(request(count=count, init=init, person=ANN))
            for dream in made:
                say("accepted", dream.id)
            if chance.random() < 0.3:
                await asyncio.sleep(chance.random() * 0.03)
                await s.dreams.cancel(made[0].id, Actor(ANN))
            if chance.random() < 0.5:
                deleting = made[-1].id
                await asyncio.sleep(chance.random() * 0.1)
                await s.dreams.delete(deleting, Actor(ANN))
                say("deleted", deleting)
        except DreamstreamError:
            await asyncio.sleep(0.01)
        if chance.random() < 0.1:
            await s.down(*(dream.id for dream in (await s.dreams.unfinished(None))[:1]))
            await s.up()


async def watch(s: Services) -> None:
    async with s.feed.listen(None) as updates:
        async for update in updates:
            if isinstance(update, StreamEvent) and update.kind is EventKind.DONE:
                say("done", update.dream_id)


async def main(folder: Path, chance: random.Random) -> None:
    limits = Limits(per_person=12)
    async with services(folder, limits=limits) as s, asyncio.TaskGroup() as tasks:
        tasks.create_task(watch(s))
        tasks.create_task(RestlessDrawer(s, chance).run())
        tasks.create_task(ask(s, chance))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), random.Random(int(sys.argv[2]))))
