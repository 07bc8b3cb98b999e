"""How far a page is in the log, told so that nobody learns how much happens elsewhere."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from bot.model import Visibility
from bot.signed_links import SignedLinks
from bot.wall.cursors import Cursors
from tests.bot.drawer import request, services
from tests.wall.test_events import watching
from tests.wall.test_real_services import page, wall_on

KEY = bytes(range(32))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, (1 << 63) - 1), st.integers(0, 24 * 8 - 1))
def test_a_sign_is_read_by_its_own_wall_alone(event_id: int, bit: int) -> None:
    cursors = Cursors(KEY)
    sign = cursors.of(event_id)
    assert re.fullmatch(r"[A-Za-z0-9_-]{32}", sign)
    assert cursors.read(sign) == event_id == Cursors(KEY).read(sign)
    assert cursors.of(event_id) != sign  # nor is it told that nothing happened meanwhile
    assert Cursors(KEY[::-1]).read(sign) is None
    # With a number it could be tried out which one an entry has.
    assert cursors.read(str(event_id)) is None
    # Each character is six bits: another one in a single place is no sign any more.
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    at, flipped = bit // 6, 1 << bit % 6
    other = digits[digits.index(sign[at]) ^ flipped]
    assert cursors.read(sign[:at] + other + sign[at + 1 :]) is None


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40))
def test_what_is_no_sign_is_none(text: str) -> None:
    assert Cursors(KEY).read(text) is None
    plain = Cursors().read(text)
    assert plain is None or plain == int(text)


async def test_a_page_goes_on_by_signs_that_say_nothing_of_other_streams(tmp_path: Path) -> None:
    links = SignedLinks.open(tmp_path)
    async with services(tmp_path) as parts, wall_on(parts, links=links) as visitor:
        await parts.themes.create("hidden", "Hidden", visibility=Visibility.PRIVATE)
        found = re.search(r"/s/open/events\?after=([^&\"]+)", await page(visitor, "/s/open"))
        assert found is not None and Cursors(links.derive("wall cursors")).read(found[1])
        for theme in ("open", "hidden", "open"):
            await parts.dreams.ask(request("a gull", theme=theme))
        first, second, third = await parts.dreams.unfinished(None)
        assert second.theme_id != first.theme_id == third.theme_id
        async with watching(visitor, found[0]) as reader:
            message = await reader.next()
            assert message is not None and first.id in "".join(message.data)
        # It comes back by what it remembers: to the other one, and nothing comes twice.
        async with watching(visitor, f"/s/open/events?after={message.id}") as reader:
            missed = await reader.next()
            assert missed is not None and third.id in "".join(missed.data)


async def test_a_page_whose_sign_nobody_can_read_is_made_anew(tmp_path: Path) -> None:
    """As one that was open while the key was lost, or since pages were told numbers."""
    links = SignedLinks.open(tmp_path)
    async with services(tmp_path) as parts, wall_on(parts, links=links) as visitor:
        (dream,) = await parts.dreams.ask(request("a gull"))
        for strange in ("1", "A" * 32):
            path = f"/s/open/events?after={strange}"
            async with watching(visitor, path) as reader, asyncio.timeout(5):
                message = await reader.next()
                assert message is not None and message.event == "reload"
            # What it remembers then it can say, also where its own address stays as it was.
            async with watching(visitor, path, Last_Event_ID=message.id) as reader:
                told = await reader.next()
                assert told is not None and told.event == "asked"
                assert dream.id in "".join(told.data)
