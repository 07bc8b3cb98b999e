"""The shipped program, as a process of its own, against a Discord on loopback.

These few start two processes each and go over real sockets; what people see in every case is
looked at in ``test_behaviour``.
"""

from __future__ import annotations

import asyncio
import re

from tests.discord_front import payloads
from tests.discord_front.looks import labels_of, picture_url, text_of
from tests.discord_front.loopback import Discord
from tests.discord_front.shipped import Bot, fetched, finished, is_final
from tests.program import PATIENCE_S


async def test_from_login_to_the_picture(bot: Bot, discord: Discord) -> None:
    await bot.joined()
    names = {command["name"] for command in discord.rest.commands}
    assert {"dream", "queue", "cancel", "show", "recipe"} <= names
    asked = await discord.slash("dream", prompt="a red fox", steps=5, seed=7)
    assert (await discord.callback(asked))["type"] == 5
    assert "this channel" in await discord.answer(asked)
    card = await finished(discord)
    assert "a red fox" in text_of(card)
    [kept] = (bot.folder / "data" / "library" / "images").rglob("*.png")
    assert await fetched(picture_url(card)) == kept.read_bytes()
    await discord.react(card, "⭐", by=payloads.ANN + 1)
    await discord.until(lambda: "♥ 1" in labels_of(discord.cards()[0]), "the like")
    await discord.react(card, "⭐", by=payloads.ANN + 1, there=False)
    await discord.until(lambda: "♥" in labels_of(discord.cards()[0]), "its end")
    assert len(discord.sent("POST", "/channels/.*/messages")) == 1
    assert await bot.stop() == 0
    assert "https://discord.com/oauth2/authorize?client_id=" in bot.said()
    assert "Traceback" not in bot.said()
    await bot.joined()  # the commands are known already
    assert discord.rest.syncs == 1
    again = await discord.press(card, "Another seed")
    assert "another seed" in await discord.answer(again)
    second = await finished(discord, 1)
    form = (await discord.callback(await discord.press(second, "Remix")))["data"]
    await bot.kill()  # with the form open
    await bot.joined()
    remix = await discord.submit(form, "a blue whale")
    assert "Remixed" in await discord.answer(remix)
    assert "a blue whale" in text_of(await finished(discord, 2))
    assert await bot.stop() == 0


async def test_a_dream_asked_during_a_cut_is_not_lost(bot: Bot, discord: Discord) -> None:
    await bot.joined()
    await discord.gateway.cut()
    asked = await discord.slash("dream", prompt="a red fox", steps=5)
    assert "this channel" in await discord.answer(asked)
    await finished(discord)
    assert (len(discord.gateway.identifies), discord.gateway.resumes) == (1, 1)
    assert await bot.stop() == 0
    assert "Traceback" not in bot.said()


async def test_a_kill_in_mid_post_gives_one_final_message(bot: Bot, discord: Discord) -> None:
    await bot.joined()
    # The message is made, but its answer never comes; then the bot dies.
    discord.fail("POST", "/channels/.*/messages", 502, times=9, after=True)
    await discord.slash("dream", prompt="a red fox", steps=5)
    await discord.until(discord.cards, "the message")
    await bot.kill()
    discord.faults.clear()
    discord.rest.nonces.clear()  # Discord remembers them for minutes only
    await bot.joined()
    card = await finished(discord)
    assert "a red fox" in text_of(card)
    assert len(discord.cards()) == 1
    assert await bot.stop() == 0


async def test_rate_limits_and_errors_delay_but_lose_nothing(bot: Bot, discord: Discord) -> None:
    await bot.joined()
    slow = {"message": "slow down", "retry_after": 0.2, "global": False}
    discord.fail("POST", "/channels/.*/messages", 429, body=slow)
    discord.fail("PATCH", "/channels/.*/messages/.*", 503)
    discord.fail("PATCH", "/channels/.*/messages/.*", 403, body={"message": "", "code": 50013})
    await discord.slash("dream", prompt="a red fox", steps=5)
    await finished(discord)
    assert len(discord.cards()) == 1
    assert await bot.stop() == 0


async def test_many_at_once_are_all_answered_and_shown_within_the_limits(
    bot: Bot, discord: Discord
) -> None:
    bot.edit_gap_s = None
    await bot.joined()
    people = [payloads.ANN + number for number in range(12)]
    asks = (discord.slash("dream", prompt="a red fox", steps=5, by=by) for by in people)
    asked = await asyncio.gather(*asks)
    await discord.until(lambda: all(one.callback for one in asked), "every acknowledgement")
    await discord.until(
        lambda: sum(is_final(card) for card in discord.cards()) == len(people),
        "every final card",
    )
    assert len(discord.cards()) == len(people)
    for method, path in (("POST", "/channels/.*/messages"), ("PATCH", "/channels/.*")):
        times = discord.sent(method, path)
        assert all(sixth - first >= 5.0 for first, sixth in zip(times, times[5:], strict=False))
    assert await bot.stop() == 0


async def test_what_cannot_be_acknowledged_is_not_drawn(bot: Bot, discord: Discord) -> None:
    await bot.joined()
    expired = {"message": "Unknown interaction", "code": 10062}
    discord.fail("POST", "/interactions/.*/callback", 404, body=expired)
    await discord.slash("dream", prompt="a red fox", steps=5)
    await discord.until(lambda: discord.sent("POST", "/interactions/.*"), "the attempt")
    discord.fail("POST", "/interactions/.*/callback", 500)  # and once more is well
    asked = await discord.slash("dream", prompt="a blue whale", steps=5)
    await discord.answer(asked)
    assert "a blue whale" in text_of(await finished(discord))
    assert len(discord.cards()) == 1
    assert await bot.stop() == 0
    assert "Traceback" not in bot.said()


async def test_without_any_front_it_says_so(bot: Bot) -> None:
    (bot.folder / "config.toml").write_text('[wall]\nmode = "off"\n', encoding="utf-8")
    await bot.start(token="")
    assert await bot.ended() == 1
    assert "Nobody could ask for anything" in bot.said()


async def test_a_wrong_token_is_a_sentence(bot: Bot, discord: Discord) -> None:
    await bot.start("MTIz.wrong.token")
    assert await bot.ended() == 1
    assert "does not accept the bot token" in bot.said()
    assert "Traceback" not in bot.said()


async def test_a_token_that_is_revoked_leaves_the_wall(bot: Bot, discord: Discord) -> None:
    await bot.joined()
    discord.gateway.close_code = 4004
    await discord.gateway.cut()
    async with asyncio.timeout(PATIENCE_S):
        while "no longer valid" not in bot.said():  # noqa: ASYNC110 (a file tells nobody)
            await asyncio.sleep(0.1)
    address = re.search(r"The wall is at (\S+)", bot.said())
    assert address is not None
    assert b"Open canvas" in await fetched(address[1])
    assert await bot.stop() == 0


async def test_disallowed_intents_are_a_sentence(bot: Bot, discord: Discord) -> None:
    (bot.folder / "config.toml").write_text('[wall]\nmode = "off"\n', encoding="utf-8")
    discord.gateway.close_code = 4014
    await bot.start()
    assert await bot.ended() == 1
    assert "privileged" in bot.said()
    assert "Traceback" not in bot.said()
