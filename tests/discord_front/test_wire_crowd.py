"""Many people at once, pressing whatever there is: all are answered, and nothing comes twice."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from itertools import pairwise

import pytest

from tests.discord_front.looks import labels_of
from tests.discord_front.loopback import Discord
from tests.discord_front.payloads import ANN, Json
from tests.discord_front.rest import Asked
from tests.discord_front.shipped import Bot, is_final

PEOPLE = int(os.environ.get("DREAMSTREAM_CROWD", "12"))
LAG_S = 0.05


def check_answered(asked: Iterable[Asked]) -> None:
    """See that all were acknowledged in time: within 3 s, and 99 of 100 within 1 s."""
    times = []
    for one in asked:
        assert one.acknowledged_s is not None, one.interaction["data"]
        times.append(one.acknowledged_s - one.at_s)
    times.sort()
    assert times[-1] < 3.0
    assert times[int(len(times) * 0.99) - 1] < 1.0, times


def check_limits(discord: Discord) -> None:
    """See that Discord had nothing to slow down, and no message was edited too often."""
    assert discord.limits is not None
    assert discord.limits.exceeded == []
    for times in discord.rest.edits.values():
        assert all(b - a > 2.8 for a, b in pairwise(times)), times
    for method, path in (("POST", "/channels/.*/messages"), ("PATCH", "/channels/.*")):
        sent = discord.sent(method, path)
        assert all(sixth - first >= 5.0 for first, sixth in zip(sent, sent[5:], strict=False))


def check_shown_once(bot: Bot, discord: Discord) -> None:
    """See that each card's message is there once, and none is there that no card knows."""
    database = bot.folder / "data" / "dreamstream.db"
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT state, message_id FROM delivery").fetchall()
    assert {state for state, _ in rows} == {"settled"}
    known = [number for _, number in rows]
    assert sorted(known) == sorted(int(card["id"]) for card in discord.cards())


@pytest.fixture
async def crowd(bot: Bot, discord: Discord) -> list[Asked]:
    """Have everybody ask at once, as soon as the bot is there."""
    bot.edit_gap_s = None
    await bot.joined()
    await asyncio.sleep(1.0)  # its start is not what is measured
    people = range(ANN, ANN + PEOPLE)
    # Told in one go, as after a resume: the worst that the gateway can do.
    await discord.gateway.cut()
    return await asyncio.gather(
        *(discord.slash("dream", prompt="a red fox", steps=5, by=by) for by in people)
    )


async def test_all_are_answered_and_shown(bot: Bot, discord: Discord, crowd: list[Asked]) -> None:
    for one in crowd:
        assert "this channel" in await discord.answer(one)
    check_answered(crowd)
    await discord.until(lambda: sum(map(is_final, discord.cards())) == PEOPLE, "every final card")
    check_limits(discord)
    assert await bot.stop() == 0
    check_shown_once(bot, discord)
    assert len(discord.cards()) == PEOPLE
    assert bot.lag_s(crowd[0].at_s) < LAG_S
    assert "Traceback" not in bot.said()


async def test_every_button_out_of_order_twice_and_after_a_restart(
    bot: Bot, discord: Discord
) -> None:
    chance = random.Random(7)
    bot.edit_gap_s = None
    await bot.joined()
    for number, steps in enumerate((5, 100_000)):
        await discord.slash("dream", prompt=f"fox {number}", steps=steps, by=ANN + number % 2)
    await discord.until(lambda: any(map(is_final, discord.cards())), "a finished dream")
    await discord.until(lambda: len(discord.cards()) == 2, "the cards")
    seen: list[Json] = discord.cards()  # what people have before their eyes, however old
    pressed: list[Asked] = []

    async def press_all() -> None:
        """Press every button that was ever seen, twice, in any order, by two people."""
        buttons = [(card, label) for card in seen for label in labels_of(card)] * 2
        chance.shuffle(buttons)
        for card, label in buttons:
            by = chance.choice((ANN, ANN + 1))
            pressed.append(asked := await discord.press(card, label, by=by))
            if (await discord.callback(asked))["type"] == 9 and chance.random() < 0.5:
                form = (await discord.callback(asked))["data"]
                pressed.append(await discord.submit(form, "a blue whale", by=by))

    await press_all()
    await bot.kill()
    await bot.joined()
    seen += [card for card in discord.cards() if is_final(card)][:1]
    await press_all()
    for one in pressed:
        await discord.callback(one)
    check_answered(pressed)
    for number in range(2):  # whatever is still being drawn
        while "Cancelled" in await discord.answer(await discord.slash("cancel", by=ANN + number)):
            pass
    await discord.until(lambda: not _unsettled(bot), "all cards to be settled")
    check_limits(discord)
    assert await bot.stop() == 0
    check_shown_once(bot, discord)
    assert "Traceback" not in bot.said()


def _unsettled(bot: Bot) -> int:
    with closing(sqlite3.connect(bot.folder / "data" / "dreamstream.db")) as connection:
        [(count,)] = connection.execute("SELECT count(*) FROM delivery WHERE state = 'open'")
    return int(count)
