"""Games: what scores and places are, what may be entered by whom, and what dies with a deletion."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageDraw

from bot.checking.model import Decision
from bot.checking.reviews import Reviews
from bot.checking.service import PictureChecks
from bot.errors import (
    ForbiddenError,
    GoneError,
    InvalidRequestError,
    LimitError,
    NotFoundError,
    RequestError,
)
from bot.games import choices, rules
from bot.games.model import MACHINE, SOMEBODY, Game, GameKind, GameState
from bot.gate import BLOCKED_WORD, Asker
from bot.model import AskedBy, Person, PictureCheck, Theme, Visibility
from bot.rights import Actor
from bot.store import game_cards, party_dreams
from bot.uploads import UploadLimits
from generation.protocol import Embedded, Finished
from tests.bot.drawer import ANN, BOB, Services, png, request, services, until

EVE = Person("guest:eve", "Eve")
COLOURS = ("red", "lime", "blue")


def drawn(colour: str, dots: int = 40) -> bytes:
    """Return a picture of a colour that is not blank: with a pattern on it."""
    picture = Pillow.new("RGB", (96, 96), colour)
    draw = ImageDraw.Draw(picture)
    for place in range(dots):
        x, y = place * 37 % 90, place * 53 % 90
        draw.rectangle((x, y, x + 3, y + 3), fill="black")
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


class Eyes:
    """Sees how red, green and blue a picture is, and reads those words; others lie beside."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = 0

    async def embed(
        self, perceptor: str, pictures: Sequence[bytes] = (), texts: Sequence[str] = ()
    ) -> Embedded:
        self.asked += len(pictures)
        await self.gate.wait()
        return Embedded(
            id="",
            pictures=tuple(self._see(picture) for picture in pictures),
            texts=tuple(self._read(text) for text in texts),
        )

    def _see(self, picture: bytes) -> bytes:
        with Pillow.open(io.BytesIO(picture)) as opened:
            pixels = np.asarray(opened.convert("RGB"), np.float32)
        return _unit([*pixels.mean(axis=(0, 1)), *[20.0] * 5])

    def _read(self, text: str) -> bytes:
        named = [float(colour in text.split()) for colour in COLOURS]
        dice = np.random.default_rng(sum(text.encode()))
        return _unit([*(3 * value for value in named), *dice.normal(size=5)])


def _unit(parts: Sequence[float]) -> bytes:
    vector = np.asarray(parts, np.float32)
    return bytes((vector / np.linalg.norm(vector)).astype("<f2").tobytes())


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def __call__(self) -> int:
        return self.now_ms


class Playing:
    """The services, with eyes that see, in the open theme."""

    def __init__(self, parts: Services, eyes: Eyes, clock: Clock, theme: Theme) -> None:
        self.parts, self.eyes, self.clock, self.theme = parts, eyes, clock, theme
        self.games = parts.games

    async def picture(self, prompt: str = "a red fox", person: Person = ANN, **more: Any) -> str:
        """Have a picture drawn in the stream; return its dream's id."""
        (dream,) = await self.parts.dreams.ask(request(prompt, person=person, **more))
        await self.parts.draw(dream.id)
        await self.parts.dreams.wait(dream.id)
        return dream.id

    async def draw(self, prompt: str = "red", **more: Any) -> Game:
        return await self.games.start_draw(
            self.theme, Actor(ANN), prompt, **({"machine": False} | more)
        )


@asynccontextmanager
async def playing(folder: Path, **settings: Any) -> AsyncIterator[Playing]:
    clock, eyes = Clock(), Eyes()
    async with services(folder, clock=clock, **settings) as parts:
        parts.drawer.perceptors = ("colours",)
        parts.drawer.embed = eyes.embed  # type: ignore[method-assign]
        yield Playing(parts, eyes, clock, await parts.themes.get("open"))


# --- drawing -----------------------------------------------------------------------------------


async def test_the_best_try_counts_and_wins(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        changes: list[str] = []
        there.games.on_change(changes.append)
        game = await there.draw()
        poor = await there.games.enter_picture(game.id, Actor(BOB), drawn("blue"))
        good = await there.games.enter_picture(game.id, Actor(BOB), drawn("red"))
        worse = await there.games.enter_picture(game.id, Actor(BOB), drawn("lime"))
        assert poor.best and good.best and not worse.best
        assert poor.score is not None and good.score is not None and worse.score is not None
        assert poor.score < good.score and worse.entry.score == good.score
        assert (poor.left, good.left, worse.left) == (4, 3, 2)
        await there.games.enter_picture(game.id, Actor(EVE), drawn("lime", 30))
        ended = await there.games.end(game.id, Actor(ANN))
        assert ended.state is GameState.OVER and ended.perceptor == "colours"
        places = await there.games.standings(game.id)
        assert [(one.place, one.entry.person.name) for one in places] == [(1, "Bob"), (2, "Eve")]
        assert places[0].entry.score == good.score and places[0].entry.image is not None
        # Of what Bob tried, only the best is kept.
        kept = list((tmp_path / "library" / "images").rglob("*.png"))
        assert len(kept) == 2
        assert set(changes) == {game.id} and len(changes) >= 6


async def test_the_same_picture_is_worth_the_same_whenever_it_is_looked_at(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        first, second = await there.draw(), await there.draw()
        one = await there.games.enter_picture(first.id, Actor(BOB), drawn("red"))
        other = await there.games.enter_picture(second.id, Actor(EVE), drawn("red"))
        assert one.score == other.score


async def test_tries_are_counted_also_where_many_come_at_once(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        # What every score is compared with is known from here on, and does not fill the queue.
        await there.games.enter_picture((await there.draw()).id, Actor(EVE), drawn("lime"))
        game = await there.draw()
        there.eyes.gate.clear()
        tries = [
            asyncio.create_task(
                there.games.enter_picture(game.id, Actor(BOB), drawn("red", 20 + number))
            )
            for number in range(8)
        ]
        await asyncio.sleep(0.1)
        there.eyes.gate.set()
        found = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(isinstance(one, LimitError) for one in found) == 3
        assert await there.games.players(game.id) == 1
        assert await there.games.tries_left(game, BOB) == 0
        # Who takes their entry back does not get the tries back.
        (own,) = await there.games.standings(game.id, BOB)
        await there.games.withdraw(own.entry.id, Actor(BOB))
        with pytest.raises(LimitError):
            await there.games.enter_picture(game.id, Actor(BOB), drawn("red"))


async def test_a_try_of_which_nothing_comes_is_given_back(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        game = await there.draw()
        for data in (b"", b"no picture", drawn("red")[:150]):
            with pytest.raises(InvalidRequestError):
                await there.games.enter_picture(game.id, Actor(BOB), data)
        assert await there.games.tries_left(game, BOB) == 5
        assert not list((tmp_path / "library").rglob("*.png"))


async def test_pictures_that_are_not_ones_own_are_refused(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        dream = await there.parts.dreams.get(await there.picture())
        assert dream.image is not None
        machines = await there.parts.library.read(dream.image.sha256)
        game = await there.draw()
        with pytest.raises(InvalidRequestError, match="drawn here by a machine"):
            await there.games.enter_picture(game.id, Actor(BOB), machines)
        await there.games.enter_picture(game.id, Actor(BOB), drawn("red"))
        with pytest.raises(InvalidRequestError, match="Somebody has entered"):
            await there.games.enter_picture(game.id, Actor(EVE), drawn("red"))
        assert (await there.parts.dreams.get(dream.id)).image == dream.image
        assert await there.parts.library.read(dream.image.sha256) == machines


async def test_words_on_paper_are_worth_nothing(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        game = await there.draw()
        paper = Pillow.new("RGB", (300, 200), "white")
        ImageDraw.Draw(paper).text((40, 60), "red fox", fill="red", font_size=60)
        out = io.BytesIO()
        paper.save(out, "PNG")
        written = await there.games.enter_picture(game.id, Actor(BOB), out.getvalue())
        assert written.writing and written.score == 0
        blank = await there.games.enter_picture(game.id, Actor(EVE), png(90, 90, "red"))
        assert not blank.writing and blank.score == 0
        one = await there.games.enter_picture(game.id, Actor(BOB), drawn("red"))
        assert not one.writing and one.score is not None and one.score > 20


# --- time --------------------------------------------------------------------------------------


async def test_a_round_ends_by_its_timer_also_while_nobody_was_up(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        game = await there.draw(seconds=60)
        await there.games.enter_picture(game.id, Actor(BOB), drawn("red"))
        there.clock.now_ms += 59_000
        assert await there.games.look() == game.ends_ms
        await there.games.enter_picture(game.id, Actor(EVE), drawn("blue"))
        there.clock.now_ms += 1000
        with pytest.raises(InvalidRequestError, match="over"):
            await there.games.enter_picture(game.id, Actor(ANN), drawn("lime"))
    async with playing(tmp_path) as again:
        assert (await again.games.get(game.id)).open
        again.clock.now_ms = game.ends_ms + 5
        await again.games.start_keeping()
        await until_over(again, game.id)
        places = await again.games.standings(game.id)
        assert [one.entry.person.name for one in places] == ["Bob", "Eve"]


async def until_over(there: Playing, game_id: str) -> None:
    async with asyncio.timeout(10):
        while (await there.games.get(game_id)).open:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_what_came_in_time_counts_however_long_the_scoring_takes(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        game = await there.draw(seconds=60)
        there.eyes.gate.clear()
        trying = asyncio.create_task(there.games.enter_picture(game.id, Actor(BOB), drawn("red")))
        await until(lambda: there.eyes.asked)
        there.clock.now_ms += 60_000
        ending = asyncio.create_task(there.games.look())
        await asyncio.sleep(0.05)
        assert not ending.done()
        there.eyes.gate.set()
        await trying
        await ending
        (only,) = await there.games.standings(game.id)
        assert only.entry.person == BOB and not (await there.games.get(game.id)).open


async def test_a_round_that_waits_for_its_last_score_holds_up_no_other(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        slow, soon, later = [await there.draw(seconds=one) for one in (60, 60, 61)]
        there.eyes.gate.clear()
        trying = asyncio.create_task(there.games.enter_picture(slow.id, Actor(BOB), drawn("red")))
        await until(lambda: there.eyes.asked)
        there.clock.now_ms += 60_000
        await there.games.start_keeping()
        await until_over(there, soon.id)
        there.clock.now_ms += 1000
        await until_over(there, later.id)
        assert (await there.games.get(slow.id)).open
        there.eyes.gate.set()
        await trying
        await until_over(there, slow.id)
        (only,) = await there.games.standings(slow.id)
        assert only.entry.person == BOB


# --- saying ------------------------------------------------------------------------------------


async def test_the_nearest_words_win_and_the_pictures_own_do_not(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        dream_id = await there.picture("a scarlet blot on the wall", ANN)
        game = await there.games.start_say(there.theme, Actor(ANN), dream_id, machine=False)
        assert game.told == "" and game.prompt and game.image is not None
        for copied in (
            "a scarlet blot on the wall",
            "Scarlet blot, wall!",
            "the wall: scarlet blot",
        ):
            with pytest.raises(InvalidRequestError, match="nearly the words"):
                await there.games.enter_text(game.id, Actor(BOB), copied)
        assert await there.games.tries_left(game, BOB) == 5
        near = await there.games.enter_text(game.id, Actor(BOB), "something red")
        far = await there.games.enter_text(game.id, Actor(EVE), "something blue")
        assert near.score is not None and far.score is not None and near.score > far.score
        # While it goes on nobody sees what the others said, nor what it is worth.
        seen = await there.games.standings(game.id, EVE)
        assert [(one.entry.text, one.entry.score is None) for one in seen] == [
            ("", True),
            ("something blue", False),
        ]
        await there.games.end(game.id, Actor(ANN))
        seen = await there.games.standings(game.id)
        assert [one.entry.text for one in seen] == ["something red", "something blue"]
        assert (await there.games.get(game.id)).told == "a scarlet blot on the wall"


# --- guessing ----------------------------------------------------------------------------------


async def test_a_guess_is_made_once_and_told_when_it_is_over(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        dream_id = await there.picture("a red fox", ANN)
        for prompt in ("a lime tree", "a blue door", "the sea by night"):
            await there.picture(prompt, BOB)
        game = await there.games.start_guess(there.theme, Actor(ANN), dream_id, machine=False)
        assert len(set(game.choices)) == 4 and game.prompt == "a red fox" in game.choices
        right = game.choices.index("a red fox")
        for who in (ANN, Person("guest:other", "Other")):
            if who is ANN:
                with pytest.raises(ForbiddenError, match="You know"):
                    await there.games.choose(game.id, Actor(who), right)
        chosen = await there.games.choose(game.id, Actor(BOB), right)
        assert chosen.score is None and chosen.entry.score is None, "nothing is told yet"
        with pytest.raises(LimitError, match="cannot change"):
            await there.games.choose(game.id, Actor(BOB), (right + 1) % 4)
        await there.games.choose(game.id, Actor(EVE), (right + 1) % 4)
        assert await there.games.standings(game.id) == ()
        (own,) = await there.games.standings(game.id, BOB)
        assert own.entry.choice == right and own.entry.score is None
        for index in (-1, 4):
            with pytest.raises(InvalidRequestError):
                await there.games.choose(game.id, Actor(Person("guest:x", "X")), index)
        await there.games.end(game.id, Actor(ANN))
        places = await there.games.standings(game.id)
        assert [(one.place, one.entry.person.name) for one in places] == [(1, "Bob"), (2, "Eve")]
        with pytest.raises(InvalidRequestError, match="guessed before"):
            await there.games.start_guess(there.theme, Actor(ANN), dream_id)


async def test_a_game_by_chance_takes_what_may_be_shown(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        with pytest.raises(NotFoundError, match="Draw some first"):
            await there.games.start_say(there.theme, Actor(ANN))
        kept = await there.picture("a blue secret", BOB)
        await there.parts.moderation.set_publishes(EVE, False)
        hidden = await there.picture("a red secret", EVE)
        game = await there.games.start_guess(there.theme, Actor(ANN), machine=False)
        assert game.dream_id == kept and "a red secret" not in game.choices
        with pytest.raises(NotFoundError):
            await there.games.start_say(there.theme, Actor(ANN), hidden)


async def test_a_game_by_chance_takes_no_covered_picture(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        clear = await there.picture("a red fox", BOB)
        there.parts.dreams.check_pictures(
            PictureChecks(there.parts.library, there.parts.settings, Flags(), PictureCheck.BLUR)
        )
        covered = [await there.picture(f"a red owl {n}", BOB) for n in range(8)]
        with pytest.raises(InvalidRequestError, match="covered"):
            await there.games.start_say(there.theme, Actor(ANN), covered[0], machine=False)
        for _ in range(8):  # of nine by chance
            game = await there.games.start_say(there.theme, Actor(ANN), machine=False)
            assert game.dream_id == clear
            await there.games.call_off(game.id, Actor(ANN))
        guess = await there.games.start_guess(there.theme, Actor(ANN), machine=False)
        assert guess.dream_id == clear and not any("red owl" in one for one in guess.choices)


async def test_a_game_is_told_of_whose_picture_has_come_out_from_behind_its_cover(
    tmp_path: Path,
) -> None:
    async with playing(tmp_path) as there:
        await there.games.start_keeping()
        parts, changes = there.parts, list[str]()
        checks = PictureChecks(parts.library, parts.settings, Flags(), PictureCheck.BLUR)
        parts.dreams.check_pictures(checks)
        game = await there.draw("red", machine=True, seconds=3600)
        await until(lambda: parts.drawer.jobs)
        (dream_id,) = parts.drawer.jobs
        await parts.draw(dream_id)
        dream = await parts.dreams.wait(dream_id)
        assert dream.veil is not None and dream.behind is not None
        await there.games.end(game.id, Actor(ANN))
        reviews = Reviews(parts.store, parts.library, parts.dreams, checks)
        reviews.on_change(there.games.changed)
        there.games.on_change(changes.append)
        await reviews.decide(dream, Actor(ANN, at_machine=True), Decision.RELEASED)
        await until(lambda: changes == [game.id])
        (place,) = await there.games.standings(game.id)
        assert place.entry.image is not None
        assert place.entry.image.sha256 == dream.behind.sha256


# --- the machine -------------------------------------------------------------------------------


async def test_the_machine_draws_too_and_is_scored_alike(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        await there.games.start_keeping()
        game = await there.draw("red", machine=True, seconds=3600)
        await until(lambda: there.parts.drawer.jobs)
        (dream_id,) = there.parts.drawer.jobs
        dream = await there.parts.dreams.get(dream_id)
        assert dream.person == MACHINE and dream.prompt == "red"
        await there.games.enter_picture(game.id, Actor(BOB), drawn("blue"))
        picture = drawn("red", 60)
        job = await there.parts.begin(dream_id)
        await there.parts.dreams.on_message(
            Finished(job_id=dream_id, recipe=job.recipe, png=picture, gpu_s=1.0)
        )
        async with asyncio.timeout(10):
            while not any(  # noqa: ASYNC110
                one.entry.by_machine and one.entry.score is not None
                for one in await there.games.standings(game.id, MACHINE)
            ):
                await asyncio.sleep(0.01)
        await there.games.end(game.id, Actor(ANN))
        first, second = await there.games.standings(game.id)
        assert first.entry.by_machine and first.entry.dream_id == dream_id
        assert first.entry.image is not None and second.entry.person == BOB
        # Its dream is deleted like any other, and its entry goes with it.
        await there.parts.dreams.delete(dream_id, Actor(ANN, at_machine=True))
        (left,) = await there.games.standings(game.id)
        assert left.entry.person == BOB


async def test_the_machine_says_what_a_picture_shows_however_large_it_was_drawn(
    tmp_path: Path,
) -> None:
    async with playing(tmp_path) as there:
        dream_id = await there.picture("a red fox")
        there.parts.library.uploads = UploadLimits(max_bytes=64, max_pixels=64)
        game = await there.games.start_say(there.theme, Actor(ANN), dream_id)
        async with asyncio.timeout(10):
            while not (said := await there.games.standings(game.id, MACHINE)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert said[0].entry.text and said[0].entry.score is not None


async def test_the_machine_plays_on_the_side_of_a_party(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        await there.games.start_keeping()
        parts = there.parts
        party = await parts.parties.start("the sea", Actor(ANN), theme=there.theme)
        theme = await parts.parties.theme_of(party)
        game = await there.games.start_draw(theme, Actor(ANN), "red", machine=True, seconds=3600)
        await until(lambda: parts.drawer.jobs)
        (dream_id,) = parts.drawer.jobs
        dream = await parts.dreams.get(dream_id)
        assert dream.person == MACHINE and dream.theme_id == theme.id
        assert parts.drawer.jobs[dream_id].stream == theme.slug
        assert theme.weight == party.settings.weight
        assert await party_dreams.party_of(parts.store, dream_id) is None
        # It opens the stream to nobody: neither to strangers, nor to the machine outside of games.
        for stranger in (EVE, MACHINE):
            with pytest.raises(ForbiddenError):
                await parts.dreams.ask(request("a fox", theme=theme.slug, person=stranger))
        await parts.draw(dream_id)
        await parts.dreams.wait(dream_id)
        async with asyncio.timeout(10):
            while True:
                (first,) = await there.games.standings(game.id, MACHINE)
                if first.entry.score is not None:
                    break
                await asyncio.sleep(0.01)
        assert first.entry.by_machine and first.entry.dream_id == dream_id


# --- places, rights, deletions -----------------------------------------------------------------


def in_channel(person: Person, channel_id: int = 5, **more: Any) -> Asker:
    return Asker(person, guild_id=1, channel_id=channel_id, **more)


async def test_what_is_kept_to_a_channel_is_nowhere_else(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        host = in_channel(ANN, age_restricted=True)
        game = await there.games.start_draw(there.theme, host, "red", machine=False)
        assert not game.published and await there.games.running(there.theme.id) == []
        with pytest.raises(NotFoundError):
            await there.games.enter_picture(game.id, Actor(BOB), drawn("red"))
        with pytest.raises(NotFoundError):
            await there.games.enter_picture(game.id, in_channel(BOB, 6), drawn("red"))
        await there.games.enter_picture(game.id, in_channel(BOB), drawn("red"))
        with pytest.raises(InvalidRequestError, match="already"):
            await there.games.start_draw(there.theme, host, "blue", machine=False)
        await there.games.end(game.id, host)
        assert await there.games.recent(there.theme.id) == []
        await there.parts.themes.change("open", visibility=Visibility.PRIVATE)
        theme = await there.parts.themes.get("open")
        other = await there.games.start_draw(theme, in_channel(ANN), "red", machine=False)
        assert not there.games.may_show(other, theme)
        with pytest.raises(NotFoundError):
            await there.games.enter_picture(other.id, Actor(BOB), drawn("lime"))


class Flags:
    """Finds something in everything."""

    async def score(self, data: bytes, media_type: str = "image/png") -> float:
        return 0.9


@pytest.mark.parametrize("place", ["thread", "age-restricted", "channel"])
async def test_what_is_entered_is_checked_as_the_games_place_wants_it(
    tmp_path: Path, place: str
) -> None:
    async with playing(tmp_path) as there:
        settings = there.parts.settings
        there.games.check_pictures(
            PictureChecks(there.parts.library, settings, Flags(), PictureCheck.SPOILER)
        )
        await settings.change_channel(1, 9, BOB, picture_check=PictureCheck.OFF)
        more: dict[str, Any] = {}
        if place == "thread":
            more["parent_id"] = 9
        elif place == "age-restricted":
            more["age_restricted"] = True
        game = await there.games.start_draw(
            there.theme, in_channel(ANN, **more), "red", machine=False
        )
        if place == "channel":
            with pytest.raises(InvalidRequestError, match="for adults"):
                await there.games.enter_picture(game.id, in_channel(BOB), drawn("red"))
            assert await there.games.tries_left(game, BOB) == 5
            assert not [*(tmp_path / "library" / "images").rglob("*.png")]
        else:
            await there.games.enter_picture(game.id, in_channel(BOB, **more), drawn("red"))


async def test_who_does_not_publish_is_nobody_outside(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        await there.parts.moderation.set_publishes(BOB, False)
        game = await there.draw()
        await there.games.enter_picture(game.id, Actor(BOB), drawn("red"))
        await there.games.end(game.id, Actor(ANN))
        (inside,) = await there.games.standings(game.id)
        assert inside.entry.person == BOB and inside.entry.image is not None
        (outside,) = await there.games.standings(game.id, outside=True)
        assert outside.entry.person == SOMEBODY and outside.entry.image is None
        assert outside.place == 1


async def test_who_is_blocked_plays_no_game_and_blocked_words_are_not_said(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        moderator = in_channel(ANN, moderates=True)
        game = await there.games.start_say(
            there.theme, moderator, await there.picture("a fox"), machine=False
        )
        with pytest.raises(InvalidRequestError, match="for adults"):
            await there.games.enter_text(game.id, in_channel(BOB), "a nude")
        await there.parts.moderation.block(1, BOB, moderator)
        with pytest.raises(ForbiddenError):
            await there.games.enter_text(game.id, in_channel(BOB), "a weasel")
        with pytest.raises(ForbiddenError):
            await there.games.start_draw(there.theme, in_channel(BOB, 9), "red")


async def test_a_partys_game_has_the_rules_of_its_server_wherever_it_is_begun(
    tmp_path: Path,
) -> None:
    async with playing(tmp_path) as there:
        parts, host, guest = there.parts, in_channel(ANN, parent_id=9), Actor(EVE)
        party = await parts.parties.start(
            "the sea", host, theme=there.theme, guild_id=1, channel_id=5
        )
        await parts.parties.join(party, guest, code=party.code)
        theme = await parts.parties.theme_of(party)
        # What is set for the channel above the party's thread holds in it.
        await parts.settings.change_channel(
            1, 9, ANN, blocked_words=("badger",), picture_check=PictureCheck.REFUSE
        )
        with pytest.raises(InvalidRequestError) as refused:
            await there.games.start_draw(theme, guest, "a badger")
        assert str(refused.value) == str(BLOCKED_WORD)
        game = await there.games.start_draw(theme, guest, "red")
        assert (game.guild_id, game.channel_id, game.parent_id) == (1, 5, 9)
        await until(lambda: parts.drawer.jobs)  # the machine's
        [dream] = await parts.dreams.unfinished(None)
        assert (dream.guild_id, dream.checked_as) == (1, PictureCheck.REFUSE)
        # The thread has no card of it, and room for a game of its own.
        assert (
            await there.games.open_in(5) is None and await game_cards.unsettled(parts.store) == []
        )
        own = await there.games.start_draw(theme, host, "blue", machine=False)
        assert await there.games.open_in(5) == own
        assert await game_cards.unsettled(parts.store) == [own.id]
        await parts.moderation.block(1, EVE, in_channel(BOB, moderates=True))
        with pytest.raises(ForbiddenError, match="in this server"):
            await there.games.start_draw(theme, guest, "lime")
        await parts.moderation.unblock(1, EVE, in_channel(BOB, moderates=True))
        await parts.settings.change_channel(1, 9, ANN, published=False)
        with pytest.raises(ForbiddenError, match="Begin one there"):
            await there.games.start_draw(theme, guest, "lime")


async def test_who_wants_nothing_on_the_wall_begins_no_game_there(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        await there.parts.moderation.set_publishes(ANN, False)
        with pytest.raises(ForbiddenError, match="/privacy wall"):
            await there.draw()
        assert not (await there.games.start_draw(there.theme, in_channel(ANN), "red")).published


async def test_an_entry_is_taken_away_by_its_author_and_by_moderators_alone(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        host = in_channel(ANN)
        game = await there.games.start_draw(there.theme, host, "red", machine=False)
        tried = await there.games.enter_picture(game.id, in_channel(BOB), drawn("red"))
        picture = tried.entry.image
        assert picture is not None and there.parts.library.path(picture.sha256).exists()
        for other in (in_channel(EVE), host, Asker(EVE, guild_id=2, moderates=True)):
            with pytest.raises(ForbiddenError):
                await there.games.withdraw(tried.entry.id, other)
        await there.games.withdraw(tried.entry.id, in_channel(EVE, moderates=True))
        assert not there.parts.library.path(picture.sha256).exists()
        assert await there.games.standings(game.id, BOB) == ()
        (entry,) = await there.parts.moderation.log(1)
        assert entry.person == BOB and entry.by == EVE
        with pytest.raises(NotFoundError):
            await there.games.withdraw(tried.entry.id, in_channel(BOB))


async def test_a_deleted_dream_is_gone_from_every_game(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever is in the stream may stand beside the answer.
    monkeypatch.setattr(choices, "TOO_NEAR", 2.0)
    monkeypatch.setattr(choices, "FAR", -2.0)
    async with playing(tmp_path) as there:
        await there.games.start_keeping()
        dream_id = await there.picture("a red fox", ANN)
        decoy_id = await there.picture("a red door", BOB)
        guess = await there.games.start_guess(
            there.theme, Actor(EVE), dream_id, choices=2, machine=False
        )
        assert "a red door" in guess.choices
        changes: list[str] = []
        there.games.on_change(changes.append)
        await there.parts.dreams.delete(decoy_id, Actor(BOB))
        await until(lambda: guess.id in changes)
        now = await there.games.get(guess.id)
        assert "a red door" not in now.choices and len(now.choices) == 2 and now.open
        with pytest.raises(InvalidRequestError):
            await there.games.choose(guess.id, Actor(BOB), now.choices.index(""))
        await there.parts.dreams.delete(dream_id, Actor(ANN))
        now = await there.games.get(guess.id)
        assert now.state is GameState.CALLED_OFF and now.prompt == "" and now.image is None
        with pytest.raises(GoneError):
            await there.games.start_say(there.theme, Actor(EVE), dream_id)


async def test_a_game_that_is_called_off_leaves_nothing(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        game = await there.draw()
        await there.games.enter_picture(game.id, Actor(BOB), drawn("red"))
        for who in (BOB, EVE):
            with pytest.raises(ForbiddenError):
                await there.games.call_off(game.id, Actor(who))
            with pytest.raises(ForbiddenError):
                await there.games.end(game.id, Actor(who))
        gone = await there.games.call_off(game.id, Actor(ANN))
        assert gone.state is GameState.CALLED_OFF and gone.prompt == ""
        assert not list((tmp_path / "library").rglob("*.png"))
        assert await there.games.standings(game.id, BOB) == ()
        with pytest.raises(InvalidRequestError):
            await there.games.call_off(game.id, Actor(ANN))


async def test_entries_are_liked_once_the_game_is_over(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        game = await there.draw()
        tried = await there.games.enter_picture(game.id, Actor(BOB), drawn("red"))
        with pytest.raises(InvalidRequestError):
            await there.games.heart(tried.entry.id, Actor(EVE))
        await there.games.end(game.id, Actor(ANN))
        assert await there.games.heart(tried.entry.id, Actor(EVE)) == (True, 1)
        assert await there.games.heart(tried.entry.id, Actor(ANN)) == (True, 2)
        assert await there.games.heart(tried.entry.id, Actor(EVE)) == (False, 1)


@pytest.mark.parametrize(
    ("prompt", "seconds"),
    [("", 60), ("x" * 301, 60), ("a fox:2", 60), ("{a|b}", 60), ("red", 29), ("red", 86401)],
)
async def test_what_cannot_be_played_is_refused_with_a_sentence(
    tmp_path: Path, prompt: str, seconds: int
) -> None:
    async with playing(tmp_path) as there:
        with pytest.raises(RequestError) as refused:
            await there.draw(prompt, seconds=seconds)
        assert str(refused.value).endswith(".")


async def test_nobody_opens_many_games_nor_one_that_nothing_could_score(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        for _ in range(3):
            await there.draw()
        with pytest.raises(LimitError):
            await there.draw()
        there.parts.drawer.perceptors = ()
        with pytest.raises(Exception, match="no CLIP model"):
            await there.games.start_draw(there.theme, Actor(BOB), "red")


def test_a_text_that_repeats_the_prompt_is_told_from_one_that_does_not() -> None:
    assert rules.repeats("A RED fox, in the snow.", "a red fox in snow")
    assert not rules.repeats("an animal in winter", "a red fox in snow")
    assert not rules.repeats("a fox", "fox in a green garden at night")
    assert rules.TRIES[GameKind.GUESS] == 1
    assert msgspec.json.encode(GameKind.DRAW) == b'"draw"'


async def test_what_changes_a_result_reopens_its_card_in_the_same_transaction(
    tmp_path: Path,
) -> None:
    async with playing(tmp_path) as there:
        store = there.parts.store

        async def shown(game: Game) -> int:
            """Have the game's card be done with; return its revision."""
            async with store.write() as connection:
                await game_cards.order(connection, game.id, 1)
                card = await game_cards.of_game(connection, game.id)
                assert card is not None
                await game_cards.MESSAGES.sent(connection, card.id, 99)
                assert await game_cards.close(connection, card.id, card.revision)
                return card.revision

        async def is_open(game: Game) -> bool:
            card = await game_cards.of_game(store, game.id)
            assert card is not None
            return card.open

        game = await there.games.start_draw(there.theme, in_channel(ANN), "red", machine=False)
        tried = await there.games.enter_picture(game.id, in_channel(BOB), drawn("red"))
        await there.games.end(game.id, in_channel(ANN))
        seen = await shown(game)
        await there.games.withdraw(tried.entry.id, in_channel(BOB))
        assert await is_open(game)
        async with store.write() as connection:  # what was read before cannot close it
            card = await game_cards.of_game(connection, game.id)
            assert card is not None and not await game_cards.close(connection, card.id, seen)
        await shown(game)
        await there.games.call_off(game.id, in_channel(ANN))
        assert await is_open(game)
        dream_id = await there.picture("a red fox", ANN)
        say = await there.games.start_say(there.theme, in_channel(EVE), dream_id, machine=False)
        await there.games.end(say.id, in_channel(EVE))
        await shown(say)
        await there.parts.dreams.delete(dream_id, Actor(ANN))
        assert await is_open(say)


async def test_what_was_said_of_a_picture_goes_with_it(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        dream_id = await there.picture("a fox", ANN)
        game = await there.games.start_say(there.theme, Actor(EVE), dream_id, machine=False)
        tried = await there.games.enter_text(game.id, Actor(BOB), "something red")
        await there.parts.dreams.delete(dream_id, Actor(ANN))
        with pytest.raises(NotFoundError):
            await there.games.entry(tried.entry.id)
        rows = await there.parts.store.read("SELECT text FROM game_entry")
        assert [row["text"] for row in rows] == [""]


# --- whose themes, whose limits ----------------------------------------------------------------


@pytest.mark.parametrize("how", ["draw", "say", "guess"])
async def test_a_game_is_begun_only_by_who_may_ask_in_the_theme(tmp_path: Path, how: str) -> None:
    async with playing(tmp_path) as there:
        member = Person("discord:7", "Mia")
        await there.parts.themes.create("ours", "Ours", person=ANN, asked_by=AskedBy.HOSTS)
        theme = await there.parts.themes.get("ours")
        before = there.eyes.asked

        async def begin(actor: Actor) -> Game:
            if how == "draw":
                return await there.games.start_draw(theme, actor, "red")
            if how == "say":
                return await there.games.start_say(theme, actor)
            return await there.games.start_guess(theme, actor)

        for refused in (Actor(BOB), Asker(member, guild_id=1, channel_id=5)):
            with pytest.raises(ForbiddenError, match="only those who made it"):
                await begin(refused)
        theme = await there.parts.themes.change("ours", asked_by=AskedBy.MEMBERS)
        with pytest.raises(ForbiddenError, match="only people on Discord"):
            await begin(Actor(EVE))
        theme = await there.parts.themes.retire("ours")
        with pytest.raises(ForbiddenError, match="no longer in use"):
            await begin(Asker(member, guild_id=1, channel_id=5, moderates=True))
        assert there.eyes.asked == before and not there.parts.drawer.jobs
        rows = await there.parts.store.read("SELECT id FROM game")
        assert list(rows) == []


async def test_who_made_a_theme_or_moderates_begins_games_in_it(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        await there.parts.themes.create(
            "ours", "Ours", person=ANN, guild_id=1, asked_by=AskedBy.HOSTS
        )
        theme = await there.parts.themes.get("ours")
        await there.games.start_draw(theme, Actor(ANN), "red", machine=False)
        elsewhere = Asker(BOB, guild_id=2, channel_id=9, moderates=True)
        with pytest.raises(ForbiddenError, match="moderate the server it was made in"):
            await there.games.start_draw(theme, elsewhere, "red", machine=False)
        moderator = in_channel(BOB, moderates=True)
        await there.games.start_draw(theme, moderator, "red", machine=False)


async def drawing(there: Playing, jobs: int) -> None:
    await until(lambda: len(there.parts.drawer.jobs) == jobs)


async def test_what_the_machine_draws_counts_for_who_opened_the_game(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        await there.parts.settings.change_guild(1, ANN, per_person=1)
        await there.games.start_keeping()
        first = await there.games.start_draw(there.theme, in_channel(ANN, 5), "red")
        await drawing(there, 1)
        await there.games.start_draw(there.theme, in_channel(ANN, 6), "blue")
        await there.games.start_draw(there.theme, in_channel(BOB, 7), "lime")
        await drawing(there, 2)
        asked = {
            (await there.parts.dreams.get(dream_id)).prompt for dream_id in there.parts.drawer.jobs
        }
        assert asked == {"red", "lime"}, "Ann has one already"
        assert (await there.games.get(first.id)).open


async def test_a_game_that_is_called_off_takes_the_machines_dream_along(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        await there.games.start_keeping()
        called, kept = await there.draw("red", machine=True), await there.draw("blue", machine=True)
        await drawing(there, 2)
        await there.games.call_off(called.id, Actor(ANN))
        entry = await there.games.entry_of(kept.id, MACHINE.id)
        assert entry is not None and entry.dream_id is not None
        await there.games.withdraw(entry.id, Actor(BOB, at_machine=True))
        words = await there.parts.store.read("SELECT prompt, deleted_ms FROM dream")
        assert [(row["prompt"], row["deleted_ms"] is None) for row in words] == [("", False)] * 2
        # It has played, and does not come again whatever is restarted.
        await there.games._play(await there.games.get(kept.id))
        assert await there.games.entry_of(kept.id, MACHINE.id) is None
        rows = await there.parts.store.read("SELECT id FROM dream")
        assert len(list(rows)) == 2


async def test_the_machines_dream_goes_at_the_next_start_where_a_crash_left_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with playing(tmp_path) as there:
        await there.games.start_keeping()
        game = await there.draw("red", machine=True)
        await drawing(there, 1)
        with monkeypatch.context() as crashed:

            async def dies() -> None:
                raise RuntimeError

            crashed.setattr(there.games, "_delete_left", dies)
            with pytest.raises(RuntimeError):
                await there.games.call_off(game.id, Actor(ANN))
    async with playing(tmp_path) as again:
        await again.games.start_keeping()
        async with asyncio.timeout(10):
            while await again.parts.store.read(  # noqa: ASYNC110
                "SELECT 1 FROM dream WHERE prompt <> ''"
            ):
                await asyncio.sleep(0.01)


async def test_a_guess_is_taken_where_nothing_can_look(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        game = await there.games.start_guess(
            there.theme, Actor(EVE), await there.picture("a red fox", ANN), machine=False
        )
        there.parts.drawer.perceptors = ()
        await there.games.choose(game.id, Actor(BOB), game.choices.index("a red fox"))
        await there.games.end(game.id, Actor(EVE))
        (only,) = await there.games.standings(game.id)
        assert only.entry.person == BOB and only.entry.score == 100
