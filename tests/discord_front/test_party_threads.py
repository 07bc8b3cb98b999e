"""Parties in threads of their own: one thread for a party, whenever the bot dies, or no party."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import discord
import pytest

from bot.delivery.party_acts import in_a_thread
from bot.delivery.party_cards import PartyCards
from bot.delivery.theme_threads import ThemeThreads
from bot.delivery.thread_making import ThreadMaking
from bot.errors import InvalidRequestError
from bot.gate import Asker
from bot.model import Person
from bot.parties.model import Party
from bot.parties.service import Parties
from bot.store import theme_threads as rows
from bot.store.sent_messages import SentMessages
from tests.bot.drawer import until
from tests.discord_front.test_theme_guides import host_of
from tests.discord_front.test_theme_threads import (
    card_of,
    cards,
    messages,
    nothing_more_to_show,
    ours,
    row_of,
    threads,
)
from tests.discord_front.world import World, buttons_of, text_of, world


async def opened(there: World, host: Any, **given: Any) -> str:
    """Have a host open a party in a thread; return what was answered."""
    given = {"topic": "the sea", "thread": True} | given
    return str((await host.slash(there.channel, "party start", **given)).response.content)


async def ordered(there: World) -> Party:
    """Have a party opened whose thread is still to be made."""
    guild_id, channel_id = there.env.guild.id, there.channel.id
    asker = Asker(Person(f"discord:{there.ann.id}", "ann"), guild_id=guild_id, parent_id=channel_id)
    return await there.parts.parties.start(
        "the sea",
        asker,
        theme=await there.parts.themes.get("open"),
        guild_id=guild_id,
        also=in_a_thread(guild_id, channel_id),
    )


async def party_of(there: World) -> Party:
    """Return the only party there is."""
    (party,) = await there.parts.parties.newest()
    return party


async def held(there: World) -> Party:
    """Wait until the party is held in a thread, and its card is there; return it."""
    async with asyncio.timeout(20):
        while (party := await party_of(there)).channel_id is None:  # noqa: ASYNC110 (a row)
            await asyncio.sleep(0.01)
    place = party.channel_id
    await until(lambda: "Join" in buttons_of((messages(there, place) or ours(there))[-1]))
    return party


async def test_a_party_begins_at_a_card_and_ends_with_it(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host = host_of(there)
        told = await opened(there, host)
        party = await held(there)
        (thread,) = threads(there)
        (card,) = cards(there)
        assert told == f"The party is open in <#{thread.id}>; you are its host."
        assert (thread.name, thread.parent_id) == ("the sea", there.channel.id)
        assert party.channel_id == card.id == thread.id
        assert party.settings.parent_id == there.channel.id
        theme = await there.client.front.channels.theme_of(there.channel.id)
        assert theme.slug == "open", "what is around the thread goes on as it was"
        pressed = await there.ann.click(card, label="Join the thread")
        assert f"<#{thread.id}>" in pressed.response.content
        await there.parts.parties.give_up(party)
        await until(lambda: "is over" in card_of(there, thread.id))
        assert cards(there) == []
        await nothing_more_to_show(there)


Deadly = tuple[type, str, bool]
DEADLY: dict[str, Deadly] = {
    "before the card is sent": (SentMessages, "begin_send", False),
    "before the card is known": (SentMessages, "sent", False),
    "before the thread is made": (ThreadMaking, "of_message", False),
    "before the thread is known": (ThreadMaking, "of_message", True),
    "before the party is held": (Parties, "hold", False),
    "after the party is held": (Parties, "hold", True),
}


def kill_in(monkeypatch: pytest.MonkeyPatch, deadly: Deadly) -> list[str]:
    """Have whatever calls this method next die in it; return a list that then has its name."""
    owner, name, done = deadly
    whole: Callable[..., Awaitable[Any]] = getattr(owner, name)
    died: list[str] = []

    async def dies(*args: Any, **given: Any) -> Any:
        if died:
            return await whole(*args, **given)
        died.append(name)
        if done:
            await whole(*args, **given)
        raise asyncio.CancelledError

    monkeypatch.setattr(owner, name, dies)
    return died


async def restarted(there: World) -> None:
    """Let the threads and the parties' cards be looked after by others, as after a crash."""
    client = there.client
    await client.theme_threads.stop()
    await client.party_cards.stop()
    client.theme_threads = ThemeThreads(
        client.front, client, client.delivery.lane, client.theme_guides
    )
    client.party_cards = PartyCards(client.front, client, client.delivery.lane)
    client.delivery.companions = (client.party_cards, client.theme_threads, client.theme_guides)
    await client.party_cards.start()
    await client.theme_threads.start()


@pytest.mark.parametrize("moment", DEADLY)
async def test_a_kill_at_any_moment_leaves_one_thread_and_the_party_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    # simcord's messages are months old to our clock.
    monkeypatch.setattr("bot.delivery.sender.snowflake_at", lambda at_ms: 1)
    async with world(tmp_path) as there:
        died = kill_in(monkeypatch, DEADLY[moment])
        await ordered(there)
        await until(lambda: died)
        await asyncio.sleep(0.05)
        if threads(there):  # as Discord does it: a message has one thread
            there.env.inject_error(
                "POST", "/channels/*/messages/*/threads", status=400, code=160004
            )
        await restarted(there)
        party = await held(there)
        (thread,), (card,) = threads(there), cards(there)
        assert party.channel_id == thread.id == card.id
        assert party.open and (await row_of(there)).thread_id == thread.id
        await restarted(there)
        await asyncio.sleep(0.1)
        assert len(threads(there)) == len(cards(there)) == len(messages(there, thread.id)) == 1


async def test_no_party_is_left_without_the_thread_it_was_to_be_held_in(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host = host_of(there)
        there.env.inject_error("POST", "/channels/*/messages/*/threads", status=400, code=160006)
        told = await opened(there, host)
        assert "Discord did not let me make a thread" in told and "as many open threads" in told
        party = await party_of(there)
        assert not party.open and party.channel_id is None
        await until(lambda: "no thread here any more" in text_of(ours(there)[-1]))
        await nothing_more_to_show(there)
        assert threads(there) == [] and len(ours(there)) == 1
        # Nor is anything left of one that may not be opened.
        assert "Give the party a topic" in await opened(there, host, topic="\u200b")
        denied: dict[Any, Any] = {
            there.env.guild.default_role: discord.PermissionOverwrite(create_public_threads=False)
        }
        closed = there.env.guild.create_text_channel("closed", overwrites=denied)
        result = await host.slash(closed, "party start", topic="the sea", thread=True)
        assert "#closed yet. Allow me there: Create Public Threads." in result.response.content
        assert await rows.every(there.parts.store) == []


async def test_a_party_that_ended_before_its_thread_was_made_gets_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as there:
        died = kill_in(monkeypatch, DEADLY["before the card is sent"])
        party = await ordered(there)
        await until(lambda: died)
        await there.client.theme_threads.stop()
        await there.parts.parties.give_up(party)
        await restarted(there)
        await nothing_more_to_show(there)
        assert threads(there) == [] and there.cards() == []


async def test_elsewhere_there_is_no_thread_for_a_partys_theme(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as there:
        await host_of(there).slash(there.channel, "party start", topic="the sea", minutes=10)
        before = await party_of(there)
        theme = await there.parts.themes.by_id(before.theme_id)
        other = there.env.guild.create_text_channel("elsewhere")
        role = there.env.guild.create_role(
            "Others", permissions=discord.Permissions(manage_channels=True)
        )
        stranger = there.env.guild.add_member(there.env.create_user("mallory"), roles=[role])
        result = await stranger.slash(other, "theme thread", theme=theme.slug)
        assert result.response is not None
        assert result.response.content == "There is no such theme here."
        assert not await rows.every(there.parts.store) and not threads(there)
        now = await party_of(there)
        assert (now.channel_id, now.due_ms) == (before.channel_id, before.due_ms)
        with pytest.raises(InvalidRequestError):
            await there.parts.parties.hold(now, other.id, also=nothing)


async def nothing(connection: object) -> None:
    """Write nothing more."""
