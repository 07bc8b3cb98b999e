"""Every address of the wall, walked by every kind of visitor.

What may not be seen is answered word for word as what is not there: so neither the picture nor that
there is one is told. And what may be seen is not: else that proof would prove nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientSession, CookieJar, FormData
from msgspec.structs import replace as changed
from yarl import URL

from bot.channels import Channels
from bot.checking.reviews import Reviews
from bot.checking.service import PictureChecks
from bot.discord_oauth import DiscordOAuth
from bot.gate import Asker
from bot.ids import IdMaker
from bot.membership import AskedTooMuchError, Memberships, UnreachedError
from bot.membership import Place as Channel
from bot.model import Person, PictureCheck, Visibility
from bot.parties.model import Stage
from bot.privacy.exporting import Exports
from bot.publish import building
from bot.rights import Actor
from bot.sessions import Sessions
from bot.signed_links import NOT_GOOD, Shows, SignedLinks
from bot.store import people
from bot.store.portraits import Reach
from bot.theme_pictures import ThemePictures
from bot.wall import Wall, WallSettings, events
from bot.wall.guests import TOKEN_COOKIE, Guest
from bot.wall.party import door
from bot.wall.sign_in import SigningIn, session_cookie
from bot.wall.signed import OF_ONE_DREAM
from bot.watching import Watching
from generation.protocol import Attachment
from tests.bot.drawer import Services, finished, png, request
from tests.bot.test_games import Eyes
from tests.bot.test_parties import Room, room
from tests.wall.routes import ONLY_MACHINE, RULES, Rule
from tests.wall.test_events import watching

pytestmark = pytest.mark.asyncio(loop_scope="module")

OWNER = Actor(Guest("o" * 32).person)
"""Asked for everything in every stream, and hosts its party; comes by the cookie “ooo…”."""
HERMIT = Person("discord:7", "Kim")
"""Publishes nothing."""
BEARERS = ("bearer", "dream-bearer")
"""They will be given links; until then they see no more than others."""
SIGNED_IN = "signed-in"
"""With Discord, and not a member of the server whose channel has the private stream."""
MEMBER_ID = 500
SECRET = "zanzibar"
"""In every word of what nobody is to see."""
FORM = {
    "prompt": "x",
    "words": "x",
    "reach": "self",
    "name": "Eve",
    "choice": "0",
    "kind": "draw",
    "with": "0" * 16,
    "topic": "the sea",
    "code": "nosuch",
    "stage": "sketch",
    "minutes": "5",
}
NOWHERE = "nosuch-stream"
Route = tuple[str, str]


@dataclass(frozen=True)
class Place:
    """A stream and everything in it, by the names that addresses have for it."""

    names: dict[str, str]
    dreams: tuple[str, ...] = ()

    def path(self, pattern: str, **other: str) -> str:
        """Return the address of a pattern here."""
        names = self.names | other
        path = re.sub(r"\{(\w+)\}", lambda found: names[found[1]], pattern)
        if pattern.startswith(("/i/", "/t/")):
            path += f"?d={names['dream_id']}"
        if pattern.endswith("/search"):
            path += "?q=x"
        return path


def missing() -> Place:
    """Return a stream that is not there."""
    new = IdMaker().next
    names = dict.fromkeys(("dream_id", "game_id", "entry_id", "party_id", "words_id"), "")
    return Place(
        {name: new() for name in names}
        | {"slug": NOWHERE, "sha256": "0" * 64, "code": "nosuch", "token": "n" * 40}
        | {"name": "forming.mp4", "path": "index.html", "day": "2026-03-09"}
        | {"part": "desk", "mark": "0" * 12}
    )


async def furnished(r: Room, slug: str, words: str) -> Place:
    """Make a stream with all that a stream can have; it is public yet."""
    s, place = r.s, missing()
    theme = await s.themes.create(slug, f"{words} title", topic=f"{words} topic")
    asked = request(f"a {words} picture", theme=slug, person=OWNER.person)
    (done,) = await s.dreams.ask(asked)
    film = Attachment(name="forming.mp4", media_type="video/mp4", data=b"a film")
    job = await s.begin(done.id)
    await s.dreams.on_message(changed(finished(job), attachments=(film,)))
    done = await s.dreams.wait(done.id)
    assert done.image is not None
    await s.moderation.favourite(done.id, OWNER.person)
    (forming,) = await s.dreams.ask(asked)
    await s.begin(forming.id, 5, preview=png())
    theme = await ThemePictures(s.store, s.library, s.themes, s.dreams).choose(slug, done)
    game = await s.games.start_say(theme, OWNER, done.id)
    entered = await s.games.enter_text(game.id, OWNER, f"{words} words")
    party = await s.parties.start(f"{words} topic", OWNER, theme=theme)
    said = await s.parties.associate(party, OWNER, f"{words} bench")
    return Place(
        place.names
        | {
            "slug": slug,
            "dream_id": done.id,
            "sha256": done.image.sha256,
            "game_id": game.id,
            "entry_id": entered.entry.id,
            "party_id": party.id,
            "code": party.code,
            "words_id": str(said.id),
        },
        (done.id, forming.id),
    )


async def published(r: Room, place: Place) -> None:
    """Hold the place's party to its end, and publish it."""
    s = r.s
    party = await s.parties.move(await s.parties.get(place.names["party_id"]), OWNER, Stage.SKETCH)
    await r.drawn(party, OWNER, f"a {place.names['slug']} sketch")
    party = await s.parties.move(party, OWNER, Stage.CHOOSE)
    await s.publishing.make(party.id, OWNER)
    await s.publishing.wait(party.id)


@dataclass
class World:
    """A bot with a public, a linked and a private stream, and walls on it."""

    parts: Services
    wall: Wall
    public: Place
    linked: Place
    private: Place
    unpublished: str
    links: SignedLinks
    halls: Halls
    visitors: dict[str, ClientSession] = field(default_factory=dict)
    member: ClientSession = field(init=False)
    watcher: ClientSession = field(init=False)
    """The member, at a wall at which guests only watch."""

    @property
    def routes(self) -> Iterable[Route]:
        """Every method and pattern that the wall answers."""
        for route in self.wall.app.router.routes():
            assert route.resource is not None
            if route.method != "HEAD":
                yield route.method, route.resource.canonical

    def by(self, *rules: Rule) -> list[Route]:
        """Return the routes to which rules apply."""
        return [route for route in self.routes if RULES[route[1]] in rules]


class Halls:
    """A Discord with one server: whoever is in `members` may read all of its channels."""

    def __init__(self) -> None:
        self.members = {MEMBER_ID}
        self.asked = 0
        self.asks, self.moderates = True, False

    async def places(
        self, guild_id: int, user_id: int, channel_ids: Sequence[int]
    ) -> list[Channel]:
        self.asked += 1
        if user_id not in self.members:
            return []
        return [
            Channel(guild_id=guild_id, channel_id=one, asks=self.asks, moderates=self.moderates)
            for one in channel_ids
        ]


def wall_of(
    parts: Services,
    settings: WallSettings,
    folder: Path,
    links: SignedLinks,
    signing_in: SigningIn,
) -> Wall:
    """Return a wall with everything that one can have."""
    checks = PictureChecks(parts.library, parts.settings, NoEyes(), PictureCheck.OFF)
    return Wall(
        settings,
        themes=parts.themes,
        dreams=parts.dreams,
        feed=parts.feed,
        library=parts.library,
        drawer=parts.drawer,
        offspring=parts.offspring,
        search=parts.search,
        seeing=parts.seeing,
        parties=parts.parties,
        publishing=parts.publishing,
        watching=Watching(parts.store),
        favourites=parts.moderation,
        portraits=parts.portraits,
        games=parts.games,
        exports=Exports(parts.store, parts.library, folder / "exports"),
        reviews=Reviews(parts.store, parts.library, parts.dreams, checks),
        theme_pictures=ThemePictures(parts.store, parts.library, parts.themes, parts.dreams),
        links=links,
        signing_in=signing_in,
    )


class NoEyes:
    """Looks at nothing: no picture is checked here."""

    async def score(self, data: bytes, media_type: str = "image/png") -> float:
        return 0.0


@asynccontextmanager
async def standing(folder: Path) -> AsyncIterator[World]:
    async with room(folder) as r, AsyncExitStack() as stack:
        parts, eyes = r.s, Eyes()
        parts.drawer.perceptors = ("colours",)
        parts.drawer.embed = eyes.embed  # type: ignore[method-assign]
        places = [
            await furnished(r, *named)
            for named in (("open-sea", "sea"), ("linked", "lynx"), ("secret", SECRET))
        ]
        for place in places:
            await published(r, place)
        public, linked, private = places
        await parts.themes.change("linked", visibility=Visibility.LINK)
        for theme in ("secret", (await party_theme(parts, private))):
            await parts.themes.change(theme, visibility=Visibility.PRIVATE)
        async with parts.store.write() as connection:
            await people.upsert(connection, HERMIT, 0)
            await people.set_publishes(connection, HERMIT.id, publishes=False)
        (kept,) = await parts.dreams.ask(
            request(f"a {SECRET} kept to itself", theme="open-sea", person=HERMIT)
        )
        await parts.draw(kept.id)
        await parts.dreams.wait(kept.id)
        links = SignedLinks.open(folder)
        channels = Channels(parts.store, parts.themes)
        for slug, channel_id in (("secret", 71), ("open-sea", 72)):
            await channels.bind(channel_id, 7, slug)
        halls, sessions = Halls(), Sessions(parts.store)
        signing_in = SigningIn(
            DiscordOAuth("s", "http://127.0.0.1/sign-in/discord", lambda: "1"),
            sessions,
            Memberships(parts.store, halls),
        )
        settings = WallSettings(port=0, mode="proxy", guests_may_ask=True)
        proxied = wall_of(parts, settings, folder, links, signing_in)
        watched = wall_of(parts, WallSettings(port=0, mode="proxy"), folder, links, signing_in)
        local = wall_of(parts, WallSettings(port=0), folder, links, signing_in)
        world = World(parts, local, public, linked, private, kept.id, links, halls)
        for wall, names in (
            (proxied, ("stranger", "guest", "owner", *BEARERS, SIGNED_IN, "member")),
            (local, ("machine",)),
            (watched, ("watcher",)),
        ):
            url = await wall.start()
            stack.push_async_callback(wall.stop)
            for name in names:
                jar = CookieJar(unsafe=True)
                if name != "stranger":
                    jar.update_cookies({TOKEN_COOKIE: name[0] * 32}, url)
                if name in (SIGNED_IN, "member", "watcher"):
                    number = MEMBER_ID + (name == SIGNED_IN)
                    token = await sessions.begin(Person(f"discord:{number}", name))
                    jar.update_cookies({session_cookie(settings): token}, url)
                session = ClientSession(base_url=url, cookie_jar=jar)
                visitor = await stack.enter_async_context(session)
                if name in ("member", "watcher"):
                    setattr(world, name, visitor)
                else:
                    world.visitors[name] = visitor
        yield world


async def party_theme(parts: Services, place: Place) -> str:
    party = await parts.parties.get(place.names["party_id"])
    return (await parts.parties.theme_of(party)).slug


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One for all of these tests: none of them changes who may see what."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(building, "film_of", lambda *_: False)  # a process of its own
        patched.setattr(door, "WRONG_CODES", 10_000)
        patched.setattr(events, "PASSES_S", 0.0)
        async with standing(tmp_path_factory.mktemp("walk")) as world:
            yield world


async def answer(
    visitor: ClientSession,
    method: str,
    path: str,
    form: dict[str, str] | None = None,
    *,
    part: bool = False,
) -> tuple[int, str]:
    """Return the status, and what is said; nothing of an answer that goes on for ever.

    With `part` it is told as to the script of a page.
    """
    data, headers = None, {"HX-Request": "true"} if part else {}
    if method == "POST":
        data = FormData(FORM | (form or {}))
    async with visitor.request(
        method, path, data=data, headers=headers, allow_redirects=False
    ) as response:
        if response.content_type == "text/event-stream":
            return response.status, "events"
        if response.status < 400:
            return response.status, response.headers.get("Location", "")
        return response.status, await response.text()


def plain(said: str, place: Place) -> str:
    """Return what was said without the names that were in the address."""
    for name in sorted({*place.names.values(), *place.dreams}, key=len, reverse=True):
        if len(name) > 5:
            said = said.replace(name, "…")
    return said


async def test_every_address_has_a_rule(world: World) -> None:
    assert {pattern for _, pattern in world.routes} == set(RULES)
    assert {method for method, _ in world.routes} == {"GET", "POST"}


async def test_what_nobody_may_see_is_answered_as_what_is_not_there(world: World) -> None:
    nothing = missing()
    routes = world.by(Rule.STREAM, Rule.DREAM, Rule.GAME, Rule.BUNDLE, Rule.CODE, Rule.LEADER)
    assert len(routes) > 70
    kept = replace(world.public, names=world.public.names | {"dream_id": world.unpublished})
    told_of = []
    for name, visitor in world.visitors.items():
        for method, pattern in routes:
            status, said = await answer(visitor, method, nothing.path(pattern))
            said = plain(said, nothing)
            places = [world.private]
            if RULES[pattern] is Rule.DREAM:
                forming = world.private.names | {"dream_id": world.private.dreams[1]}
                places += [kept, replace(world.private, names=forming)]
            for place in places:
                got = await answer(visitor, method, place.path(pattern))
                told = got[0], plain(got[1], place)
                if told != (status, said):
                    told_of.append((name, method, pattern, told, (status, said)))
            assert status in (403, 404, 422), (name, method, pattern, said)
    assert not told_of


async def test_what_is_named_besides_is_answered_as_what_is_not_there(world: World) -> None:
    """An address may name more than one thing, and so may a form: some of it public, some not."""
    nothing, private = missing().names | {"words_id": "999999"}, world.private.names
    asked: list[tuple[str, str, str, dict[str, str]]] = []
    for method, pattern in world.routes:
        in_all = set(re.findall(r"\{(\w+)\}", pattern.replace("/i/", "/i/{dream_id}")))
        in_all |= {"dream_id"} if pattern.startswith("/t/") else set()
        if RULES[pattern] not in (Rule.ALL, Rule.OWN, Rule.NAME) and len(in_all) > 1:
            asked += [(method, pattern, name, {}) for name in sorted(in_all & NAMED)]
    assert len(asked) > 20
    asked += [
        ("POST", "/s/{slug}/dreams", "dream_id", {"parent": "{dream_id}"}),
        ("POST", "/d/{dream_id}/blend", "other", {"with": "{dream_id}"}),
        ("POST", "/d/{dream_id}/blend", "other", {"link": "/d/{dream_id}"}),
        ("POST", "/p/{code}/picture/{dream_id}/combine", "other", {"other": "{dream_id}"}),
        ("POST", "/p/{code}/finale", "other", {"dream": "{dream_id}"}),
        ("POST", "/p/{code}/draw", "other", {"said": "{words_id}"}),
        ("GET", "/s/{slug}?remix={dream_id}", "dream_id", {}),
        ("GET", "/s/{slug}/events?dream={dream_id}", "dream_id", {}),
    ]
    told_of = []
    for who in ("stranger", "guest", "owner"):
        for method, pattern, name, form in asked:
            told = []
            for names in (nothing, private):
                path = world.public.path(pattern, **{name: names.get(name, "")})
                sent = {field: value.format(**names) for field, value in form.items()}
                place = Place(names, world.private.dreams)
                status, said = await answer(world.visitors[who], method, path, sent, part=True)
                told.append((status, plain(said, place)))
            if told[0] != told[1] or told[0][0] < 400:
                told_of.append((who, method, pattern, name, *told))
    assert not told_of


async def test_nobody_is_told_that_something_happens_where_they_do_not_look(world: World) -> None:
    stranger, parts = world.visitors["stranger"], world.parts
    bearer, (shown, _) = world.visitors["dream-bearer"], world.private.dreams

    async def drawn(theme: str, person: Person) -> str:
        (dream,) = await parts.dreams.ask(request("a gull", theme=theme, person=person))
        await parts.draw(dream.id)
        await parts.dreams.wait(dream.id)
        return dream.id

    token, _ = world.links.make(Shows.DREAM, shown, 1)
    async with bearer.get(f"/l/{token}"):
        pass
    pages = ((stranger, "/s/open-sea"), (stranger, "/all"), (bearer, f"/d/{shown}"))
    async with AsyncExitStack() as stack:
        readers = []
        for visitor, path in pages:
            async with visitor.get(path, headers={"Accept": "text/html"}) as response:
                found = re.search('sse-connect="([^"]+)"', await response.text())
            assert found is not None, path
            assert not re.search(r"after=\d+(&|$)", found[1])  # it would tell how much happened
            events = watching(visitor, found[1].replace("&amp;", "&"))
            readers.append(await stack.enter_async_context(events))
        await parts.themes.change("secret", colour="#123456")
        await parts.dreams.delete(await drawn("secret", OWNER.person), OWNER)
        await drawn("open-sea", HERMIT)
        seen = await drawn("open-sea", OWNER.person)
        for reader in readers[:2]:
            message = await reader.next()
            assert message is not None and message.event == "asked", message
            assert f"dream-{seen}" in "".join(message.data) and not message.id.isdigit()
        await world.links.withdraw(Shows.DREAM, shown)
        assert await readers[2].next() is None


async def test_what_may_be_seen_is_not_answered_so(world: World) -> None:
    visitor = world.visitors["stranger"]
    rules = (Rule.STREAM, Rule.DREAM, Rule.GAME, Rule.BUNDLE, Rule.CODE)
    refused = []
    for place in (world.public, world.linked):
        for method, pattern in world.by(*rules):
            if pattern not in NOT_HAD:
                form = {"with": place.names["dream_id"]}
                status, said = await answer(visitor, method, place.path(pattern), form)
                if status in (404, 410, 500):
                    refused.append((method, pattern, status, said))
    assert not refused


async def test_search_engines_are_told_not_to_list_the_bundle_of_a_party_that_is_not_listed(
    world: World,
) -> None:
    theme, path = await party_theme(world.parts, world.public), "/b/{party_id}/{path}"
    told = []
    for visibility in (Visibility.PUBLIC, Visibility.LINK):  # which it was
        await world.parts.themes.change(theme, visibility=visibility)
        async with world.visitors["stranger"].get(world.public.path(path)) as response:
            assert response.status == 200
            told.append(response.headers.get("X-Robots-Tag"))
    assert told == [None, "noindex"]


@pytest.mark.parametrize("name", ["x%2f..%2findex.html", "index.html/", ".%2findex.html", "%2f"])
async def test_a_file_of_a_bundle_has_one_address(world: World, name: str) -> None:
    visitor, path = world.visitors["stranger"], world.public.path("/b/{party_id}/")
    assert visitor._base_url is not None
    async with visitor.get(URL(f"{visitor._base_url.origin()}{path}{name}", encoded=True)) as said:
        assert (said.status, await said.text()) == (404, "There is no such bundle here.\n")


@pytest.mark.parametrize("by", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"])
async def test_who_comes_through_a_tunnel_does_not_sit_at_the_machine(
    world: World, by: str
) -> None:
    machine = world.visitors["machine"]
    for headers, status in (({}, 422), ({by: "203.0.113.7"}, 403)):
        async with machine.post("/themes", data={"x": "y"}, headers=headers) as response:
            assert response.status == status


async def test_only_who_sits_at_the_machine_does_what_is_theirs(world: World) -> None:
    for name in ("stranger", "guest", "owner"):
        for method, pattern in ONLY_MACHINE:
            path = world.public.path(pattern)
            assert (await answer(world.visitors[name], method, path))[0] == 403, (name, path)
    for _, pattern in sorted(ONLY_MACHINE):
        path = world.public.path(pattern)
        assert (await answer(world.visitors["machine"], "POST", path))[0] != 403, path


async def test_only_who_leads_a_party_leads_it(world: World) -> None:
    stranger, guest = world.visitors["stranger"], world.visitors["guest"]
    theme = await world.parts.themes.get("open-sea")
    party = await world.parts.parties.start("the tide", Actor(HERMIT), theme=theme)
    place = Place(world.public.names | {"code": party.code, "mark": world.wall.marks.of(HERMIT.id)})
    assert (await answer(guest, "POST", f"/p/{party.code}/join"))[0] == 303
    before = await world.parts.parties.get(party.id)
    members = await world.parts.parties.members(party)
    for method, pattern in world.by(Rule.LEADER):
        for visitor in (stranger, guest):
            got = await answer(visitor, method, place.path(pattern))
            # Who chose nothing is told so before it is asked who they are.
            assert got[0] == 403 or (pattern in FORMS_FIRST and got[0] == 422), (pattern, got)
    assert await world.parts.parties.get(party.id) == before
    assert await world.parts.parties.members(party) == members


async def test_what_is_somebodys_own_is_nobody_elses(world: World) -> None:
    theme = await world.parts.themes.get("open-sea")
    portraits = world.parts.portraits
    asker = Asker(OWNER.person)
    kept = await portraits.consent(
        (await portraits.draft(asker, f"a {SECRET} cellist", Reach.SELF, theme)).token,
        OWNER.person,
    )
    await world.parts.draw(kept.dream.id)
    await world.parts.dreams.wait(kept.dream.id)
    draft = await portraits.draft(asker, f"another {SECRET}", Reach.SELF, theme)
    own = Place({"token": draft.token, "dream_id": kept.dream.id})
    nothing = missing()
    for name in ("stranger", "guest", "machine"):
        for method, pattern in world.by(Rule.OWN):
            got = await answer(world.visitors[name], method, own.path(pattern))
            assert got == await answer(world.visitors[name], method, nothing.path(pattern))
            assert got[0] == 404, (name, pattern)
    for method, pattern in world.by(Rule.OWN):
        if method == "GET":
            status, _ = await answer(world.visitors["owner"], method, own.path(pattern))
            assert status == 200, pattern


async def test_a_link_shows_a_private_stream_until_it_is_withdrawn(world: World) -> None:
    bearer, nothing = world.visitors["bearer"], missing()
    theme = await world.parts.themes.get("secret")
    token, _ = world.links.make(Shows.THEME, str(theme.id), 1)
    async with bearer.get(f"/l/{token}", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "/s/secret")
        cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie
    routes = world.by(Rule.STREAM, Rule.DREAM, Rule.GAME)  # its party has a theme of its own
    kept = Place(world.public.names | {"dream_id": world.unpublished})
    refused = []
    for method, pattern in routes:
        if method == "GET" and pattern not in NOT_HAD:
            status, said = await answer(bearer, method, world.private.path(pattern))
            if status in (404, 410, 500):
                refused.append((pattern, status, said))
        if RULES[pattern] is Rule.DREAM:
            got = await answer(bearer, method, kept.path(pattern))
            assert got[0] in (403, 404, 422), (method, pattern)
    assert not refused
    async with bearer.get("/s/secret", headers={"Accept": "text/html"}) as response:
        assert SECRET in await response.text()
    for listing in ("/", "/all", "/themes"):  # it is shown to who was given it, and listed nowhere
        async with bearer.get(listing, headers={"Accept": "text/html"}) as response:
            assert SECRET not in await response.text()
    async with bearer.get("/s/secret/events") as stream:
        assert stream.status == 200
        await world.links.withdraw(Shows.THEME, str(theme.id))
        async with asyncio.timeout(20):  # else it goes on for ever
            await stream.read()
    for method, pattern in routes:
        status, said = await answer(bearer, method, nothing.path(pattern))
        got = await answer(bearer, method, world.private.path(pattern))
        assert (got[0], plain(got[1], world.private)) == (status, plain(said, nothing)), pattern


async def test_a_link_to_a_dream_shows_nothing_of_what_is_around_it(world: World) -> None:
    bearer, nothing = world.visitors["dream-bearer"], missing()
    shown, other = world.private.dreams
    token, _ = world.links.make(Shows.DREAM, shown, 1)
    async with bearer.get(f"/l/{token}", headers={"Accept": "text/html"}) as response:
        assert (response.status, response.url.path) == (200, f"/d/{shown}")
        text = await response.text()
    assert SECRET in text and other not in text
    for method, pattern in world.by(Rule.STREAM, Rule.DREAM, Rule.GAME):
        got = await answer(bearer, method, world.private.path(pattern))
        if method == "GET" and pattern in OF_ONE_DREAM and RULES[pattern] is Rule.DREAM:
            assert got[0] < 400, (pattern, got)
        else:
            status, said = await answer(bearer, method, nothing.path(pattern))
            told = got[0], plain(got[1], world.private)
            assert told == (status, plain(said, nothing)), (method, pattern)
    assert (await answer(bearer, "GET", f"/s/secret/events?dream={shown}"))[0] == 200
    assert (await answer(bearer, "GET", f"/s/secret/events?dream={other}"))[0] == 404
    for wrong in (token[:-2] + ("AA" if token[-2] != "A" else "BA"), "x", f"{token}A"):
        assert await answer(bearer, "GET", f"/l/{wrong}") == (404, f"{NOT_GOOD}\n")
    await world.links.withdraw(Shows.DREAM, shown)
    assert (await answer(bearer, "GET", f"/d/{shown}"))[0] == 404
    assert (await answer(bearer, "GET", f"/l/{token}"))[0] == 404


async def test_discord_is_asked_nothing_for_a_picture_that_everybody_may_see(
    world: World,
) -> None:
    looks = (
        "/s/{slug}/picture.webp",
        "/s/{slug}/events",
        "/s/{slug}/feed.atom",
        "/i/{sha256}.png",
        "/t/{sha256}.webp",
        "/d/{dream_id}/preview.webp",
    )
    for pattern in looks:
        assert ("GET", pattern) in world.routes
        before = world.halls.asked
        await answer(world.member, "GET", world.public.path(pattern))
        assert world.halls.asked == before, pattern
        await answer(world.member, "GET", world.private.path(pattern))
        assert world.halls.asked > before, pattern
    before = world.halls.asked
    await answer(world.member, "GET", world.public.path("/s/{slug}"))
    assert world.halls.asked > before  # a page says what they may do there


async def test_a_page_says_what_may_be_missing_while_discord_does_not_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unreached(*_: object) -> list[Channel]:
        raise UnreachedError("Discord is not reached at present.")

    async def told(visitor: ClientSession, path: str, status: int = 200) -> bool:
        async with visitor.get(path, headers={"Accept": "text/html"}) as response:
            assert response.status == status
            return "Discord does not answer at present" in await response.text()

    private = world.private.path("/s/{slug}")
    assert not await told(world.member, "/") and not await told(world.member, private)
    with monkeypatch.context() as patch:
        patch.setattr(world.halls, "places", unreached)
        assert await told(world.member, "/")
        assert await told(world.member, private, 404), "it is not said to be gone for good"
        assert not await told(world.visitors["stranger"], "/")
        # Each page tells of itself: nothing of this one is asked of Discord.
        assert not await told(world.member, "/me")
        before = world.halls.asked
    assert not await told(world.member, "/me") and world.halls.asked == before
    assert not await told(world.member, "/") and not await told(world.member, private)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (UnreachedError, "Discord does not answer at present."),
        (AskedTooMuchError, "You have opened so much of late that Discord is asked no more for"),
    ],
)
async def test_while_discord_does_not_answer_nobody_learns_what_there_is(
    world: World, monkeypatch: pytest.MonkeyPatch, error: type[UnreachedError], sentence: str
) -> None:
    async def unreached(*_: object) -> list[Channel]:
        raise error("It is not told.")

    async def told(path: str, place: Place) -> tuple[int, str]:
        visitor, page = world.visitors[SIGNED_IN], {"Accept": "text/html"}
        async with visitor.get(path, headers=page, allow_redirects=False) as response:
            return response.status, re.sub(
                r'nonce="[^"]*"', "", plain(await response.text(), place)
            )

    nothing, private = missing(), world.private
    routes = world.by(Rule.STREAM, Rule.DREAM, Rule.GAME, Rule.BUNDLE)
    monkeypatch.setattr(world.halls, "places", unreached)
    told_of = []
    for pattern in [pattern for method, pattern in routes if method == "GET"]:
        told_here = await told(nothing.path(pattern), nothing)
        if told_here != await told(private.path(pattern), private):
            told_of.append(pattern)
        assert told_here[0] == 404 and sentence in told_here[1], pattern
    assert not told_of


async def test_who_sees_nothing_waits_once_for_discord_whether_or_not_there_is_something(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Discord is waited for as at a start: whoever asks it, all at once or one after the other."""
    held: list[asyncio.Future[None]] = []
    came = asyncio.Event()

    async def waits(guild_id: int, user_id: int, channel_ids: Sequence[int]) -> list[Channel]:
        held.append(asyncio.get_running_loop().create_future())
        came.set()
        await held[-1]
        raise UnreachedError("Discord is not reached at present.")

    async def rounds(path: str, at_once: int) -> list[int]:
        """Return how often it was waited for Discord, each time for how many answers."""
        asking = asyncio.create_task(answer(world.visitors[SIGNED_IN], "GET", path))
        found: list[int] = []
        while True:
            wakes = asyncio.create_task(came.wait())
            await asyncio.wait({asking, wakes}, return_when=asyncio.FIRST_COMPLETED)
            wakes.cancel()
            if not held:
                assert (await asking)[0] == 404, path
                return found
            with suppress(TimeoutError):  # where fewer are asked at once than there should be
                async with asyncio.timeout(2):
                    while len(held) < at_once:
                        came.clear()
                        await came.wait()
            found.append(len(held))
            came.clear()
            for one in held:
                one.set_result(None)
            held.clear()

    monkeypatch.setattr(world.halls, "places", waits)
    for pattern in ("/s/{slug}", "/s/{slug}/events", "/d/{dream_id}", "/t/{sha256}.webp"):
        made_up = await rounds(missing().path(pattern), 1)
        private = await rounds(world.private.path(pattern), 2)
        assert (made_up, private) == ([1], [2]), pattern


async def test_who_may_ask_on_discord_is_offered_so_where_guests_only_watch(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def page(path: str) -> str:
        async with world.watcher.get(path) as response:
            assert response.status == 200
            return await response.text()

    portrait = "/s/open-sea/portrait"
    assert portrait in await page("/s/open-sea")
    monkeypatch.setattr(world.halls, "asks", False)
    assert portrait not in await page("/s/open-sea")


async def test_no_game_goes_past_the_rules_of_a_members_server(world: World) -> None:
    """A game that is begun here has no server: none could judge its words, and what is drawn."""

    async def offered(visitor: ClientSession, place: Place) -> list[bool]:
        found = []
        for pattern, offer in (("/s/{slug}/games", "Begin one"), ("/d/{dream_id}", "/play")):
            async with visitor.get(place.path(pattern)) as response:
                assert response.status == 200
                found.append(offer in await response.text())
        return found

    assert await offered(world.member, world.public) == [True, True]
    drawing = {"kind": "draw", "prompt": "a gull"}
    # Where guests only watch; and a stream that guests do not see, where they may ask.
    for visitor, place in ((world.watcher, world.public), (world.member, world.private)):
        assert await offered(visitor, place) == [False, False]
        for pattern in ("/s/{slug}/games", "/d/{dream_id}/play"):
            status, said = await answer(visitor, "POST", place.path(pattern), drawing)
            assert status == 403 and "on Discord" in said, (pattern, said)
    # Nor does one enter there what only the game's own server would judge.
    path = world.public.path("/g/{game_id}/words")
    status, said = await answer(world.watcher, "POST", path, {"words": "a gull"})
    assert status == 403 and "for watching" in said


async def test_who_may_ask_for_nothing_deletes_what_is_theirs_and_what_they_moderate(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.halls, "asks", False)
    own, other = Person(f"discord:{MEMBER_ID}", "member"), Person("discord:555", "Eve")
    ids = []
    for person in (own, other):
        asked = request("a gull", theme="open-sea", person=person, guild_id=7, channel_id=72)
        (dream,) = await world.parts.dreams.ask(asked)
        await world.parts.draw(dream.id)
        await world.parts.dreams.wait(dream.id)
        ids.append(dream.id)
    mine, theirs = ids

    async def offered(dream_id: str) -> bool:
        async with world.watcher.get(f"/d/{dream_id}") as response:
            return f'action="/d/{dream_id}/delete"' in await response.text()

    assert await offered(mine) and not await offered(theirs)
    assert (await answer(world.watcher, "POST", f"/d/{mine}/delete"))[0] == 303
    assert (await answer(world.watcher, "POST", f"/d/{theirs}/delete"))[0] == 403
    monkeypatch.setattr(world.halls, "moderates", True)
    assert await offered(theirs)
    assert (await answer(world.watcher, "POST", f"/d/{theirs}/delete"))[0] == 303


async def test_all_streams_in_one_shows_who_is_signed_in_what_it_shows_everybody(
    world: World,
) -> None:
    """Whatever they may read in Discord: on a big screen nobody else is to see it either."""
    hidden, (done, forming) = _hidden(world), world.public.dreams

    async def read(visitor: ClientSession, path: str) -> str:
        async with visitor.get(path, headers={"Accept": "text/html"}) as response:
            assert response.status == 200, path
            return await response.text()

    async def drawn(theme: str) -> str:
        (dream,) = await world.parts.dreams.ask(
            request("a gull", theme=theme, person=Person(f"discord:{MEMBER_ID}", "member"))
        )
        await world.parts.draw(dream.id)
        await world.parts.dreams.wait(dream.id)
        return dream.id

    # The member sees the private stream, and asks in it; whoever else is signed in does neither.
    assert SECRET in await read(world.member, "/s/secret")
    before = world.halls.asked
    for visitor in (world.member, world.visitors[SIGNED_IN]):
        for path in ("/all", "/all/watch", "/all/more"):
            text = await read(visitor, path)
            assert done in text and not hidden(text), (path, hidden(text))
            assert path == "/all/more" or forming in text, path
        async with watching(visitor, "/all/events?again=1") as reader, asyncio.timeout(10):
            theirs, public = await drawn("secret"), await drawn("open-sea")
            sent = ""
            while f"dream-{public}" not in sent:
                message = await reader.next()
                assert message is not None
                sent += "\n".join(message.data)
        assert forming in sent and theirs not in sent and not hidden(sent)
        assert theirs not in await read(visitor, "/all")
    assert world.halls.asked == before, "nothing hangs on what Discord would say"


async def test_a_member_sees_what_their_channels_show_for_as_long_as_they_are_one(
    world: World,
) -> None:
    member, nothing = world.member, missing()
    routes = world.by(Rule.STREAM, Rule.DREAM, Rule.GAME)  # its party was in no channel
    kept = Place(world.public.names | {"dream_id": world.unpublished})
    refused = []
    for method, pattern in routes:
        if method == "GET" and pattern not in NOT_HAD:
            status, said = await answer(member, method, world.private.path(pattern))
            if status in (404, 410, 500):
                refused.append((pattern, status, said))
        if RULES[pattern] is Rule.DREAM:
            got = await answer(member, method, kept.path(pattern))
            assert got[0] in (403, 404, 422), (method, pattern)
    assert not refused
    for page, lists in (("/s/secret", True), ("/", True), ("/all", False), ("/themes", False)):
        async with member.get(page, headers={"Accept": "text/html"}) as response:
            assert (SECRET in await response.text()) is lists, page
    async with world.visitors[SIGNED_IN].get("/") as response:
        assert SECRET not in await response.text()
    async with member.get("/s/secret/events") as stream:
        assert stream.status == 200
        world.halls.members.clear()
        async with asyncio.timeout(20):  # else it goes on for ever
            await stream.read()
    for method, pattern in routes:
        status, said = await answer(member, method, nothing.path(pattern))
        got = await answer(member, method, world.private.path(pattern))
        assert (got[0], plain(got[1], world.private)) == (status, plain(said, nothing)), pattern
    world.halls.members.add(MEMBER_ID)
    async with member.get("/s/secret/events") as stream:
        assert stream.status == 200
        async with member.post("/sign-out", data={"everywhere": "yes"}, allow_redirects=False) as _:
            pass
        async with asyncio.timeout(20):
            await stream.read()
    assert (await answer(member, "GET", "/s/secret"))[0] == 404


NAMED = frozenset({"dream_id", "sha256", "game_id", "entry_id", "party_id", "code", "words_id"})
"""The names that stand for something of somebody's."""
FORMS_FIRST = frozenset({"/p/{code}/finale", "/p/{code}/members/{mark}/role"})
# What this world has none of: no study, no picture of an entry in words, no words after the end.
NOT_HAD = frozenset(
    {
        *("/d/{dream_id}/study", "/d/{dream_id}/study.webp"),
        *("/g/{game_id}/entries/{entry_id}.webp", "/p/{code}/words/{words_id}/hide"),
    }
)

_LINKS = re.compile(
    r"""(?:href|src|action|poster|hx-get|hx-post|sse-connect|data-[a-z-]+)=["']?(/[^"'\s>]*)"""
)


async def test_a_stranger_who_follows_every_address_finds_nothing_that_is_not_public(
    world: World,
) -> None:
    hidden = _hidden(world)
    todo = ["/", *(world.public.path(pattern) for method, pattern in _starts(world))]
    seen: set[str] = set()
    visitor = world.visitors["stranger"]
    while todo:
        path = todo.pop().replace("&amp;", "&").partition("#")[0]
        if path in seen or path.startswith("/static/"):
            continue
        seen.add(path)
        async with visitor.get(
            path, headers={"Accept": "text/html"}, allow_redirects=False
        ) as response:
            assert response.status != 500, path
            if response.headers.get("Location", "").startswith("/"):  # and not to Discord
                todo.append(response.headers["Location"])
            if not response.content_type.startswith(("text/html", "application/")):
                continue
            text = await response.text(errors="replace")
        assert not hidden(text), (path, hidden(text))
        todo += _LINKS.findall(text)
    assert len(seen) > 60


def _starts(world: World) -> list[Route]:
    return [route for route in world.routes if route[0] == "GET" and RULES[route[1]] is Rule.ALL]


def _hidden(world: World) -> Callable[[str], list[str]]:
    """Return what finds names and words in a text that no stranger is to come by."""
    words = {SECRET, "lynx", world.unpublished}
    for place in (world.private, world.linked):
        words |= {place.names[name] for name in ("sha256", "game_id", "party_id", "code")}
        words |= set(place.dreams)
    return lambda text: [word for word in words if word in text]
