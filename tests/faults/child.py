"""The `dreamstream` command with Discord on loopback, a moody engine, and little patience.

All else is what is shipped. Patience is what would make a soak long: how soon a frozen process is
taken for one, how long a lock is waited for, how far apart a card's edits are. What goes wrong with
its disk and its clock comes with the environment (`shim`).
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from functools import partial

import discord
import yarl

import bot.configured
import bot.delivery.attempts
import bot.delivery.pace
import bot.disk
import bot.services
import bot.store
from bot.__main__ import main
from bot.config import Config
from bot.scheduler_client import SchedulerCommand
from bot.supervisor import Supervisor, SupervisorOptions

_OPTIONS = SupervisorOptions(
    silence_s=5.0, back_off_s=(0.1, 0.2, 0.4, 0.8), window_s=10.0, stable_s=2.0
)
_QUICK = {
    "quantum_s": 0.1,
    "beat_s": 0.2,
    "checkpoint_s": 0.1,
    "step_limit_s": 4.0,
    "first_step_limit_s": 4.0,
}
_shipped_command = bot.configured.scheduler_command


def _moody_command(config: Config) -> SchedulerCommand:
    shipped = _shipped_command(config)
    settings = {**shipped.settings, **_QUICK}
    return replace(shipped, engines="tests.faults.engines:build_engines", settings=settings)


if __name__ == "__main__":
    address = os.environ["LOOPBACK_DISCORD"]
    discord.http.Route.BASE = f"http://{address}/api/v10"
    discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(f"ws://{address}/gateway")
    discord.asset.Asset.BASE = f"http://{address}"
    for module, name, value in (
        (bot.services, "scheduler_command", _moody_command),
        (bot.services, "Supervisor", partial(Supervisor, options=_OPTIONS)),
        (bot.delivery.pace, "FORMING_S", 0.3),
        (bot.delivery.attempts, "LIMIT_S", 15.0),
        (bot.store, "BUSY_TIMEOUT_MS", 1500),
        (bot.disk, "LONGEST_DELAY_S", 2.0),
    ):
        setattr(module, name, value)
    sys.exit(main())
