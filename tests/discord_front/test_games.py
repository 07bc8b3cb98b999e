"""Games in Discord: their card, what each button does for whom, and what a restart costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import discord
import pytest

from bot.delivery import game_cards
from bot.delivery.game_cards import GameCards
from bot.errors import StoreError
from bot.games.model import Game, GameKind
from bot.model import Person
from bot.rights import Actor
from bot.store import game_cards as rows
from bot.store.game_cards import GameCard
from bot.store.parties import Source
from tests.bot.drawer import request, until
from tests.bot.test_games import Eyes, drawn
from tests.discord_front.test_commands import member
from tests.discord_front.test_parties import said
from tests.discord_front.world import World, buttons_of, gallery_of, text_of, world

EVE = Person("guest:eve", "Eve")


@asynccontextmanager
async def playing(folder: Path) -> AsyncIterator[World]:
    eyes = Eyes()
    async with world(folder) as there:
        there.parts.drawer.perceptors = ("colours",)
        there.parts.drawer.embed = eyes.embed  # type: ignore[method-assign]
        yield there


async def begun(there: World, command: str, **options: Any) -> tuple[Game, discord.Message]:
    """Have Ann open a game; return it with its card."""
    before = len(there.cards())
    result = await there.ann.slash(
        there.channel, f"game {command}", **({"machine": False} | options)
    )
    assert said(result) == "The game begins."
    await until(lambda: len(there.cards()) > before)
    game = await there.parts.games.open_in(there.channel.id)
    assert game is not None
    return game, there.cards()[-1]


async def a_picture(there: World, prompt: str, colour: str = "red") -> str:
    (dream,) = await there.parts.dreams.ask(request(prompt, person=EVE))
    await there.parts.draw(dream.id, colour)
    await there.parts.dreams.wait(dream.id)
    return dream.id


async def test_a_game_of_drawing_from_its_first_card_to_its_result(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        _, card = await begun(there, "draw", prompt="a @everyone red *thing*", minutes=30)
        assert "Draw it: a" in text_of(card) and "Until <t:" in text_of(card)
        assert "@everyone" not in text_of(card)
        assert buttons_of(card) == ["Enter", "My entry", "End the game", "Moderate"]
        result = await there.bob.slash(there.channel, "game draw", prompt="a cat")
        assert "already" in said(result)
        result = await there.bob.click(card, label="Enter")
        assert said(result) == "Send your picture with /game enter"
        result = await there.bob.click(card, label="My entry")
        assert said(result) == "You have entered nothing in this game."
        picture = ("mine.png", drawn("red"))
        result = await there.bob.slash(there.channel, "game enter", picture=picture)
        assert "of 100. You can try 4 more times." in said(result)
        card = await there.shows(-1, "1 has entered")
        assert "**bob**" in text_of(card) and gallery_of(card) is None
        worse = ("blue.png", drawn("blue"))
        await there.ann.slash(there.channel, "game enter", picture=worse)
        card = await there.shows(-1, "2 have entered")
        result = await there.bob.click(card, label="End the game")
        assert "Only who opened the game" in said(result)
        result = await there.ann.click(card, label="End the game")
        await there.ann.click(result.response, label="Yes, end it")
        card = await there.shows(-1, "It is over.")
        text = text_of(card)
        assert text.index("**bob**") < text.index("**ann**") and gallery_of(card) is not None
        assert buttons_of(card) == ["My entry", "Moderate"]
        # What is withdrawn leaves the card that shows the result, too.
        result = await there.bob.click(card, label="My entry")
        await there.bob.click(result.response, label="Take it back")
        await until(lambda: "bob" not in text_of(there.cards()[-1]))
        assert there.posts() == 1


async def test_words_are_said_in_a_form(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        dream_id = await a_picture(there, "a scarlet blot on a wall")
        game, card = await begun(there, "say", dream=dream_id)
        assert gallery_of(card) is not None and "scarlet" not in text_of(card)
        form = await there.bob.click(card, label="Say")
        result = await there.bob.submit_modal(form, {"words": "the scarlet blot on walls: a wall"})
        assert "nearly the words" in said(result)
        form = await there.bob.click(card, label="Say")
        result = await there.bob.submit_modal(form, {"words": "something red"})
        assert "of 100." in said(result)
        card = await there.shows(-1, "1 has entered")
        assert "something red" not in text_of(card)
        await there.parts.games.end(game.id, Actor(Person("local:x", "x"), at_machine=True))
        card = await there.shows(-1, "It is over.")
        assert "“something red”" in text_of(card) and "a scarlet blot on a wall" in text_of(card)
        # A press of what was there before is answered with a sentence.
        await there.parts.games.heart(
            (await there.parts.games.standings(game.id))[0].entry.id,
            Actor(Person("local:x", "x"), at_machine=True),
        )
        await there.shows(-1, "♥ 1")


async def test_a_guess_is_a_button_and_its_answer_comes_at_the_end(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        dream_id = await a_picture(there, "a red fox")
        game, card = await begun(there, "guess", dream=dream_id, choices=3)
        assert game.kind is GameKind.GUESS
        assert buttons_of(card) == ["1", "2", "3", "My entry", "End the game", "Moderate"]
        right = game.choices.index("a red fox") + 1
        result = await there.ann.click(card, label=str(right))
        assert "You know what this picture was drawn from" in said(result)
        result = await there.bob.click(card, label=str(right))
        assert said(result) == f"You took number {right}. It is told when the game is over."
        result = await there.bob.click(card, label=str(right % 3 + 1))
        assert "cannot change" in said(result)
        card = await there.shows(-1, "1 has entered")
        assert "bob" not in text_of(card) and "✓" not in text_of(card)
        await there.ann.slash(there.channel, "game end")
        card = await there.shows(-1, "It is over.")
        assert f"{right}. **a red fox** ✓" in text_of(card)
        assert "**Right:** **bob**" in text_of(card)


async def test_a_game_that_is_called_off_shows_nothing_of_it(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        await begun(there, "draw", prompt="a red thing")
        picture = ("mine.png", drawn("red"))
        await there.bob.slash(there.channel, "game enter", picture=picture)
        result = await there.bob.slash(there.channel, "game call-off")
        assert "Only who opened the game" in said(result)
        result = await there.ann.slash(there.channel, "game call-off")
        assert "called off" in said(result)
        card = await there.shows(-1, "It was called off.")
        assert "red thing" not in text_of(card) and not buttons_of(card)
        result = await there.ann.slash(there.channel, "game end")
        assert "There is no game in this channel" in said(result)


async def test_a_card_goes_on_after_a_restart_and_is_posted_once(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        game, _ = await begun(there, "draw", prompt="a red thing")
        await there.client.games.stop()
        # While nobody looked, somebody entered and the game came to its end.
        await there.parts.games.enter_picture(game.id, Actor(EVE), drawn("red"))
        await there.parts.games.end(game.id, Actor(game.host))
        again = GameCards(there.client.front, there.client, there.client.delivery.lane)
        others = there.client.delivery.companions[:-1]
        there.client.delivery.companions = (*others, again)
        await again.start()
        card = await there.shows(-1, "It is over.")
        assert "**Eve**" in text_of(card) and there.posts() == 1
        await again.stop()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("restarted", [False, True])
async def test_a_card_that_is_refused_for_too_long_waits_for_a_change_or_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, restarted: bool
) -> None:
    async with playing(tmp_path) as there:
        game, _ = await begun(there, "draw", prompt="a red thing")
        there.env.inject_error("PATCH", "/channels/*/messages/*", status=403, code=50013)
        await there.parts.games.enter_picture(game.id, Actor(EVE), drawn("red"))
        await until(lambda: f"game {game.id} will not be shown: 403" in caplog.text)
        there.client.games.hurry()
        there.client.games._changed(game.id)  # which looks as it did
        await asyncio.sleep(0.3)
        assert "1 has entered" not in text_of(there.cards()[-1])
        if restarted:
            await there.client.games.stop()
            again = GameCards(there.client.front, there.client, there.client.delivery.lane)
            there.client.delivery.companions = (again,)
            await again.start()
            await there.shows(-1, "1 has entered")
            await again.stop()
        else:
            picture = ("blue.png", drawn("blue"))
            await there.bob.slash(there.channel, "game enter", picture=picture)
            await there.shows(-1, "2 have entered")
        assert caplog.text.count("cannot be shown") == 0 and there.posts() == 1


async def test_what_a_change_came_to_is_shown_although_looking_at_it_failed_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(game_cards, "RETRY_S", 0.01)
    errors = [RuntimeError("ours"), ConnectionResetError(104, "reset"), StoreError("Locked.")]
    of_game = rows.of_game

    async def failing(source: Source, game_id: str) -> GameCard | None:
        if errors:
            raise errors.pop()
        return await of_game(source, game_id)

    async with playing(tmp_path) as there:
        await begun(there, "draw", prompt="a red thing")
        monkeypatch.setattr(rows, "of_game", failing)
        await there.ann.slash(there.channel, "game end")
        await there.shows(-1, "It is over.")
        assert not errors and there.posts() == 1


async def test_what_is_withdrawn_while_the_result_is_sent_leaves_it_nevertheless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with playing(tmp_path) as there:
        game, _ = await begun(there, "draw", prompt="a red thing")
        tried = await there.parts.games.enter_picture(game.id, Actor(EVE), drawn("red"))
        await there.shows(-1, "1 has entered")
        showed, sent = there.client.games._posting._showed, list[Any]()

        async def withdrawn_just_then(*known: Any) -> None:
            if not sent and not (await there.parts.games.get(game.id)).open:
                sent.append(known)
                # As by a process that dies before it tells anybody.
                monkeypatch.setattr(there.parts.games, "_changed", lambda game_id: None)
                await there.parts.games.withdraw(tried.entry.id, Actor(EVE))
            await showed(*known)

        monkeypatch.setattr(there.client.games._posting, "_showed", withdrawn_just_then)
        await there.parts.games.end(game.id, Actor(game.host))
        card = await there.shows(-1, "Nobody entered anything.")
        assert sent and "Eve" not in text_of(card) and gallery_of(card) is None


async def test_a_client_that_went_away_is_told_nothing_more(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        games, moderation = there.parts.games, there.parts.moderation
        before = len(games._watchers), len(moderation._watchers)
        GameCards(there.client.front, there.client, there.client.delivery.lane)
        assert (len(games._watchers), len(moderation._watchers)) == before
        await there.client.delivery.stop()
        assert (len(games._watchers), len(moderation._watchers)) == (before[0] - 1, before[1] - 1)


async def test_moderators_take_away_what_was_entered_also_when_it_is_over(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        mod = member(there, "mod", manage_messages=True)
        game, _ = await begun(there, "draw", prompt="a red thing")
        # From the wall, where nobody has an account that a command could name.
        tried = await there.parts.games.enter_picture(game.id, Actor(EVE), drawn("red"))
        await there.bob.slash(there.channel, "game enter", picture=("mine.png", drawn("blue")))
        await there.ann.slash(there.channel, "game end")
        card = await there.shows(-1, "It is over.")
        result = await there.bob.click(card, label="Moderate")
        assert "Only who opened the game" in said(result)
        result = await there.ann.click(card, label="Moderate")  # who has opened it, and no more
        assert buttons_of_answer(result) == [f"game:off:{game.id}"]
        result = await mod.click(card, label="Moderate")
        assert buttons_of_answer(result) == [f"game-tidy:0:{game.id}", f"game:off:{game.id}"]
        menu = f"game-tidy:0:{game.id}"
        result = await mod.select(result.response, [tried.entry.id], custom_id=menu)
        assert said(result) == "It is taken away."
        await until(lambda: "Eve" not in text_of(there.cards()[-1]))
        assert "**bob**" in text_of(there.cards()[-1])
        result = await there.ann.click(card, label="Moderate")
        result = await there.ann.click(result.response, label="Call it off")
        assert "called off" in said(result)
        await there.shows(-1, "It was called off.")
        assert not list((tmp_path / "library").rglob("*.png"))


def buttons_of_answer(result: Any) -> list[str]:
    """Return the ids of what can be pressed in an answer that one person alone sees."""
    return [one["custom_id"] for row in result.response.components for one in row["components"]]
