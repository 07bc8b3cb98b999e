"""Where commands may be used: servers and people install the bot, and people use it anywhere."""

from __future__ import annotations

from typing import TypeVar

from discord import app_commands

INSTALLS = app_commands.AppInstallationType(guild=True, user=True)
CONTEXTS = app_commands.AppCommandContext(guild=True, dm_channel=True, private_channel=True)

F = TypeVar("F")


def everywhere(command: F) -> F:
    """Let a command be used wherever somebody is. (On a cog's class this would do nothing.)"""
    command = app_commands.allowed_installs(guilds=True, users=True)(command)
    return app_commands.allowed_contexts(guilds=True, dms=True, private_channels=True)(command)
