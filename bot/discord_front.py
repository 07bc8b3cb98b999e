"""Being in Discord: joining, joining again when it is lost, and how it stands.

What goes wrong for a while is tried again, with pauses; what goes wrong for good is a sentence.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

import discord
from discord.ext import commands

from bot.client import Client
from bot.config_secrets import TOKEN_VARIABLE
from bot.delivery.interactions import PERMISSIONS
from bot.errors import ConfigError, DreamstreamError
from bot.front import Front
from bot.monitoring.gauges import DiscordStanding, ShardStanding
from bot.network import UNREACHABLE
from bot.side_tasks import SideTasks
from bot.unforeseen import Errors

log = logging.getLogger(__name__)

START_S = 15.0
UNREACHED_S = (1.0, 2.0, 5.0)
LOST_S = (1.0, 5.0, 15.0, 60.0)
STEADY_S = 600.0

WRONG_TOKEN = (
    "Discord does not accept the bot token. Copy it anew from the developer portal (page “Bot”, "
    f"“Reset Token”) into {TOKEN_VARIABLE}, or into the file that discord.token_file names."
)
REVOKED = (
    "Discord has closed the connection: the bot token is no longer valid. Copy the new one from "
    "the developer portal and start Dreamstream again; nothing that was asked for is lost."
)
DISALLOWED_INTENTS = (
    "Discord does not allow the intents that were asked for. Dreamstream needs no privileged "
    "intent; look at the bot's page in the developer portal, or create a new application."
)


class DiscordFront:
    """Keeps the product in Discord, from `start` to `stop`.

    `failed` is done with a sentence when it cannot be there any more.
    """

    def __init__(
        self, front: Front, token: str, make: Callable[[Front], Client] | None = None
    ) -> None:
        self._front = front
        self._token = token
        self._make = make or Client
        self._client: Client | None = None
        self._tasks = SideTasks()
        self._errors = Errors("discord", log)
        self._settled = asyncio.Event()
        self._joined = False
        self.failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Log in. Where Discord cannot be reached, it goes on trying by itself.

        Raises:
            ConfigError: Discord does not accept the token.
        """
        trouble = "Discord cannot be joined"
        self._tasks.keep(
            self._run, trouble, name="discord", pause_s=LOST_S[0], longest_s=LOST_S[-1]
        )
        self.failed.add_done_callback(lambda _: self._settled.set())
        with suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), START_S)
        if self.failed.done():
            await self.stop()
            raise ConfigError([self.failed.result()])

    @property
    def client(self) -> Client | None:
        """The connection that there is at present."""
        return self._client

    def standing(self) -> DiscordStanding:
        """Say how it stands with Discord."""
        if self.failed.done():
            return DiscordStanding(self.failed.result())
        client = self._client
        if client is None or not client.is_ready():
            unsettled = 0 if client is None else client.delivery.unsettled
            return DiscordStanding("Discord is not reached yet.", unsettled=unsettled)
        shards = [
            ShardStanding(shard.id, not shard.is_closed(), shard.latency)
            for shard in client.shards.values()
        ]
        lost = [str(shard.id) for shard in shards if not shard.connected]
        trouble = f"Shards that have lost Discord: {', '.join(lost)}." if lost else ""
        return DiscordStanding(
            trouble,
            guilds=len(client.guilds),
            unsettled=client.delivery.unsettled,
            shards=shards,
        )

    async def stop(self) -> None:
        """Leave Discord; what is being sent still arrives, within reason."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()
        await self._tasks.stop()

    async def _run(self) -> None:
        unreached = lost = 0
        while not self.failed.done():
            begun_s = time.monotonic()
            sentence = await self._once()
            if sentence is not None:
                self.failed.set_result(sentence)
                return
            self._settled.set()  # the start waits no longer: it may take hours
            if self._joined:  # each time costs one of the thousand logins a day
                lost = 0 if time.monotonic() - begun_s > STEADY_S else lost
                delay_s, lost, unreached = LOST_S[min(lost, len(LOST_S) - 1)], lost + 1, 0
            else:
                delay_s = UNREACHED_S[min(unreached, len(UNREACHED_S) - 1)]
                unreached += 1
            await asyncio.sleep(delay_s)

    async def _once(self) -> str | None:
        """Be in Discord for as long as it lasts; return a sentence where that is for good."""
        client = self._client = self._make(self._front)
        self._joined = False
        try:
            await client.login(self._token)
            print(f"Invite the bot to a server with {invite(client)}", flush=True)
            self._settled.set()
            self._joined = True
            await client.connect(reconnect=True)
        except discord.LoginFailure:
            return WRONG_TOKEN
        except discord.PrivilegedIntentsRequired:
            return DISALLOWED_INTENTS
        except discord.ConnectionClosed as error:
            if error.code == 4004:
                return REVOKED
            if error.code in (4013, 4014):
                return DISALLOWED_INTENTS
            log.warning("Discord closed the connection (%s); trying again", error.code)
        except (discord.HTTPException, discord.GatewayNotFound, *UNREACHABLE) as error:
            self._joined = False
            log.warning("Discord cannot be reached (%s); trying again", error)
        except DreamstreamError as error:
            log.warning("Discord has to wait: %s", error)
        except Exception as error:  # a mistake of ours must not be the end of it
            self._errors.tell(error, "The connection to Discord failed; trying again")
        finally:
            await client.close()
        return None


def invite(client: commands.AutoShardedBot) -> str:
    """Return the address at which the bot is invited, with exactly the permissions it uses."""
    assert client.application_id is not None, "the client has not logged in"
    return discord.utils.oauth_url(
        client.application_id, permissions=PERMISSIONS, scopes=("bot", "applications.commands")
    )
