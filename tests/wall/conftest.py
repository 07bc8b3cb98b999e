"""A wall on fake services, for the route tests and for the browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, CookieJar
from yarl import URL

from bot.model import Dream, DreamRequest, Person, Theme, Visibility
from bot.wall import Wall, WallSettings
from bot.wall.sign_in import SigningIn
from tests.bot.test_ranking import Eyes
from tests.wall.fakes import (
    FakeDrawer,
    FakeDreams,
    FakeFeed,
    FakeLibrary,
    FakeOffspring,
    FakeSearch,
    FakeThemes,
)

PLANETS = Theme(
    id=1, slug="planets", title="Far planets", topic="Landscapes nobody saw.", colour="#2bb7c9"
)
ADA = Person(id="guest:ada", name="Ada")


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 -- whatever it is tells nobody of itself
            await asyncio.sleep(0.01)


@dataclass
class Scene:
    """A wall that listens, and what stands behind it."""

    wall: Wall
    url: URL
    themes: FakeThemes
    dreams: FakeDreams
    feed: FakeFeed
    drawer: FakeDrawer
    offspring: FakeOffspring
    search: FakeSearch

    async def ask(
        self, prompt: str, theme: str = "planets", *, published: bool = True, **more: Any
    ) -> Dream:
        """Ask for a dream behind the wall's back, as Discord would."""
        [dream] = await self.dreams.ask(
            DreamRequest(theme=theme, person=ADA, prompt=prompt, **more), published=published
        )
        return dream

    async def draw(self, prompt: str, theme: str = "planets", **more: Any) -> Dream:
        """Ask for a dream and finish it."""
        return self.dreams.finish((await self.ask(prompt, theme, **more)).id)

    async def start_again(self) -> None:
        """Start another wall at the same address, on the same services."""
        assert self.url.port is not None
        self.wall = self.make(WallSettings(port=self.url.port))
        await self.wall.start()

    def make(self, settings: WallSettings, signing_in: SigningIn | None = None) -> Wall:
        """Return another wall on the same services."""
        return Wall(
            settings,
            signing_in=signing_in,
            themes=self.themes,
            dreams=self.dreams,
            feed=self.feed,
            library=self.dreams.library,
            drawer=self.drawer,
            offspring=self.offspring,
            search=self.search,
            seeing=Eyes(),
        )


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have visitors come from the room, and not from the machine itself."""
    monkeypatch.setattr("bot.wall.here.is_here", lambda *_: False)


@asynccontextmanager
async def standing_scene(folder: Path) -> AsyncIterator[Scene]:
    """Give a wall in local mode with one public, one linked and one private stream."""
    themes = FakeThemes(
        PLANETS,
        Theme(id=2, slug="linked", title="With the link", visibility=Visibility.LINK),
        Theme(id=3, slug="secret", title="Ours alone", visibility=Visibility.PRIVATE),
    )
    feed = FakeFeed()
    drawer = FakeDrawer()
    dreams = FakeDreams(themes, feed, FakeLibrary(folder))
    offspring = FakeOffspring(dreams)
    wall = Wall(
        WallSettings(port=0),
        themes=themes,
        dreams=dreams,
        feed=feed,
        library=dreams.library,
        drawer=drawer,
        offspring=offspring,
        search=(search := FakeSearch(dreams)),
        seeing=Eyes(),
    )
    scene = Scene(wall, await wall.start(), themes, dreams, feed, drawer, offspring, search)
    try:
        yield scene
    finally:
        await scene.wall.stop()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """A wall that stands for one test."""
    async with standing_scene(tmp_path) as scene:
        yield scene


@pytest.fixture
async def visitor(scene: Scene) -> AsyncIterator[ClientSession]:
    """A visitor without script, who keeps cookies and reads HTML."""
    async with ClientSession(
        base_url=scene.url,
        headers={"Accept": "text/html"},
        # Kept for addresses in digits as well, as browsers do.
        cookie_jar=CookieJar(unsafe=True),
    ) as session:
        yield session
