"""Tell Discord of our commands, but only when they have changed: it takes 200 a day."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import Any

import discord
from discord import app_commands

from bot.network import UNREACHABLE
from bot.store import Store, facts

log = logging.getLogger(__name__)

KNOWN = "discord.commands"


async def sync_if_changed(tree: app_commands.CommandTree[Any], store: Store) -> bool:
    """Register the tree's commands unless Discord has these already; say whether it was done.

    Raises:
        discord.HTTPException, or one of UNREACHABLE: Discord did not take them; the next start
            tries again.
    """
    present = await fingerprint(tree)
    if await facts.get(store, KNOWN) == present:
        return False
    await tree.sync()
    async with store.write() as connection:
        await facts.put(connection, KNOWN, present)
    return True


async def try_to_sync(tree: app_commands.CommandTree[Any], store: Store) -> None:
    """Do as `sync_if_changed` does; where Discord refuses, say so and go on."""
    try:
        if await sync_if_changed(tree, store):
            log.info("Discord has learnt the commands anew")
    except (discord.HTTPException, *UNREACHABLE) as error:
        log.error(
            "Discord did not take the commands (%s). Those it knew still work; the next start "
            "tries again.",
            error,
        )


async def fingerprint(tree: app_commands.CommandTree[Any]) -> str:
    """Return what is the same for the same commands of the same application."""
    commands = tree.get_commands()
    if tree.translator is not None:
        payload = [await one.get_translated_payload(tree, tree.translator) for one in commands]
    else:
        payload = [one.to_dict(tree) for one in commands]
    payload.sort(key=lambda one: (one["type"], one["name"]))
    text = json.dumps([tree.client.application_id, payload], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
