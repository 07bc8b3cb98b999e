"""A wall with a long stream, in a process of its own, for `benchmarks.wall`.

The stream is made: small pictures, each another one, and their rows straight through the store.
Nothing draws; what happens is written and told as it is when something does.
"""

from __future__ import annotations

import asyncio
import colorsys
import hashlib
import io
import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from bot.ids import IdMaker, first_at, now_ms
from bot.model import Dream, DreamState, EventKind, Image, Live, Person
from bot.store import dream_states, events, images, people
from bot.wall import Wall, WallSettings
from bot.watching import Watching
from generation.protocol import Recipe
from tests.bot.drawer import Services, services
from tests.discord_front import lag

ROOMY = WallSettings(port=0, streams_per_address=1000, connections=2000)
"""All watchers come from one address here."""
PEOPLE = 20
START_S = 120.0
LIKED_OF = 50  # one of so many pictures is liked
STEPS = 100
_BATCH = 500
_DAYS = 30
_SHAPES = ((64, 64), (64, 64), (96, 64), (64, 96))


@dataclass
class Happened:
    """What `happen` has cost the server: seconds of its processor time, and of its loop's thread.

    `at` is when each dream's end was written, by the clock that all processes share.
    """

    cpu_s: float = 0.0
    loop_s: float = 0.0
    at: dict[str, float] = field(default_factory=dict)


class Server:
    """A wall in another process. Its methods wait for the answer; one at a time."""

    def __init__(self, url: str, connection: Connection, pid: int) -> None:
        self.url, self.pid = url, pid
        self._connection = connection

    async def happen(self, count: int, gap_s: float) -> Happened:
        """Have so many dreams be asked for, form and be done, one each `gap_s` seconds."""
        return await self._do("happen", count, gap_s)  # type: ignore[no-any-return]

    async def slowest_round_ms(self) -> dict[str, float]:
        """Return how long the event loop's slowest round was since the last call, in milliseconds.

        By the clock, and by the processor time of its own thread; 0 for less than 20 ms.
        """
        return await self._do("slowest")  # type: ignore[no-any-return]

    async def cpu_s(self) -> float:
        """Return how many seconds of processor time the server has taken so far."""
        return await self._do("cpu")  # type: ignore[no-any-return]

    async def id_at(self, place: int) -> str:
        """Return the id of the picture that has so many newer ones."""
        return await self._do("id_at", place)  # type: ignore[no-any-return]

    async def _do(self, *order: Any) -> Any:
        self._connection.send(order)
        # A thread that waits cannot be cancelled, so it waits a second at a time.
        while not await asyncio.to_thread(self._connection.poll, 1.0):
            pass
        return self._connection.recv()


@contextmanager
def serving(
    pictures: int, settings: WallSettings = ROOMY, *, limit_s: float = START_S
) -> Iterator[Server]:
    """Give a wall with a stream of so many pictures.

    Raises:
        TimeoutError: it was not there within so many seconds.
        EOFError: its process ended before.
    """
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_run, args=(theirs, pictures, settings), daemon=True
    )
    process.start()
    theirs.close()  # so that its end is seen here
    try:
        if not ours.poll(limit_s):
            raise TimeoutError(f"a wall of {pictures} pictures was not made in {limit_s:.0f} s")
        assert process.pid is not None
        yield Server(ours.recv(), ours, process.pid)
    finally:
        with suppress(OSError):
            ours.send(("stop",))
        process.join(30)
        if process.is_alive():
            process.terminate()


def _run(orders: Connection, pictures: int, settings: WallSettings) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_serve(orders, pictures, settings, Path(folder)))


async def _serve(orders: Connection, pictures: int, settings: WallSettings, folder: Path) -> None:
    notes = folder / "lag.json"
    async with services(folder, up=False) as parts:
        stream = Stream(parts)
        await stream.fill(pictures)
        wall = Wall(
            settings,
            themes=parts.themes,
            dreams=parts.dreams,
            feed=parts.feed,
            library=parts.library,
            drawer=parts.drawer,
            offspring=parts.offspring,
            search=parts.search,
            seeing=parts.seeing,
            watching=Watching(parts.store),
            favourites=parts.moderation,
        )
        url = str(await wall.start()).rstrip("/")
        watch = lag.Watch(notes)
        watch.start()
        orders.send(url)
        try:
            while (order := await asyncio.to_thread(orders.recv)) != ("stop",):
                match order:
                    case ("happen", count, gap_s):
                        orders.send(await stream.happen(count, gap_s))
                    case ("slowest",):
                        orders.send(_slowest(notes))
                        watch._slowest = []
                    case ("cpu",):
                        orders.send(time.process_time())
                    case ("id_at", place):
                        sql = "SELECT id FROM dream WHERE state = 'done' ORDER BY id DESC"
                        row = await parts.store.read_one(f"{sql} LIMIT 1 OFFSET ?", (place,))
                        orders.send("" if row is None else row["id"])
        finally:
            await wall.stop()


def _slowest(notes: Path) -> dict[str, float]:
    """Return the slowest round that was noted, and forget it."""
    if not notes.exists():
        return {"clock": 0.0, "cpu": 0.0}
    noted = json.loads(notes.read_text(encoding="utf-8"))
    notes.unlink()
    return {
        "clock": round(max(note["wall_s"] for note in noted) * 1000, 1),
        "cpu": round(max(note["cpu_s"] for note in noted) * 1000, 1),
    }


class Stream:
    """The open theme's stream. Without `files` its pictures are rows only."""

    def __init__(self, parts: Services, *, files: bool = True) -> None:
        self._parts, self._files = parts, files
        self._ids = IdMaker()
        self._made = 0

    async def fill(self, count: int) -> None:
        """Put so many pictures into it, of the last thirty days."""
        span_ms = _DAYS * 24 * 3600 * 1000
        begun_ms = now_ms() - span_ms
        theme_id = (await self._parts.themes.get("open")).id
        for first in range(0, count, _BATCH):
            numbers = range(first, min(count, first + _BATCH))
            pictures = await asyncio.to_thread(self._keep_all, numbers)
            made = [
                self._dream(
                    theme_id,
                    number,
                    # Ids rise with time, and are as long as any.
                    first_at(begun_ms + span_ms * number // count) + f"{number:07d}",
                    pictures[number - first],
                )
                for number in numbers
            ]
            async with self._parts.store.write() as connection:
                for number in range(PEOPLE):
                    await people.upsert(connection, _person(number), 1)
                for dream in made:
                    assert dream.image is not None
                    await images.insert(connection, dream.image, dream.created_ms)
                await dream_states.insert(connection, made)
                for dream in made:
                    await self._note(connection, dream, EventKind.ASKED)
                    await self._finish(connection, dream)
                await connection.executemany(
                    "INSERT INTO favourite (dream_id, person_id, at_ms) VALUES (?, ?, 1)",
                    [(dream.id, dream.person.id) for dream in made[::LIKED_OF]],
                )
        self._made = count

    async def happen(self, count: int, gap_s: float) -> Happened:
        """Have dreams be asked for, form and be done."""
        theme_id = (await self._parts.themes.get("open")).id
        numbers = range(self._made, self._made + count)
        kept = await asyncio.to_thread(self._keep_all, numbers)
        told = Happened(cpu_s=-time.process_time(), loop_s=-time.thread_time())
        for image in kept:
            dream = self._dream(theme_id, self._made, self._ids.next(), image)
            self._made += 1
            async with self._parts.store.write() as connection:
                await dream_states.insert(connection, [dream])
                await self._note(connection, dream, EventKind.ASKED)
            for step in (STEPS // 3, STEPS * 2 // 3):
                await asyncio.sleep(gap_s / 3)
                self._parts.feed.publish(
                    Live(
                        dream_id=dream.id,
                        theme_id=theme_id,
                        state=DreamState.DRAWING,
                        step=step,
                        steps=STEPS,
                    )
                )
            async with self._parts.store.write() as connection:
                await images.insert(connection, image, now_ms())
                await self._finish(connection, dream)
            told.at[dream.id] = time.monotonic()
            await asyncio.sleep(gap_s / 3)
        await asyncio.sleep(1.0)  # what was told is still being sent
        told.cpu_s += time.process_time()
        told.loop_s += time.thread_time()
        return told

    def _dream(self, theme_id: int, number: int, dream_id: str, image: Image) -> Dream:
        prompt = f"picture {number}: a lighthouse on a cliff, with a storm behind it, oil on canvas"
        recipe = Recipe(
            engine="clip",
            model="fourier",
            prompt=prompt,
            width=image.width,
            height=image.height,
            steps=STEPS,
            seed=number,
        )
        return Dream(
            id=dream_id,
            ask_id=dream_id,
            theme_id=theme_id,
            person=_person(number % PEOPLE),
            prompt=prompt,
            recipe=recipe,
            state=DreamState.WAITING,
            image=image,
            created_ms=now_ms(),
        )

    async def _finish(self, connection: Any, dream: Dream) -> None:
        assert dream.image is not None
        await dream_states.to_done(
            connection, dream.id, dream.recipe, dream.image, gpu_s=1.0, score=None, now_ms=now_ms()
        )
        await self._note(connection, dream, EventKind.DONE)

    async def _note(self, connection: Any, dream: Dream, kind: EventKind) -> None:
        at_ms, person_id = now_ms(), dream.person.id
        await events.append(
            connection, kind, dream.theme_id, at_ms, dream_id=dream.id, person_id=person_id
        )

    def _keep_all(self, numbers: Iterable[int]) -> list[Image]:
        return [self._keep(number) for number in numbers]

    def _keep(self, number: int) -> Image:
        """Put a small picture into the library; each is another one. Blocks."""
        width, height = _SHAPES[number % len(_SHAPES)]
        if not self._files:
            sha256 = hashlib.sha256(str(number).encode()).hexdigest()
            return Image(sha256=sha256, width=width, height=height, size_bytes=1)
        red, green, blue = colorsys.hsv_to_rgb(number * 0.618 % 1, 0.5, 0.6)
        picture = Pillow.linear_gradient("L").resize((width, height)).convert("RGB")
        tint = Pillow.new("RGB", picture.size, (int(red * 255), int(green * 255), int(blue * 255)))
        picture = Pillow.blend(picture, tint, 0.7)
        picture.putpixel((0, 0), (number >> 16, number >> 8 & 255, number & 255))
        out = io.BytesIO()
        picture.save(out, "PNG", compress_level=1)
        data = out.getvalue()
        sha256 = hashlib.sha256(data).hexdigest()
        path = self._parts.library.path(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return Image(sha256=sha256, width=width, height=height, size_bytes=len(data))


def _person(number: int) -> Person:
    return Person(f"guest:{number}", f"Guest {number}")
