"""The Discord client: hands what people do to cogs and buttons, and what happens to services.

It asks for no privileged intent and calls nobody (`AllowedMentions.none()`). Cogs are loaded by
name, since ``bot`` does not know them. `bot.discord_front` has it join, and keeps it joined.
"""

from __future__ import annotations

import logging
from contextlib import suppress

import discord
from discord import app_commands
from discord.ext import commands

from bot.command_sync import try_to_sync
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
from bot.errors import DreamstreamError
from bot.front import Front
from bot.network import UNREACHABLE
from bot.sentences import say
from bot.shards import IdentifyPace, install
from bot.translations import Translations

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
