"""The gateway's troubles over the wire: whatever is asked meanwhile is answered after."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from bot.shards import IDENTIFY_S
from tests.discord_front.looks import text_of
from tests.discord_front.loopback import Discord
from tests.discord_front.payloads import CHANNEL, CHANNEL_B
from tests.discord_front.shipped import SETTINGS, Bot, finished, is_final, loopback

slow = pytest.mark.skipif(
    "DREAMSTREAM_SLOW_TESTS" not in os.environ,
    reason="takes minutes; set DREAMSTREAM_SLOW_TESTS=1 to run it",
)


async def test_every_way_of_losing_the_gateway_is_survived(bot: Bot, discord: Discord) -> None:
    gateway = discord.gateway
    gateway.heartbeat_ms = 1000
    await bot.joined()

    async def still_answers(prompt: str) -> None:
        asked = await discord.slash("dream", prompt=prompt, steps=5)
        assert "this channel" in await discord.answer(asked), prompt
        assert asked.acknowledged_s is not None
        assert asked.acknowledged_s - asked.at_s < 2.0, prompt

    await gateway.cut()
    await still_answers("after a cut")
    await gateway.reconnect()
    await still_answers("after op 7")
    await gateway.invalidate(resumable=True)
    await still_answers("after op 9 that can be resumed")
    assert (len(gateway.identifies), gateway.resumes) == (1, 3)
    gateway.deaf = True  # takes beats and acknowledges none
    beats = gateway.heartbeats
    await discord.until(lambda: gateway.resumes == 4, "the bot to give the deaf line up")
    assert gateway.heartbeats > beats
    gateway.deaf = False
    await still_answers("after no beat was acknowledged")
    await gateway.invalidate(resumable=False)
    await discord.until(lambda: len(gateway.identifies) == 2, "a new session")
    await still_answers("after op 9 for good")
    await discord.until(lambda: sum(map(is_final, discord.cards())) == 5, "all pictures")
    assert await bot.stop() == 0
    assert "Traceback" not in bot.said()


async def outage(bot: Bot, discord: Discord, seconds: float) -> None:
    """Be gone while dreams form; see that all is shown, and what is asked at once, answered."""
    await bot.joined()
    for prompt in ("a red fox", "a blue whale"):
        asked = await discord.slash("dream", prompt=prompt, steps=5)
        await discord.answer(asked)
    await discord.out(seconds)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    missed = await discord.slash("dream", prompt="a green owl", steps=5)
    assert "this channel" in await discord.answer(missed)
    assert missed.acknowledged_s is not None
    assert missed.acknowledged_s - missed.at_s < 3.0
    await discord.until(lambda: sum(map(is_final, discord.cards())) == 3, "all pictures")
    assert loop.time() - begun < 12.0
    assert len(discord.cards()) == 3
    assert (len(discord.gateway.identifies), discord.gateway.resumes) == (1, 1)
    assert await bot.stop() == 0
    assert "Traceback" not in bot.said()


async def test_an_outage_of_some_seconds(bot: Bot, discord: Discord) -> None:
    await outage(bot, discord, 6.0)


@slow
async def test_an_outage_of_ninety_seconds(bot: Bot, discord: Discord) -> None:
    await outage(bot, discord, 90.0)


async def test_started_during_an_outage_it_joins_after(bot: Bot, discord: Discord) -> None:
    discord.gateway.is_out = True
    await bot.start()
    await discord.until(lambda: discord.refused > 1, "attempts in vain")
    discord.gateway.is_out = False
    await discord.until(lambda: discord.gateway.identifies, "the bot")
    asked = await discord.slash("dream", prompt="a red fox", steps=5)
    await discord.answer(asked)
    await finished(discord)
    assert await bot.stop() == 0
    assert "Traceback" not in bot.said()


async def test_two_shards_serve_their_guilds_and_one_may_be_lost(tmp_path: Path) -> None:
    async with loopback(shards=2) as discord:
        discord.rest.at_once = discord.gateway.at_once = 2
        port = free_port()
        bot = Bot(tmp_path, discord, SETTINGS + f'[monitoring]\nlisten = "127.0.0.1:{port}"\n')
        try:
            await bot.joined()
            await discord.until(lambda: fetched_ready(port), "readiness")
            places = (CHANNEL, CHANNEL_B)
            for place in places:
                asked = await discord.slash("dream", prompt=f"of {place}", steps=5, place=place)
                await discord.answer(asked)
            await discord.gateway.cut(shard=0)
            late = [
                await discord.slash("dream", prompt="and more", steps=5, place=place)
                for place in places
            ]
            for one in late:
                await discord.answer(one)
            for place in places:
                assert f"of {place}" in text_of(await finished(discord, 0, place))
                await finished(discord, 1, place)
            (first_s, first), (second_s, second) = discord.gateway.identifies
            assert {first, second} == {0, 1}
            assert second_s - first_s < IDENTIFY_S, "shards that may begin together do"
            assert discord.gateway.resumes == 1
            # What the scheduler process counts comes now and then.
            await discord.until(lambda: not missing_figures(port), "figures")
            assert await bot.stop() == 0
            assert "Traceback" not in bot.said()
            tell_the_whole_way(bot.said())
        finally:
            await bot.kill()


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


def fetched_ready(port: int) -> bool:
    url = f"http://127.0.0.1:{port}/readyz"
    with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
        parts = json.load(answer)["parts"]
        return bool(parts.pop("discord") == "ready" and set(parts.values()) == {"ready"})
    return False


def missing_figures(port: int) -> list[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        figures = answer.read().decode()
    wanted = (
        'dreamstream_discord_shards{state="connected"} 2.0',
        "dreamstream_discord_guilds 2.0",
        "dreamstream_card_posted_seconds_count 4.0",
        'dreamstream_discord_answers_total{route="messages",status="200"}',
        'dreamstream_step_runs_count{engine="',
        'dreamstream_discord_latency_seconds{shard="1"}',
    )
    return [line for line in wanted if line not in figures]


def tell_the_whole_way(log: str) -> None:
    """Look whether the lines of one dream tell its whole way, and what they came of."""
    accepted = re.search(
        r"Dream (\w{16}) was accepted.*\[interaction=\d+ guild=\d+ channel=\d+ shard=\d+\]", log
    )
    assert accepted is not None, log
    way = [line for line in log.splitlines() if accepted[1] in line]
    for part in ("begins at step", "is being drawn", ": drawn,", "is done", "is message"):
        assert any(part in line for line in way), (part, way)
