"""What is posted costs no more than it is long, and all that is there at once has a bound."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.wall import WallSettings
from bot.wall.multipart import MOST_FIELDS, Upload, fields_of
from bot.wall.posted import ROOM, SMALL_BYTES, Held, Room, TooMuchPostedError
from tests.wall.conftest import Scene, eventually
from tests.wall.test_http_server import Client, standing

MIB = 1024 * 1024
FORM = "multipart/form-data; boundary=b"
END = b"\r\n--b--\r\n"


def part(name: str, data: bytes, more: str = "") -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + data


def posted(body: bytes, *more: str, kind: str = FORM) -> bytes:
    head = [
        *("POST /s/planets/dreams HTTP/1.1", "Host: 127.0.0.1", "Connection: close"),
        *(f"Content-Type: {kind}", f"Content-Length: {len(body)}", *more),
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def test_a_form_is_read_as_browsers_send_it() -> None:
    body = (
        part("prompt", "größer\r\n--c".encode())
        + b"\r\n"
        + part("init", b"\x89PNG\r\n\r\n--", '; filename="a%22b.png"\r\nContent-Type: image/png')
        + b"\r\n"
        + part("mask", b"", '; filename=""\r\nContent-Type: application/octet-stream')
        + END
    )
    form = fields_of('Multipart/Form-Data; charset=x; boundary="b"', body)
    picture = Upload('a"b.png', b"\x89PNG\r\n\r\n--")
    assert [*form.items()] == [("prompt", "größer\r\n--c"), ("init", picture), ("mask", "")]
    typed = fields_of("application/x-www-form-urlencoded", b"a=%C3%9F+b&a=&c")
    assert [*typed.items()] == [("a", "ß b"), ("a", ""), ("c", "")]
    assert not fields_of("text/plain", b"a=b")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b",
        b"before\r\n" + part("a", b"x") + END,  # no browser sends anything there
        part("a", b"x"),  # cut off
        part("a", b"x") + b"\r\n--by",
        part("a", b"x") + b"\r\n--b\r\nnothing" + END,
        b"--b\r\n\r\nx" + END,
        b'--b\r\nContent-Disposition: attachment; name="a"\r\n\r\nx' + END,
        part("a", b"x", '\r\nContent-Disposition: form-data; name="b"') + END,
        part("a", b"eA==", "\r\nContent-Transfer-Encoding: base64") + END,
        part("a", zlib.compress(b"x"), "\r\nContent-Encoding: deflate") + END,
        part("a", b"x", "\r\nX: " + "y" * 5000) + END,
        part("a", b"\xff") + END,
        b"\r\n".join([part("a", b"x")] * (MOST_FIELDS + 1)) + END,
    ],
)
def test_what_is_no_form_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):
        fields_of(FORM, body)


def test_a_form_has_so_many_fields_and_no_more() -> None:
    fields = b"\r\n".join([part("a", b"x")] * MOST_FIELDS) + END
    assert len(fields_of(FORM, fields)) == MOST_FIELDS
    typed = "application/x-www-form-urlencoded"
    assert len(fields_of(typed, b"&".join([b"a=1"] * MOST_FIELDS))) == MOST_FIELDS
    with pytest.raises(ValueError):
        fields_of(typed, b"a=1&" * (MOST_FIELDS + 1))
    with pytest.raises(ValueError):
        fields_of("multipart/form-data", fields)


@pytest.mark.parametrize(
    "filler",
    [b"\n", b"\r\n", b"\r\n--", b"--b", b"\r\n--b\r\n", part("a", b"x") + b"\r\n", b"--b--\r\n"],
)
@pytest.mark.parametrize("within", [False, True])
def test_megabytes_of_anything_take_no_longer_than_as_much_of_a_picture(
    filler: bytes, within: bool
) -> None:
    def took_s(body: bytes) -> float:
        began_s = time.process_time()
        with suppress(ValueError):
            fields_of(FORM, body)
        return time.process_time() - began_s

    start = part("init", b"", '; filename="x"') if within else b""
    usual_s = took_s(part("init", b"\x00" * (4 * MIB), '; filename="x"') + END)
    assert took_s(start + filler * (4 * MIB // len(filler)) + END) < usual_s * 20 + 0.5


async def held_up_s(scene: Scene, request: bytes) -> tuple[bytes, float]:
    """Return the answer to a request, and for how much of the processor's time nobody else was."""
    longest_s, over = 0.0, asyncio.Event()

    async def look() -> None:
        nonlocal longest_s
        while not over.is_set():
            before_s = time.thread_time()
            await asyncio.sleep(0)
            longest_s = max(longest_s, time.thread_time() - before_s)

    async with standing(scene) as wall, Client(wall) as client:
        looking = asyncio.create_task(look())
        await client.send(request)
        said = await client.heard()
        over.set()
        await looking
    return said, longest_s


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (posted(b"\n" * (11 * MIB)), 422),  # lines before the first field
        (posted(b"a" * 300_000, kind="application/x-www-form-urlencoded"), 413),
        (posted(zlib.compress(b"a" * (30 * MIB)), "Content-Encoding: deflate"), 422),
    ],
    ids=["lines", "text", "compressed"],
)
async def test_what_one_visitor_posts_holds_up_nobody(
    scene: Scene, request_: bytes, status: int
) -> None:
    said, longest_s = await held_up_s(scene, request_)
    assert said.startswith(b"HTTP/1.1 %d " % status), said[:200]
    assert longest_s < 0.5
    assert not scene.dreams.requests


async def test_one_address_has_so_much_under_way_and_prompts_come_through(scene: Scene) -> None:
    bounds = WallSettings(max_upload_bytes=MIB)
    most, begun = bounds.posted_bytes_per_address, part("init", b"", '; filename="x"')
    cut_off = posted(begun + b"x" * (MIB - 1000))[:-1000]
    async with standing(scene, max_upload_bytes=MIB) as wall:
        room, clients = wall.app[ROOM], [Client(wall, cut_off) for _ in range(8)]
        try:
            for client in clients:
                await client.__aenter__()
            answers = [asyncio.create_task(client.heard()) for client in clients]
            await eventually(lambda: sum(one.done() for one in answers) >= 3)
            assert most * 0.7 < room.taken <= most
            refused = [one.result() for one in answers if one.done()]
            assert all(b" 429 " in one[:20] and b"Retry-After: 30" in one for one in refused)
            typed = posted(b"prompt=a+fox", kind="application/x-www-form-urlencoded")
            async with Client(wall, typed) as client:
                assert b" 303 " in (await client.heard())[:20]
        finally:
            for client in clients:
                await client.__aexit__()
        await eventually(lambda: not room.taken)


class Sending:
    """Something that is being read."""

    def __init__(self, room: Room, address: str) -> None:
        self.held = Held(address)
        self.held.reading = asyncio.get_running_loop().create_future()
        self.take: Callable[[int], None] = lambda size: room.take(self.held, size)


async def test_when_all_is_had_who_has_most_makes_room() -> None:
    room = Room(10 * SMALL_BYTES, 6 * SMALL_BYTES)
    first, second, other = (Sending(room, name) for name in ("a", "a", "b"))
    first.take(4 * SMALL_BYTES)  # the first of which is not counted
    second.take(4 * SMALL_BYTES)
    other.take(4 * SMALL_BYTES)
    assert room.taken == 9 * SMALL_BYTES
    with pytest.raises(TooMuchPostedError):
        second.take(SMALL_BYTES)  # of one address, whoever else is there
    newcomer = Sending(room, "c")
    newcomer.take(3 * SMALL_BYTES)
    assert [one.held.gave_way for one in (first, second, other)].count(True) == 1
    gone = first if first.held.gave_way else second
    assert gone.held.reading is not None and gone.held.reading.cancelled()
    for one in (first, second, other, newcomer):
        room.give_back(one.held)
        room.give_back(one.held)
    assert room.taken == 0


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3 * SMALL_BYTES)), max_size=40))
async def test_no_more_is_held_than_may_be(taken: list[tuple[int, int]]) -> None:
    room, most, each = Room(8 * SMALL_BYTES, 5 * SMALL_BYTES), 8 * SMALL_BYTES, 5 * SMALL_BYTES
    sending = [Sending(room, "abc"[number % 3]) for number in range(6)]
    for number, size in taken:
        one = sending[number]
        if one.held.gave_way:
            continue
        try:
            one.take(size)
        except TooMuchPostedError:
            room.give_back(one.held)
        counted = [other.held.counted for other in sending]
        assert room.taken == sum(counted) <= most
        assert all(counted[place] + counted[place + 3] <= each for place in range(3))
