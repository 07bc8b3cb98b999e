"""The limit that Discord sets for a bot as a whole."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from yarl import URL

from bot.delivery.whole_bot import MOST, WINDOW_S, WholeBot

API = URL("https://discord.com/api/v10")
CARD = API / "channels/1/messages/2"


class Time:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    async def sleep(self, delay_s: float) -> None:
        self.now_s += delay_s
        await asyncio.sleep(0)


async def test_a_rush_goes_out_no_faster_than_discord_takes_it() -> None:
    time = Time()
    bot = WholeBot(lambda: time.now_s, time.sleep)
    sent: list[tuple[float, int]] = []

    async def send(number: int) -> None:
        await bot.turn(CARD)
        sent.append((time.now_s, number))

    await asyncio.gather(*(send(number) for number in range(5 * MOST)))
    assert [number for _, number in sent] == [*range(5 * MOST)]
    for first, after in zip(sent, sent[MOST:], strict=False):
        assert after[0] - first[0] >= WINDOW_S
    assert sent[-1][0] - sent[0][0] == pytest.approx(4 * WINDOW_S)
    assert all(a[0] <= b[0] for a, b in pairwise(sent))


@pytest.mark.parametrize(
    "url",
    [
        API / "interactions/1/token/callback",
        API / "webhooks/1/token/messages/@original",
        URL("https://cdn.discordapp.com/attachments/1/2/fox.png"),
    ],
)
async def test_what_does_not_count_is_not_held_up(url: URL) -> None:
    time = Time()
    bot = WholeBot(lambda: time.now_s, time.sleep)
    for _ in range(MOST):
        await bot.turn(CARD)
    for _ in range(3 * MOST):
        await bot.turn(url)
    assert time.now_s == 1000.0
    await bot.turn(CARD)
    assert time.now_s == 1000.0 + WINDOW_S


async def test_who_is_cancelled_while_waiting_holds_up_nobody() -> None:
    bot = WholeBot()
    for _ in range(MOST):
        await bot.turn(CARD)
    waiting = asyncio.create_task(bot.turn(CARD))
    await asyncio.sleep(0)
    waiting.cancel()
    async with asyncio.timeout(10):
        await bot.turn(CARD)
