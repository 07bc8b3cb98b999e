"""Parties at the wall: who gets in, who may do what, and what floods run into."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, CookieJar
from yarl import URL

from bot.discord_oauth import DiscordOAuth
from bot.errors import LimitError
from bot.gate import Asker
from bot.model import DreamState, EventKind, Live, Person, StreamEvent, Visibility
from bot.parties.finale import MOST
from bot.parties.model import Party, Role, Stage
from bot.parties.reading import WRONG_CODE
from bot.rights import Actor
from bot.sessions import Sessions
from bot.store import dream_states
from bot.wall import Wall, WallSettings
from bot.wall.guests import TOKEN_COOKIE
from bot.wall.marks import Marks
from bot.wall.party import acts, door
from bot.wall.party.codes import qr_svg
from bot.wall.party.evening import Evenings
from bot.wall.party.stream import _Page
from bot.wall.rates import Rates
from bot.wall.sign_in import SigningIn, session_cookie
from bot.watching import Watching
from tests.bot.drawer import ANN, Services, request, services, until
from tests.bot.test_unattended import counted
from tests.wall.test_events import watching

HTMX = {"HX-Request": "true"}


class Evening:
    """A wall with a party on real services, and its visitors."""

    def __init__(self, parts: Services, url: URL, marks: Marks) -> None:
        self.parts = parts
        self.marks = marks
        self.url = url
        self.sessions: list[ClientSession] = []
        self.code = ""

    def visitor(self) -> ClientSession:
        """Return a browser of somebody else."""
        session = ClientSession(
            base_url=self.url, headers={"Accept": "text/html"}, cookie_jar=CookieJar(unsafe=True)
        )
        self.sessions.append(session)
        return session

    async def host(self, **form: str) -> ClientSession:
        """Open the party; return its host's browser."""
        host = self.visitor()
        form = {"topic": "loneliness", "name": "Ada", **form}
        async with host.post("/parties", data=form) as response:
            assert response.status == 200, await response.text()
            self.code = response.url.path.removeprefix("/p/")
        return host

    async def guest(self, name: str = "Lin") -> ClientSession:
        """Join; return the guest's browser."""
        guest = self.visitor()
        assert await self.post(guest, "join", name=name) == 200
        return guest

    async def post(
        self, who: ClientSession, path: str, *, code: str | None = None, **form: str
    ) -> int:
        async with who.post(
            f"/p/{self.code if code is None else code}/{path}", data=form
        ) as response:
            await response.read()
            return response.status

    async def get(self, who: ClientSession, path: str = "") -> tuple[int, str]:
        async with who.get(f"/p/{self.code}{path}") as response:
            return response.status, await response.text()

    async def party(self) -> Party:
        return await self.parts.parties.by_code(self.code)

    async def mark(self, name: str) -> str:
        members = await self.parts.parties.members(await self.party())
        return next(self.marks.of(one.person.id) for one in members if one.person.name == name)

    async def drawn(self, who: ClientSession, words: str = "a fox") -> str:
        """Sketch one picture, and finish it; return its id."""
        assert await self.post(who, "draw", words=words, count="1") == 200
        (dream,) = await self.parts.dreams.unfinished(None)
        return await self.finish(dream.id)

    async def finish(self, dream_id: str) -> str:
        """Let a dream be drawn, in a colour of its own."""
        await self.parts.draw(dream_id, colour=COLOURS.pop())
        await self.parts.dreams.wait(dream_id)
        return dream_id


COLOURS = [f"#{value:06x}" for value in range(0x100000, 0x140000, 0x101)]


@asynccontextmanager
async def evening_in(
    folder: Path, *, sessions: bool = False, **settings: Any
) -> AsyncIterator[Evening]:
    async with services(folder) as parts:
        oauth = DiscordOAuth("secret", "http://localhost/", lambda: "1")
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
            games=parts.games,
            watching=Watching(parts.store),
            favourites=parts.moderation,
            signing_in=SigningIn(oauth, Sessions(parts.store)) if sessions else None,
        )
        evening = Evening(parts, await wall.start(), wall.marks)
        try:
            yield evening
        finally:
            for session in evening.sessions:
                await session.close()
            await wall.stop()


@pytest.fixture
async def evening(tmp_path: Path) -> AsyncIterator[Evening]:
    async with evening_in(tmp_path) as evening:
        yield evening


async def test_a_picture_of_a_party_in_a_thread_is_steered_by_the_channel_above_it(
    evening: Evening,
) -> None:
    parts, host = evening.parts, Asker(ANN, guild_id=7, channel_id=71, parent_id=70)
    await parts.settings.start()
    await parts.moderation.start()
    theme = await parts.themes.get("open")
    party = await parts.parties.start("gulls", host, theme=theme, guild_id=7, channel_id=71)
    evening.code = party.code
    guest = await evening.guest()
    party = await parts.parties.move(party, host, Stage.SKETCH)
    assert await evening.post(guest, "draw", words="a fox", count="1") == 200
    (dream,) = await parts.dreams.unfinished(None)
    assert (dream.guild_id, dream.channel_id) == (7, 71)

    async def steers(prompt: str, who: ClientSession = guest) -> int:
        """Steer on the dream's own page, which asks for no code."""
        form, path = {"prompt": prompt}, f"/d/{dream.id}/steer"
        async with who.post(path, data=form, headers=HTMX) as response:
            return response.status

    await parts.settings.change_channel(7, 70, ANN, blocked_words=("badger",))
    assert await steers("a badger") == 422
    assert await steers("a wolf") == 204
    await parts.settings.change_channel(7, 70, ANN, dreaming=False)
    assert await steers("an owl") == 403
    await parts.settings.change_channel(7, 70, ANN, dreaming=True)
    assert await steers("an owl", evening.visitor()) == 403
    # Nor does who was sent away go on by that page.
    assert await steers("an owl") == 204
    lin = next(one for one in await parts.parties.members(party) if one.person.name == "Lin")
    await parts.parties.remove(party, host, lin.person.id)
    assert await steers("a crow") == 403


# --- who gets in -------------------------------------------------------------------------------


async def test_who_opens_a_party_is_its_host_and_who_has_the_code_joins(evening: Evening) -> None:
    host = await evening.host(minutes="7", guests="3", visibility="public")
    party = await evening.party()
    assert (party.topic, party.stage_minutes, party.settings.max_guests) == ("loneliness", 7, 3)
    assert (await evening.parts.parties.theme_of(party)).visibility is Visibility.PUBLIC
    guest = evening.visitor()
    status, text = await evening.get(guest)
    assert status == 200 and "Come in" in text and "What comes to your mind?" not in text
    typed = f" {evening.code[:4].upper()}-{evening.code[4:]} "
    async with guest.post("/join", data={"code": typed}) as response:
        assert response.url.path == f"/p/{evening.code}"
    assert await evening.post(guest, "join", name=" ") == 422
    assert await evening.post(guest, "join", name="Lin") == 200
    for who, leads in ((host, True), (guest, False)):
        status, text = await evening.get(who)
        assert status == 200 and "What comes to your mind?" in text
        assert ('class="desk"' in text) is leads


async def test_who_signs_in_at_a_party_goes_on_as_the_guest_that_came_in(tmp_path: Path) -> None:
    async with evening_in(tmp_path, sessions=True) as evening:
        host = await evening.host()
        _, text = await evening.get(host)
        assert f'href="/sign-in?next=/p/{evening.code}"' in text
        token = await Sessions(evening.parts.store).begin(Person("discord:7", "Ann"))
        host.cookie_jar.update_cookies({session_cookie(WallSettings(port=0)): token}, evening.url)
        _, text = await evening.get(host)
        assert 'class="desk"' in text and 'action="/sign-out"' in text and "Come in" not in text
        assert await evening.post(host, "words", words="snow", kind="idea") == 200
        assert await evening.post(host, "stage", stage="sketch") == 200
        assert await evening.post(host, "join", name="Ann") == 200
        party = await evening.party()
        assert party.stage is Stage.SKETCH
        [member] = await evening.parts.parties.members(party)
        assert (member.role, member.person.name) == (Role.HOST, "Ada")
        # Their account joins for itself in another browser, and takes nothing from this one.
        phone = evening.visitor()
        token = await Sessions(evening.parts.store).begin(Person("discord:7", "Ann"))
        phone.cookie_jar.update_cookies({session_cookie(WallSettings(port=0)): token}, evening.url)
        assert await evening.post(phone, "join", name="Ann") == 200
        assert len(await evening.parts.parties.members(party)) == 2
        _, text = await evening.get(phone)
        assert 'class="desk"' not in text and "Come in" not in text
        _, text = await evening.get(host)
        assert 'class="desk"' in text
        assert await evening.post(host, "stage", stage="elaborate") == 200
        # So they do in the party's stream, by its own page and by those of its dreams.
        slug = (await evening.parts.parties.theme_of(party)).slug
        async with host.post(f"/s/{slug}/dreams", data={"prompt": "a fox"}) as response:
            assert response.status == 200, await response.text()
        [dream] = await evening.parts.dreams.unfinished(None)
        assert dream.person == member.person
        async with host.post(f"/d/{dream.id}/redo", data={"same_seed": "1"}) as response:
            assert response.status == 200, await response.text()
        # Who was sent away does not come back by signing in.
        guest = await evening.guest("Lin")
        assert await evening.post(host, f"members/{await evening.mark('Lin')}/remove") == 200
        token = await Sessions(evening.parts.store).begin(Person("discord:8", "Lin"))
        guest.cookie_jar.update_cookies({session_cookie(WallSettings(port=0)): token}, evening.url)
        assert (await evening.get(guest))[0] == 404
        assert await evening.post(guest, "join", name="Lin") == 404


async def test_who_signs_in_has_one_heart_with_the_guest_that_they_were(tmp_path: Path) -> None:
    async with evening_in(tmp_path, sessions=True) as evening:
        host, parts = await evening.host(), evening.parts
        [owl] = await parts.dreams.ask(request("an owl"))
        await evening.finish(owl.id)
        assert await evening.post(host, "stage", stage="sketch") == 200
        fox = await evening.drawn(host)
        [guest] = [one.person for one in await parts.parties.members(await evening.party())]

        async def like(dream_id: str) -> str:
            async with host.post(f"/d/{dream_id}/heart", headers={"HX-Request": "1"}) as response:
                return await response.text()

        assert "♥ 1<" in await like(owl.id) and "♥ 1<" in await like(fox)
        ann = Person("discord:7", "Ann")
        token = await Sessions(parts.store).begin(ann)
        host.cookie_jar.update_cookies({session_cookie(WallSettings(port=0)): token}, evening.url)
        for dream_id, liked_by in ((owl.id, ann), (fox, guest)):
            async with host.get(f"/d/{dream_id}") as response:
                assert "♥ 1<" in await response.text(), "what the guest liked, they like"
            await parts.moderation.like([dream_id], ann)  # as with ⭐ in Discord
            assert "♡<" in await like(dream_id)
            assert "♥ 1<" in await like(dream_id)
            assert await parts.moderation.likes(dream_id, liked_by)


async def test_no_party_a_wrong_code_and_a_private_party_are_answered_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "WRONG_CODES", 1000)
    async with evening_in(tmp_path) as evening:
        await evening.host()
        party = await evening.party()
        theme = await evening.parts.parties.theme_of(party)
        await evening.parts.themes.change(theme.slug, visibility=Visibility.PRIVATE)
        stranger = evening.visitor()
        told = set()
        for code in ("zzzzzzzz", "x", evening.code):
            for path in ("", "/screen", "/qr.svg", "/events", "/part/said", "/screen/said"):
                async with stranger.get(f"/p/{code}{path}") as response:
                    told.add((response.status, WRONG_CODE in await response.text()))
            for path in ("join", "words", "stage", "draw", "end"):
                assert await evening.post(stranger, path, code=code, name="Eve") == 404
            async with stranger.post("/join", data={"code": code}) as response:
                told.add((response.status, WRONG_CODE in await response.text()))
        assert told == {(404, True)}


async def test_guessing_codes_ends_for_an_address_and_not_for_who_is_there(
    evening: Evening,
) -> None:
    host = await evening.host()
    stranger = evening.visitor()
    for _ in range(door.WRONG_CODES):
        async with stranger.get("/p/zzzzzzzz") as response:
            assert response.status == 404
    async with stranger.get("/p/yyyyyyyy") as response:
        assert response.status == 429 and int(response.headers["Retry-After"]) > 0
    assert (await evening.get(stranger))[0] == 429, "the right code tells nothing now, either"
    assert (await evening.get(host))[0] == 200


async def test_a_full_party_takes_nobody_until_somebody_leaves(
    evening: Evening,
) -> None:
    await evening.host(guests="1")
    guest = await evening.guest()
    second = evening.visitor()
    async with second.post(f"/p/{evening.code}/join", data={"name": "Mo"}) as response:
        assert response.status == 429 and "full" in await response.text()
    assert (await evening.get(second))[0] == 200, "they stand at the door"
    assert (await evening.get(second, "/part/said"))[0] == 403
    assert await evening.post(guest, "leave") == 200
    assert await evening.post(second, "join", name="Mo") == 200


async def test_who_has_no_link_finds_no_trace_of_a_party(evening: Evening) -> None:
    host = await evening.host(topic="a secret topic")
    await evening.post(host, "words", words="a secret word")
    await evening.post(host, "stage", stage="sketch")
    dream_id = await evening.drawn(host, "a secret fox")
    theme = await evening.parts.parties.theme_of(await evening.party())
    stranger = evening.visitor()
    paths = ("/", "/all", "/all/more", "/all/watch", "/themes", "/join", "/machine", "/s/open",
             "/s/open/best", "/s/open/feed.atom")  # fmt: skip
    for path in paths:
        async with stranger.get(path) as response:
            assert response.status == 200, path
            text = await response.text()
        for trace in ("secret", evening.code, theme.slug, dream_id):
            assert trace not in text, f"{trace} at {path}"
    async with stranger.get(f"/s/{theme.slug}") as response:
        text = await response.text()
        assert response.status == 200 and dream_id in text, "who has the link may watch"
        assert evening.code not in text, "and gets no code by it"
    async with stranger.post(f"/s/{theme.slug}/dreams", data={"prompt": "a cat"}) as response:
        assert response.status == 403, "nor may they draw"
    assert await evening.parts.dreams.unfinished(None) == []


async def test_a_crowd_from_one_address_comes_in_slowly_and_who_was_there_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "JOINS", 2)
    async with evening_in(tmp_path) as evening:
        await evening.host()
        guest = await evening.guest()
        await evening.guest("Mo")
        assert await evening.post(evening.visitor(), "join", name="Eve") == 429
        assert await evening.post(guest, "leave") == 200
        assert await evening.post(guest, "join", name="Lin") == 200
        assert len(await evening.parts.parties.members(await evening.party())) == 3


async def test_parties_opened_from_one_address_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts, "OPENED", 2)
    async with evening_in(tmp_path) as evening:
        for _ in range(2):
            await evening.host()
        async with evening.visitor().post("/parties", data={"topic": "x", "name": "Eve"}) as third:
            assert third.status == 429
        assert len(await evening.parts.parties.open()) == 2


async def test_a_cookie_that_somebody_made_is_nobodys(evening: Evening) -> None:
    host = await evening.host()
    guest = await evening.guest()
    (token,) = (one.value for one in host.cookie_jar if one.key == TOKEN_COOKIE)
    ada = (await evening.party()).host.id
    for forged in (f"{token[:-1]}{'a' if token[-1] != 'a' else 'b'}", token[:-1], ada, "x" * 3000):
        made = ClientSession(base_url=evening.url, cookies={TOKEN_COOKIE: forged})
        evening.sessions.append(made)
        assert await evening.post(made, "stage", stage="sketch") == 403, forged[:20]
        assert await evening.post(made, "words", words="forged") == 403
    assert (await evening.party()).stage is Stage.GATHER
    assert await evening.post(guest, "words", words="real") == 200


async def test_without_joining_nothing_can_be_done(evening: Evening) -> None:
    host = await evening.host()
    await evening.post(host, "stage", stage="sketch")
    dream_id = await evening.drawn(host)
    stranger = evening.visitor()
    paths = (
        "leave", "words", "words/1/hide", "draw", "stage", "timer", "settings", "finale", "end",
        "pair", "credit", f"members/{await evening.mark('Ada')}/role",
        f"members/{await evening.mark('Ada')}/remove",
        *(f"picture/{dream_id}/{act}" for act in ("grow", "steer", "combine", "favour", "points")),
    )  # fmt: skip
    for path in paths:
        assert await evening.post(stranger, path, words="x", stage="choose") == 403, path
    for path in ("/part/desk", f"/picture/{dream_id}"):
        assert (await evening.get(stranger, path))[0] == 403
    assert (await evening.party()).stage is Stage.SKETCH


async def test_what_only_the_host_may(evening: Evening) -> None:
    await evening.host()
    guest = await evening.guest()
    ada = await evening.mark("Ada")
    for path, form in {
        "stage": {"stage": "sketch"},
        "timer": {"minutes": "1"},
        "settings": {"code_shown": "0"},
        "end": {},
        f"members/{ada}/role": {"role": "guest"},
        f"members/{ada}/remove": {},
    }.items():
        assert await evening.post(guest, path, **form) == 403, path
    party = await evening.party()
    assert party.open and party.stage is Stage.GATHER and party.settings.code_shown
    assert 'class="desk"' not in (await evening.get(guest, "/part/desk"))[1]


async def test_a_guest_who_is_sent_away_finds_nothing_any_more(evening: Evening) -> None:
    host = await evening.host()
    guest = await evening.guest()
    async with watching(guest, f"/p/{evening.code}/events?stage=gather") as reader:
        assert await evening.post(host, f"members/{await evening.mark('Lin')}/remove") == 200
        while (message := await reader.next()) is not None and message.event != "reload":
            pass
        assert message is not None, "their page is told to look again"
    for path in ("", "/screen", "/part/said", "/events"):
        status, text = await evening.get(guest, path)
        assert status == 404 and WRONG_CODE in text, path
    assert await evening.post(guest, "join", name="Lin") == 404
    assert await evening.post(guest, "words", words="x") == 404


async def test_roles_and_the_hand_over(evening: Evening) -> None:
    host = await evening.host()
    guest = await evening.guest()
    lin = await evening.mark("Lin")
    assert await evening.post(host, f"members/{lin}/role", role="facilitator") == 200
    assert await evening.post(guest, "stage", stage="sketch") == 200
    assert await evening.post(guest, "end") == 403
    assert await evening.post(host, f"members/{lin}/role", role="king") == 422
    assert await evening.post(host, "members/ffffffffffff/role", role="host") == 404
    assert await evening.post(host, f"members/{lin}/role", role="host") == 200
    roles = {
        one.person.name: one.role
        for one in await evening.parts.parties.members(await evening.party())
    }
    assert roles == {"Ada": Role.GUEST, "Lin": Role.HOST}
    assert await evening.post(host, "end") == 403
    assert await evening.post(guest, "end") == 200
    assert not (await evening.party()).open
    assert "This was the evening" in (await evening.get(host))[1]
    assert await evening.post(host, "words", words="late") == 422


async def test_a_wall_for_watching_shows_the_screen_and_takes_nothing(tmp_path: Path) -> None:
    async with evening_in(tmp_path, mode="proxy") as evening:
        visitor = evening.visitor()
        async with visitor.get("/parties/new") as response:
            assert response.status == 403
        async with visitor.post("/parties", data={"topic": "x", "name": "Eve"}) as response:
            assert response.status == 403
        theme = await evening.parts.themes.get("open")
        ann = Actor(Person("discord:1", "Ann"))
        party = await evening.parts.parties.start("the sea", ann, theme=theme)
        evening.code = party.code
        assert (await evening.get(visitor, "/screen"))[0] == 200
        assert await evening.post(visitor, "join", name="Eve") == 403


async def test_a_post_from_another_site_does_nothing(evening: Evening) -> None:
    host = await evening.host()
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        async with host.post(
            f"/p/{evening.code}/stage", data={"stage": "sketch"}, headers=headers
        ) as response:
            assert response.status == 403
        async with host.post("/parties", data={"topic": "x"}, headers=headers) as response:
            assert response.status == 403
    assert (await evening.party()).stage is Stage.GATHER


# --- floods --------------------------------------------------------------------------------------


async def test_words_are_bounded_for_a_guest_and_for_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts, "WORDS", 23)
    async with evening_in(tmp_path) as evening:
        await evening.host()
        guest, other = await evening.guest(), await evening.guest("Mo")
        said = [await evening.post(guest, "words", words=f"word {n}") for n in range(21)]
        assert said == [200] * 20 + [429], "one guest's share"
        said = [await evening.post(other, "words", words=f"other {n}") for n in range(3)]
        assert said == [200, 200, 429], "a dropped cookie gains little"


async def test_sketches_from_one_address_are_bounded_with_those_of_streams(
    tmp_path: Path,
) -> None:
    async with evening_in(tmp_path, dreams_per_address=6) as evening:
        host = await evening.host()
        await evening.post(host, "stage", stage="sketch")
        guest = await evening.guest()
        assert await evening.post(guest, "draw", words="a fox", count="4") == 200
        assert await evening.post(host, "draw", words="an owl", count="4") == 429
        assert await evening.post(host, "draw", words="an owl", count="9") == 422
        async with host.post("/s/open/dreams", data={"prompt": "an owl", "count": "4"}) as answer:
            assert answer.status == 429
        assert len(await evening.parts.dreams.unfinished(None)) == 4


async def test_rates_forget_and_say_when() -> None:
    now = [0.0]
    rates = Rates(2, 10.0, "Too much.", clock=lambda: now[0])
    rates.take("a")
    now[0] = 4.0
    rates.take("a")
    with pytest.raises(LimitError, match="Too much") as raised:
        rates.take("a")
    assert raised.value.retry_after_s == 6.0
    rates.take("b")
    now[0] = 10.0
    rates.take("a")
    with pytest.raises(LimitError):
        rates.check("a")


# --- an evening ----------------------------------------------------------------------------------


async def test_each_stage_from_words_to_the_finale(evening: Evening) -> None:
    host, guest = await evening.host(), await evening.guest()
    parties = evening.parts.parties
    assert await evening.post(guest, "words", words="an <b>empty</b> bench", kind="idea") == 200
    assert await evening.post(guest, "words", words="linocut", kind="style") == 200
    assert await evening.post(guest, "words", words="x", kind="smell") == 422
    assert await evening.post(guest, "draw", words="early") == 422, "not at this stage"
    for path in ("/part/said", "/screen/said"):
        text = (await evening.get(host, path))[1]
        assert "an &lt;b&gt;empty&lt;/b&gt; bench" in text and "<b>empty" not in text
    bench, linocut = await parties.associations(await evening.party())
    assert await evening.post(host, f"words/{bench.id}/hide") == 200
    assert "empty" not in (await evening.get(guest, "/part/said"))[1]
    assert await evening.post(host, "words/9999/hide") == 404
    assert await evening.post(host, "words/x/hide") == 404

    assert await evening.post(host, "stage", stage="sketch") == 200
    form = {"words": "two old people", "said": str(linocut.id), "count": "1"}
    assert await evening.post(guest, "draw", **form) == 200
    (dream,) = await evening.parts.dreams.unfinished(None)
    assert dream.prompt == "two old people, linocut"
    assert f'id="status-{dream.id}"' in (await evening.get(guest, "/screen/pictures"))[1]
    assert await evening.post(guest, f"picture/{dream.id}/steer", prompt="two cats") == 200
    await evening.finish(dream.id)
    first, second = dream.id, await evening.drawn(host, "a lighthouse")

    assert await evening.post(host, "stage", stage="elaborate") == 200
    assert "Let its words grow" in (await evening.get(guest, f"/picture/{second}"))[1]
    shown = (await evening.get(guest, "/screen/pictures"))[1]
    assert "mosaic-of many-2" in shown and "lanes" not in shown, "nothing has grown yet"
    assert await evening.post(guest, f"picture/{second}/grow", words="at night") == 200
    assert "lanes tall-1 wide-2" in (await evening.get(guest, "/screen/pictures"))[1]
    (grown,) = await evening.parts.dreams.unfinished(None)
    assert (grown.prompt, grown.parent_id) == ("a lighthouse, at night", second)
    await evening.finish(grown.id)
    assert await evening.post(guest, f"picture/{first}/combine", other="nothing") == 422
    assert await evening.post(guest, f"picture/{first}/combine", other=second) == 200
    (both,) = await evening.parts.dreams.unfinished(None)
    await evening.finish(both.id)
    text = (await evening.get(guest, "/part/pictures"))[1]
    assert "a lighthouse<em>, at night</em>" in text

    assert await evening.post(host, "stage", stage="choose") == 200
    assert await evening.post(guest, f"picture/{grown.id}/favour") == 200
    for change in ("1", "1", "-1", "1", "1", "1", "1"):
        await evening.post(guest, f"picture/{grown.id}/points", change=change)
    assert await evening.post(guest, f"picture/{both.id}/points", change="1") == 422, "5 in all"
    assert await evening.post(guest, f"picture/{grown.id}/points", change="5") == 422
    text = (await evening.get(guest, "/part/pair"))[1]
    assert text.count('class="choice-of-two"') == 2
    members = await parties.members(await evening.party())
    (lin,) = [one.person for one in members if one.person.name == "Lin"]
    pair = await parties.pair(await evening.party(), Actor(lin))
    assert pair is not None
    assert await evening.post(guest, "pair", winner=pair[0], loser=pair[1]) == 200
    (best, *_) = await parties.standings(await evening.party())
    assert (best.dream_id, best.favourites, best.points) == (grown.id, 1, 5)
    desk = (await evening.get(host, "/part/desk"))[1]
    assert f'value="{grown.id}" checked' in desk, "the best are chosen already"

    assert await evening.post(host, "finale") == 422
    assert await evening.post(host, "finale", dream="0" * 26) == 404
    assert await evening.post(host, "finale", dream=grown.id) == 200
    assert (await evening.party()).stage is Stage.FINALE
    for redrawn in await evening.parts.dreams.unfinished(None):
        await evening.finish(redrawn.id)
    async with asyncio.timeout(20):
        # What the finale waits for tells nobody outside of it.
        while not all(  # noqa: ASYNC110
            one.done for one in await parties.finale_of(await evening.party())
        ):
            await asyncio.sleep(0.05)
    assert "a lighthouse, at night" in (await evening.get(guest, "/screen"))[1]
    assert await evening.post(host, "stage", stage="published") == 200
    assert await evening.post(guest, "credit", credited="0") == 200
    assert "Lin" not in (await evening.get(host, "/screen/desk"))[1]


async def test_a_finale_that_is_refused_leaves_the_voting_as_it_is(evening: Evening) -> None:
    host, parties = await evening.host(), evening.parts.parties
    await evening.post(host, "stage", stage="sketch")
    ids = [await evening.drawn(host, f"fox {n}") for n in range(MOST + 1)]
    await evening.post(host, "stage", stage="choose")
    assert f'data-most="{MOST}"' in (await evening.get(host, "/part/desk"))[1]

    async def choose(*chosen: str) -> tuple[int, Stage, int]:
        form = [("dream", one) for one in chosen]
        async with host.post(f"/p/{evening.code}/finale", data=form, headers=HTMX) as answer:
            party = await evening.party()
            return answer.status, party.stage, len(await parties.finale_of(party))

    assert await choose(*ids) == (422, Stage.CHOOSE, 0)
    acceptance = evening.parts.dreams._acceptance
    limits = acceptance._limits
    acceptance._limits = replace(limits, everybody=1)
    assert await choose(*ids[:2]) == (429, Stage.CHOOSE, 0)
    acceptance._limits = limits
    assert await evening.post(host, f"picture/{ids[0]}/favour") == 200
    assert await choose(*ids[:2]) == (200, Stage.FINALE, 2)
    assert (await evening.party()).due_ms is not None


async def test_dreams_that_are_not_published_are_on_no_page(evening: Evening) -> None:
    host = await evening.host()
    await evening.post(host, "stage", stage="sketch")
    shown = await evening.drawn(host, "an owl")
    hidden = await evening.drawn(host, "a secret fox")
    async with evening.parts.store.write() as connection:
        await connection.execute("UPDATE dream SET published = 0 WHERE id = ?", (hidden,))
    await evening.post(host, "words", words="next")  # something happens, so that it is read again
    for path in ("", "/part/pictures", "/screen", "/screen/pictures"):
        text = (await evening.get(host, path))[1]
        assert shown in text and hidden not in text and "secret" not in text, path
    assert (await evening.get(host, f"/picture/{hidden}"))[0] == 404
    other = await evening.parts.dreams.ask(request("elsewhere"))
    assert (await evening.get(host, f"/picture/{other[0].id}"))[0] == 404


async def test_places_and_points_are_among_what_the_wall_shows(evening: Evening) -> None:
    host = await evening.host()
    await evening.post(host, "stage", stage="sketch")
    hidden, best, other = [await evening.drawn(host, f"fox {n}") for n in range(3)]
    await evening.post(host, "stage", stage="choose")
    for dream_id, points in ((hidden, 3), (best, 1), (other, 1)):
        for _ in range(points):
            assert await evening.post(host, f"picture/{dream_id}/points", change="1") == 200
    async with evening.parts.store.write() as connection:
        await dream_states.keep_to_place(connection, [hidden])
    assert await evening.post(host, f"picture/{best}/favour") == 200
    ranks = re.findall(r'class="rank">(\d+)', (await evening.get(host, "/part/votes"))[1])
    record = await evening.parts.parties.record(await evening.party())
    assert ranks == [str(one.place) for one in record.standings] == ["1", "2"]
    assert "3 of 5 points left" in (await evening.get(host, "/part/pictures"))[1]
    assert await evening.post(host, f"picture/{best}/points", change="1") == 200
    assert "2 of 5 points left" in (await evening.get(host, "/part/pictures"))[1]


async def test_the_code_is_taken_off_the_screen(evening: Evening) -> None:
    host = await evening.host()
    room = evening.visitor()
    spoken = f"{evening.code[:4]} {evening.code[4:]}"
    assert spoken in (await evening.get(room, "/screen"))[1]
    status, svg = await evening.get(room, "/qr.svg")
    assert status == 200 and svg.startswith("<svg")
    assert await evening.post(host, "settings", code_shown="0") == 200
    assert spoken not in (await evening.get(room, "/screen/desk"))[1]
    assert (await evening.get(room, "/qr.svg"))[0] == 404


async def test_a_page_that_comes_back_is_told_all_that_it_missed(evening: Evening) -> None:
    host = await evening.host()
    before = await evening.parts.feed.last_id()
    await evening.post(host, "words", words="rain")
    path = f"/p/{evening.code}/events"
    async with watching(host, f"{path}?stage=gather", Last_Event_ID=str(before)) as reader:
        parts = {(await reader.next()).event for _ in range(5)}  # type: ignore[union-attr]
        assert parts == {"desk", "pictures", "round", "said", "votes"}
        await evening.post(host, "words", words="snow")
        message = await reader.next()
        assert message is not None and message.event == "said"
        last = message.id
    async with watching(host, f"{path}?stage=gather", Last_Event_ID=last) as reader:
        await evening.post(host, "timer", minutes="3")
        told = {(await reader.next()).event for _ in range(2)}  # type: ignore[union-attr]
        # What is played has no place in the log, so who comes back is told that anew.
        assert told == {"round", "desk"}, "and nothing that it has seen"
        await evening.post(host, "stage", stage="sketch")
        message = await reader.next()
        assert message is not None and message.event == "reload"
    async with watching(host, f"{path}?stage=gather") as reader:
        message = await reader.next()
        assert message is not None and message.event == "reload", "it slept through the change"
    async with watching(host, f"{path}?stage=sketch&after=nobodys") as reader:
        told = {(await reader.next()).event for _ in range(4)}  # type: ignore[union-attr]
        assert told == parts - {"round"}, "nobody can tell what it missed"


async def test_a_mistake_that_breaks_a_partys_events_off_is_counted(
    evening: Evening, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("nobody foresaw this")

    host, before = await evening.host(), counted("wall-party-events")
    async with watching(host, f"/p/{evening.code}/events?stage=gather") as reader:
        await reader.response.content.readline()
        await until(lambda: evening.parts.feed._listeners)
        monkeypatch.setattr(_Page, "_note", fail)
        await evening.post(host, "words", words="rain")
        while await reader.next() is not None:
            pass
    assert counted("wall-party-events") == before + 1


async def test_a_party_is_read_again_only_after_what_happens_there(evening: Evening) -> None:
    host, party = await evening.host(), await evening.party()
    evenings = Evenings(evening.parts.parties, evening.parts.feed)
    before = await evenings.now(party.id)
    await evening.parts.dreams.ask(request("elsewhere"))
    assert await evenings.now(party.id) is before
    await evening.post(host, "words", words="rain")
    assert [one.words for one in (await evenings.now(party.id)).associations] == ["rain"]


async def test_how_an_unpublished_picture_stands_is_told_to_no_page(evening: Evening) -> None:
    host = await evening.host()
    assert await evening.post(host, "stage", stage="sketch") == 200
    await evening.post(host, "draw", words="a lighthouse", count="1")
    (before,) = await evening.parts.dreams.unfinished(None)
    party = await evening.party()
    now = await Evenings(evening.parts.parties, evening.parts.feed).now(party.id)
    page = _Page(now, behind=False)

    async def updates() -> AsyncIterator[StreamEvent | Live]:
        for number, (dream_id, payload) in enumerate(
            (("shown", {}), ("kept", {"published": False}), ("over", {})), now.version + 1
        ):
            yield StreamEvent(
                id=number,
                kind=EventKind.ASKED,
                theme_id=party.theme_id,
                dream_id=dream_id,
                person=None,
                at_ms=0,
                payload=payload,
            )
        yield StreamEvent(
            id=now.version + 9,
            kind=EventKind.DONE,
            theme_id=party.theme_id,
            dream_id="over",
            person=None,
            at_ms=0,
            payload={},
        )
        for dream_id in (before.id, "shown", "kept", "over"):
            yield Live(
                dream_id=dream_id,
                theme_id=party.theme_id,
                state=DreamState.DRAWING,
                step=1,
                steps=8,
            )

    await page.read(updates())
    assert set(page.standing) == {before.id, "shown"}


def test_the_qr_code_is_one_picture_without_style_or_script() -> None:
    svg = qr_svg("http://192.168.1.20:8642/p/abcd1234").decode()
    assert 'viewBox="0 0' in svg and "style" not in svg and "script" not in svg
