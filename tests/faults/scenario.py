"""A small evening in one process, over and over: each in a fork of its own, on a disk that fails.

Run as a module it is `stage.Stage`'s server: for each line of its input, the name of a folder, it
forks a process that lives through `evening` there, and answers with what that said. The services
are the product's, with SQLite and the library's threads; only what draws is played.

Each thing that is said is a word and what it is about: ``accepted``, ``done`` and ``deleted`` with
a dream, ``refused`` with the sentence, ``mistake`` with an error that nobody should ever see.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import aiosqlite
import msgspec

from bot.errors import DreamstreamError
from bot.model import Dream, EventKind, StreamEvent
from bot.rights import Actor
from bot.store import deliveries
from generation.protocol import (
    Attachment,
    Checkpoint,
    Failed,
    Job,
    Progress,
    Started,
    Steer,
    Steered,
)
from tests.bot.drawer import ANN, BOB, Services, finished, png, request, services, until

GUILD, CHANNEL = 7, 70
FAILS, LINGERS = "fails", "lingers"
"""What a prompt may have in it: a dream that cannot be drawn, and one that is never done."""
PATIENCE_S = 40.0
BROKEN, REFUSED = 70, 71
"""How the process exits where a mistake of ours ended it, and where it could not start."""

Say = Callable[[str, str], None]


class Artist:
    """Draws whatever is submitted: in two steps, with a checkpoint between them."""

    def __init__(self, s: Services) -> None:
        self._s = s

    async def run(self) -> None:
        begun = 0
        async with asyncio.TaskGroup() as tasks:
            while True:
                for job in self._s.drawer.submitted[begun:]:
                    begun += 1
                    tasks.create_task(self._draw(job))
                await asyncio.sleep(0.001)

    async def _draw(self, job: Job) -> None:
        tell = self._s.dreams.on_message
        await tell(Started(job.id, 1))
        await tell(Progress(job_id=job.id, step=1, steps=2, ends_in_s=1.0, preview=None))
        await tell(Checkpoint(job.id, 1, job.id.encode() * 100))
        for name, prompt, glide in [*self._s.drawer.steers]:
            if name == job.id:
                await tell(Steered(job.id, Steer(step=1, prompt=prompt, glide_steps=glide)))
        if FAILS in job.recipe.prompt:
            await tell(Failed(job_id=job.id, reason="Out of luck.", retry=False))
        elif LINGERS not in job.recipe.prompt:
            film = Attachment(name="film.mp4", media_type="video/mp4", data=job.id.encode())
            colour = f"#{job.recipe.seed % 0xFFFFFF:06x}"
            await tell(msgspec.structs.replace(finished(job, colour), attachments=(film,)))


async def evening(folder: Path, say: Say, *, asking: bool = True) -> None:
    """Ask, draw, steer, like, cancel and delete; or, without `asking`, only end what is left."""
    async with services(folder, disk_delay_s=0.01) as s, s.feed.listen(None) as updates:
        tasks = [
            asyncio.create_task(Artist(s).run()),
            asyncio.create_task(_watch(updates, say)),
        ]
        try:
            async with asyncio.timeout(PATIENCE_S):
                if asking:
                    await _ask(s, say)
                await _end(s, say)
        except TimeoutError:
            left = [active.dream.id for active in s.dreams._unfinished.all()]
            say("mistake", f"after {PATIENCE_S:.0f} s these dreams are not over: {left}")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _ask(s: Services, say: Say) -> None:
    async def shown(connection: aiosqlite.Connection, dreams: Any) -> None:
        await deliveries.order(connection, dreams, GUILD, CHANNEL, 1)

    async def asked(prompt: str, **more: Any) -> list[Dream]:
        made = await s.dreams.ask(request(prompt, **more), shown)
        for dream in made:
            say("accepted", dream.id)
        return made

    async def attempt(work: Coroutine[Any, Any, list[Dream]]) -> list[Dream]:
        try:
            return await work
        except DreamstreamError as error:
            say("refused", str(error))
            return []

    async def delete(dream: Dream) -> list[Dream]:
        await s.dreams.delete(dream.id, Actor(ANN))
        say("deleted", dream.id)
        return []

    async def change(doing: Awaitable[object]) -> list[Dream]:
        await doing
        return []

    pair = await attempt(asked("a pair", count=2))
    started = await attempt(asked("from a picture", init=png(colour="blue"), strength=0.5))
    await attempt(asked(f"one that {FAILS}"))
    lingering = await attempt(asked(f"one that {LINGERS}"))
    for dream in lingering:
        await attempt(change(s.dreams.steer(dream.id, Actor(ANN), f"another, it {LINGERS}")))
        await attempt(change(s.dreams.cancel(dream.id, Actor(ANN))))
    for dream in pair[:1]:
        await s.dreams.wait(dream.id)
        await attempt(change(s.moderation.favourite(dream.id, BOB)))
        await attempt(change(s.library.make_thumbnail(await _picture(s, dream), 192)))
    for dream in (*pair[1:], *started):
        await attempt(delete(dream))


async def _picture(s: Services, dream: Dream) -> str:
    found = await s.dreams.get(dream.id)
    assert found.image is not None
    return found.image.sha256


async def _end(s: Services, say: Say) -> None:
    for active in s.dreams._unfinished.all():
        if LINGERS not in active.dream.prompt:
            await active.ended.wait()
    while lingering := s.dreams._unfinished.all():
        try:
            await s.dreams.cancel(lingering[0].dream.id, Actor(ANN))
        except DreamstreamError as error:
            say("refused", str(error))
            await asyncio.sleep(0.01)
    # Nothing is refused for good.
    await until(lambda: s.dreams.refusing is None)


async def _watch(updates: Any, say: Say) -> None:
    async for update in updates:
        if isinstance(update, StreamEvent) and update.kind is EventKind.DONE:
            say("done", str(update.dream_id))


class _Mistakes(logging.Handler):
    """Tells of every error that was logged with a traceback: nobody foresaw it."""

    def __init__(self, say: Say) -> None:
        super().__init__(logging.ERROR)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and not isinstance(record.exc_info[1], DreamstreamError):
            self._say("mistake", logging.Formatter().format(record))


def _live(folder: Path, out: int, *, asking: bool) -> int:
    def say(word: str, about: str) -> None:
        os.write(out, json.dumps([word, about]).encode() + b"\n")

    logging.getLogger().handlers = [_Mistakes(say)]
    try:
        asyncio.run(evening(folder, say, asking=asking))
    except DreamstreamError as error:
        say("refused", str(error))
        return REFUSED
    except BaseException:
        say("mistake", traceback.format_exc())
        return BROKEN
    return 0


def _serve() -> None:
    for line in sys.stdin:
        wanted = json.loads(line)
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(ours)
            os._exit(_live(Path(wanted["folder"]), theirs, asking=wanted["asking"]))
        os.close(theirs)
        with os.fdopen(ours, "rb") as said:
            lines = said.read().split(b"\n")[:-1]  # one that was cut off was not said
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        print(json.dumps({"code": code, "said": [json.loads(one) for one in lines]}), flush=True)


if __name__ == "__main__":
    _serve()
