"""Portraits at the wall: all is shown before anything is kept, and only its guest takes it back."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import ClientResponse, ClientSession, CookieJar
from yarl import URL

from bot.channels import Channels
from bot.discord_oauth import DiscordOAuth
from bot.gate import Asker
from bot.membership import Memberships, Place
from bot.model import AskedBy, Person
from bot.sessions import Sessions
from bot.store.portraits import Reach
from bot.wall import Wall, WallSettings, portraying
from bot.wall.guests import TOKEN_COOKIE, Guest
from bot.wall.server_rules import ServerRules
from bot.wall.sign_in import SigningIn, session_cookie
from tests.bot.drawer import Services, services
from tests.bot.test_deletion import holds

WORDS = "a marmalade-haired cellist <b>who</b> collects thimbles"
SHOWN = "a marmalade-haired cellist &lt;b&gt;who&lt;/b&gt; collects thimbles"


GUILD, CHANNEL = 7, 70
ANN = Person("discord:5", "Ann")


class Anns:
    """What Discord says of Ann: she may write in the one channel that carries each theme."""

    async def places(self, guild_id: int, user_id: int, channel_ids: Sequence[int]) -> list[Place]:
        return [
            Place(guild_id=guild_id, channel_id=channel_id, asks=True, moderates=True)
            for channel_id in channel_ids
            if user_id == 5
        ]


@asynccontextmanager
async def wall_on(
    parts: Services, settings: WallSettings | None = None, signing_in: SigningIn | None = None
) -> AsyncIterator[URL]:
    wall = Wall(
        settings or WallSettings(port=0),
        themes=parts.themes,
        dreams=parts.dreams,
        feed=parts.feed,
        library=parts.library,
        drawer=parts.drawer,
        offspring=parts.offspring,
        search=parts.search,
        seeing=parts.seeing,
        portraits=parts.portraits,
        signing_in=signing_in,
    )
    try:
        yield await wall.start()
    finally:
        await wall.stop()


def guest(url: URL) -> ClientSession:
    return ClientSession(
        base_url=url, headers={"Accept": "text/html"}, cookie_jar=CookieJar(unsafe=True)
    )


async def page(visitor: ClientSession, path: str, status: int = 200) -> str:
    async with visitor.get(path) as response:
        text = await response.text()
        assert response.status == status, text
        return text


async def sent(
    visitor: ClientSession, path: str, status: int = 200, **form: str
) -> tuple[str, str]:
    """Post a form; return the path of the page that it leads to, and what that says."""
    async with visitor.post(path, data=form) as response:
        text = await response.text()
        assert response.status == status, text
        return response.url.path, text


async def drafted(visitor: ClientSession, reach: str = "self") -> str:
    """Say something; return the path of the page that asks whether one agrees."""
    assert "What are you like?" in await page(visitor, "/s/open/portrait")
    path, text = await sent(visitor, "/s/open/portrait", words=WORDS, reach=reach, name="Ada")
    assert "Do you agree?" in text and SHOWN in text
    assert "Ada" in text or ANN.name in text
    return path


async def agreed(parts: Services, visitor: ClientSession, reach: str = "self") -> str:
    """Agree to a portrait and have it drawn; return its dream's id."""
    path = await drafted(visitor, reach)
    for _ in range(2):  # whoever presses twice agrees once, and is led to the same
        led_to, text = await sent(visitor, f"{path}/agree")
        assert led_to == "/portraits" and SHOWN in text and "It is being drawn" in text
    [dream] = await parts.dreams.unfinished(None)
    await parts.draw(dream.id)
    await parts.dreams.wait(dream.id)
    return dream.id


async def test_all_is_shown_before_anything_is_kept(tmp_path: Path) -> None:
    async with services(tmp_path) as parts, wall_on(parts) as url, guest(url) as ada:
        assert "/s/open/portrait" in await page(ada, "/s/open")
        path = await drafted(ada, "stream")
        text = await page(ada, path)  # as often as one likes
        assert f"portrait of a person, {SHOWN}" in text
        assert "in the stream of" in text and "when you agreed" in text
        assert "no likeness" in text
        assert not holds(tmp_path, "thimbles")
        async with guest(url) as eve:
            await page(eve, "/s/open")
            for verb in ("agree", "discard"):
                _, text = await sent(eve, f"{path}/{verb}", 404)
                assert "nothing was kept of it" in text
            assert "thimbles" not in await page(eve, path, 404)
        assert await parts.dreams.unfinished(None) == []
        led_to, _ = await sent(ada, f"{path}/discard")
        assert led_to == "/s/open"
        assert not holds(tmp_path, "thimbles")
        await sent(ada, f"{path}/agree", 404)


async def test_one_for_its_person_alone_is_sent_to_nobody_else(tmp_path: Path) -> None:
    async with services(tmp_path) as parts, wall_on(parts) as url:
        ada, eve = guest(url), guest(url)
        async with ada, eve:
            dream_id = await agreed(parts, ada)
            text = await page(ada, "/portraits")
            picture = re.search(r"/portraits/\w+/picture\.webp", text)
            assert picture is not None and "only you see it" in text
            async with ada.get(picture[0]) as response:
                assert response.status == 200 and response.content_type == "image/webp"
                assert "no-store" in response.headers["Cache-Control"]
            assert "thimbles" not in await page(eve, "/portraits")
            for path in (picture[0], f"/d/{dream_id}", f"/d/{dream_id}/preview.webp"):
                await page(eve, path, 404)
            for path in ("/s/open", "/s/open/more", "/s/open/feed.atom"):
                assert "thimbles" not in await page(eve, path)
            await sent(eve, f"/portraits/{dream_id}/revoke", 404)
            assert SHOWN in await page(ada, "/portraits")


async def test_it_is_taken_back_also_where_visitors_only_watch(tmp_path: Path) -> None:
    async with services(tmp_path) as parts:
        async with wall_on(parts) as url, guest(url) as ada:
            dream_id = await agreed(parts, ada, "stream")
            assert SHOWN in await page(ada, "/s/open")
            cookies = list(ada.cookie_jar)
        watching = WallSettings(port=0, mode="proxy")
        async with wall_on(parts, watching) as url, guest(url) as ada:
            ada.cookie_jar.update_cookies((one.key, one) for one in cookies)
            await page(ada, "/s/open/portrait", 403)
            assert "/s/open/portrait" not in await page(ada, "/s/open")
            assert SHOWN in await page(ada, "/portraits")
            async with ada.post(
                f"/portraits/{dream_id}/revoke", headers={"HX-Request": "true"}
            ) as response:
                assert response.headers["HX-Redirect"] == "/portraits"
            assert SHOWN not in await page(ada, "/portraits")
            await page(ada, f"/d/{dream_id}", 410)
            await sent(ada, f"/portraits/{dream_id}/revoke", 410)
        assert not holds(tmp_path, "thimbles")


async def test_who_has_no_cookie_and_who_floods_are_told_so(tmp_path: Path) -> None:
    async with services(tmp_path) as parts, wall_on(parts) as url:
        async with guest(url) as eve:
            _, text = await sent(eve, "/s/open/portrait", 403, words="a diver", reach="self")
            assert "keeps no cookie" in text
            for _ in range(portraying.MOST):
                await sent(eve, "/s/open/portrait", words="a diver", reach="self")
            _, text = await sent(eve, "/s/open/portrait", 429, words="a diver", reach="self")
            assert "many portraits" in text and "a diver" in text, "what was typed is not lost"
        assert await parts.dreams.unfinished(None) == []


async def test_what_is_wrong_is_said_beside_what_was_typed(tmp_path: Path) -> None:
    async with services(tmp_path) as parts, wall_on(parts) as url, guest(url) as ada:
        await page(ada, "/s/open/portrait")
        _, text = await sent(ada, "/s/open/portrait", 422, words=" ", reach="stream")
        assert "Say something about yourself" in text and 'value="stream" checked' in text
        _, text = await sent(ada, "/s/open/portrait", 422, words="so " * 200)
        assert "Shorten" in text
        path = await drafted(ada)
        parts.drawer.paused = "Nothing is drawn just now."
        _, text = await sent(ada, f"{path}/agree", 503)
        assert "Nothing is drawn just now." in text and SHOWN in text
        parts.drawer.paused = None
        await sent(ada, f"{path}/agree")


async def test_what_comes_from_another_page_is_turned_away(tmp_path: Path) -> None:
    async with services(tmp_path) as parts, wall_on(parts) as url, guest(url) as ada:
        path = await drafted(ada)

        async def from_elsewhere(to: str) -> ClientResponse:
            return await ada.post(to, headers={"Sec-Fetch-Site": "cross-site"})

        assert (await from_elsewhere(f"{path}/agree")).status == 403
        dream_id = await agreed(parts, ada)
        assert (await from_elsewhere(f"/portraits/{dream_id}/revoke")).status == 403
        assert SHOWN in await page(ada, "/portraits")


@asynccontextmanager
async def anns_wall(parts: Services) -> AsyncIterator[ClientSession]:
    """Stand a wall where guests only watch; yield the browser in which Ann is signed in."""
    await parts.settings.start()
    await parts.moderation.start()
    await Channels(parts.store, parts.themes).bind(CHANNEL, GUILD, "open")
    rules = ServerRules(parts.gate, parts.themes, guests_ask=False)
    parts.dreams.place(rules.place)
    sessions = Sessions(parts.store)
    oauth = DiscordOAuth("secret", "http://localhost/sign-in/discord", lambda: "1")
    signing_in = SigningIn(oauth, sessions, Memberships(parts.store, Anns()), rules)
    settings = WallSettings(port=0, guests_may_ask=False)
    token = await sessions.begin(ANN)
    async with wall_on(parts, settings, signing_in) as url, guest(url) as ann:
        ann.cookie_jar.update_cookies({session_cookie(settings): token}, url)
        yield ann
    await oauth.close()


async def test_a_member_has_a_portrait_where_guests_only_watch(tmp_path: Path) -> None:
    async with services(tmp_path) as parts:
        await parts.up()
        async with anns_wall(parts) as ann:
            dream_id = await agreed(parts, ann, "stream")
            dream = await parts.dreams.get(dream_id)
            assert (dream.guild_id, dream.channel_id, dream.person) == (GUILD, CHANNEL, ANN)
            path = await drafted(ann)
            await parts.settings.change_guild(GUILD, ANN, blocked_words=("thimbles",))
            _, text = await sent(ann, f"{path}/agree", 422)
            assert "blocked here" in text


async def test_who_signs_in_takes_back_what_they_agreed_to_as_a_guest(tmp_path: Path) -> None:
    async with services(tmp_path) as parts:
        await parts.up()
        async with anns_wall(parts) as ann:
            token = "t" * 24
            ann.cookie_jar.update_cookies({TOKEN_COOKIE: token}, URL("http://127.0.0.1"))
            person = Guest(token, "Ada").person
            theme = await parts.themes.get("open")
            draft = await parts.portraits.draft(Asker(person), WORDS, Reach.SELF, theme)
            dream_id = (await parts.portraits.consent(draft.token, person)).dream.id
            await parts.draw(dream_id)
            await parts.dreams.wait(dream_id)
            own = await agreed(parts, ann)
            text = await page(ann, "/portraits")
            assert text.index(f"/portraits/{own}/revoke") < text.index(f"/portraits/{dream_id}/")
            async with ann.get(f"/portraits/{dream_id}/picture.webp") as response:
                assert response.status == 200
            _, text = await sent(ann, f"/portraits/{dream_id}/revoke")
            assert dream_id not in text and own in text
            assert not await parts.portraits.mine(person)
            # What the guest published goes on under the guest's name, not under Ann's.
            rows = await parts.store.read("SELECT id, name FROM person WHERE id LIKE 'guest:%'")
            assert [(row["id"], row["name"]) for row in rows] == [(person.id, "Ada")]
            await sent(ann, f"/portraits/{dream_id}/revoke", 410)


async def test_who_hosts_a_theme_is_offered_to_ask_in_it(tmp_path: Path) -> None:
    async with services(tmp_path) as parts:
        await parts.up()
        theme = await parts.themes.create("ours", "Ours", guild_id=GUILD)
        await parts.themes.change("ours", asked_by=AskedBy.HOSTS)
        async with anns_wall(parts) as ann:
            assert "those who made it" not in await page(ann, "/s/open")
            await Channels(parts.store, parts.themes).bind(CHANNEL, GUILD, "ours")
            text = await page(ann, "/s/ours")
            assert "those who made it" not in text and 'name="prompt"' in text
            await sent(ann, "/s/ours/dreams", prompt="a fox")
        [dream] = await parts.dreams.unfinished(theme.id)
        assert (dream.guild_id, dream.person) == (GUILD, ANN)
