"""``/settings``: what a server and its channels have set, for those who manage the server."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from bot import zones
from bot.client import Client
from bot.delivery import words
from bot.delivery.interactions import (
    Interaction,
    acknowledged,
    channel_of,
    front_of,
    person_of,
    tell,
    told,
)
from bot.errors import ForbiddenError, InvalidRequestError
from bot.model import PictureCheck
from bot.sentences import Sentence, say
from bot.settings import ChannelSettings, Effective, GuildSettings, Nsfw
from bot.text import shorten

_SERVER = "server"
_CHANNEL = "channel"
_PLACES = [
    app_commands.Choice(name="In the whole server", value=_SERVER),
    app_commands.Choice(name="In this channel", value=_CHANNEL),
]
_NSFW = [
    app_commands.Choice(name="In age-restricted channels", value=Nsfw.CHANNEL.value),
    app_commands.Choice(name="Nowhere", value=Nsfw.NEVER.value),
]
_PICTURES = [
    app_commands.Choice(name="Show them", value=PictureCheck.OFF.value),
    app_commands.Choice(name="Hide them until clicked", value=PictureCheck.SPOILER.value),
    app_commands.Choice(name="Blur them", value=PictureCheck.BLUR.value),
    app_commands.Choice(name="Do not show them", value=PictureCheck.REFUSE.value),
]
_ROLES = [
    app_commands.Choice(name="May ask for dreams", value="allowed_role_ids"),
    app_commands.Choice(name="Hosts: may always ask", value="host_role_ids"),
]
_LISTS = [
    app_commands.Choice(name="Blocked words", value="blocked_words"),
    app_commands.Choice(name="Exceptions", value="allowed_words"),
]
_WORDS = {
    "dreaming": "Whether dreams may be asked for",
    "explore": "Whether /explore may be used",
    "batch": "Whether /batch may be used",
    "published": "Whether its dreams are on the wall",
    "adult_words": "Where words for adults may be used",
    "picture_check": "What becomes of pictures that the check takes for ones for adults",
    "per_person": "How many dreams a person may have waiting; 0 for no limit of its own",
    "per_channel": "How many dreams may be waiting in the channel; 0 for no limit of its own",
    "per_hour": "How many dreams a person may ask for in an hour; 0 for no limit",
    "per_person_background": "How many a person may have waiting in the background; 0 for no limit",
    "max_count": "How many pictures one ask may have; 0 for no limit of its own",
}
_CHECKED = {
    None: say("as the machine has it; shown in age-restricted channels"),
    PictureCheck.OFF: say("shown"),
    PictureCheck.SPOILER: say("hidden until clicked"),
    PictureCheck.BLUR: say("blurred"),
    PictureCheck.REFUSE: say("not shown"),
}
_TIME_ZONE = "The time zone of its channels' hours, as in Europe/Berlin"
_DIGEST_HOUR = "At which hour the best of the day is posted here, 0 to 23; -1 for never"
_MAX_SHOWN_WORDS = 30
_MAX_OFFERED = 25


async def _offer_zones(interaction: Interaction, current: str) -> list[app_commands.Choice[str]]:
    return [
        app_commands.Choice(name=name, value=name) for name in zones.offered(current, _MAX_OFFERED)
    ]


@app_commands.guild_only()
@app_commands.allowed_installs(guilds=True, users=False)
@app_commands.default_permissions(manage_guild=True)
class SettingsCog(
    commands.GroupCog, group_name="settings", group_description="What may be done here, and by whom"
):
    """Setting who may ask for what."""

    @app_commands.command(name="show", description="What holds in this channel")
    async def show(self, interaction: Interaction) -> None:
        """Tell what holds in the channel."""
        async with acknowledged(interaction):
            _check_manages(interaction)
            guild_id, channel_id = channel_of(interaction)
            parent_id = getattr(interaction.channel, "parent_id", None)
            settings = front_of(interaction).settings
            here = settings.effective(guild_id, channel_id, parent_id)
            hour = settings.channel(guild_id, channel_id).digest_hour
            await tell(interaction, told_of(here, guild_id, hour, partial(told, interaction)))

    @app_commands.command(name="server", description="Change what holds in the whole server")
    @app_commands.describe(**_WORDS, time_zone=_TIME_ZONE)
    @app_commands.choices(adult_words=_NSFW, picture_check=_PICTURES)
    @app_commands.autocomplete(time_zone=_offer_zones)
    async def server(
        self,
        interaction: Interaction,
        dreaming: bool | None = None,
        explore: bool | None = None,
        batch: bool | None = None,
        published: bool | None = None,
        adult_words: str | None = None,
        picture_check: str | None = None,
        per_person: app_commands.Range[int, 0, 100000] | None = None,
        per_channel: app_commands.Range[int, 0, 100000] | None = None,
        per_hour: app_commands.Range[int, 0, 100000] | None = None,
        max_count: app_commands.Range[int, 0, 100] | None = None,
        per_person_background: app_commands.Range[int, 0, 100000] | None = None,
        time_zone: str | None = None,
    ) -> None:
        """Change the server's settings."""
        async with acknowledged(interaction):
            _check_manages(interaction)
            changes = _given(
                dreaming=dreaming, explore=explore, batch=batch, published=published,
                nsfw=adult_words, picture_check=picture_check, per_person=per_person,
                per_channel=per_channel,
                per_hour=per_hour, max_count=max_count,
                per_person_background=per_person_background, time_zone=time_zone,
            )  # fmt: skip
            await _change(interaction, _SERVER, changes)

    @app_commands.command(name="channel", description="Change what holds in this channel")
    @app_commands.describe(
        **_WORDS,
        digest_hour=_DIGEST_HOUR,
        reset="Whether everything else here is to be as in the server again",
    )
    @app_commands.choices(adult_words=_NSFW, picture_check=_PICTURES)
    async def channel(
        self,
        interaction: Interaction,
        dreaming: bool | None = None,
        explore: bool | None = None,
        batch: bool | None = None,
        published: bool | None = None,
        adult_words: str | None = None,
        picture_check: str | None = None,
        per_person: app_commands.Range[int, 0, 100000] | None = None,
        per_channel: app_commands.Range[int, 0, 100000] | None = None,
        per_hour: app_commands.Range[int, 0, 100000] | None = None,
        max_count: app_commands.Range[int, 0, 100] | None = None,
        per_person_background: app_commands.Range[int, 0, 100000] | None = None,
        digest_hour: app_commands.Range[int, -1, 23] | None = None,
        reset: bool = False,
    ) -> None:
        """Change what the channel has set otherwise than its server."""
        async with acknowledged(interaction):
            _check_manages(interaction)
            changes = _given(
                dreaming=dreaming, explore=explore, batch=batch, published=published,
                nsfw=adult_words, picture_check=picture_check, per_person=per_person,
                per_channel=per_channel,
                per_hour=per_hour, max_count=max_count,
                per_person_background=per_person_background,
            )  # fmt: skip
            if digest_hour is not None:
                changes["digest_hour"] = None if digest_hour < 0 else digest_hour
            if reset:
                usual = ChannelSettings()
                changes = {name: getattr(usual, name) for name in usual.__struct_fields__} | changes
            await _change(interaction, _CHANNEL, changes)

    @app_commands.command(name="role", description="Which roles may ask for dreams, or are hosts")
    @app_commands.describe(
        role="Which role",
        what="What it may do",
        may="Whether it may",
        where="Where that holds",
    )
    @app_commands.choices(what=_ROLES, where=_PLACES)
    async def role(
        self,
        interaction: Interaction,
        role: discord.Role,
        what: str,
        may: bool = True,
        where: str = _SERVER,
    ) -> None:
        """Put a role onto a list or take it off. Where a list is empty, everybody may."""
        async with acknowledged(interaction):
            _check_manages(interaction)
            before = getattr(_present(interaction, where), what) or ()
            after = [one for one in before if one != role.id] + ([role.id] if may else [])
            await _change(interaction, where, {what: tuple(after)})

    @app_commands.command(name="words", description="Which words are blocked in prompts")
    @app_commands.describe(
        add="Words to put onto the list, separated by commas; * at the end for all that begin so",
        remove="Words to take off it, separated by commas",
        which="Which list",
        where="Where it holds",
    )
    @app_commands.choices(which=_LISTS, where=_PLACES)
    async def words(
        self,
        interaction: Interaction,
        add: app_commands.Range[str, 1, 2000] | None = None,
        remove: app_commands.Range[str, 1, 2000] | None = None,
        which: str = "blocked_words",
        where: str = _SERVER,
    ) -> None:
        """Show a list of words, or change it."""
        async with acknowledged(interaction):
            _check_manages(interaction)
            before = getattr(_present(interaction, where), which)
            if add is None and remove is None:
                listed = words_of(before, partial(told, interaction))
                await tell(interaction, f"||{listed}||" if before else say("The list is empty."))
                return
            gone = {word.casefold() for word in _split(remove)}
            kept = [word for word in before if word not in gone]
            await _change(interaction, where, {which: (*kept, *_split(add))})


async def setup(bot: Client) -> None:
    """Add the commands to a client that loads them by this module's name."""
    await bot.add_cog(SettingsCog())


def _given(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in changes.items() if value is not None}


def _split(text: str | None) -> list[str]:
    return [word for part in (text or "").split(",") if (word := part.strip())]


def _present(interaction: Interaction, where: str) -> GuildSettings | ChannelSettings:
    guild_id, channel_id = channel_of(interaction)
    settings = front_of(interaction).settings
    if where == _SERVER:
        return settings.guild(guild_id)
    return settings.channel(guild_id, channel_id)


async def _change(interaction: Interaction, where: str, changes: dict[str, Any]) -> None:
    if not changes:
        raise InvalidRequestError("settings", "Say what is to change: give an option.")
    guild_id, channel_id = channel_of(interaction)
    settings, person = front_of(interaction).settings, person_of(interaction)
    if where == _SERVER:
        await settings.change_guild(guild_id, person, **changes)
    else:
        await settings.change_channel(guild_id, channel_id, person, **changes)
    parent_id = getattr(interaction.channel, "parent_id", None)
    here = settings.effective(guild_id, channel_id, parent_id)
    hour = settings.channel(guild_id, channel_id).digest_hour
    what = told_of(here, guild_id, hour, partial(told, interaction))
    await tell(interaction, say("Changed. In this channel now:\n{what}", what=what))


def told_of(
    here: Effective, guild_id: int, digest_hour: int | None, told: Callable[[str], str] = str
) -> str:
    """Tell what holds in a channel, by `told` in somebody's language.

    Blocked words are only counted: others may look on.
    """

    def limit(count: int) -> str:
        return str(count) if count else say("as the machine allows")

    def roles(role_ids: tuple[int, ...], nobody: str) -> str:
        # The role that everybody has is called by its server's id, and is no mention.
        named = (say("everybody") if one == guild_id else f"<@&{one}>" for one in role_ids)
        return ", ".join(map(told, named)) or nobody

    best = (
        say("never")
        if digest_hour is None
        else say("at {hour}:00 ({zone})", hour=digest_hour, zone=here.time_zone)
    )
    adult = say("in age-restricted channels") if here.nsfw is Nsfw.CHANNEL else say("nowhere")
    lines = [
        say("Dreams may be asked for: **{yes}**", yes=_yes(here.dreaming)),
        say("By: {roles}", roles=roles(here.allowed_role_ids, say("everybody"))),
        say("Hosts: {roles}", roles=roles(here.host_role_ids, say("who may manage messages"))),
        say("/explore: **{yes}**", yes=_yes(here.explore)),
        say("/batch: **{yes}**", yes=_yes(here.batch)),
        say("On the wall: **{yes}**", yes=_yes(here.published)),
        say("Words for adults: **{where}**", where=adult),
        say("Pictures for adults: **{how}**", how=_CHECKED[here.picture_check]),
        say(
            "Blocked words: **{blocked}**, exceptions: **{allowed}**",
            blocked=len(here.blocked_words),
            allowed=len(here.allowed_words),
        ),
        say(
            "Waiting for a person: **{person}**, in the channel: **{channel}**",
            person=limit(here.per_person),
            channel=limit(here.per_channel),
        ),
        say(
            "Waiting for a person in the background: **{count}**",
            count=limit(here.per_person_background),
        ),
        say("For a person in an hour: **{count}**", count=limit(here.per_hour)),
        say("Pictures in one ask: **{count}**", count=limit(here.max_count)),
        say("The best of the day is posted: **{when}**", when=best),
    ]
    return shorten("\n".join(map(told, lines)), 1800)


def _yes(value: bool) -> Sentence:
    return say("yes") if value else say("no")


def words_of(terms: tuple[str, ...], told: Callable[[str], str] = str) -> str:
    """Tell the words of a list as they were typed, and by `told` how many more there are."""
    # What was typed is never put into a language: “never” is the word that is blocked, not “nie”.
    shown = ", ".join(words.plain(term, 60) for term in terms[:_MAX_SHOWN_WORDS])
    rest = len(terms) - _MAX_SHOWN_WORDS
    return shown if rest <= 0 else told(say("{shown} … and {rest} more", shown=shown, rest=rest))


def _check_manages(interaction: Interaction) -> None:
    # The command's default permission can be changed in the server's settings; what is set here
    # binds everybody, so it is asked for here as well.
    if not interaction.permissions >= discord.Permissions(manage_guild=True):
        raise ForbiddenError("Only who may manage this server changes its settings.")
