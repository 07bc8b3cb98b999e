"""Games at the wall: what is told to whom while one goes on, who may play, and what follows it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import ANY, patch

import pytest
from aiohttp import ClientSession, CookieJar, FormData
from yarl import URL

from bot.channels import Channels
from bot.discord_oauth import DiscordOAuth
from bot.errors import ForbiddenError
from bot.games.model import GameKind, GameState
from bot.gate import BLOCKED_WORD, Asker
from bot.membership import Memberships, Place
from bot.model import Act, Person, PictureCheck, Visibility
from bot.rights import Actor
from bot.sessions import Sessions
from bot.store import game_entries, people
from bot.store.portraits import Reach
from bot.wall import Wall, WallSettings
from bot.wall.games import acts
from bot.wall.games.stream import GameStreams
from bot.wall.guests import TOKEN_COOKIE, Guest
from bot.wall.server_rules import ServerRules
from bot.wall.sign_in import SigningIn, session_cookie
from tests.bot.drawer import ANN, BOB, request, until
from tests.bot.test_games import EVE, Playing, drawn, playing
from tests.bot.test_unattended import counted
from tests.wall.test_events import Reader, watching

IDA = Person("discord:5", "Ida")
HTMX = {"HX-Request": "true"}


@asynccontextmanager
async def wall_on(
    there: Playing, *, here: bool = False, signing_in: SigningIn | None = None, **settings: Any
) -> AsyncIterator[URL]:
    """Serve a wall, to visitors who sit at the machine itself where they are `here`."""
    parts = there.parts
    wall = Wall(
        WallSettings(port=0, **settings),
        themes=parts.themes,
        dreams=parts.dreams,
        feed=parts.feed,
        library=parts.library,
        drawer=parts.drawer,
        offspring=parts.offspring,
        search=parts.search,
        seeing=parts.seeing,
        parties=parts.parties,
        portraits=parts.portraits,
        games=parts.games,
        signing_in=signing_in,
    )
    try:
        with patch("bot.wall.here.is_here", lambda *_: here):
            yield await wall.start()
    finally:
        await wall.stop()


@asynccontextmanager
async def guests(url: URL, count: int) -> AsyncIterator[list[ClientSession]]:
    """Give browsers that have been here before, so that they keep a cookie."""
    found = [
        ClientSession(
            base_url=url, headers={"Accept": "text/html"}, cookie_jar=CookieJar(unsafe=True)
        )
        for _ in range(count)
    ]
    try:
        for one in found:
            await page(one, "/s/open/games")
        yield found
    finally:
        for one in found:
            await one.close()


async def page(visitor: ClientSession, path: str, status: int = 200) -> str:
    async with visitor.get(path) as response:
        text = await response.text()
        assert response.status == status, text
        return text


async def sent(
    visitor: ClientSession, path: str, status: int = 200, *, htmx: bool = False, **form: str
) -> tuple[str, str]:
    """Post a form; return the path of the page that it leads to, and what that says."""
    headers = HTMX if htmx else {}
    async with visitor.post(path, data=form, headers=headers) as response:
        text = await response.text()
        assert response.status == status, text
        return response.headers.get("HX-Redirect", response.url.path), text


async def enters(
    visitor: ClientSession, path: str, picture: bytes, name: str, status: int = 200
) -> str:
    form = FormData({"name": name})
    form.add_field("picture", picture, filename="a.png", content_type="image/png")
    async with visitor.post(f"{path}/picture", data=form, headers=HTMX) as response:
        text = await response.text()
        assert response.status == status, text
        return text


def entry_pictures(text: str) -> list[str]:
    return re.findall(r"/g/\w+/entries/\w+\.webp", text)


async def test_who_draws_best_wins_and_nobody_is_copied(tmp_path: Path) -> None:
    async with playing(tmp_path) as there, wall_on(there) as url, guests(url, 3) as people:
        ada, bea, eve = people
        assert "/s/open/games" in await page(ada, "/s/open")
        path, text = await sent(ada, "/s/open/games", kind="draw", prompt="red", name="Ada")
        assert "“red”" in text and 'data-paint="sketch"' in text and "How they stand" in text
        assert path in await page(eve, "/s/open/games")
        told = await enters(bea, path, drawn("lime"), "Bea")
        assert "points" in told and "4 more times" in told
        told = await enters(eve, path, drawn("red"), "Eve")
        first = re.search(r"<strong>(\d+)</strong> points", told)
        assert first is not None and int(first[1]) > 50
        # Only the order is told to all; one's own picture and points to oneself.
        text = await page(ada, path)
        assert text.index("Eve") < text.index("Bea")
        assert entry_pictures(text) == [] and "points, place" not in text
        [own] = entry_pictures(await page(eve, path))
        assert "points, place 1" in await page(eve, path)
        await page(ada, own, 404)
        async with eve.get(own) as response:
            assert response.status == 200 and response.content_type == "image/webp"
            assert response.headers["Cache-Control"] == "private, no-cache"
            tag = response.headers["ETag"]
        async with eve.get(own, headers={"If-None-Match": tag}) as response:
            assert response.status == 304
        # Who began it ends it, and nobody else.
        await sent(eve, f"{path}/end", 403)
        assert "End the game now" in await page(ada, path)
        await sent(ada, f"{path}/end")
        text = await page(ada, path)
        assert "The result" in text and len(entry_pictures(text)) == 2
        async with ada.get(own) as response:
            assert response.status == 200
        assert "won by Eve" in await page(ada, "/s/open/games")
        await sent(ada, f"{own.removesuffix('.webp')}/heart")
        assert "; 1 like it" in await page(eve, path)
        other, _ = await sent(eve, "/s/open/games", kind="draw", prompt="blue")
        await sent(ada, f"{other}{own.removeprefix(path).removesuffix('.webp')}/heart", 404)
        assert 'data-paint="sketch"' not in text
        await enters(bea, path, drawn("red", 30), "Bea", 422)


async def test_a_picture_is_put_into_words(tmp_path: Path) -> None:
    async with playing(tmp_path) as there, wall_on(there) as url, guests(url, 2) as people:
        ada, eve = people
        dream_id = await there.picture("a red fox in the snow")
        text = await page(ada, f"/d/{dream_id}")
        assert "Play: say it" in text and "Play: guess it" in text
        path, _ = await sent(ada, f"/d/{dream_id}/play", htmx=True, kind="say")
        text = await page(eve, path)
        # Neither the words nor the way to them are on the page.
        assert "fox" not in text and dream_id not in text
        async with eve.get(f"{path}/picture.webp") as response:
            assert response.status == 200 and response.content_type == "image/webp"
        _, told = await sent(eve, f"{path}/words", htmx=True, words="something red", name="Eve")
        assert "points" in told and "something red" in told
        _, told = await sent(eve, f"{path}/words", 422, words="a red fox in the snow", name="Eve")
        assert "words of your own" in told.replace("\n", " ") and "<html" in told
        assert "something red" not in await page(ada, path)
        await sent(ada, f"{path}/end")
        text = await page(ada, path)
        assert "a red fox in the snow" in text and f"/d/{dream_id}" in text
        assert "something red" in text
        path, _ = await sent(ada, "/s/open/games", kind="say")
        assert "/g/" in path, "by chance, too"


async def test_a_guess_is_told_to_be_right_only_when_it_is_over(tmp_path: Path) -> None:
    async with playing(tmp_path) as there, wall_on(there) as url, guests(url, 3) as people:
        ada, bea, eve = people
        for prompt in ("a blue whale", "a lime tree", "a green hill", "two stones"):
            await there.picture(prompt, person=BOB)
        dream_id = await there.picture("a red fox", person=BOB)
        path, _ = await sent(ada, f"/d/{dream_id}/play", htmx=True, kind="guess")
        game = await there.games.get(path.removeprefix("/g/"))
        text = await page(eve, path)
        assert text.count('name="choice"') == 4 and "a red fox" in text and dream_id not in text
        right = game.choices.index("a red fox")
        _, told = await sent(eve, f"{path}/choice", htmx=True, choice=str(right), name="Eve")
        assert "told when the game is over" in told and "points" not in told
        await sent(bea, f"{path}/choice", htmx=True, choice=str((right + 1) % 4), name="Bea")
        _, told = await sent(eve, f"{path}/choice", 429, htmx=True, choice="0", name="Eve")
        assert "chosen already" in told
        for wrong in ("", "x", "99", "²", "-1"):
            await sent(ada, f"{path}/choice", 422, htmx=True, choice=wrong)
        # Who chose the picture knows its words.
        await sent(ada, f"{path}/choice", 403, htmx=True, choice=str(right))
        text = await page(ada, path)
        assert re.search("[23] have chosen", text), "two guests, and the machine"
        assert "Eve" not in text and "Bea" not in text
        await sent(ada, f"{path}/end")
        text = await page(ada, path)
        assert text.count('class="won"') == text.count("was right"), "who is wrong has not won"
        assert "was right" in text and "chose “" in text and text.index("Eve") < text.index("Bea")


async def test_what_is_kept_to_a_channel_or_is_private_is_not_there(tmp_path: Path) -> None:
    async with playing(tmp_path) as there, wall_on(there) as url, guests(url, 1) as [ada]:
        shown = await there.draw("red")
        quiet = Asker(ANN, guild_id=7, channel_id=70, age_restricted=True)
        kept = await there.games.start_draw(there.theme, quiet, "blue", machine=False)
        off = await there.draw("lime")
        await there.games.call_off(off.id, Actor(ANN))
        text = await page(ada, "/s/open/games")
        assert shown.id in text and kept.id not in text and off.id not in text
        await page(ada, f"/g/{shown.id}")
        await there.parts.themes.change("open", visibility=Visibility.PRIVATE)
        for game_id in (shown.id, kept.id, off.id, "0" * 16, "nonsense"):
            for rest in ("", "/picture.webp", "/events", "/entries/x.webp"):
                await page(ada, f"/g/{game_id}{rest}", 404)
            await sent(ada, f"/g/{game_id}/words", 404, words="red")
        await page(ada, "/s/open/games", 404)


async def test_who_does_not_publish_is_not_named(tmp_path: Path) -> None:
    async with playing(tmp_path) as there, wall_on(there) as url, guests(url, 1) as [ada]:
        await there.parts.moderation.set_publishes(BOB, False)
        game = await there.draw("red")
        await there.games.enter_picture(game.id, Actor(BOB), drawn("red"))
        await there.games.end(game.id, Actor(ANN))
        text = await page(ada, f"/g/{game.id}")
        assert "somebody" in text and "Bob" not in text and entry_pictures(text) == []


async def test_where_visitors_only_watch_they_watch(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        async with wall_on(there) as url, guests(url, 1) as [ada]:
            path, _ = await sent(ada, "/s/open/games", kind="draw", prompt="red", name="Ada")
            await enters(ada, path, drawn("red"), "Ada")
            cookies = list(ada.cookie_jar)
        async with wall_on(there, mode="proxy") as url, guests(url, 2) as [ada, eve]:
            text = await page(eve, path)
            assert "for watching" in text and "<canvas" not in text and 'name="picture"' not in text
            await enters(eve, path, drawn("blue"), "Eve", 403)
            await sent(eve, "/s/open/games", 403, kind="draw", prompt="blue")
            assert "Begin one" not in await page(eve, "/s/open/games")
            ada.cookie_jar.update_cookies((one.key, one) for one in cookies)
            [own] = entry_pictures(await page(ada, path))
            entry = own.removesuffix(".webp")
            await sent(eve, f"{entry}/withdraw", 403)
            await sent(ada, f"{entry}/withdraw")
            assert entry_pictures(await page(ada, path)) == []
            await page(ada, own, 404)


@asynccontextmanager
async def member_at(
    there: Playing, person: Person, discord: Writers | None = None
) -> AsyncIterator[ClientSession]:
    """Give the browser in which somebody is signed in who may write where the stream hangs."""
    parts = there.parts
    await Channels(parts.store, parts.themes).bind(70, 7, "open")
    rules = ServerRules(parts.gate, parts.themes, guests_ask=True)
    parts.dreams.place(rules.place)
    oauth = DiscordOAuth("secret", "http://localhost/sign-in/discord", lambda: "1")
    sessions = Sessions(parts.store)
    signing_in = SigningIn(oauth, sessions, Memberships(parts.store, discord or Writers()), rules)
    token = await sessions.begin(person)
    async with wall_on(there, signing_in=signing_in) as url, guests(url, 1) as [browser]:
        browser.cookie_jar.update_cookies({session_cookie(WallSettings(port=0)): token}, url)
        yield browser
    await oauth.close()


class Writers:
    """What Discord says of everybody: they may write in the channel, with the role of writers.

    They `moderate` in one server at most.
    """

    def __init__(self) -> None:
        self.moderate: int | None = None

    async def places(self, guild_id: int, user_id: int, channel_ids: Sequence[int]) -> list[Place]:
        return [
            Place(
                guild_id=guild_id,
                channel_id=one,
                role_ids=frozenset({3}),
                asks=True,
                moderates=guild_id == self.moderate,
            )
            for one in channel_ids
        ]


async def test_a_member_begins_games_by_the_rules_of_their_server(tmp_path: Path) -> None:
    async with playing(tmp_path) as there, member_at(there, IDA) as ida:
        parts, moderator = there.parts, Actor(ANN, guild_id=7, moderates=True)
        await parts.settings.change_guild(
            7, ANN, blocked_words=("badger",), picture_check=PictureCheck.BLUR
        )
        _, text = await sent(ida, "/s/open/games", 422, kind="draw", prompt="a badger")
        assert str(BLOCKED_WORD) in text.replace("\n", " ") and 'value="a badger"' in text
        await parts.settings.change_guild(7, ANN, allowed_role_ids=(3,))
        path, _ = await sent(ida, "/s/open/games", kind="draw", prompt="red")
        game = await there.games.get(path.removeprefix("/g/"))
        assert (game.guild_id, game.channel_id, game.host) == (7, 70, IDA)
        await enters(ida, path, drawn("red"), "Ida")  # with the role that the channel asks for
        await parts.settings.change_guild(7, ANN, allowed_role_ids=(4,))
        assert "certain roles" in await enters(ida, path, drawn("red"), "Ida", 403)
        await parts.settings.change_guild(7, ANN, allowed_role_ids=(3,))
        # The channel has no card of it, and room for one of its own.
        assert not game.carded and await there.games.open_in(70) is None
        await until(lambda: parts.drawer.jobs)  # the machine's
        [dream] = await parts.dreams.unfinished(None)
        assert (dream.guild_id, dream.checked_as) == (7, PictureCheck.BLUR)
        await parts.moderation.block(7, IDA, moderator)
        _, text = await sent(ida, "/s/open/games", 403, kind="draw", prompt="blue")
        assert "may not ask for dreams in this server" in text
        await enters(ida, path, drawn("red"), "Ida", 403)
        await parts.moderation.unblock(7, IDA, moderator)
        await parts.settings.change_guild(7, ANN, published=False)
        _, text = await sent(ida, "/s/open/games", 403, kind="draw", prompt="blue")
        assert "not shown at the wall" in text
        assert len(await there.games.running(there.theme.id)) == 1
        await there.games.end(game.id, Actor(IDA))
        [placed] = [
            one for one in await there.games.standings(game.id, IDA) if one.entry.person == IDA
        ]
        await sent(ida, f"{path}/entries/{placed.entry.id}/heart", 204, htmx=True)
        [placed] = [
            one for one in await there.games.standings(game.id, IDA) if one.entry.person == IDA
        ]
        assert placed.entry.hearts == 1


async def test_who_knows_the_words_as_a_guest_guesses_them_no_more_signed_in(
    tmp_path: Path,
) -> None:
    async with playing(tmp_path) as there, member_at(there, IDA) as ida:
        url = (await ida.get("/s/open/games")).url.origin()
        session = {
            session_cookie(WallSettings(port=0)): await Sessions(there.parts.store).begin(IDA)
        }
        async with guests(url, 2) as [asked, began]:
            for browser, prompt in ((asked, "a red fox"), (began, "a lime tree")):
                await sent(browser, "/s/open/dreams", prompt=prompt)
            dreams = {one.prompt: one for one in await there.parts.dreams.unfinished(None)}
            for dream in dreams.values():
                await there.parts.draw(dream.id)
                await there.parts.dreams.wait(dream.id)
            paths = []
            for browser, prompt in ((began, "a red fox"), (asked, "a lime tree")):
                path, _ = await sent(browser, f"/d/{dreams[prompt].id}/play", kind="guess")
                paths.append(path)
            for browser in (asked, began):
                browser.cookie_jar.update_cookies(session, url)
            for path in paths:  # each asked for the one's picture, and chose that of the other
                for browser in (asked, began):
                    _, text = await sent(browser, f"{path}/choice", 403, htmx=True, choice="0")
                    assert "You know what this picture was drawn from" in text
                # The account itself asked for nothing, and chose nothing.
                await sent(ida, f"{path}/choice", htmx=True, choice="0")


async def test_who_entered_as_a_guest_goes_on_as_that_guest_signed_in(tmp_path: Path) -> None:
    async with playing(tmp_path) as there, member_at(there, IDA) as ida:
        path, _ = await sent(ida, "/s/open/games", kind="draw", prompt="red")
        url = (await ida.get(path)).url.origin()
        session = {
            session_cookie(WallSettings(port=0)): await Sessions(there.parts.store).begin(IDA)
        }
        game = await there.games.get(path.removeprefix("/g/"))
        async with guests(url, 1) as [browser]:
            await enters(browser, path, drawn("blue"), "Lin")
            browser.cookie_jar.update_cookies(session, url)
            await enters(browser, path, drawn("red"), "")
            people = [one.entry.person for one in await there.games.standings(game.id)]
            [lin] = [one for one in people if one.id.startswith("guest:")]
            entry = await there.games.entry_of(game.id, lin.id)
            assert entry is not None and lin.name == "Lin" and IDA not in people
            left = await there.games.tries_left(game, entry.person)
            assert left == await there.games.tries_left(game, IDA) - 2
            assert f"You may try {left} more times" in await page(browser, path)
            # The account is somebody of its own in a browser that has entered nothing.
            await enters(ida, path, drawn("green"), "")
            await there.games.end(game.id, Actor(IDA))
            standings = await there.games.standings(game.id)
            assert {lin, IDA} <= {one.entry.person for one in standings}
            # One heart, whichever of the two gives it and takes it back.
            await there.games.heart(entry.id, Actor(IDA))
            await sent(browser, f"{path}/entries/{entry.id}/heart", 204, htmx=True)
            assert (await there.games.entry(entry.id)).hearts == 0


async def test_who_signs_in_has_no_second_guess_for_having_taken_back_the_first(
    tmp_path: Path,
) -> None:
    async with playing(tmp_path) as there, member_at(there, IDA) as ida:
        for prompt in ("a blue whale", "a lime tree", "a green hill", "two stones"):
            await there.picture(prompt, person=BOB)
        dream_id = await there.picture("a red fox", person=BOB)
        game = await there.games.start_guess(there.theme, Actor(BOB), dream_id)
        path, wrong = f"/g/{game.id}", int(game.choices.index("a red fox") == 0)
        url = (await ida.get(path)).url.origin()
        session = {
            session_cookie(WallSettings(port=0)): await Sessions(there.parts.store).begin(IDA)
        }
        async with guests(url, 1) as [browser]:
            await sent(browser, f"{path}/choice", htmx=True, choice=str(wrong), name="Lin")
            lin = Guest(browser.cookie_jar.filter_cookies(url)[TOKEN_COOKIE].value).person
            guess = await there.games.entry_of(game.id, lin.id)
            assert guess is not None
            await sent(browser, f"{path}/entries/{guess.id}/withdraw")
            browser.cookie_jar.update_cookies(session, url)
            _, text = await sent(browser, f"{path}/choice", 429, htmx=True, choice=str(1 - wrong))
            assert "chosen already" in text
            assert await there.games.entry_of(game.id, IDA.id) is None
        # Nor has whose try is still being scored; one of which nothing came is none.
        for by, played in ((1, ANN), (-1, None)):
            async with there.parts.store.write() as connection:
                await people.upsert(connection, ANN, 0)
                await game_entries.count_try(connection, game.id, ANN.id, by)
            assert await there.games.played_as(game.id, [IDA, ANN]) == played


async def test_guests_play_what_a_member_began_whatever_roles_its_server_asks_for(
    tmp_path: Path,
) -> None:
    async with playing(tmp_path) as there, member_at(there, IDA) as teacher:
        parts = there.parts
        await parts.settings.change_guild(7, ANN, allowed_role_ids=(3,), blocked_words=("badger",))
        dream_id = await there.picture("a red barn")
        path, _ = await sent(teacher, f"/d/{dream_id}/play", kind="say")
        game_id = path.removeprefix("/g/")
        url = (await teacher.get(path)).url.origin()
        async with guests(url, 1) as [pupil]:
            assert f"{path}/words" in await page(pupil, path)
            # Roles are of members; words bind everybody.
            _, text = await sent(pupil, f"{path}/words", 422, htmx=True, words="badger", name="P")
            assert str(BLOCKED_WORD) in text
            await parts.settings.change_guild(7, ANN, dreaming=False)
            await sent(pupil, f"{path}/words", htmx=True, words="something red", name="Pupil")
            await there.games.end(game_id, Actor(IDA))
            standings = await there.games.standings(game_id)
            [entry] = [one.entry for one in standings if one.entry.person.name == "Pupil"]
            await sent(pupil, f"{path}/entries/{entry.id}/heart", 204, htmx=True)
        # Blocks bind everybody, also members of whom it cannot be told what they may there.
        await parts.moderation.block(7, EVE, Actor(ANN, guild_id=7, moderates=True))
        with pytest.raises(ForbiddenError, match="may not ask for dreams in this server"):
            await there.games.heart(entry.id, Actor(EVE))


async def test_strangers_floods_and_other_pages_are_turned_away(tmp_path: Path) -> None:
    async with playing(tmp_path) as there, wall_on(there) as url, guests(url, 1) as [ada]:
        game = await there.draw("red")
        path = f"/g/{game.id}"
        async with ClientSession(base_url=url, headers={"Accept": "text/html"}) as stranger:
            text = await enters(stranger, path, drawn("red"), "Eve", 403)
            assert "keeps no cookie" in text
        async with ada.post(f"{path}/end", headers={"Sec-Fetch-Site": "cross-site"}) as response:
            assert response.status == 403
        for _ in range(acts.TRIES):
            await sent(ada, f"{path}/choice", 422, htmx=True, choice="x")
        _, text = await sent(ada, f"{path}/choice", 429, htmx=True, choice="x")
        assert "a lot from your address" in text
        for _ in range(3):
            await sent(ada, "/s/open/games", kind="draw", prompt="red")
        _, text = await sent(ada, "/s/open/games", 429, kind="draw", prompt="a red barn")
        assert "several games open" in text and "a red barn" in text
        _, text = await sent(ada, "/s/open/games", 422, kind="chess")
        assert "draw, say or guess" in text
        for minutes in ("x", "0", "99999", "nan"):
            await sent(ada, "/s/open/games", 422, kind="draw", prompt="red", minutes=minutes)


async def test_who_sits_at_the_machine_takes_away_what_others_entered(tmp_path: Path) -> None:
    async with playing(tmp_path) as there:
        game = await there.draw("red")
        await there.parts.moderation.set_publishes(BOB, False)
        for person, picture in ((EVE, drawn("red")), (BOB, drawn("lime"))):
            await there.games.enter_picture(game.id, Actor(person), picture)
        async with wall_on(there) as url, guests(url, 1) as [ada]:
            text = await page(ada, f"/g/{game.id}")
            assert "Take entries away" not in text and "Call the game off" not in text
            for what in ("end", "call-off"):
                await sent(ada, f"/g/{game.id}/{what}", 403)
        await there.games.end(game.id, Actor(ANN))
        async with wall_on(there, here=True) as url, guests(url, 1) as [sitter]:
            text = await page(sitter, f"/g/{game.id}")
            assert "Take away what Eve entered" in text and "Bob" not in text
            for taken in re.findall(r'action="([^"]+/withdraw)"', text):
                await sent(sitter, taken)
            assert "Nobody entered anything" in await page(sitter, f"/g/{game.id}")
            assert not list((tmp_path / "library").rglob("*.png"))
            path, _ = await sent(sitter, f"/g/{game.id}/call-off")
            assert path == "/s/open/games"
            await page(sitter, f"/g/{game.id}", 404)


async def test_who_moderates_a_games_server_takes_away_what_is_entered_there(
    tmp_path: Path,
) -> None:
    async with playing(tmp_path) as there:
        parts, discord = there.parts, Writers()
        host = Asker(ANN, guild_id=7, channel_id=70)
        game = await there.games.start_draw(there.theme, host, "red", machine=False)
        elsewhere = await there.draw("blue")  # in the same stream, and in no server
        for one, person, colour in (
            (game, EVE, "red"),
            (game, BOB, "lime"),
            (elsewhere, EVE, "blue"),
        ):
            await there.games.enter_picture(one.id, Actor(person), drawn(colour))
        async with member_at(there, IDA, discord) as ida:
            path, discord.moderate = f"/g/{game.id}", 8
            await Channels(parts.store, parts.themes).bind(80, 8, "open")  # which is not the game's
            assert "Take entries away" not in await page(ida, path)
            discord.moderate = 7
            text = await page(ida, path)
            assert "You moderate the server" in text and "Call the game off" in text
            # The oldest first.
            eves, bobs = re.findall(r'action="([^"]+/withdraw)"', text)
            assert "Take entries away" not in await page(ida, f"/g/{elsewhere.id}")
            await sent(ida, f"/g/{elsewhere.id}/call-off", 403)
            url = (await ida.get(path)).url.origin()
            async with guests(url, 1) as [eve], watching(eve, f"{path}/events?state=open") as seen:
                assert "Take entries away" not in await page(eve, path)
                for what in ("end", "call-off"):
                    await sent(eve, f"{path}/{what}", 403)
                await sent(eve, bobs, 403)
                while "Bob" not in (board := await next_board(seen)):
                    pass
                async with ida.post(bobs, headers={"Sec-Fetch-Site": "cross-site"}) as response:
                    assert response.status == 403
                await sent(ida, bobs)
                while "Bob" in (board := await next_board(seen)):
                    pass
                assert "Eve" in board
                [noted] = await parts.moderation.log(7)
                assert (noted.act, noted.by, noted.person) == (Act.DELETED, IDA, BOB)
                assert noted.channel_id == 70
                # Who may no longer is told so, and nothing has happened.
                discord.moderate = None
                for what in (eves, f"{path}/call-off", f"{path}/end"):
                    _, text = await sent(ida, what, 403, htmx=True)
                    assert "or a moderator, can" in text
                discord.moderate = 7
                assert await sent(ida, f"{path}/call-off") == ("/s/open/games", ANY)
                while (message := await seen.next()) is not None and message.event != "reload":
                    pass
                assert message is not None
                await page(eve, path, 404)
            noted, _ = await parts.moderation.log(7)
            assert (noted.act, noted.by, noted.person) == (Act.DELETED, IDA, ANN)


async def next_board(seen: Reader) -> str:
    """Return the board that comes next."""
    async with asyncio.timeout(10):
        message = await seen.next()
    assert message is not None and message.event == "board"
    return "".join(message.data)


async def test_what_a_guest_began_and_entered_stays_theirs_once_they_sign_in(
    tmp_path: Path,
) -> None:
    async with playing(tmp_path) as there, member_at(there, IDA) as ida:
        cookie = next(one for one in ida.cookie_jar if "session" in one.key)
        ida.cookie_jar.clear(lambda one: one.key == cookie.key)
        path, _ = await sent(ida, "/s/open/games", kind="draw", prompt="red", name="Lin")
        await enters(ida, path, drawn("red"), "Lin")
        ida.cookie_jar.update_cookies([(cookie.key, cookie)])
        text = await page(ida, path)
        assert "Your best" in text and "End the game now" in text
        [own] = set(entry_pictures(text))
        async with ida.get(own) as response:
            assert response.status == 200
        await sent(ida, f"{own.removesuffix('.webp')}/withdraw")
        assert entry_pictures(await page(ida, path)) == []
        await sent(ida, f"{path}/end")
        game = await there.games.get(path.removeprefix("/g/"))
        assert (game.state, game.host.name) == (GameState.OVER, "Lin")


async def test_who_joined_a_party_as_a_guest_plays_there_as_that_guest_once_signed_in(
    tmp_path: Path,
) -> None:
    async with playing(tmp_path) as there, member_at(there, IDA) as ida:
        parts = there.parts
        party = await parts.parties.start("the sea", Actor(ANN), theme=there.theme)
        games = f"/s/{(await parts.parties.theme_of(party)).slug}/games"
        session = next(one for one in ida.cookie_jar if "session" in one.key)
        ida.cookie_jar.clear(lambda one: one.key == session.key)
        await sent(ida, f"/p/{party.code}/join", name="Lin")
        first, _ = await sent(ida, games, kind="draw", prompt="red")
        await enters(ida, first, drawn("lime"), "Lin")
        ida.cookie_jar.update_cookies([(session.key, session)])

        members = await parts.parties.members(party)
        lin = next(one for one in members if one.person.name == "Lin")
        path, _ = await sent(ida, games, kind="draw", prompt="blue")
        assert (await there.games.get(path.removeprefix("/g/"))).host == lin.person
        for one in (first, path):
            await enters(ida, one, drawn("blue"), "Ida")
            assert "Your best" in await page(ida, one)
            standings = await there.games.standings(one.removeprefix("/g/"), lin.person)
            people = [placed.entry.person for placed in standings if not placed.entry.by_machine]
            assert people == [lin.person]
        # Who left, and is nobody else there, plays no more.
        await parts.parties.leave(party, Actor(lin.person))
        _, text = await sent(ida, games, 403, kind="draw", prompt="red")
        assert "Join the party first." in text


async def test_beginning_a_game_is_counted_before_any_work_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts, "BEGUN", 2)
    async with playing(tmp_path) as there, wall_on(there) as url, guests(url, 1) as [ada]:
        for _ in range(2):
            _, text = await sent(ada, "/s/open/games", 404, kind="guess")
            assert "Draw some first" in text
        _, text = await sent(ada, "/s/open/games", 429, kind="guess")
        assert "Many games were begun" in text


async def test_what_is_no_picture_is_refused_in_words(tmp_path: Path) -> None:
    async with playing(tmp_path) as there, wall_on(there) as url, guests(url, 1) as [ada]:
        game = await there.draw("red")
        path = f"/g/{game.id}"
        assert "Paint something first" in await enters(ada, path, b"", "Ada", 422)
        await enters(ada, path, b"GIF89a nothing", "Ada", 422)
        [dream] = await there.parts.dreams.ask(request("red"))
        await there.parts.draw(dream.id)
        done = await there.parts.dreams.wait(dream.id)
        assert done.image is not None
        machines = await there.parts.library.read(done.image.sha256)
        assert "drawn here by a machine" in await enters(ada, path, machines, "Ada", 422)
        assert await there.games.tries_left(game, ANN) == 5


async def test_a_portrait_is_not_played_with(tmp_path: Path) -> None:
    async with playing(tmp_path) as there, wall_on(there) as url, guests(url, 1) as [ada]:
        portraits, theme = there.parts.portraits, there.theme
        made = await portraits.draft(Asker(BOB), "a red beard", Reach.STREAM, theme)
        kept = await portraits.consent(made.token, BOB)
        await there.parts.draw(kept.dream.id)
        await there.parts.dreams.wait(kept.dream.id)
        _, text = await sent(ada, f"/d/{kept.dream.id}/play", 403, htmx=True, kind="guess")
        assert "portrait of somebody" in text
        assert await there.games.running(theme.id) == []
        # Nor is what comes of one, and so has its words.
        (child,) = await there.parts.dreams.ask(
            request("a red beard", person=BOB, parent_id=kept.dream.id)
        )
        await there.parts.draw(child.id)
        await there.parts.dreams.wait(child.id)
        await sent(ada, f"/d/{child.id}/play", 403, htmx=True, kind="say")
        await sent(ada, "/s/open/games", 404, kind="say")
        plain = await there.picture("a red barn")
        for dream_id, shown in ((kept.dream.id, False), (child.id, False), (plain, True)):
            text = await page(ada, f"/d/{dream_id}")
            assert ("Play: say it" in text) is shown and ("Try words" in text) is shown


async def test_a_mistake_that_breaks_a_games_events_off_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> bytes:
        raise RuntimeError("nobody foresaw this")

    before = counted("wall-game-events")
    async with playing(tmp_path) as there, wall_on(there) as url, guests(url, 1) as [ada]:
        path, _ = await sent(ada, "/s/open/games", kind="draw", prompt="red", name="Ada")
        monkeypatch.setattr(GameStreams, "_render", fail)
        async with watching(ada, f"{path}/events?state=open") as reader:
            assert await reader.next() is None
    assert counted("wall-game-events") == before + 1


async def test_a_page_follows_its_game(tmp_path: Path) -> None:
    async with playing(tmp_path) as there, wall_on(there) as url, guests(url, 2) as [ada, eve]:
        path, _ = await sent(ada, "/s/open/games", kind="draw", prompt="red", name="Ada")
        async with watching(eve, f"{path}/events?state=open") as reader:
            message = await reader.next()
            assert message is not None and message.event == "board"
            assert "Ada" not in "".join(message.data)
            await enters(ada, path, drawn("red"), "Ada")
            async with asyncio.timeout(10):
                while "Ada" not in "".join(message.data):
                    message = await reader.next()
                    assert message is not None and message.event == "board"
            # As all may see it, whoever looks on; its first id is on every page.
            assert entry_pictures("".join(message.data)) == []
            assert re.search(r'\bid="([^"]+)"', "".join(message.data))[1] == "board-title"  # type: ignore[index]
            await sent(ada, f"{path}/end")
            async with asyncio.timeout(10):
                while message.event != "reload":
                    message = await reader.next()
                    assert message is not None
        # Who comes back to a game that has ended meanwhile is told so at once.
        async with watching(eve, f"{path}/events?state=open") as reader:
            message = await reader.next()
            assert message is not None and message.event == "reload"
        game = await there.games.get(path.removeprefix("/g/"))
        assert (game.kind, game.state) == (GameKind.DRAW, GameState.OVER)


async def test_a_page_is_told_when_its_game_may_be_seen_no_more(tmp_path: Path) -> None:
    async with playing(tmp_path) as there, wall_on(there) as url, guests(url, 1) as [ada]:
        game = await there.draw("red")
        async with watching(ada, f"/g/{game.id}/events?state=open") as reader:
            await reader.next()
            await there.games.call_off(game.id, Actor(ANN))
            message = await reader.next()
            assert message is not None and message.event == "reload"


async def test_nonsense_is_answered_with_a_sentence(tmp_path: Path) -> None:
    async with playing(tmp_path) as there, wall_on(there) as url, guests(url, 1) as [ada]:
        game = await there.draw("red")
        long = "x" * 5000
        for path in (
            "/s/open/games",
            "/d/nonsense/play",
            f"/g/{game.id}/picture",
            f"/g/{game.id}/words",
            f"/g/{game.id}/choice",
            f"/g/{game.id}/entries/nonsense/withdraw",
            f"/g/{game.id}/entries/{game.id}/heart",
            f"/g/{long[:300]}/end",
            "/s/open/portrait",
            "/portraits/nonsense/revoke",
            f"/portraits/drafts/{long[:300]}/agree",
        ):
            for value in ("", "\0", "‮🦊", "-1", "1e999", long):
                form = dict.fromkeys(
                    ("kind", "prompt", "minutes", "words", "choice", "name"), value
                )
                async with ada.post(path, data=form, headers=HTMX) as response:
                    assert response.status < 500, (path, value)
                    assert response.content_type == "text/html"
            for body in (b"\xff\xfe", b"------"):
                kind = {"Content-Type": "multipart/form-data; boundary=----"}
                async with ada.post(path, data=body, headers=HTMX | kind) as response:
                    assert 400 <= response.status < 500, (path, body)
