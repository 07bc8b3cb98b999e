"""Signing in with Discord: who gets in, what is kept of it, and who does not get in."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession, CookieJar, TCPConnector, web
from yarl import URL

from bot.app import Fronts, run, signing_in
from bot.backup import making
from bot.backup.database import sign_out
from bot.config_file import load_config
from bot.config_secrets import SECRET_VARIABLE
from bot.discord_oauth import DISCORD, MAX_BYTES, SCOPE, DiscordOAuth, DiscordTroubleError
from bot.errors import ConfigError
from bot.model import Person
from bot.monitoring.metrics import WALL_SIGN_INS
from bot.sessions import DAY_MS, MOST, SKEW_MS, Sessions
from bot.store import Store, wall_sessions
from bot.wall import Wall, WallSettings, forming, pages, sign_in, underway
from bot.wall.guests import TOKEN_COOKIE
from bot.wall.sign_in import CALLBACK, SigningIn
from tests.bot.drawer import services
from tests.wall.conftest import Scene, standing_scene
from tests.wall.fake_oauth import APPLICATION, AUTHORIZE, SECRET, TOKEN, FakeOAuth, user_of
from tests.wall.test_events import watching

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANN = 222222222222222222
SPEC = Path(__file__).resolve().parents[3] / "shared" / "discord" / "openapi.json"
MOST_OF_ONE_ADDRESS = sign_in.MOST
HTML = {"Accept": "text/html"}


class Clock:
    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture(autouse=True)
def away(elsewhere: None) -> None:
    """Nobody sits at the machine."""


@dataclass
class Stage:
    """A wall at which people sign in, Discord's part in it, and the database."""

    scene: Scene
    discord: FakeOAuth
    store: Store
    sessions: Sessions
    clock: Clock
    oauth: DiscordOAuth
    wall: Wall
    url: URL

    def browser(self, guest: str = "") -> ClientSession:
        """Return a browser that nobody has signed in with."""
        jar = CookieJar(unsafe=True)
        if guest:
            jar.update_cookies({TOKEN_COOKIE: guest}, self.url)
        return ClientSession(base_url=self.url, cookie_jar=jar, headers=HTML)

    async def asked(self, browser: ClientSession, next: str = "/me") -> str:
        """Begin to sign in; return the address at Discord that it leads to."""
        query = {"next": next}
        async with browser.get("/sign-in", params=query, allow_redirects=False) as response:
            assert response.status == 302, await response.text()
            return response.headers["Location"]

    async def back(self, browser: ClientSession, address: URL) -> tuple[int, str]:
        """Come back from Discord; return the status, and where it leads or what is said."""
        async with browser.get(address.relative(), allow_redirects=False) as response:
            return response.status, response.headers.get("Location") or await response.text()

    async def signed_in(
        self, browser: ClientSession, user_id: int = ANN, name: str = "Ann"
    ) -> None:
        """Sign somebody in."""
        self.discord.be(user_id, name)
        back = self.discord.agree(await self.asked(browser))
        assert await self.back(browser, back) == (302, "/me")

    async def me(self, browser: ClientSession) -> str:
        """Return who the wall says one is; empty for nobody."""
        async with browser.get("/me") as response:
            text = await response.text()
        found = re.search(r'<h1 class="title">(.*?)</h1>', text)
        assert response.status == 200 and found is not None
        return "" if found[1] == "Sign in" else found[1]


@asynccontextmanager
async def standing(folder: Path) -> AsyncIterator[Stage]:
    clock = Clock()
    async with standing_scene(folder) as scene, FakeOAuth().standing() as discord:
        store = await Store.open(folder / "dreamstream.db")
        sessions = Sessions(store, clock=clock)
        wall = scene.wall
        await wall.stop()
        settings = WallSettings(port=scene.url.port or 0)
        oauth = DiscordOAuth(
            SECRET,
            str(scene.url.with_path(CALLBACK)),
            lambda: APPLICATION,
            base=discord.url,
        )
        wall = scene.make(settings, signing_in=SigningIn(oauth, sessions))
        scene.wall = wall
        url = await wall.start()
        try:
            yield Stage(scene, discord, store, sessions, clock, oauth, wall, url)
        finally:
            await scene.wall.stop()
            await oauth.close()
            await store.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One for all of these tests: a wall costs a second to build."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sign_in, "MOST", 10_000)
        async with standing(tmp_path_factory.mktemp("sign-in")) as stage:
            yield stage


@pytest_asyncio.fixture(loop_scope="module")
async def stage(one: Stage) -> Stage:
    """The one, with nobody signed in, and without trouble."""
    one.clock.ms = Clock().ms
    one.discord.trouble, one.discord.slow_s = None, 0.0
    one.discord.asked.clear()
    one.discord.be(ANN, "Ann")
    async with one.store.write() as connection:
        await wall_sessions.delete_all(connection)
    return one


async def test_who_signs_in_acts_as_themselves_and_signs_out_again(stage: Stage) -> None:
    async with stage.browser() as browser:
        assert await stage.me(browser) == ""
        await stage.signed_in(browser, name="Ann <b>\n")
        assert await stage.me(browser) == "Ann &lt;b&gt;"
        async with browser.post("/s/planets/dreams", data={"prompt": "x", "name": "Eve"}) as _:
            pass
        assert stage.scene.dreams.requests[-1].person == Person(f"discord:{ANN}", "Ann <b>")
        async with browser.get("/s/planets") as response:
            text = await response.text()
        assert (
            "Sign out" in text and "Sign in with Discord" not in text and 'name="name"' not in text
        )
        async with browser.post("/sign-out", allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (303, "/")
        assert await stage.me(browser) == ""


async def test_what_somebody_did_as_a_guest_stays_theirs(stage: Stage) -> None:
    dreams = stage.scene.dreams
    async with stage.browser("g" * 32) as browser, stage.browser() as other:
        async with browser.post("/s/planets/dreams", data={"prompt": "before"}) as _:
            pass
        guests = [one for one in dreams.dreams.values() if one.prompt == "before"][-1]
        await stage.signed_in(browser)
        await stage.signed_in(other, ANN + 1, "Bob")
        async with other.post(f"/d/{guests.id}/delete") as response:
            assert response.status == 403
        async with browser.get(f"/d/{guests.id}") as response:
            assert f'action="/d/{guests.id}/delete"' in await response.text()
        async with browser.post(f"/d/{guests.id}/delete", allow_redirects=False) as response:
            assert response.status == 303
        async with browser.get("/s/planets") as response:
            text = await response.text()
    own, before = (stage.wall.marks.of(one) for one in (f"discord:{ANN}", guests.person.id))
    assert f'data-me="{own} {before}"' in text


async def test_what_waits_or_failed_of_what_a_guest_asked_for_is_shown_to_who_they_are_now(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forming, "SHOWN", 0)  # a visitor's own are shown whatever there is room for
    dreams = stage.scene.dreams
    async with stage.browser("h" * 32) as browser, stage.browser("i" * 32) as other:

        async def asked(prompt: str) -> str:
            async with browser.post("/s/planets/dreams", data={"prompt": prompt}) as response:
                assert response.status == 200
            return list(dreams.dreams)[-1]

        async def cards(visitor: ClientSession) -> list[str]:
            async with visitor.get("/s/planets") as response:
                text = await response.text()
            found = re.findall(r'<article id="dream-(\w+)" class="card', text)
            return [one for one in found if one in mine]

        mine = [await asked("a ship that sank")]
        dreams.fail(mine[0], "No wind.")
        mine.append(await asked("a ship"))
        await stage.signed_in(browser)
        mine += [await asked("a second that sank"), await asked("a boat")]
        dreams.fail(mine[2], "No water.")
        await stage.signed_in(other, ANN + 1, "Bob")
        assert sorted(await cards(browser)) == mine and await cards(other) == []
        waiting = [mine[1], mine[3]]
        async with watching(browser, "/s/planets/events?again=1") as reader, asyncio.timeout(10):
            sent = ""
            while not all(f'<article id="dream-{one}"' in sent for one in waiting):
                message = await reader.next()
                assert message is not None
                sent += "\n".join(message.data)
        # No more are shown than of one person, and of both the latest.
        monkeypatch.setattr(pages, "SHOWN_FAILURES", 1)
        assert sorted(await cards(browser)) == mine[1:]
        for one in waiting:
            dreams.finish(one)


async def test_the_cookie_is_the_browsers_alone_and_new_each_time(stage: Stage) -> None:
    def token(browser: ClientSession) -> str:
        return browser.cookie_jar.filter_cookies(stage.url)["dreamer-session"].value

    async with stage.browser() as browser:
        planted = "A" * 43  # by somebody who would know it afterwards
        browser.cookie_jar.update_cookies({"dreamer-session": planted}, stage.url)
        back = stage.discord.agree(await stage.asked(browser))
        async with browser.get(back.relative(), allow_redirects=False) as response:
            (cookie,) = (
                one
                for one in response.headers.getall("Set-Cookie")
                if one.startswith("dreamer-session=")
            )
        assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Path=/" in cookie
        first = token(browser)
        assert first != planted
        assert await stage.sessions.person_of(planted) is None
        await stage.back(browser, stage.discord.agree(await asked_again(stage, browser)))
        assert token(browser) != first
        assert await stage.sessions.person_of(first) is None
        kept = "".join(map(str, (await stage.store.read("SELECT * FROM wall_session"))[0]))
        assert token(browser) not in kept


async def asked_again(stage: Stage, browser: ClientSession) -> str:
    """Begin to sign in once more: begun before one was signed in, in another tab, it goes on."""
    other = stage.browser()
    try:
        address = await stage.asked(other)
        browser.cookie_jar.update_cookies(other.cookie_jar.filter_cookies(stage.url), stage.url)
    finally:
        await other.close()
    return address


async def test_behind_https_cookies_are_of_this_host_alone_and_few_sign_ins_of_an_address(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in, "MOST", 3)
    settings = WallSettings(port=0, mode="proxy", public_url="https://wall.example")
    assert sign_in.session_cookie(settings) == "__Host-dreamer-session"
    oauth = DiscordOAuth(SECRET, f"https://wall.example{CALLBACK}", lambda: APPLICATION)
    wall = stage.scene.make(settings, signing_in=SigningIn(oauth, stage.sessions))
    await wall.start()
    url = f"http://127.0.0.1:{wall.addresses[0][1]}/sign-in"
    got = []
    async with ClientSession(headers={"Host": "wall.example"}) as browser:
        for _ in range(4):
            async with browser.get(url, allow_redirects=False) as response:
                got.append(response.status)
                if response.status == 302:
                    cookie, address = response.headers["Set-Cookie"], response.headers["Location"]
    await wall.stop()
    await oauth.close()
    assert got == [302, 302, 302, 429]
    assert cookie.startswith("__Host-dreamer-signing-in=") and "Secure" in cookie
    assert address.startswith("https://discord.com/oauth2/authorize?")


async def test_a_whole_hall_signs_in_from_one_address(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in, "MOST", MOST_OF_ONE_ADDRESS)
    wall = stage.scene.make(WallSettings(port=0), signing_in=SigningIn(stage.oauth, stage.sessions))
    url = await wall.start()
    async with ClientSession(url) as browser:
        for _ in range(100):
            async with browser.get("/sign-in", allow_redirects=False) as response:
                assert response.status == 302
    await wall.stop()


async def test_who_comes_by_another_address_signs_in_at_the_public_one(stage: Stage) -> None:
    settings = WallSettings(port=0, public_url="https://wall.lan")
    wall = stage.scene.make(settings, signing_in=SigningIn(stage.oauth, stage.sessions))
    await wall.start()
    url = URL(f"http://127.0.0.1:{wall.addresses[0][1]}")
    there = "https://wall.lan/sign-in?next=/s/planets&there=1"
    async with ClientSession(url) as browser:

        async def begun(query: dict[str, str], host: str = url.authority) -> str:
            headers = {"Host": host}
            async with browser.get(
                "/sign-in", params=query, headers=headers, allow_redirects=False
            ) as response:
                assert response.status == 302
                leads_to = response.headers["Location"]
                begun = "dreamer-signing-in" in str(response.headers.getall("Set-Cookie", []))
                assert begun is leads_to.startswith(str(stage.discord.url))
                return leads_to

        assert await begun({"next": "/s/planets"}) == there
        assert await begun({"next": "//evil.example"}) == "https://wall.lan/sign-in?next=/&there=1"
        at_discord = str(stage.discord.url)
        assert (await begun({"next": "/s/planets"}, "wall.lan")).startswith(at_discord)
        assert (await begun({"next": "/s/planets"}, "WALL.lan:443")).startswith(at_discord)
        # A proxy that names the wall otherwise leads nobody in a circle.
        assert (await begun(dict(URL(there).query))).startswith(at_discord)
    await wall.stop()


@pytest.mark.parametrize(
    ("days", "said"),
    [(30.0, "30 days"), (1.4, "1 day "), (0.5, "about 12 hours"), (0.01, "about 14 min")],
)
async def test_me_says_how_long_a_sign_in_lasts(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, days: float, said: str
) -> None:
    monkeypatch.setattr(stage.sessions, "lasts_ms", int(days * DAY_MS))
    async with stage.browser() as ann:
        await stage.signed_in(ann)
        async with ann.get("/me") as response:
            assert f"After {said}" in await response.text()


async def test_a_sign_in_is_good_once_and_in_the_browser_that_began_it(stage: Stage) -> None:
    async with stage.browser() as ann, stage.browser() as eve:
        back = stage.discord.agree(await stage.asked(ann))
        assert (await stage.back(eve, back))[0] == 400  # without the cookie
        assert (await stage.back(ann, back))[0] == 400  # it is over with that
        assert await stage.me(eve) == await stage.me(ann) == ""
        back = stage.discord.agree(await stage.asked(ann))
        await stage.asked(eve)
        assert (await stage.back(eve, back))[0] == 400  # with the cookie of another one
        for forged in ("", "x" * 32, "é"):
            assert (await stage.back(ann, back.update_query(state=forged)))[0] == 400
        assert not stage.discord.asked  # none of these codes was taken to Discord
        back = stage.discord.agree(await stage.asked(ann))
        async with asyncio.TaskGroup() as group:
            came = [group.create_task(stage.back(ann, back)) for _ in range(4)]
        assert sorted(task.result()[0] for task in came) == [302, 400, 400, 400]
        assert stage.discord.asked == [("POST", "/api/oauth2/token"), ("GET", "/api/v10/users/@me")]


async def test_a_code_of_another_sign_in_is_refused_by_its_verifier(stage: Stage) -> None:
    async with stage.browser() as ann, stage.browser() as eve:
        stage.discord.be(ANN, "Ann")
        anns = stage.discord.agree(await stage.asked(ann))
        stage.discord.be(ANN + 1, "Eve")
        eves = stage.discord.agree(await stage.asked(eve))
        mixed = anns.update_query(code=eves.query["code"])
        status, said = await stage.back(ann, mixed)
        assert status == 400 and "does not know this sign-in" in said
        assert await stage.me(ann) == ""


async def test_one_that_takes_too_long_is_over(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage.browser() as ann:
        monkeypatch.setattr(underway, "LASTS_S", 0.0)
        back = stage.discord.agree(await stage.asked(ann))
        # The browser has forgotten the cookie, too; one that has not changes nothing.
        status, said = await stage.back(ann, back)
        assert status == 400 and "too long ago" in said


async def test_who_says_no_goes_on_as_a_guest(stage: Stage) -> None:
    async with stage.browser() as ann:
        address = URL(await stage.asked(ann, next="/s/planets"))
        said = stage.url.with_path(CALLBACK).with_query(
            error="access_denied", state=address.query["state"]
        )
        assert await stage.back(ann, said) == (302, "/s/planets")
        assert await stage.me(ann) == ""


def answers(status: int, body: Any) -> Any:
    def trouble(request: web.Request) -> web.StreamResponse:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return web.Response(status=status, body=data, content_type="application/json")

    return trouble


@pytest.mark.parametrize(
    ("trouble", "status"),
    [
        (answers(500, {}), 502),
        (answers(200, b"<html>"), 502),
        (answers(200, b"\xff\xfe"), 502),
        (answers(200, []), 502),
        (answers(200, {"access_token": 3, "token_type": "Bearer"}), 502),
        (answers(200, b" " * (MAX_BYTES + 1)), 502),
        (answers(401, {"error": "invalid_client"}), 502),
        (answers(429, {"message": "slow down", "retry_after": 7}), 429),
        (answers(400, {"error": "invalid_grant"}), 400),
    ],
)
async def test_what_discord_answers_wrongly_signs_nobody_in(
    stage: Stage, trouble: Any, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    failed = WALL_SIGN_INS.labels("failed")._value.get()
    async with stage.browser() as ann:
        back = stage.discord.agree(await stage.asked(ann))
        stage.discord.trouble = trouble
        got, said = await stage.back(ann, back)
        assert got == status and "<h1" in said
        assert await stage.me(ann) == ""
    assert WALL_SIGN_INS.labels("failed")._value.get() == failed + 1
    assert SECRET not in said + caplog.text and back.query["code"] not in said + caplog.text


async def test_discord_leads_the_wall_nowhere_else(stage: Stage) -> None:
    def leads(request: web.Request) -> web.StreamResponse | None:
        if request.path == "/elsewhere":
            return None
        return web.Response(status=307, headers={"Location": str(stage.discord.url / "elsewhere")})

    async with stage.browser() as ann:
        back = stage.discord.agree(await stage.asked(ann))
        stage.discord.trouble = leads
        assert (await stage.back(ann, back))[0] == 502
    assert stage.discord.asked == [("POST", "/api/oauth2/token")]


async def test_another_servers_code_is_not_taken_to_discord(stage: Stage) -> None:
    async with stage.browser() as ann:
        back = stage.discord.agree(await stage.asked(ann))
        assert (await stage.back(ann, back.update_query(iss="https://evil.example")))[0] == 400
        assert await stage.me(ann) == ""
    assert stage.discord.asked == []


async def test_a_token_for_something_else_is_not_used(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage.discord, "granted", "email guilds")
    async with stage.browser() as ann:
        assert (await stage.back(ann, stage.discord.agree(await stage.asked(ann))))[0] == 502
    assert stage.discord.asked == [("POST", "/api/oauth2/token")]


@pytest.mark.parametrize(
    "user",
    [
        {"id": "1; DROP", "username": "x"},
        {"id": "0", "username": "x"},
        {"id": "9" * 30, "username": "x"},
        {"id": "٣٣٣", "username": "x"},
        {"id": 5, "username": "x"},
        {"username": "x"},
    ],
)
async def test_who_is_nobody_in_discord_is_nobody_here(stage: Stage, user: dict[str, Any]) -> None:
    async with stage.browser() as ann:
        stage.discord.user = user
        assert (await stage.back(ann, stage.discord.agree(await stage.asked(ann))))[0] == 502
        assert await stage.me(ann) == ""


async def test_discord_is_waited_for_only_so_long(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage.browser() as ann:
        monkeypatch.setattr(stage.oauth, "answer_s", 0.05)
        back = stage.discord.agree(await stage.asked(ann))
        stage.discord.slow_s = 30.0
        async with asyncio.timeout(20):
            status, said = await stage.back(ann, back)
        assert status == 502 and "cannot be reached" in said


async def test_nothing_secret_is_written_down(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with stage.browser() as ann:
        await stage.signed_in(ann)
        cookies = ann.cookie_jar.filter_cookies(stage.url)
        secret = [SECRET, *stage.discord.tokens, cookies["dreamer-session"].value]
    rows = [tuple(row) for row in await stage.store.read("SELECT * FROM wall_session")]
    assert rows and stage.discord.tokens
    for one in secret:
        assert one not in caplog.text and one not in str(rows)


async def test_a_session_ends_with_its_time_whatever_the_clock_does(stage: Stage) -> None:
    async with stage.browser() as ann:
        await stage.signed_in(ann)
        begun = stage.clock.ms
        stage.clock.ms = begun + 30 * DAY_MS - 1
        assert await stage.me(ann) == "Ann"
        stage.clock.ms = begun + 30 * DAY_MS
        assert await stage.me(ann) == ""
        stage.clock.ms = begun - SKEW_MS
        assert await stage.me(ann) == "Ann"
        stage.clock.ms = begun - SKEW_MS - 1  # it was begun by a clock that was ahead
        assert await stage.me(ann) == ""


async def test_signing_out_everywhere_leaves_others_alone(stage: Stage) -> None:
    async with stage.browser() as phone, stage.browser() as desk, stage.browser() as bobs:
        await stage.signed_in(phone)
        await stage.signed_in(desk)
        await stage.signed_in(bobs, ANN + 1, "Bob")
        async with desk.get("/me") as response:
            assert "in 2 browsers" in await response.text()
        async with desk.post("/sign-out", data={"everywhere": "yes"}) as _:
            pass
        assert await stage.me(phone) == await stage.me(desk) == ""
        assert await stage.me(bobs) == "Bob"


async def test_another_site_signs_nobody_out(stage: Stage) -> None:
    async with stage.browser() as ann:
        await stage.signed_in(ann)
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            async with ann.post("/sign-out", headers=headers) as response:
                assert response.status == 403
        assert await stage.me(ann) == "Ann"


async def test_who_asks_for_headers_alone_uses_nothing_up(stage: Stage) -> None:
    async with stage.browser() as ann:
        back = stage.discord.agree(await stage.asked(ann))
        for path in ("/sign-in", back.relative()):
            async with ann.head(path, allow_redirects=False) as response:
                assert response.status == 405
        assert (await stage.back(ann, back))[0] == 302


async def test_a_restart_keeps_people_signed_in_and_a_backup_signs_them_out(
    stage: Stage, tmp_path: Path
) -> None:
    async with stage.browser() as ann:
        await stage.signed_in(ann)
        token = ann.cookie_jar.filter_cookies(stage.url)["dreamer-session"].value
    again = Sessions(stage.store, clock=stage.clock)
    assert await again.person_of(token) == Person(f"discord:{ANN}", "Ann")
    folder = stage.store.path.parent
    made = await making.make(folder, tmp_path / "backups", keep=1)
    with closing(sqlite3.connect(made.path / "dreamstream.db")) as copied:
        assert copied.execute("SELECT count(*) FROM wall_session").fetchone() == (0,)
        assert copied.execute("SELECT count(*) FROM person").fetchone() != (0,)


async def test_a_backup_of_before_there_were_sessions_has_none_to_end(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "old.db")) as old:
        old.execute("CREATE TABLE person (id)")
        old.commit()
    sign_out(tmp_path / "old.db")


async def test_a_person_is_signed_in_in_so_many_browsers(stage: Stage) -> None:
    ann, bob = Person("discord:1", "Ann"), Person("discord:2", "Bob")
    bobs = await stage.sessions.begin(bob)
    tokens = []
    for _ in range(MOST + 1):
        stage.clock.ms += 1
        tokens.append(await stage.sessions.begin(ann))
    assert await stage.sessions.person_of(tokens[0]) is None
    assert await stage.sessions.person_of(tokens[1]) == ann
    assert await stage.sessions.person_of(bobs) == bob
    assert await stage.sessions.count(ann) == MOST


async def test_no_more_are_underway_than_there_is_room_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(underway, "MOST", 2)
    async with stage.browser() as first, stage.browser() as second, stage.browser() as third:
        backs = [
            stage.discord.agree(await stage.asked(browser)) for browser in (first, second, third)
        ]
        assert (await stage.back(first, backs[0]))[0] == 400
        assert (await stage.back(third, backs[2]))[0] == 302


async def test_who_begins_over_and_over_keeps_nobody_else_from_signing_in(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(underway, "MOST", 4)
    elsewhere = TCPConnector(local_addr=("127.0.0.2", 0))
    async with (
        stage.browser() as visitor,
        ClientSession(base_url=stage.url, connector=elsewhere) as crowd,
    ):
        back = stage.discord.agree(await stage.asked(visitor))
        for _ in range(8):
            async with crowd.get("/sign-in", allow_redirects=False) as response:
                assert response.status == 302
        assert (await stage.back(visitor, back))[0] == 302


@asynccontextmanager
async def behind_a_proxy(stage: Stage) -> AsyncIterator[URL]:
    """A wall that is told by a proxy where somebody comes from."""
    signing_in = SigningIn(stage.oauth, stage.sessions)
    wall = stage.scene.make(WallSettings(port=0, mode="proxy"), signing_in=signing_in)
    await wall.start()
    try:
        yield URL(f"http://127.0.0.1:{wall.addresses[0][1]}")
    finally:
        await wall.stop()


def site(nth: int) -> str:
    """Return one of the customers' networks of a site: all of them are one hand's, if it wants."""
    return f"2001:db8:aaaa:{nth:x}::1"


async def test_whoever_has_a_network_keeps_nobody_else_from_signing_in(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(underway, "MOST", 4)
    async with (
        behind_a_proxy(stage) as url,
        ClientSession(url) as crowd,
        ClientSession(url, cookie_jar=CookieJar(unsafe=True)) as early,
        ClientSession(url, cookie_jar=CookieJar(unsafe=True)) as late,
    ):

        async def begun(browser: ClientSession, address: str) -> str:
            headers = {"X-Forwarded-For": address}
            async with browser.get("/sign-in", headers=headers, allow_redirects=False) as response:
                assert response.status == 302
                return response.headers["Location"]

        backs = []
        for visitor, address in ((early, "2a00:1::1"), (late, "2a00:2::1")):
            backs.append((visitor, stage.discord.agree(await begun(visitor, address))))
            for nth in range(12):
                await begun(crowd, site(nth))
        assert [(await stage.back(*one))[0] for one in backs] == [302, 302]


async def test_so_many_sign_ins_are_begun_from_one_site_and_others_go_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in, "MOST_OF_NETWORK", 3)
    v4 = [f"203.0.113.{nth}" for nth in range(5)]
    async with behind_a_proxy(stage) as url, ClientSession(url, headers=HTML) as browser:
        for addresses, other in (
            ([site(nth) for nth in range(5)], "2001:db8:bbbb::1"),
            (v4, "203.0.114.1"),
        ):
            got = []
            for address in (*addresses, other):
                headers = {"X-Forwarded-For": address}
                async with browser.get(
                    "/sign-in", headers=headers, allow_redirects=False
                ) as response:
                    got.append(response.status)
                    if response.status == 429:
                        assert int(response.headers["Retry-After"]) > 0
                        assert "Too many sign-ins were begun" in await response.text()
            assert got == [302, 302, 302, 429, 429, 302]


async def test_the_fake_is_asked_and_tells_of_users_as_discord_does() -> None:
    if not SPEC.exists():
        pytest.skip("Discord's description of its API is not here")
    components = json.loads(SPEC.read_text(encoding="utf-8"))["components"]
    schemas, signs = components["schemas"], components["securitySchemes"]["OAuth2"]["flows"]
    code = signs["authorizationCode"]
    assert code["tokenUrl"] == str(DISCORD.with_path(TOKEN))
    # It names an address of the API's, which leads to the page that people are sent to.
    assert code["authorizationUrl"] == str(DISCORD.with_path(f"/api{AUTHORIZE}"))
    assert SCOPE in code["scopes"]
    told, described = user_of(ANN, "Ann"), schemas["UserPIIResponse"]
    assert set(described["required"]) <= told.keys() <= described["properties"].keys()
    described = schemas["UserPIIResponse"]["properties"]
    assert described["global_name"]["type"] == ["string", "null"]
    assert described["username"]["type"] == "string"


async def test_the_program_signs_in_for_the_bots_own_application(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    text = '[wall]\npublic_url = "http://localhost:8642"\n[wall.sign_in]\nenabled = true\n'
    file.write_text(text, encoding="utf-8")
    config = load_config(file)
    async with services(tmp_path) as parts:
        async with signing_in(config, parts, Fronts(), None) as signing:  # type: ignore[arg-type]
            assert signing is None
        placer = parts.dreams._placer
        assert placer is None
        async with signing_in(config, parts, Fronts(), "s") as signing:  # type: ignore[arg-type]
            assert signing is not None and signing.rules is not None
            assert parts.dreams._placer == signing.rules.place
            with pytest.raises(DiscordTroubleError):  # it is not known yet which one that is
                signing.oauth.address("state", "v" * 43)
            front = SimpleNamespace(client=SimpleNamespace(application_id=333))
        there = Fronts(discord=front)  # type: ignore[arg-type]
        async with signing_in(config, parts, there, "s") as signing:  # type: ignore[arg-type]
            assert signing is not None
            query = signing.oauth.address("state", "v" * 43).query
    assert query["client_id"] == "333"
    assert query["redirect_uri"] == f"http://localhost:8642{CALLBACK}"


async def test_without_a_bot_nobody_can_be_signed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, "s")
    file = tmp_path / "config.toml"
    text = '[wall]\npublic_url = "http://localhost:8642"\n[wall.sign_in]\nenabled = true\n'
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="without a bot"):
        await run(load_config(file), None)
    assert await asyncio.to_thread(os.listdir, tmp_path) == [file.name]  # nothing was begun
