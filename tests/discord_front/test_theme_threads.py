"""Threads of themes: made once, with a guide, woken, and missed when they are deleted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import discord
import pytest
from simcord.builders import ChannelHandle

from bot.delivery import theme_threads
from bot.ids import now_ms
from bot.store import channels, theme_guides
from bot.store import theme_threads as rows
from bot.store.theme_threads import ThemeThread
from tests.bot.drawer import until
from tests.discord_front.test_theme_guides import host_of
from tests.discord_front.world import World, buttons_of, text_of, world

ASLEEP: dict[str, Any] = {"status": 400, "code": 50083, "message": "Thread is archived"}


def ours(there: World) -> list[discord.Message]:
    """Return the bot's messages in the channel, oldest first."""
    return [card for card in there.cards() if not card.is_system()]


def cards(there: World) -> list[discord.Message]:
    """Return the cards of threads in the channel."""
    return [card for card in there.cards() if "Join the thread" in buttons_of(card)]


def threads(there: World) -> list[Any]:
    """Return the threads that Discord has."""
    return [one for one in there.env.backend.channels.values() if one.is_thread]


def thread_of(there: World, thread_id: int) -> Any:
    """Return a thread as people have it."""
    model = there.env.backend.channels[thread_id]
    return ChannelHandle(there.env, there.env.guild, model)


def card_of(there: World, thread_id: int) -> str:
    """Return what stands on the card that a thread began at."""
    (card,) = [one for one in there.cards() if one.id == thread_id]
    return text_of(card)


def messages(there: World, thread_id: int) -> list[discord.Message]:
    """Return what is in a thread, oldest first."""
    return [one for one in thread_of(there, thread_id).history() if not one.is_system()]


async def row_of(there: World) -> ThemeThread:
    """Return the newest of the rows."""
    return (await rows.every(there.parts.store))[-1]


async def nothing_more_to_show(there: World) -> None:
    """Wait until no card has anything to show any more."""
    async with asyncio.timeout(20):
        while await rows.every(there.parts.store):  # noqa: ASYNC110 (it is a row)
            await asyncio.sleep(0.01)


async def crash(there: World, thread_id: int) -> None:
    """Have the bot die when a thread was made, before it wrote that down; and start again."""
    client, backend = there.client, there.env.backend
    await client.theme_threads.stop()
    await client.theme_guides.stop()
    about = backend.channels[thread_id].thread_metadata
    assert about is not None
    at = discord.utils.parse_time(about.create_timestamp)
    async with there.parts.store.write() as connection:
        await connection.execute(
            "UPDATE theme_thread SET message_id = NULL, made = 0, sends = 1, created_ms = ?",
            (int(at.timestamp() * 1000),),  # as this Discord's clock has it
        )
        await connection.execute("DELETE FROM theme_guide")
        await channels.unbind(connection, thread_id)
    await client.theme_guides.start()
    await client.theme_threads.start()
    async with asyncio.timeout(20):
        while not (await row_of(there)).made:  # noqa: ASYNC110 (it is a row)
            await asyncio.sleep(0.01)


async def with_thread(there: World, **given: Any) -> tuple[Any, int]:
    """Have a host make a theme, and a thread for it; return the host and the thread's id."""
    host = host_of(there)
    await host.slash(
        there.channel, "theme create", name="castles", title="Castles", topic="Of stone."
    )
    result = await host.slash(there.channel, "theme thread", **given)
    assert "has a thread of its own now" in result.response.content, result.response.content
    (thread,) = threads(there)
    assert f"<#{thread.id}>" in result.response.content
    return host, thread.id


async def test_a_thread_begins_at_a_card_and_has_its_guide(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host, thread_id = await with_thread(there)
        (thread,) = threads(there)
        (card,) = cards(there)
        assert (thread.name, thread.parent_id, card.id) == ("Castles", there.channel.id, thread_id)
        assert "Of stone." in text_of(card)
        (guide,) = messages(there, thread_id)
        assert guide.pinned and "Ask for a picture" in buttons_of(guide)
        carried = await channels.theme_of(there.parts.store, thread_id)
        assert carried is not None and carried.slug == "castles"
        # Asking for it again leads to it; another channel has one of its own.
        again = await host.slash(there.channel, "theme thread", theme="castles")
        assert "already" in again.response.content and f"<#{thread_id}>" in again.response.content
        other = there.env.guild.create_text_channel("other")
        await host.slash(other, "theme thread", theme="castles")
        assert len(threads(there)) == 2 and len(cards(there)) == 1
        # The card follows the theme.
        await there.parts.themes.change("castles", title="Towers")
        await until(lambda: "Towers" in text_of(cards(there)[0]))
        pressed = await there.ann.click(cards(there)[0], label="Join the thread")
        assert f"<#{thread_id}>" in pressed.response.content
        assert there.ann.id in there.env.backend.channels[thread_id].thread_members


@pytest.mark.usefixtures("impatient")
async def test_a_card_that_is_refused_for_too_long_waits_for_a_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with world(tmp_path) as there:
        _, thread_id = await with_thread(there)
        path = f"/channels/*/messages/{thread_id}"
        there.env.inject_error("PATCH", path, status=403, code=50013)
        await there.parts.themes.change("castles", title="Towers")
        await until(lambda: "stays as it is: 403" in caplog.text)
        await there.parts.themes.create("other", "Another")  # all threads are looked at
        await asyncio.sleep(0.3)
        assert "Castles" in text_of(cards(there)[0])
        await there.parts.themes.change("castles", title="Spires")
        await until(lambda: "Spires" in text_of(cards(there)[0]))
        assert len(threads(there)) == len(cards(there)) == 1


async def test_a_forum_gets_one_post_that_begins_with_the_guide(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        forum = there.env.guild.create_forum_channel("works")
        host, thread_id = await with_thread(there, channel=forum)
        (thread,) = threads(there)
        assert (thread.parent_id, thread.name) == (forum.id, "Castles")
        (guide,) = messages(there, thread_id)
        assert guide.pinned and "Castles" in text_of(guide)
        await there.parts.themes.change("castles", topic="Of glass.")
        await until(lambda: "Of glass." in text_of(messages(there, thread_id)[0]))
        await crash(there, thread_id)
        assert [one.id for one in threads(there)] == [thread_id]
        assert (await row_of(there)).thread_id == thread_id
        assert await channels.theme_of(there.parts.store, thread_id) is not None
        # Where it is asked for in a post, the forum has one already.
        result = await host.slash(thread_of(there, thread_id), "theme thread")
        assert f"already: <#{thread_id}>" in result.response.content


async def test_a_crash_makes_no_second_one_and_forgets_none(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        _, thread_id = await with_thread(there)
        # As Discord does it: a message has one thread.
        there.env.inject_error("POST", "/channels/*/messages/*/threads", status=400, code=160004)
        await crash(there, thread_id)
        assert len(threads(there)) == 1 and len(cards(there)) == 1
        assert (await row_of(there)).thread_id == thread_id
        assert await channels.theme_of(there.parts.store, thread_id) is not None
        # One that was asked for when it died is made.
        await there.client.theme_threads.stop()
        towers = await there.parts.themes.create("towers", "Towers")
        async with there.parts.store.write() as connection:
            place = {"guild_id": there.env.guild.id, "parent_id": there.channel.id}
            await rows.want(
                connection, towers.id, **place, forum=False, name="Towers", now_ms=now_ms()
            )
        await there.client.theme_threads.start()
        await until(lambda: len(threads(there)) == 2)
        await until(lambda: len(messages(there, threads(there)[1].id)) == 1)


async def test_what_may_not_or_cannot_be_done_is_said(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host, guild = host_of(there), there.env.guild
        known = {one.name: one for one in await there.client.tree.fetch_commands()}
        guild.set_command_permissions(known["theme"], {there.ann: True})
        result = await there.ann.slash(there.channel, "theme thread")
        assert "may manage that channel" in result.response.content
        denied: dict[Any, Any] = {
            guild.default_role: discord.PermissionOverwrite(create_public_threads=False)
        }
        closed = guild.create_text_channel("closed", overwrites=denied)
        for where, given in ((closed, {}), (there.channel, {"channel": closed})):
            result = await host.slash(where, "theme thread", **given)
            assert "Allow me there: Create Public Threads." in result.response.content
        assert threads(there) == [] and there.cards() == []
        # What Discord refuses all the same leaves no card that promises a thread.
        there.env.inject_error("POST", "/channels/*/messages/*/threads", status=400, code=160006)
        result = await host.slash(there.channel, "theme thread")
        assert "Discord did not let me make a thread" in result.response.content
        await until(lambda: "no thread here any more" in text_of(ours(there)[-1]))
        await nothing_more_to_show(there)
        await host.slash(there.channel, "theme thread")
        assert len(threads(there)) == 1


@pytest.mark.parametrize("tried_s", [3600.0, 0.0])
async def test_a_clock_that_jumps_gives_up_no_thread_at_its_first_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried_s: float
) -> None:
    monkeypatch.setattr(theme_threads, "PATIENCE_MS", -1)  # it is later than it was
    monkeypatch.setattr(theme_threads, "TRIED_S", tried_s)
    async with world(tmp_path) as there:
        there.env.inject_error("POST", "/channels/*/messages/*/threads", status=503, code=0)
        result = await host_of(there).slash(there.channel, "theme thread")
        if tried_s:
            [thread] = threads(there)
            assert f"<#{thread.id}>" in result.response.content
        else:
            assert "Discord did not let me make a thread" in result.response.content
            assert threads(there) == []


async def test_failures_of_one_that_is_not_wanted_any_more_are_not_kept(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        made, store = there.client.theme_threads, there.parts.store
        towers = await there.parts.themes.create("towers", "Towers")
        there.env.inject_error("POST", "/channels/*/messages/*/threads", status=503, code=0)
        place = {"guild_id": there.env.guild.id, "parent_id": there.channel.id}
        async with store.write() as connection:
            await rows.want(
                connection, towers.id, **place, forum=False, name="Towers", now_ms=now_ms()
            )
        made.look()
        await until(lambda: len(made._failing_since_s) == 1)
        async with store.write() as connection:
            await rows.forget(connection, next(iter(made._failing_since_s)))
        made.hurry()
        await until(lambda: not made._failing_since_s and not len(made._retries))
        assert threads(there) == []


async def test_one_that_is_deleted_loses_its_theme_and_says_so(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host, first_id = await with_thread(there)
        there.env.backend.delete_channel(first_id)
        await until(lambda: "no thread here any more" in card_of(there, first_id))
        assert await channels.theme_of(there.parts.store, first_id) is None
        assert await theme_guides.of(there.parts.store, first_id) is None
        await host.slash(there.channel, "theme thread", theme="castles")
        (second,) = threads(there)
        assert [card.id for card in cards(there)] == [second.id] != [first_id]
        # Deleted while the bot was not there.
        await there.client.theme_threads.stop()
        there.env.backend.channels.pop(second.id)
        there.client.get_guild(there.env.guild.id)._threads.pop(second.id)  # type: ignore[union-attr]
        await there.client.theme_threads.start()
        await until(lambda: "no thread here any more" in card_of(there, second.id))
        assert await channels.theme_of(there.parts.store, second.id) is None


async def test_one_that_cannot_be_opened_is_not_taken_for_gone(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host, thread_id = await with_thread(there)
        there.env.backend.edit_channel(thread_id, {}, thread_metadata={"archived": True})
        thread = f"/channels/{thread_id}"

        async def carries_its_theme() -> bool:
            carried = await channels.theme_of(there.parts.store, thread_id)
            gone = (await row_of(there)).gone
            return there.env.backend.faults == [] and not gone and carried is not None

        for method, path, status, code, told in (
            ("PATCH", thread, 400, 160006, "as many open threads"),
            ("PATCH", thread, 400, 50035, "did not let me open"),
            ("PUT", f"{thread}/thread-members/*", 404, 10013, "did not let me open"),
            ("GET", thread, 403, 50001, "locked"),
        ):
            there.env.inject_error(method, path, status=status, code=code)
            pressed = await there.ann.click(cards(there)[0], label="Join the thread")
            assert told in pressed.response.content, pressed.response.content
            assert await carries_its_theme(), told
        there.env.backend.edit_channel(thread_id, {}, thread_metadata={"archived": True})
        there.env.inject_error("PATCH", thread, status=400, code=160006)
        result = await host.slash(there.channel, "theme thread", theme="castles")
        assert "as many open threads" in result.response.content
        assert await carries_its_theme() and [one.id for one in threads(there)] == [thread_id]
        pressed = await there.ann.click(cards(there)[0], label="Join the thread")
        assert f"<#{thread_id}>" in pressed.response.content


async def test_one_that_sleeps_is_woken_by_what_comes(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host, thread_id = await with_thread(there)
        thread, backend = thread_of(there, thread_id), there.env.backend
        sleeps: Any = backend.channels[thread_id].thread_metadata

        def put_to_sleep() -> None:
            backend.edit_channel(thread_id, {}, thread_metadata={"archived": True})
            # As Discord does it: no message in it is edited while it sleeps.
            there.env.inject_error("PATCH", f"/channels/{thread_id}/messages/*", **ASLEEP)

        await there.ann.slash(thread, "dream", prompt="a gate")
        await until(lambda: len(messages(there, thread_id)) == 2)
        (dream,) = await there.parts.dreams.unfinished(None)
        put_to_sleep()
        await there.parts.draw(dream.id)
        await there.parts.dreams.wait(dream.id)
        await until(lambda: "Remix" in buttons_of(messages(there, thread_id)[-1]))
        assert not sleeps.archived
        # Nobody waits for the guide to change: it does when the thread is woken.
        put_to_sleep()
        await there.parts.themes.change("castles", title="Towers")
        await until(lambda: backend.faults == [])
        await until(lambda: "Towers" in card_of(there, thread_id))
        assert sleeps.archived
        await host.slash(there.channel, "theme thread", theme="castles")
        assert not sleeps.archived
        await until(lambda: "Towers" in text_of(messages(there, thread_id)[0]))


async def test_a_theme_that_ends_or_changes_takes_its_card_along(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host, thread_id = await with_thread(there)
        await there.parts.themes.create("towers", "Towers")
        await host.slash(thread_of(there, thread_id), "theme here", theme="towers")
        await until(lambda: "no thread here any more" in card_of(there, thread_id))
        await host.slash(there.channel, "theme thread", theme="castles")
        (card,) = cards(there)
        await there.parts.themes.retire("castles")
        await until(lambda: "has ended" in card_of(there, card.id))
        await nothing_more_to_show(there)
