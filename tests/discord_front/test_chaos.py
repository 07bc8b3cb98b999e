"""Everybody does whatever can be done, while everything fails: a few seconds of `chaos`."""

from __future__ import annotations

from pathlib import Path

from tests.discord_front.chaos import SETTINGS, Chaos
from tests.discord_front.loopback import Discord
from tests.discord_front.shipped import TOKEN, Bot


async def test_nothing_is_lost_or_shown_twice_whatever_is_done(tmp_path: Path) -> None:
    discord = Discord(TOKEN)
    await discord.start()
    bot = Bot(tmp_path, discord, SETTINGS, edit_gap_s=None)
    chaos = Chaos(bot, discord, seed=4)
    try:
        await chaos.start()
        await chaos.live(6.0, [chaos.fail, chaos.cut, chaos.kill, chaos.fail, chaos.forbid])
        await chaos.settle()
        assert await bot.stop() == 0
    finally:
        await bot.kill()
        await discord.stop()
    wrong = chaos.wrong()
    assert not wrong, "\n".join(wrong)
    assert len(chaos.asked) > 20
    assert discord.rest.messages
    assert chaos.waits_s()
