"""A party's games on its pages: what is told of them, to whom, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import cast

import pytest
from markupsafe import Markup

from bot.games.model import Game, Standing
from bot.games.service import Games
from bot.model import Person, Visibility
from bot.rights import Actor
from bot.wall.party import rounds
from bot.wall.party.rounds import Rounds
from bot.wall.rendering import Renderer
from tests.bot.drawer import BOB
from tests.bot.test_games import EVE, Eyes, drawn
from tests.wall.test_events import Message, Reader, watching
from tests.wall.test_party import Evening, evening_in

NOTHING = '<div id="round-now"></div>'  # an id that every page has, for the script to take it


@pytest.fixture
async def evening(tmp_path: Path) -> AsyncIterator[Evening]:
    async with evening_in(tmp_path) as evening:
        evening.parts.drawer.perceptors = ("colours",)
        evening.parts.drawer.embed = Eyes().embed  # type: ignore[method-assign]
        yield evening


async def begun(evening: Evening, prompt: str = "red", seconds: float = 600.0) -> Game:
    """Begin a game of drawing in the party's stream, as its host."""
    party, parts = await evening.party(), evening.parts
    theme = await parts.parties.theme_of(party)
    host = Actor(party.host)
    return await parts.games.start_draw(theme, host, prompt, seconds=seconds, machine=False)


async def entered(evening: Evening, game: Game, person: Person, colour: str) -> None:
    """Have somebody at the party enter a picture."""
    party, parts = await evening.party(), evening.parts
    await parts.parties.join(party, Actor(person), code=party.code)
    await parts.games.enter_picture(game.id, Actor(person), drawn(colour))


async def told(seen: Reader, *pieces: str) -> str:
    """Return the next message about a game that holds all pieces; others may come before it."""
    while (message := await seen.next()) is not None:
        if message.event == "round" and all(one in _text(message) for one in pieces):
            return _text(message)
    raise AssertionError(f"the stream ended before {pieces}")


def _text(message: Message) -> str:
    return "\n".join(message.data)


async def test_pages_and_the_screen_follow_a_game_from_its_beginning_to_its_result(
    evening: Evening,
) -> None:
    host = await evening.host()
    guest = await evening.guest()
    events = f"/p/{evening.code}/events?stage=gather"
    async with watching(guest, events) as page, watching(evening.visitor(), events) as screen:
        game = await begun(evening)
        for reader in (page, screen):
            text = await told(reader, "“red”", "Nobody in it yet")
            assert f'href="/g/{game.id}"' in text and "on your phone" in text
        await entered(evening, game, EVE, "red")
        await told(page, "1 in it")
        await entered(evening, game, BOB, "lime")
        # Who is in front, and nothing of what anybody entered.
        text = await told(page, "2 in it", "in front: Eve")
        assert "Bob" not in text and "entries" not in text
        for path in ("", "/screen"):
            _, shown = await evening.get(guest, path)
            assert "in front: Eve" in shown and "&amp;round=1" in shown
        await evening.parts.games.end(game.id, Actor((await evening.party()).host))
        for reader in (page, screen):
            text = await told(reader, "Eve won", " points")
        [winner] = [one for one in await evening.parts.games.standings(game.id) if one.won]
        picture = f"/g/{game.id}/entries/{winner.entry.id}.webp"
        assert picture in text
        async with host.get(picture) as response:
            assert response.status == 200
        # One that is taken away is gone from all pages.
        await evening.parts.games.call_off(game.id, Actor((await evening.party()).host))
        assert await told(page) == NOTHING
    _, shown = await evening.get(guest)
    assert ">Play<" not in shown and "round=1" not in shown and NOTHING in shown


async def test_who_does_not_publish_and_what_is_kept_to_a_channel_are_not_told_of(
    evening: Evening,
) -> None:
    await evening.host()
    parts = evening.parts
    game = await begun(evening)
    await parts.moderation.set_publishes(BOB, False)
    await entered(evening, game, BOB, "red")
    await parts.games.end(game.id, Actor((await evening.party()).host))
    _, shown = await evening.get(evening.visitor(), "/screen")
    assert "somebody won" in shown and "entries" not in shown
    hidden = await begun(evening, "a hidden prompt")
    async with parts.store.write() as connection:
        await connection.execute("UPDATE game SET published = 0 WHERE id = ?", (hidden.id,))
    evening.parts.games._changed(hidden.id)
    _, shown = await evening.get(evening.visitor(), "/screen")
    assert "a hidden prompt" not in shown and hidden.id not in shown
    theme = await parts.parties.theme_of(await evening.party())
    await parts.themes.change(theme.slug, visibility=Visibility.PRIVATE)
    assert (await evening.get(evening.visitor(), "/screen"))[0] == 404


async def test_a_page_that_tells_of_a_game_or_was_away_is_told_that_it_is_over(
    evening: Evening, monkeypatch: pytest.MonkeyPatch
) -> None:
    await evening.host()
    guest = await evening.guest()
    game = await begun(evening)
    await evening.parts.games.end(game.id, Actor((await evening.party()).host))
    assert "Nobody won" in (await evening.get(guest))[1]
    monkeypatch.setattr(rounds, "RESULT_MS", 0)  # it is long ago
    await evening.parts.games.call_off(
        (await begun(evening)).id, Actor((await evening.party()).host)
    )
    events = f"/p/{evening.code}/events?stage=gather"
    async with watching(guest, f"{events}&round=1") as page:
        assert await told(page) == NOTHING
    async with watching(guest, events, Last_Event_ID="x") as page:
        assert await told(page) == NOTHING


class OneOver:
    """Games of which the last was over a moment ago, so that its result is told of."""

    def __init__(self, game: Game) -> None:
        self._game = game

    def on_change(self, watcher: Callable[[str], None]) -> None:
        self.change = watcher

    async def running(self, theme_id: int) -> list[Game]:
        return []

    async def recent(self, theme_id: int, *, limit: int) -> list[Game]:
        return [self._game]

    async def standings(self, game_id: str, *, outside: bool) -> list[Standing]:
        return []


class Plain:
    """Renders nothing."""

    def part(self, template: str, **context: object) -> Markup:
        return Markup()


async def test_however_often_a_result_is_rendered_its_end_wakes_the_pages_once(
    evening: Evening, monkeypatch: pytest.MonkeyPatch
) -> None:
    await evening.host()
    game = await begun(evening)
    games, woken = OneOver(game), list[int]()
    monkeypatch.setattr(rounds, "RESULT_MS", 200)
    told = Rounds(cast(Games, games), cast(Renderer, Plain()), clock=lambda: game.ends_ms)
    for _ in range(20):
        await told.now(game.theme_id)
        games.change(game.id)  # any game's, also of another party
    await told.now(game.theme_id)
    with told.telling(lambda: woken.append(1)):
        await asyncio.sleep(0.5)
        assert woken == [1]
