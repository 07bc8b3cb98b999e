"""Joining Discord, and joining again, whatever goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import discord
import pytest

from bot import discord_front
from bot.client import Client
from bot.discord_front import DiscordFront, invite
from bot.errors import ConfigError, StoreError
from tests.bot.drawer import services, until
from tests.discord_front.world import front_of


class Scripted:
    """Stands for a client whose logins go as they are told to."""

    application_id = 1

    def __init__(self, errors: list[Exception]) -> None:
        self.errors = errors
        self.closed = 0

    async def login(self, token: str) -> None:
        raise self.errors.pop(0)

    async def close(self) -> None:
        self.closed += 1


async def test_what_goes_wrong_for_a_while_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discord_front, "UNREACHED_S", (0.0,))
    monkeypatch.setattr(discord_front, "LOST_S", (0.0,))
    errors: list[Exception] = [
        OSError("no network"),
        StoreError("The database is locked."),
        RuntimeError("a mistake"),
        discord.ConnectionClosed(cast(Any, None), shard_id=0, code=4000),
        discord.LoginFailure("the token was changed meanwhile"),
    ]
    made = Scripted(errors)
    async with services(tmp_path) as parts:
        front = DiscordFront(front_of(parts), "token", lambda _: cast(Client, made))
        await front.start()  # a network that is not there is no reason to wait
        await until(front.failed.done)
        assert "does not accept" in front.failed.result()
        await front.stop()
    assert errors == []
    assert made.closed >= 5


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (discord.LoginFailure("no"), "Reset Token"),
        (discord.PrivilegedIntentsRequired(0), "privileged"),
    ],
)
async def test_what_goes_wrong_for_good_is_a_sentence(
    tmp_path: Path, error: Exception, says: str
) -> None:
    async with services(tmp_path) as parts:
        made = Scripted([error])
        front = DiscordFront(front_of(parts), "token", lambda _: cast(Client, made))
        with pytest.raises(ConfigError, match=says):
            await front.start()


async def test_the_invitation_asks_for_what_is_used_and_no_more(tmp_path: Path) -> None:
    async with services(tmp_path) as parts:
        url = invite(cast(Client, Scripted([])))
        assert "client_id=1&" in url
        assert "scope=bot+applications.commands" in url
        asked = discord.Permissions(int(url.rpartition("permissions=")[2]))
        assert {name for name, granted in asked if granted} == {
            "read_messages",  # called View Channel now
            "send_messages",
            "send_messages_in_threads",
            "attach_files",
            "create_public_threads",
            "pin_messages",
            "read_message_history",
        }
        made = Client(front_of(parts))
        for intent in ("members", "presences", "message_content"):
            assert not getattr(made.intents, intent)
