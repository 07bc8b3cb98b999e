"""Watching beyond one stream's newest pictures: the feed, all streams in one, days, the best."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from aiohttp import ClientSession, CookieJar

from bot import ids
from bot.model import Person, Relation, Visibility
from bot.rights import Actor
from bot.wall import Wall, WallSettings
from bot.watching import Watching
from tests.bot.drawer import Services, request, services, until
from tests.bot.test_search import draw as of_colour
from tests.bot.test_seeing import Colours
from tests.wall.test_events import Reader, watching

ATOM = "{http://www.w3.org/2005/Atom}"


@asynccontextmanager
async def walled(folder: Path) -> AsyncIterator[tuple[Services, ClientSession]]:
    """Give the real services with a public, a linked and a private theme, and a visitor."""
    async with services(folder) as parts:
        await parts.themes.create("cats", "Cats")
        await parts.themes.create("linked", "With the link", visibility=Visibility.LINK)
        await parts.themes.create("secret", "Ours alone", visibility=Visibility.PRIVATE)
        wall = Wall(
            WallSettings(port=0),
            themes=parts.themes,
            dreams=parts.dreams,
            feed=parts.feed,
            library=parts.library,
            drawer=parts.drawer,
            offspring=parts.offspring,
            search=parts.search,
            seeing=parts.seeing,
            watching=Watching(parts.store),
            favourites=parts.moderation,
        )
        url = await wall.start()
        try:
            async with ClientSession(
                base_url=url, cookie_jar=CookieJar(unsafe=True), headers={"Accept": "text/html"}
            ) as visitor:
                yield parts, visitor
        finally:
            await wall.stop()


async def draw(parts: Services, prompt: str, theme: str = "open", *, colour: str = "red") -> str:
    """Have a dream drawn; return its id."""
    [dream] = await parts.dreams.ask(request(prompt, theme=theme))
    await parts.draw(dream.id, colour)
    await parts.dreams.wait(dream.id)
    return dream.id


async def get(visitor: ClientSession, path: str, status: int = 200) -> str:
    async with visitor.get(path) as response:
        assert response.status == status, path
        return await response.text()


# --- the feed ------------------------------------------------------------------------------------


async def test_the_feed_is_sent_again_only_where_it_changed(tmp_path: Path) -> None:
    async with walled(tmp_path) as (parts, visitor):
        dream_id = await draw(parts, "a red fox")
        async with visitor.get("/s/open/feed.atom") as response:
            assert response.content_type == "application/atom+xml"
            root = ElementTree.fromstring(await response.text())
            tag = response.headers["ETag"]
            assert "Last-Modified" not in response.headers
        [entry] = root.findall(ATOM + "entry")
        [enclosure] = [
            link.attrib["href"]
            for link in entry.findall(ATOM + "link")
            if link.attrib["rel"] == "enclosure"
        ]
        async with visitor.get(enclosure) as response:
            assert (response.status, response.content_type) == (200, "image/png")
        again = {"If-None-Match": tag}
        async with visitor.get("/s/open/feed.atom", headers=again) as response:
            assert (response.status, await response.read()) == (304, b"")
            assert response.headers["ETag"] == tag
        dream = await parts.dreams.get(dream_id)
        await parts.moderation.delete(dream_id, Actor(dream.person))
        async with visitor.get("/s/open/feed.atom", headers=again) as response:
            assert response.status == 200
            assert "a red fox" not in await response.text()


async def test_what_is_private_has_no_feed(tmp_path: Path) -> None:
    async with walled(tmp_path) as (parts, visitor):
        await draw(parts, "a grey cat", "secret")
        await draw(parts, "a door", "linked")
        assert "grey cat" not in await get(visitor, "/s/secret/feed.atom", 404)
        assert "a door" in await get(visitor, "/s/linked/feed.atom")
        assert 'href="/s/open/feed.atom"' in await get(visitor, "/s/open")


# --- all streams in one --------------------------------------------------------------------------


async def test_the_stream_of_streams_shows_what_is_public(tmp_path: Path) -> None:
    async with walled(tmp_path) as (parts, visitor):
        for prompt, theme in (
            ("a red fox", "open"),
            ("a tabby", "cats"),
            ("a door", "linked"),
            ("a secret", "secret"),
        ):
            await draw(parts, prompt, theme)
        for path in ("/all", "/all/watch"):
            text = await get(visitor, path)
            assert text.index("a tabby") < text.index("a red fox")
            assert "a door" not in text
            assert "a secret" not in text
            assert 'sse-connect="/all/events?after=' in text
        assert "a tabby" in await get(visitor, "/all/more")
        [first] = await Watching(parts.store).everything(limit=1)
        rest = await Watching(parts.store).everything(before=first.id)
        assert [dream.prompt for dream in (first, *rest)] == ["a tabby", "a red fox"]


async def test_its_events_are_those_of_public_streams(tmp_path: Path) -> None:
    async with walled(tmp_path) as (parts, visitor):
        async with watching(visitor, await _events_from_now(parts)) as reader:
            await draw(parts, "a secret", "secret")
            await draw(parts, "a door", "linked")
            fox, cat = await draw(parts, "a red fox"), await draw(parts, "a tabby", "cats")
            seen = await _until(reader, "done", cat)
        assert fox in seen
        assert "a secret" not in seen
        assert "a door" not in seen


async def test_who_watches_all_sees_no_more_of_a_stream_that_turned_private(
    tmp_path: Path,
) -> None:
    async with walled(tmp_path) as (parts, visitor):
        async with watching(visitor, await _events_from_now(parts)) as reader:
            await parts.themes.change("open", topic="Anything.")
            await parts.themes.change("cats", visibility=Visibility.PRIVATE)
            await draw(parts, "a tabby", "cats")
            seen = await _until(reader, "reload", "reload")
            assert "a tabby" not in seen
            assert await reader.next() is None
        assert "a tabby" not in await get(visitor, "/all")


# --- days and the best ---------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Set the time that dreams are asked for at."""

    def set_to(moment: str) -> None:
        at_ms = int(datetime.fromisoformat(moment).timestamp() * 1000)
        monkeypatch.setattr(ids, "now_ms", lambda: at_ms)

    return set_to


async def test_a_day_has_what_was_asked_for_on_it(
    tmp_path: Path, clock: Callable[[str], None]
) -> None:
    async with walled(tmp_path) as (parts, visitor):
        for moment, prompt in (
            ("2026-03-07T23:59:59.999+00:00", "a late fox"),
            ("2026-03-09T00:00:00+00:00", "an early fox"),
            ("2026-03-09T23:59:59+00:00", "a tired fox"),
            ("2026-03-12T00:00:00+00:00", "another fox"),
        ):
            clock(moment)
            await draw(parts, prompt)
        gone = await draw(parts, "a fox that is gone")
        await parts.moderation.delete(gone, Actor((await parts.dreams.get(gone)).person))
        text = await get(visitor, "/s/open/day/2026-03-09")
        assert "Monday, 9 March 2026 · 2 pictures" in text
        assert 'max="1" value="0"' in text
        assert _shown(text) == "an early fox"
        assert 'rel="prev" href="/s/open/day/2026-03-07"' in text
        assert 'rel="next" href="/s/open/day/2026-03-12"' in text
        assert "a late fox" not in text
        assert _shown(await get(visitor, "/s/open/day/2026-03-09?at=1")) == "a tired fox"
        assert _shown(await get(visitor, "/s/open/day/2026-03-09?at=77")) == "a tired fox"
        async with visitor.get("/s/open/day/2026-03-09/part?from=1") as response:
            told = await response.json()
        assert told["total"] == 2
        [picture] = told["pictures"]
        assert (picture["prompt"], picture["who"]) == ("a tired fox", "Ann")
        async with visitor.get(picture["small"]) as response:
            assert response.status == 200
        empty = await get(visitor, "/s/open/day/2026-03-08")
        assert "Nothing was dreamt on this day." in empty
        assert 'id="scrub"' not in empty
        # To the last one that has pictures; what is deleted is none.
        async with visitor.get("/s/open/day") as response:
            assert response.url.path == "/s/open/day/2026-03-12"
        assert "1 picture<" in await get(visitor, "/s/open/day/2026-03-12")


async def test_days_that_there_are_not(tmp_path: Path) -> None:
    async with walled(tmp_path) as (parts, visitor):
        await draw(parts, "a grey cat", "secret")
        for path in ("2026-02-30", "9999-12-31", "0001-01-01", "2026-W10-1", "x"):
            await get(visitor, f"/s/open/day/{path}", 404)
        await get(visitor, "/s/open/day?day=2026-13-01", 404)
        for path in ("day", "day/2026-03-09", "day/2026-03-09/part", "best", "best/part"):
            assert "grey cat" not in await get(visitor, f"/s/secret/{path}", 404)


async def test_the_best_are_those_that_most_people_like(tmp_path: Path) -> None:
    async with walled(tmp_path) as (parts, visitor):
        assert "Nobody has liked" in await get(visitor, "/s/open/best")
        fox, owl, _, cat = [
            await draw(parts, prompt, theme)
            for prompt, theme in (
                ("a fox", "open"),
                ("an owl", "open"),
                ("an ant", "open"),
                ("a cat", "cats"),
            )
        ]
        ada, bob = Person("guest:ada", "Ada"), Person("discord:1", "Bob")
        await parts.moderation.like([fox, owl, cat], ada)
        await parts.moderation.like([owl, cat], bob)
        async with visitor.get("/s/open/best/part") as response:
            told = await response.json()
        assert [one["prompt"] for one in told["pictures"]] == ["an owl", "a fox"]
        assert told["total"] == 2
        async with visitor.get("/s/open/best/part?from=2") as response:
            assert await response.json() == told | {"pictures": []}
        text = await get(visitor, "/s/open/best?at=1")
        assert _shown(text) == "a fox"
        assert "an ant" not in text


# --- favourites ----------------------------------------------------------------------------------


async def like(visitor: ClientSession, dream_id: str, status: int = 200) -> str:
    htmx = {"HX-Request": "true"}
    async with visitor.post(f"/d/{dream_id}/heart", headers=htmx) as response:
        assert response.status == status
        return await response.text()


async def test_hearts_at_the_wall_are_those_of_discord(tmp_path: Path) -> None:
    async with walled(tmp_path) as (parts, visitor):
        dream_id = await draw(parts, "a red fox")
        await parts.moderation.favourite(dream_id, Person("discord:1", "Bob"))
        changed: list[str] = []
        parts.moderation.on_favourite(changed.append)
        assert "♡ 1<" in await get(visitor, f"/d/{dream_id}")
        text = await like(visitor, dream_id)
        assert "♥ 2<" in text
        assert 'aria-pressed="true" aria-label="Like it; 1 other likes it"' in text
        assert changed == [dream_id]
        assert await parts.moderation.favourites([dream_id]) == {dream_id: 2}
        assert "♥ 2<" in await get(visitor, f"/d/{dream_id}/heart")
        assert "♥ 2<" in await get(visitor, "/s/open/best")
        assert "♡ 1<" in await like(visitor, dream_id)
        assert await parts.moderation.favourites([dream_id]) == {dream_id: 1}
        # Without script one comes back to the dream.
        async with visitor.post(f"/d/{dream_id}/heart") as response:
            assert response.url.path == f"/d/{dream_id}"
            assert "♥ 2<" in await response.text()


async def test_nobody_likes_what_they_cannot_see_or_twice(tmp_path: Path) -> None:
    async with walled(tmp_path) as (parts, visitor):
        fox = await draw(parts, "a red fox")
        secret = await draw(parts, "a secret", "secret")
        [waiting] = await parts.dreams.ask(request("not yet"))
        # Who has no cookie yet could be anybody, as often as they please.
        await like(visitor, fox, 403)
        await get(visitor, "/s/open")
        await like(visitor, secret, 404)
        await like(visitor, waiting.id, 404)
        elsewhere = {"Sec-Fetch-Site": "cross-site"}
        async with visitor.post(f"/d/{fox}/heart", headers=elsewhere) as response:
            assert response.status == 403
        assert await parts.moderation.favourites([fox, secret, waiting.id]) == {
            fox: 0,
            secret: 0,
            waiting.id: 0,
        }


async def test_hearts_from_one_address_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.wall.liking.MOST", 3)
    async with walled(tmp_path) as (parts, visitor):
        fox = await draw(parts, "a red fox")
        await get(visitor, "/s/open")
        for _ in range(3):
            await like(visitor, fox)
        assert "many hearts" in await like(visitor, fox, 429)


def _shown(html: str) -> str:
    found = re.search(r'<a class="prompt" href="[^"]+">([^<]+)</a>', html)
    assert found is not None, html
    return found[1]


async def _events_from_now(parts: Services) -> str:
    return f"/all/events?after={await parts.feed.last_id()}"


async def _until(reader: Reader, event: str, piece: str) -> str:
    """Read on until a message of a kind holds a piece; return all that was read."""
    seen = ""
    while True:
        message = await reader.next()
        assert message is not None, seen
        text = "\n".join(message.data)
        seen += text
        if message.event == event and piece in text:
            return seen


# --- what was found, and what a picture came of --------------------------------------------------


async def test_what_was_found_is_gone_through_like_a_day(tmp_path: Path) -> None:
    async with walled(tmp_path) as (parts, visitor):
        parts.drawer.perceptors = ("colours",)
        parts.drawer.embed = Colours().embed  # type: ignore[method-assign]
        await parts.looker.start()
        red, lime = await of_colour(parts, "red"), await of_colour(parts, "lime")
        hidden = await of_colour(parts, "#00f000", hidden_in=5)
        await of_colour(parts, "lime", "secret")
        theme = await parts.themes.get("open")
        await until(lambda: len(parts.looker.shelf(theme.id) or ()) == 3)
        text = await get(visitor, "/s/open/found?words=green+%26+%3Cb%3E")
        assert "Found by “green &amp; &lt;b&gt;” · 2 pictures" in text
        assert hidden not in text
        assert 'name="words" value="green &amp; &lt;b&gt;"' in text
        assert 'data-parts="/s/open/found/part?words=green+%26+%3Cb%3E"' in text
        assert _shown(await get(visitor, "/s/open/found?words=green&at=1")) == "red"
        async with visitor.get("/s/open/found/part?words=green&from=1") as response:
            told = await response.json()
        assert (told["total"], [one["id"] for one in told["pictures"]]) == (2, [red])
        text = await get(visitor, "/s/open/found?words=green")
        assert _shown(text) == "lime" and f'/d/{lime}"' in text and hidden not in text
        found = await get(visitor, "/s/open/search?q=dark+green")
        assert 'href="/s/open/found?words=dark%20green"' in found
        await get(visitor, "/s/secret/found?words=green", 404)
        await get(visitor, "/s/open/found", 422)
        parts.drawer.up = False
        assert "at present" in await get(visitor, "/s/open/found?words=blue", 503)


async def test_a_show_says_what_a_picture_came_of_where_that_may_be_seen(tmp_path: Path) -> None:
    async with walled(tmp_path) as (parts, visitor):
        fox = await draw(parts, "a <red> fox")
        [child] = await parts.dreams.ask(
            request("a blue fox", parent_id=fox, relation=Relation.REMIX)
        )
        await parts.draw(child.id)
        await parts.dreams.wait(child.id)
        day = "/s/open/day"
        async with visitor.get(day) as response:
            day = response.url.path
        assert "a remix of “a &lt;red&gt; fox”" in await get(visitor, f"{day}?at=1")
        assert " of “" not in await get(visitor, f"{day}?at=0")
        async with visitor.get(f"{day}/part") as response:
            first, second = (await response.json())["pictures"]
        assert (second["of_id"], second["of"], second["became"]) == (fox, "a <red> fox", "a remix")
        assert "of_id" not in first
        await parts.moderation.delete(fox, Actor((await parts.dreams.get(fox)).person))
        assert " of “" not in await get(visitor, day)
        async with visitor.get(f"{day}/part") as response:
            [only] = (await response.json())["pictures"]
        assert "of_id" not in only
