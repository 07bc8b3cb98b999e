"""The Discord client: joins, keeps joined, and hands what people do to cogs and buttons.

It asks for no privileged intent and calls nobody (`AllowedMentions.none()`). Cogs are loaded by
name, since ``bot`` does not know them. What goes wrong for good is a sentence in `DiscordFront`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

import discord
from discord import app_commands
from discord.ext import commands

from bot.command_sync import try_to_sync
from bot.config_secrets import TOKEN_VARIABLE
from bot.delivery import (
    forms,
    game_buttons,
    party_forms,
    portrait_forms,
    privacy_acts,
    ranking,
    sources,
    theme_face,
    words,
)
from bot.delivery.attempts import trace
from bot.delivery.audit_log import LogButton
from bot.delivery.buttons import DreamButton, DreamMenu
from bot.delivery.digest_cards import DigestCards
from bot.delivery.digest_face import DigestMenu
from bot.delivery.faces import Faces
from bot.delivery.followups import FollowUps
from bot.delivery.galleries import LookMenu, PageButton
from bot.delivery.game_buttons import (
    ChoiceButton,
    GameButton,
    HeartMenu,
    TidyMenu,
    WithdrawButton,
)
from bot.delivery.game_cards import GameCards
from bot.delivery.guide import GuideButton
from bot.delivery.held import Held
from bot.delivery.interactions import (
    ACKNOWLEDGED,
    PERMISSIONS,
    WENT_WRONG,
    TooLateError,
    tell,
)
from bot.delivery.offer_buttons import OfferButton
from bot.delivery.offers import Offers
from bot.delivery.party_buttons import PairButton, PartyButton, PartyMenu
from bot.delivery.party_cards import PartyCards
from bot.delivery.picking import PickedButton, PickedMenu
from bot.delivery.portraits import PortraitButton
from bot.delivery.sender import DiscordSender
from bot.delivery.service import Delivery
from bot.delivery.sources import SourceMenu
from bot.delivery.stars import Stars
from bot.delivery.theme_acts import RemoveButton
from bot.delivery.theme_face import ThemeButton
from bot.delivery.theme_guides import ThemeGuides
from bot.delivery.theme_thread_face import JoinButton
from bot.delivery.theme_threads import ThemeThreads
from bot.delivery.underway import Underway
from bot.delivery.whole_bot import WholeBot
from bot.delivery.word_kinds import KindMenu
from bot.errors import ConfigError, DreamstreamError
from bot.front import Front
from bot.monitoring.gauges import DiscordStanding, ShardStanding
from bot.network import UNREACHABLE
from bot.sentences import say
from bot.shards import IdentifyPace, install
from bot.side_tasks import SideTasks
from bot.translations import Translations
from bot.unforeseen import Errors

log = logging.getLogger(__name__)

# Dreamstream has no voice; the library would warn of that at every start.
discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
install()

COGS = (
    "cogs.dream",
    "cogs.journey",
    "cogs.looking",
    "cogs.changing",
    "cogs.theme",
    "cogs.party",
    "cogs.game",
    "cogs.portrait",
    "cogs.settings",
    "cogs.moderate",
    "cogs.privacy",
    "cogs.pictures",
    "cogs.words",
    "cogs.painting",
    "cogs.help",
)
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

CHANGED = say(
    "This command has changed, and your Discord does not know it yet. Reload it (Ctrl-R, or close "
    "and open the app) and try again."
)


class Client(commands.AutoShardedBot):
    """A connection to Discord. Make a new one for each login."""

    def __init__(self, front: Front) -> None:
        self.whole = WholeBot()
        super().__init__(
            command_prefix=commands.when_mentioned,
            help_command=None,
            intents=discord.Intents(guilds=True, guild_reactions=True),
            allowed_mentions=discord.AllowedMentions.none(),
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            max_messages=None,
            http_trace=trace(self.whole),
        )
        self.front = front
        self.faces = Faces(front)
        self.follow_ups = FollowUps(self.faces)
        self.held = Held()
        self.offers = Offers()
        self.underway = Underway()
        self.delivery = Delivery(
            front, DiscordSender(self, front.store), self.faces, self.follow_ups, self.whole
        )
        self.party_cards = PartyCards(front, self, self.delivery.lane)
        self.digests = DigestCards(front, self, self.delivery.lane)
        self.delivery.on_deleted(self.digests.deleted)
        self.theme_guides = ThemeGuides(front, self, self.delivery.lane)
        self.theme_threads = ThemeThreads(front, self, self.delivery.lane, self.theme_guides)
        self.games = GameCards(front, self, self.delivery.lane)
        self.delivery.companions = (
            self.party_cards,
            self.digests,
            self.theme_guides,
            self.theme_threads,
            self.games,
        )
        self.stars = Stars(front)
        self.tree.on_error = _on_command_error  # type: ignore[method-assign]
        # Adding it twice adds it once.
        logging.getLogger("discord.app_commands.tree").addFilter(_is_ours)
        self._identify_pace = IdentifyPace()

    async def setup_hook(self) -> None:
        """Get ready for people, before the gateway is opened."""
        for name in COGS:
            await self.load_extension(name)
        await self.tree.set_translator(Translations())
        self.add_dynamic_items(DreamButton, DreamMenu, PageButton, SourceMenu, GuideButton)
        self.add_dynamic_items(LookMenu, PickedMenu, PickedButton, DigestMenu)
        self.add_dynamic_items(KindMenu, LogButton)
        self.add_dynamic_items(PartyButton, PartyMenu, PairButton, OfferButton)
        self.add_dynamic_items(PortraitButton, RemoveButton, ThemeButton, JoinButton)
        self.add_dynamic_items(GameButton, ChoiceButton, WithdrawButton, HeartMenu, TidyMenu)
        await try_to_sync(self.tree, self.front.store)
        await self.delivery.start()
        self.stars.start()

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Keep new sessions as far apart as Discord wants them."""
        await self._identify_pace.wait(shard_id or 0)

    async def launch_shards(self) -> None:
        """Begin the sessions, as many at a time as Discord lets this bot."""
        limits = await self.fetch_session_start_limits()
        self._identify_pace.at_once = limits.max_concurrency
        await super().launch_shards()

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        """Take forms: they are not remembered by the library, so they survive a restart."""
        if interaction.type is discord.InteractionType.modal_submit:
            with suppress(TooLateError):
                await forms.submitted(interaction)
                await sources.submitted(interaction)
                await ranking.submitted(interaction)
                await party_forms.submitted(interaction)
                await game_buttons.submitted(interaction)
                await portrait_forms.submitted(interaction)
                await theme_face.submitted(interaction)
                await privacy_acts.submitted(interaction)

    async def on_raw_reaction_add(self, event: discord.RawReactionActionEvent) -> None:
        """Take a ⭐."""
        self.stars.note(event, self._my_id)

    async def on_raw_reaction_remove(self, event: discord.RawReactionActionEvent) -> None:
        """Take a ⭐ that was taken away."""
        self.stars.note(event, self._my_id)

    @property
    def _my_id(self) -> int | None:
        return None if self.user is None else self.user.id

    # Whatever may end what keeps cards from being shown: that Discord is back, or a permission.

    async def on_shard_ready(self, shard_id: int) -> None:
        """Show what waited for Discord, and see what was missed."""
        self.delivery.hurry()
        self.theme_threads.check()

    async def on_shard_resumed(self, shard_id: int) -> None:
        """Show what waited for Discord."""
        self.delivery.hurry()

    async def on_guild_available(self, guild: discord.Guild) -> None:
        """Show what waited for this guild's servers."""
        self.delivery.hurry(guild.id)

    async def on_guild_join(self, guild: discord.Guild) -> None:
        """Show what waited for being invited again."""
        self.delivery.hurry(guild.id)

    async def on_guild_update(self, before: discord.Guild, after: discord.Guild) -> None:
        """Show what waited for another limit or owner."""
        self.delivery.hurry(after.id)

    async def on_guild_role_update(self, before: discord.Role, after: discord.Role) -> None:
        """Show what waited for a role's permissions."""
        self.delivery.hurry(after.guild.id)

    async def on_guild_channel_update(
        self, before: discord.abc.GuildChannel, after: discord.abc.GuildChannel
    ) -> None:
        """Show what waited for a channel's permissions."""
        self.delivery.hurry(after.guild.id)

    async def on_raw_thread_update(self, event: discord.RawThreadUpdateEvent) -> None:
        """Show what waited for a thread to be opened again: one that is archived is not cached."""
        self.delivery.hurry(event.guild_id)

    async def on_raw_thread_delete(self, event: discord.RawThreadDeleteEvent) -> None:
        """Take the theme off a thread that is there no more."""
        await self._deleted(event.thread_id)

    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        """Take the theme off a channel that is there no more, and off its threads."""
        await self._deleted(channel.id)

    async def _deleted(self, channel_id: int) -> None:
        try:
            await self.theme_threads.deleted(channel_id)
        except DreamstreamError as error:  # it is found out again after the next start
            log.warning("The theme of channel %s cannot be taken off: %s", channel_id, error)

    async def on_member_update(self, before: discord.Member, after: discord.Member) -> None:
        """Show what waited for a role: without the members' intent, only the bot's own come."""
        self.delivery.hurry(after.guild.id)

    async def close(self) -> None:
        """Let what is being sent arrive, answer who waits, and leave."""
        await self.underway.stop()
        await self.stars.stop()
        await self.delivery.stop()
        await super().close()


def _is_ours(record: logging.LogRecord) -> bool:
    """Leave out proposals that came too late: the library logs them as mistakes."""
    error = record.exc_info[1] if record.exc_info else None
    late = isinstance(error, (discord.NotFound, discord.DiscordServerError, *UNREACHABLE))
    if isinstance(error, discord.HTTPException):  # or tried again by the library after it arrived
        late = late or error.code == ACKNOWLEDGED
    return not (late and "autocomplete" in str(record.msg))


async def _on_command_error(
    interaction: discord.Interaction, error: app_commands.AppCommandError
) -> None:
    cause = error.original if isinstance(error, app_commands.CommandInvokeError) else error
    if isinstance(cause, TooLateError):
        log.info("A command could not be acknowledged in time; nothing was done")
    elif isinstance(cause, DreamstreamError):
        await tell(interaction, words.sentence(cause, interaction.locale))
    elif isinstance(cause, app_commands.CheckFailure):
        await tell(interaction, say("You may not use this command here."))
    elif isinstance(cause, app_commands.TransformerError):
        await tell(interaction, say("An option has a value that cannot be taken. Choose another."))
    elif isinstance(cause, (app_commands.CommandNotFound, app_commands.CommandSignatureMismatch)):
        log.info("An older form of a command was used: %s", cause)
        await tell(interaction, CHANGED)
    else:
        log.error("A command failed", exc_info=cause)
        await tell(interaction, WENT_WRONG)


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
