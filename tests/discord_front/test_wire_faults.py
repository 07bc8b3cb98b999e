"""What Discord refuses, for a time or for good: nothing is lost, and nothing comes twice."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.discord_front.looks import labels_of, picture_url, text_of
from tests.discord_front.loopback import Discord
from tests.discord_front.partying import at, cards_of
from tests.discord_front.payloads import ANN, CHANNEL, Json
from tests.discord_front.people import File
from tests.discord_front.rest import ATTACH, SEND, VIEW
from tests.discord_front.shipped import Bot, fetched, finished, is_final
from tests.discord_front.verdict import beyond_limits

MESSAGES = "/channels/.*/messages"
MESSAGE = "/channels/.*/messages/.*"
CALLBACK = "/interactions/.*/callback"
ORIGINAL = "/webhooks/.*/@original"


async def long_dream(discord: Discord, *, by: int = ANN) -> Json:
    """Ask for a dream that goes on until it is cancelled; return its card as it forms."""
    await discord.slash("dream", prompt="a slow fox", steps=100_000, by=by)

    def forming() -> Json | None:
        cards = [one for one in discord.cards() if "Cancel" in labels_of(one)]
        return cards[-1] if cards else None

    card: Json = await discord.until(forming, "the card")
    return card


async def test_what_is_refused_for_a_time_is_done_later(bot: Bot, discord: Discord) -> None:
    await bot.joined()
    limited = {"message": "You are being rate limited.", "retry_after": 0.2}
    discord.fail("POST", MESSAGES, 429, body=limited | {"global": False})
    discord.fail("POST", MESSAGES, 429, body=limited | {"global": True})
    discord.fail("POST", MESSAGES, 429, body="<html>1015</html>", via=False)
    discord.fail("PATCH", ORIGINAL, 429, body=limited | {"global": False})
    discord.fail("PATCH", ORIGINAL, 502)
    discord.fail("PATCH", MESSAGE, 503)
    discord.fail("PATCH", MESSAGE, 500)
    asked = await discord.slash("dream", prompt="a red fox", steps=5)
    assert "this channel" in await discord.answer(asked)
    await finished(discord)
    assert len(discord.cards()) == 1
    assert len(discord.rest.posts[CHANNEL]) == 1
    assert await bot.stop() == 0
    assert "Traceback" not in bot.said()


@pytest.mark.parametrize("after", [False, True])
async def test_an_acknowledgement_is_tried_again_within_its_time(
    bot: Bot, discord: Discord, after: bool
) -> None:
    await bot.joined()
    discord.fail("POST", CALLBACK, 500, times=2, after=after)
    discord.fail("POST", CALLBACK, 429, body="<html>1015</html>", via=False)
    asked = await discord.slash("dream", prompt="a red fox", steps=5)
    assert "this channel" in await discord.answer(asked)
    assert asked.acknowledged_s is not None
    assert asked.acknowledged_s - asked.at_s < 3.0
    await finished(discord)
    assert len(discord.cards()) == 1
    # Somebody else's acknowledgement is none of ours: then nothing is drawn.
    discord.fail("POST", CALLBACK, 400, body={"message": "Acknowledged", "code": 40060})
    refused = await discord.slash("dream", prompt="a blue whale", steps=5)
    await discord.until(lambda: discord.sent("POST", CALLBACK, status=400), "the refusal")
    await asyncio.sleep(0.3)
    assert refused.answer is None
    assert len(discord.cards()) == 1
    assert await bot.stop() == 0
    assert "Traceback" not in bot.said()


@pytest.mark.parametrize("denied", [SEND, VIEW])
async def test_a_permission_given_back_shows_what_waited_at_once(
    bot: Bot, discord: Discord, denied: int
) -> None:
    await bot.joined()
    card = await long_dream(discord)
    await discord.permit(CHANNEL, denied | ATTACH)
    cancelled = await discord.press(card, "Cancel")
    assert await discord.answer(cancelled) == "Cancelled."
    refused = await discord.slash("dream", prompt="a red fox", steps=5)
    assert "Attach Files" in await discord.answer(refused)
    if denied == SEND:
        # Taken away between the asking and the posting.
        await discord.permit(CHANNEL, 0)
        discord.fail("POST", MESSAGES, 403, times=3, body={"message": "no", "code": 50013})
        await discord.slash("dream", prompt="a blue whale", steps=5)
        await discord.until(lambda: discord.sent("POST", MESSAGES, status=403), "a refusal")
        discord.faults.clear()
    begun = asyncio.get_running_loop().time()
    await discord.permit(CHANNEL, 0)
    if denied == SEND:
        await finished(discord, 1)
    else:
        await discord.until(lambda: "Cancelled" in text_of(discord.cards()[0]), "the end")
    assert asyncio.get_running_loop().time() - begun < 4.0
    assert await bot.stop() == 0
    assert "Traceback" not in bot.said()


async def test_what_is_too_large_is_stepped_down(bot: Bot, discord: Discord) -> None:
    await bot.joined()
    page = "<html><head><title>413 Request Entity Too Large</title></head></html>"
    discord.fail("POST", MESSAGES, 413, body=page)
    discord.fail("PATCH", MESSAGE, 413, body=page)
    discord.rest.upload_limit = 100  # nothing is as small as that
    await discord.slash("dream", prompt="a red fox", steps=5)
    card = await finished(discord)
    assert "too large" in text_of(card).lower()
    assert picture_url(card) is None
    assert discord.sent("POST", MESSAGES, status=413) or discord.sent("PATCH", MESSAGE, status=413)
    assert await bot.stop() == 0


async def test_what_is_deleted_stays_deleted(bot: Bot, discord: Discord) -> None:
    await bot.joined()
    card = await long_dream(discord)
    del discord.rest.messages[int(card["id"])]
    await discord.until(lambda: discord.sent("PATCH", MESSAGE, status=404), "10008")
    await discord.press(card, "Cancel")
    await discord.slash("dream", prompt="a red fox", steps=5)
    assert "a red fox" in text_of(await finished(discord))
    channel = discord.rest.channels.pop(CHANNEL)
    discord.rest.messages.clear()
    await discord.tell("CHANNEL_DELETE", channel)
    discord.rest.channels[CHANNEL] = channel
    discord.fail("POST", MESSAGES, 404, times=9, body={"message": "gone", "code": 10003})
    asked = await discord.slash("dream", prompt="a lost fox", steps=5)
    await discord.answer(asked)
    await discord.until(lambda: discord.sent("POST", MESSAGES, status=404), "10003")
    discord.faults.clear()
    await discord.slash("dream", prompt="a blue whale", steps=5)
    assert "a blue whale" in text_of(await finished(discord))
    assert len(discord.cards()) == 1
    assert await bot.stop() == 0
    assert bot.said().count("will not be shown in Discord") == 2
    assert "Traceback" not in bot.said()


async def test_an_expired_token_costs_only_the_answer(bot: Bot, discord: Discord) -> None:
    await bot.joined()
    discord.fail("PATCH", ORIGINAL, 401, body={"message": "Invalid Webhook Token", "code": 50027})
    discord.fail("PATCH", ORIGINAL, 404, body={"message": "Unknown Webhook", "code": 10015})
    for number, prompt in enumerate(("a red fox", "a blue whale")):
        await discord.slash("dream", prompt=prompt, steps=5)
        assert prompt in text_of(await finished(discord, number))
    assert len(discord.sent("PATCH", ORIGINAL)) == 2
    assert await bot.stop() == 0
    assert "Traceback" not in bot.said()


async def test_a_picture_comes_in_from_the_cdn(bot: Bot, discord: Discord) -> None:
    await bot.joined()
    await discord.slash("dream", prompt="a red fox", steps=5)
    picture = await fetched(picture_url(await finished(discord)))
    asked = await discord.slash(
        "dream", prompt="a blue whale", steps=5, init=File("fox.png", picture)
    )
    assert "this channel" in await discord.answer(asked)
    second = await finished(discord, 1)
    shown = await discord.slash("recipe", dream=json.dumps(second).split("remix:")[1][:24])
    assert "init" in (await discord.answer(shown)).lower()
    broken = await discord.slash("dream", prompt="a fox", init=File("fox.png", b"no picture"))
    assert "picture" in await discord.answer(broken)
    gone = File("gone.png", picture)
    discord.rest.loses_files = True
    refused = await discord.slash("dream", prompt="a fox", init=gone)
    assert "could not be fetched" in await discord.answer(refused)
    assert sum(is_final(card) for card in discord.cards()) == 2
    assert await bot.stop() == 0
    assert "Traceback" not in bot.said()


async def test_every_attempt_keeps_to_the_limits_whatever_fails(bot: Bot, discord: Discord) -> None:
    bot.edit_gap_s = None
    await bot.joined()
    limited = {"message": "You are being rate limited.", "retry_after": 0.4, "global": False}
    discord.fail("POST", MESSAGES, 502, after=True)
    discord.fail("POST", MESSAGES, 429, body=limited)
    for status in (500, 502):
        discord.fail("PATCH", MESSAGE, status)
    discord.fail("PATCH", MESSAGE, 429, times=2, body=limited)
    for by in (ANN, ANN + 1, ANN + 2):
        await discord.slash("dream", prompt="a red fox", steps=5, by=by)
    for number in range(3):
        await finished(discord, number)
    assert all(fault.times == 0 for fault in discord.faults)
    assert not list(beyond_limits(discord))
    assert len(discord.cards()) == 3
    assert await bot.stop() == 0


async def test_edits_that_are_refused_hold_up_no_new_message(bot: Bot, discord: Discord) -> None:
    await bot.joined()
    await long_dream(discord)
    long = {"message": "You are being rate limited.", "retry_after": 15.0, "global": False}
    discord.fail("PATCH", MESSAGE, 429, body=long)
    refused = await discord.until(lambda: discord.sent("PATCH", MESSAGE, status=429), "a refusal")
    await discord.slash("dream", prompt="a red fox", steps=5, by=ANN + 1)
    await discord.until(lambda: len(discord.cards()) == 2, "the new card")
    assert discord.sent("POST", MESSAGES)[-1] - refused[0] < 10.0
    assert not [at_s for at_s in discord.sent("PATCH", MESSAGE) if at_s > refused[0]]
    assert await bot.stop() == 0


async def test_a_message_that_was_edited_too_often_is_replaced(bot: Bot, discord: Discord) -> None:
    await bot.joined()
    often = {"message": "Maximum number of edits.", "code": 30046, "retry_after": 900.0}
    discord.fail("PATCH", MESSAGE, 429, body=often | {"global": False})
    await discord.slash("dream", prompt="a red fox", steps=5)
    await discord.until(lambda: discord.sent("PATCH", MESSAGE, status=429), "a refusal")
    await discord.until(lambda: len(discord.sent("POST", MESSAGES)) == 2, "another message")
    assert await bot.stop() == 0


async def test_a_card_that_was_edited_too_often_waits_as_long_as_it_has_to(
    bot: Bot, discord: Discord
) -> None:
    await bot.joined()
    await discord.answer(await discord.slash("party start", topic="the sea"))
    party = await at(discord, "Gather")
    path = f"/channels/.*/messages/{party['id']}"
    often = {"message": "Maximum number of edits.", "code": 30046, "retry_after": 8.0}
    discord.fail("PATCH", path, 429, body=often | {"global": False})
    await discord.answer(await discord.press(party, "Join", by=ANN + 1))
    [refused_s] = await discord.until(lambda: discord.sent("PATCH", path, status=429), "a refusal")
    done = await discord.until(lambda: discord.sent("PATCH", path, status=200), "the card")
    assert min(done) >= refused_s + 8.0
    assert len(cards_of(discord)) == 1
    assert await bot.stop() == 0
