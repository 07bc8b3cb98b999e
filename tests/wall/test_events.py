from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
import pytest
from aiohttp import ClientResponse, ClientSession

from bot.errors import StoreError
from bot.model import Dream, DreamState, EventKind, Live, StreamEvent, Visibility
from bot.rights import Actor
from bot.wall import WallSettings, connection, events, messages
from tests.bot.test_unattended import counted
from tests.wall.conftest import Scene, eventually

WAIT_S = 10


@dataclass
class Message:
    """One message of an event stream, as a browser reads it."""

    event: str = "message"
    id: str = ""
    data: list[str] = field(default_factory=list)


class Reader:
    """Reads an event stream."""

    def __init__(self, response: ClientResponse) -> None:
        self.response = response
        self.comments = 0

    async def next(self) -> Message | None:
        """Return the next message, None at the end."""
        message = Message()
        while True:
            async with asyncio.timeout(WAIT_S):
                line = (await self.response.content.readline()).decode()
            if not line:
                return None
            name, _, value = line.rstrip("\n").partition(": ")
            if line == "\n":
                if message.data:
                    return message
            elif not name:
                self.comments += 1
            elif name == "data":
                message.data.append(value)
            elif name in ("event", "id"):
                setattr(message, name, value)

    async def kinds(self, count: int) -> list[tuple[str, str]]:
        """Return the next `count` messages that have an id."""
        found: list[tuple[str, str]] = []
        while len(found) < count:
            message = await self.next()
            assert message is not None, found
            if message.id:
                found.append((message.event, message.id))
        return found


@asynccontextmanager
async def watching(
    visitor: ClientSession, path: str = "/s/planets/events", **headers: str
) -> AsyncIterator[Reader]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with visitor.get(path, headers=named) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        yield Reader(response)


async def until_listening(scene: Scene, count: int = 1) -> None:
    await eventually(lambda: len(scene.feed.listeners) == count)


async def test_what_happens_is_sent_as_it_happens(scene: Scene, visitor: ClientSession) -> None:
    async with watching(visitor) as reader:
        await until_listening(scene)
        dream = await scene.ask("two <moons>")
        message = await reader.next()
        assert message is not None
        assert (message.event, message.id) == ("asked", "3")
        html = "\n".join(message.data)
        assert html.startswith(f'<article id="dream-{dream.id}"')
        assert "two &lt;moons&gt;" in html
        scene.dreams.advance(dream.id, 4)
        html = ""
        while "step 4 of 20" not in html:
            message = await reader.next()
            assert message is not None
            assert (message.event, message.id) == ("live", "")
            html = "\n".join(message.data)
        assert f"/d/{dream.id}/preview.webp?v=1" in html
        scene.dreams.finish(dream.id)
        while message is not None and message.event != "done":
            message = await reader.next()
        assert message is not None
        assert message.id == "6"
        assert "".join(message.data).startswith(f'<a id="dream-{dream.id}" class="tile')


async def test_a_sentence_for_the_person_is_shown_with_the_standing(
    scene: Scene, visitor: ClientSession
) -> None:
    dream = await scene.ask("one")
    async with watching(visitor) as reader:
        await until_listening(scene)
        scene.feed.tell(
            Live(
                dream_id=dream.id,
                theme_id=1,
                state=DreamState.DRAWING,
                step=3,
                steps=20,
                notice="This painter cannot be steered.",
            )
        )
        message = await reader.next()
        assert message is not None
        assert "This painter cannot be steered." in "".join(message.data)


async def test_every_kind_of_end_and_change_is_told(scene: Scene, visitor: ClientSession) -> None:
    steered, failed, cancelled = [await scene.ask(f"moon {number}") for number in range(3)]
    async with watching(visitor) as reader:
        await until_listening(scene)
        await scene.dreams.steer(steered.id, Actor(steered.person), "a sun")
        scene.dreams.fail(failed.id, "It did not fit into memory.")
        await scene.dreams.cancel(cancelled.id, Actor(cancelled.person))
        html = {}
        for _ in range(3):
            message = await reader.next()
            assert message is not None
            html[message.event] = "\n".join(message.data)
    wish = 'moon 0 <span class="steered">→ a sun</span></p>'
    assert f'id="prompt-{steered.id}" hx-swap-oob="innerHTML">{wish}' in html["steered"]
    async with visitor.get("/s/planets") as response:
        assert f'id="prompt-{steered.id}">{wish}' in await response.text()
    assert "It did not fit into memory." in html["failed"]
    assert f'id="dream-{cancelled.id}" hx-swap-oob="delete"' in html["cancelled"]
    assert "Cancelled: moon 2" in html["cancelled"]


async def test_nothing_is_missed_or_sent_twice_after_a_break(
    scene: Scene, visitor: ClientSession
) -> None:
    first = await scene.ask("one")
    async with watching(visitor, "/s/planets/events?after=0") as reader:
        assert await reader.kinds(1) == [("asked", "3")]
    scene.dreams.finish(first.id)
    await scene.ask("elsewhere", "linked")
    await scene.ask("two")
    async with watching(visitor, "/s/planets/events?after=0", Last_Event_ID="3") as reader:
        # The browser's own word goes before the page's; the other stream's event is not ours.
        assert await reader.kinds(2) == [("done", "6"), ("asked", "12")]
        await scene.ask("three")
        assert await reader.kinds(1) == [("asked", "15")]


async def test_a_new_page_is_told_of_the_future_only(scene: Scene, visitor: ClientSession) -> None:
    await scene.ask("one")
    async with watching(visitor) as reader:
        await until_listening(scene)
        await scene.ask("two")
        assert await reader.kinds(1) == [("asked", "6")]


@pytest.mark.parametrize("seen", ["", "-1", "x", "9" * 40, "1.5", "²"])
async def test_an_id_that_is_none_is_passed_over(
    scene: Scene, visitor: ClientSession, seen: str
) -> None:
    await scene.ask("one")
    async with watching(visitor, "/s/planets/events?after=0", Last_Event_ID=seen) as reader:
        assert await reader.kinds(1) == [("asked", "3")]


async def test_who_was_away_too_long_loads_the_page_anew(
    scene: Scene, visitor: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_REPLAY", 5)
    for number in range(8):
        await scene.ask(f"moon {number}")
    async with watching(visitor, "/s/planets/events?after=0") as reader:
        assert await reader.kinds(1) == [("reload", "24")]
        assert await reader.next() is None
    async with watching(visitor, "/s/planets/events?after=9") as reader:
        assert len(await reader.kinds(5)) == 5


async def test_one_dream_alone_can_be_followed(scene: Scene, visitor: ClientSession) -> None:
    dream = await scene.ask("one")
    async with watching(visitor, f"/s/planets/events?dream={dream.id}") as reader:
        await until_listening(scene)
        other = await scene.ask("two")
        scene.dreams.advance(other.id, 3)
        scene.dreams.finish(dream.id)
        assert await reader.kinds(1) == [("done", "9")]


async def test_progress_is_sent_in_moderation(scene: Scene, visitor: ClientSession) -> None:
    dream = await scene.ask("one")
    async with watching(visitor) as reader:
        await until_listening(scene)
        for step in range(1, 20):
            scene.dreams.advance(dream.id, step)
        scene.dreams.finish(dream.id)
        messages: list[Message] = []
        while not messages or messages[-1].event != "done":
            message = await reader.next()
            assert message is not None
            messages.append(message)
    # All nineteen came within one interval: at most the first of them was sent.
    assert len(messages) <= 3


async def test_a_silent_stream_shows_that_it_lives(
    scene: Scene, visitor: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    async with watching(visitor) as reader:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await reader.next()
        assert reader.comments >= 3


async def test_what_nobody_is_to_learn_of_leaves_no_gap_in_the_silence(
    scene: Scene, visitor: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 1.0)
    await scene.ask("between us", published=False)
    async with watching(visitor) as reader, asyncio.timeout(WAIT_S):
        await until_listening(scene)

        async def happen() -> None:
            while True:
                last = scene.feed.log[-1]
                steered = msgspec.structs.replace(last, id=last.id + 3, kind=EventKind.STEERED)
                scene.feed.tell(steered)
                await asyncio.sleep(0.1)

        happening = asyncio.create_task(happen())
        try:
            while not (line := await reader.response.content.readline()).startswith(b":"):
                assert line.startswith(b"retry") or line == b"\n"
        finally:
            happening.cancel()


async def test_a_listener_that_fell_behind_is_let_go(scene: Scene, visitor: ClientSession) -> None:
    async with watching(visitor) as reader:
        await until_listening(scene)
        scene.feed.lose()
        assert await reader.next() is None


async def test_one_who_does_not_read_is_let_go(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SLOW_S", 0.2)
    assert scene.url.host is not None
    assert scene.url.port is not None
    # Small buffers at this end, and nobody reads them.
    _, writer = await asyncio.open_connection(scene.url.host, scene.url.port, limit=1024)
    writer.write(b"GET /s/planets/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await until_listening(scene)
    dream = await scene.ask("x" * 20_000)
    async with asyncio.timeout(30):
        while scene.feed.listeners:
            for _ in range(50):
                scene.feed.tell(
                    StreamEvent(
                        id=3 * (len(scene.feed.log) + 1),
                        theme_id=1,
                        kind=EventKind.ASKED,
                        dream_id=dream.id,
                        person=None,
                        at_ms=0,
                    )
                )
            await asyncio.sleep(0.02)
    assert scene.wall.watchers == 0
    writer.close()


async def test_an_address_has_so_many_connections_and_no_more(scene: Scene) -> None:
    wall = scene.make(WallSettings(port=0, streams_per_address=2))
    url = await wall.start()
    try:
        async with ClientSession(base_url=url) as visitor:
            async with (
                watching(visitor),
                watching(visitor),
                visitor.get("/s/planets/events") as response,
            ):
                assert response.status == 429
                assert "Too many pages" in await response.text()
            await eventually(lambda: not wall.watchers)
            async with watching(visitor) as reader:
                await until_listening(scene)
                await scene.ask("one")
                assert await reader.kinds(1) == [("asked", "3")]
    finally:
        await wall.stop()


async def test_a_stream_that_turns_private_is_cut_off(scene: Scene, visitor: ClientSession) -> None:
    async with watching(visitor) as reader:
        await until_listening(scene)
        scene.themes.themes[0] = msgspec.structs.replace(
            scene.themes.themes[0], visibility=Visibility.PRIVATE
        )
        scene.feed.tell(
            StreamEvent(
                id=99, theme_id=1, kind=EventKind.THEME, dream_id=None, person=None, at_ms=0
            )
        )
        assert await reader.next() is None


async def test_a_mistake_that_breaks_a_stream_off_is_counted(
    scene: Scene, visitor: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> bytes:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(messages.Messages, "render", fail)
    before = counted("wall-events")
    async with watching(visitor) as reader:
        await until_listening(scene)
        await scene.ask("one")
        assert await reader.next() is None
    assert counted("wall-events") == before + 1


async def test_the_wall_stops_at_once_with_watchers(scene: Scene, visitor: ClientSession) -> None:
    async with watching(visitor) as reader:
        await until_listening(scene)
        async with asyncio.timeout(3):
            await scene.wall.stop()
        assert await reader.next() is None
    assert scene.feed.listeners == set()


async def test_a_stream_whose_services_fail_ends_and_is_taken_up_again(
    scene: Scene, visitor: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = scene.dreams.get

    async def broken(dream_id: str) -> Dream:
        raise StoreError("The database cannot be read.")

    async with watching(visitor) as reader:
        await until_listening(scene)
        monkeypatch.setattr(scene.dreams, "get", broken)
        dream = await scene.ask("one")
        assert await reader.next() is None
    monkeypatch.setattr(scene.dreams, "get", get)
    async with watching(visitor, "/s/planets/events?after=0") as reader:
        message = await reader.next()
        assert message is not None
        assert f'id="dream-{dream.id}"' in message.data[0]


async def test_a_stream_has_no_head(scene: Scene, visitor: ClientSession) -> None:
    async with visitor.head("/s/planets/events") as response:
        assert response.status == 405
    assert scene.wall.watchers == 0


async def test_an_event_of_a_dream_that_is_gone_keeps_its_id(
    scene: Scene, visitor: ClientSession
) -> None:
    await scene.ask("one")
    scene.dreams.dreams.clear()
    async with watching(visitor, "/s/planets/events?after=0") as reader:
        message = await reader.next()
        assert message is not None
        assert (message.event, message.id, message.data) == ("asked", "3", [""])
