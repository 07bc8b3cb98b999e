"""The `dreamstream` command with Discord's addresses leading to a loopback server.

All else is what is shipped, but for the engine: the fake one, which needs no torch, unless the
shipped ones are asked for; that cards may be edited sooner than after 3 s, where a test is not
about that; and that who is a member is looked at sooner than after a minute, where one is. How long
the event loop keeps others waiting is written to `lag.json`.

It is a `forking.Nursery`'s: each start is a fork of it.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import discord
import yarl

import bot.app
import bot.configured
import bot.delivery.memberships
import bot.delivery.pace
import bot.services
import bot.wall.events
from bot.__main__ import main
from bot.config import Config
from bot.discord_oauth import DiscordOAuth
from bot.scheduler_client import SchedulerCommand
from tests.discord_front.forking import serve
from tests.discord_front.lag import Watch

_shipped_command = bot.configured.scheduler_command


def _fake_command(config: Config) -> SchedulerCommand:
    return replace(_shipped_command(config), engines="tests.fakes.engine:build_engines")


if __name__ == "__main__":
    serve()
    address = os.environ["LOOPBACK_DISCORD"]
    discord.http.Route.BASE = f"http://{address}/api/v10"
    discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(f"ws://{address}/gateway")
    discord.asset.Asset.BASE = f"http://{address}"
    if os.environ.get("LOOPBACK_ENGINES") != "shipped":
        vars(bot.services)["scheduler_command"] = _fake_command
    if gap_s := os.environ.get("LOOPBACK_EDIT_GAP_S"):
        bot.delivery.pace.FORMING_S = float(gap_s)
    vars(bot.app)["DiscordOAuth"] = partial(DiscordOAuth, base=yarl.URL(f"http://{address}"))
    if fresh_s := os.environ.get("LOOPBACK_FRESH_S"):
        bot.delivery.memberships.FRESH_S = float(fresh_s)
        bot.wall.events.PASSES_S = float(fresh_s)
    Watch(Path("lag.json")).start()
    sys.exit(main())
