"""A drawer without a process, and everything that the dreams service needs around it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image as Pillow

from bot.dreams import Dreams
from bot.feed import Feed
from bot.games.service import Games
from bot.gate import Gate
from bot.ids import now_ms
from bot.library import Library
from bot.limits import Limits
from bot.looker import Looker
from bot.model import DreamRequest, Person
from bot.moderation import Moderation
from bot.offspring import Offspring
from bot.parties.model import PartyLimits
from bot.parties.service import Parties
from bot.portraits import Portraits
from bot.publish.service import Publishing
from bot.search import Search
from bot.seeing import Seeing
from bot.settings import Settings
from bot.store import Store
from bot.themes import Themes
from generation.protocol import (
    PROTOCOL_VERSION,
    Embedded,
    EngineInfo,
    Finished,
    Job,
    JourneyInfo,
    JourneyKind,
    ModelInfo,
    OptionInfo,
    Progress,
    Started,
    Welcome,
)

ANN = Person("guest:ann", "Ann")
BOB = Person("guest:bob", "Bob")

FOURIER = EngineInfo(
    name="clip",
    title="CLIP-steered",
    models=(
        ModelInfo(name="fourier", title="Fourier", licence="MIT"),
        ModelInfo(
            name="vqgan",
            title="VQGAN",
            licence="MIT",
            available=False,
            missing="VQGAN's weights are not here. Get them with: dreamstream models get vqgan",
        ),
    ),
    default_width=128,
    default_height=128,
    min_side=64,
    max_side=512,
    max_pixels=512 * 384,
    size_multiple=16,
    default_steps=100,
    max_steps=1000,
    steerable=True,
    takes_init=True,
    journeys=(
        JourneyInfo(kind=JourneyKind.CAMERA, frame_steps=6),
        JourneyInfo(kind=JourneyKind.WALK, frame_steps=4, max_steps=1000),
    ),
    options=(
        OptionInfo(name="rate", help="How fast it learns.", default=0.1, minimum=0, maximum=1),
        OptionInfo(name="cutouts", help="How many.", default=32, minimum=1, maximum=128),
        OptionInfo(name="kind", help="Which.", default="soft", choices=("soft", "hard")),
        OptionInfo(name="tiled", help="Whether it repeats.", default=False),
    ),
)
DIFFUSION = EngineInfo(
    name="diffusion",
    title="Diffusion",
    models=(ModelInfo(name="starter", title="Starter diffusion", licence="CC0-1.0"),),
    default_width=64,
    default_height=64,
    min_side=64,
    max_side=64,
    max_pixels=64 * 64,
    size_multiple=8,
    default_steps=20,
    max_steps=100,
    guidance=5.0,
    takes_negative=True,
    needs_positive=True,
)
WELCOME = Welcome(version=PROTOCOL_VERSION, pid=1, device="a test", engines=(FOURIER, DIFFUSION))


def png(width: int = 64, height: int = 64, colour: str = "red") -> bytes:
    out = io.BytesIO()
    Pillow.new("RGB", (width, height), colour).save(out, "PNG")
    return out.getvalue()


def finished(job: Job, colour: str = "red") -> Finished:
    picture = png(job.recipe.width, job.recipe.height, colour)
    return Finished(job_id=job.id, recipe=job.recipe, png=picture, gpu_s=0.5)


class FakeDrawer:
    """Remembers what it was told; tests say what happens."""

    def __init__(self) -> None:
        self.up = False
        self.paused: str | None = None
        self.device = ""
        self.engines: tuple[EngineInfo, ...] = ()
        self.perceptors: tuple[str, ...] = ()
        self.jobs: dict[str, Job] = {}
        self.submitted: list[Job] = []
        self.room = asyncio.Event()
        self.room.set()
        self.cancelled: list[str] = []
        self.steers: list[tuple[str, str, int]] = []
        self.steers_unknown: list[str] = []  # of jobs that this process had not been given
        self.shares: dict[str, float] = {}

    def submit(self, job: Job) -> None:
        self.jobs[job.id] = job
        self.submitted.append(job)

    async def handed_over(self) -> None:
        await self.room.wait()

    def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)

    def steer(self, job_id: str, prompt: str, glide_steps: int) -> None:
        self.steers.append((job_id, prompt, glide_steps))
        if job_id not in self.jobs:
            self.steers_unknown.append(job_id)

    def weights(self, streams: dict[str, float]) -> None:
        self.shares = streams

    async def embed(
        self, perceptor: str, pictures: Sequence[bytes] = (), texts: Sequence[str] = ()
    ) -> Embedded:
        return Embedded(id="", reason="Nothing looks at pictures in this test.")


class Services:
    """One bot process's worth of services, over a folder."""

    def __init__(
        self,
        store: Store,
        library: Library,
        limits: Limits,
        *,
        party_limits: PartyLimits | None = None,
        clock: Callable[[], int] = now_ms,
        **settings: Any,
    ) -> None:
        self.store = store
        self.library = library
        self.feed = Feed(store)
        self.themes = Themes(store)
        self.drawer = FakeDrawer()
        quick: dict[str, Any] = {
            "first_up_s": 0.2,
            "disk_delay_s": 0.05,
            "retry_delays_s": (0.01, 0.02, 0.03),
        }
        self.dreams = Dreams(
            store,
            library,
            self.feed,
            self.themes,
            self.drawer,
            limits,
            **(quick | settings),
        )
        self.offspring = Offspring(self.dreams, self.drawer, self.library)
        self.seeing = Seeing(self.drawer, library)
        # Looks at pictures only where a test starts it.
        self.looker = Looker(store, library, self.feed, self.drawer, self.seeing, pause_s=0.02)
        self.search = Search(store, library, self.seeing, self.looker)
        self.settings = Settings(store)
        self.moderation = Moderation(store, self.dreams)
        self.gate = Gate(self.settings, self.moderation)
        # Its timers run only where a test starts them.
        self.parties = Parties(
            store, self.themes, self.dreams, self.offspring, self.gate, party_limits, clock=clock
        )
        self.portraits = Portraits(store, self.themes, self.dreams, self.gate, self.moderation)
        # Keeps bundles up to date only where a test starts it.
        self.publishing = Publishing(self.parties, library, self.feed)
        # Its timers, and its eye on the machine's pictures, run only where a test starts them.
        self.games = Games(
            store,
            library,
            self.feed,
            self.themes,
            self.dreams,
            self.seeing,
            self.gate,
            self.parties,
            clock=clock,
        )

    async def up(self, welcome: Welcome = WELCOME) -> None:
        self.drawer.up, self.drawer.engines = True, welcome.engines
        self.drawer.jobs.clear()
        await self.dreams.on_up(welcome)

    async def down(self, *suspects: str) -> None:
        self.drawer.up = False
        self.drawer.jobs.clear()
        await self.dreams.on_down(suspects, "killed by the test")

    async def job(self, dream_id: str) -> Job:
        await until(lambda: dream_id in self.drawer.jobs)
        return self.drawer.jobs[dream_id]

    async def begin(self, dream_id: str, step: int = 1, preview: bytes | None = None) -> Job:
        job = await self.job(dream_id)
        await self.dreams.on_message(Started(dream_id, step))
        await self.dreams.on_message(
            Progress(
                job_id=dream_id,
                step=step,
                steps=job.recipe.steps,
                ends_in_s=9.0,
                preview=preview,
            )
        )
        return job

    async def draw_late(self, dream_id: str) -> None:
        """Report a picture of a dream that is no longer asked for."""
        job = next(job for job in reversed(self.drawer.submitted) if job.id == dream_id)
        await self.dreams.on_message(finished(job))

    async def draw(self, dream_id: str, colour: str = "red") -> None:
        job = await self.begin(dream_id)
        await self.dreams.on_message(finished(job, colour))


@asynccontextmanager
async def services(
    folder: Path,
    *,
    up: bool = True,
    limits: Limits | None = None,
    library: Library | None = None,
    **settings: Any,
) -> AsyncIterator[Services]:
    async with AsyncExitStack() as stack:
        store = await Store.open(folder / "dreamstream.db")
        # Also where it cannot be used: its threads would keep the process from ending.
        stack.push_async_callback(store.close)
        library = library or Library(folder / "library")
        stack.callback(library.close)
        made = Services(store, library, limits or Limits(), **settings)
        await made.themes.ensure_default()
        await made.dreams.start()
        await made.settings.start()
        await made.moderation.start()
        if up:
            await made.up()
        try:
            yield made
        finally:
            await made.games.stop()
            await made.publishing.stop()
            await made.parties.stop()
            await made.looker.stop()
            await made.seeing.close()
            await made.dreams.stop()


def request(prompt: str = "a red fox", **changes: Any) -> DreamRequest:
    return msgspec.structs.replace(DreamRequest(theme="open", person=ANN, prompt=prompt), **changes)


async def until(condition: Callable[[], object], limit_s: float = 20.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 (whatever it is, it need not know of us)
            await asyncio.sleep(0.005)
