"""``/theme``: which theme hangs on a channel, for those who manage it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from bot.client import Client
from bot.delivery import theme_files, theme_thread_acts, words
from bot.delivery.interactions import (
    Interaction,
    acknowledged,
    channel_of,
    front_of,
    person_of,
    tell,
    theme_of,
    told,
)
from bot.delivery.theme_acts import (
    ask_whether_to_remove,
    check_manages,
    check_owns_bot,
    is_for_party,
    look_at_guides,
    picture_for,
    put_up_guide,
    to_hang,
    usable,
)
from bot.delivery.theme_thread_acts import Parent
from bot.delivery.theme_words import ASKED_BY, HOLDS, SEEN, all_of, named
from bot.errors import InvalidRequestError
from bot.model import Theme, Visibility
from bot.model_choice import choose_model
from bot.sentences import say
from bot.sizes import parse_size
from bot.themes import MAX_WEIGHT, MOST_BY_ITSELF
from cogs import choosing

_MAX_LISTED = 40
MOST_DREAMS = MOST_BY_ITSELF["autopilot"]


def _choices(names: Mapping[Any, str]) -> list[app_commands.Choice[str]]:
    return [app_commands.Choice(name=str(name), value=one.value) for one, name in names.items()]


_CHOICES = {"visibility": _choices(SEEN), "asked_by": _choices(ASKED_BY), "holds": _choices(HOLDS)}
_OFFERED: dict[str, Any] = {
    "engine": choosing.offer_engines,
    "model": choosing.offer_models,
    "preset": choosing.offer_presets,
}
_WORDS = {
    "title": "What it is called",
    "topic": "What it is about, in a sentence",
    "template": "Words around every prompt, with {prompt} where that goes",
    "modifiers": "Parts added to every prompt, such as “oil on canvas:0.5”",
    "negative": "What is not to be drawn",
    "palette": "Its own words, with commas between",
    "preset": "A preset, where nobody says how",
    "engine": "What draws here where nothing is said",
    "model": "Which weights it draws with where nothing is said",
    "size": "Pixels, such as 256 or 384x256, where nothing is said",
    "steps": "How many steps, where nothing is said",
    "max_side": "How many pixels a side at most",
    "max_steps": "How many steps at most",
    "max_count": "How many pictures at once at most",
    "asked_by": "Who may ask",
    "subject": "What its pictures are of",
    "holds": "What becomes of other subjects",
    "strictness": "How near to the subject, 0 to 1",
    "colour": "Its cards' colour, such as #7c6cff",
    "visibility": "Who may see its stream",
    "share": "Its share of the machine; for the bot's owner",
    "autopilot": "Dreams a day by itself; for the bot's owner",
    "picture": "A dream's picture for it: an id or a link",
    "upload": "A picture of your own for it",
}
_CLEARED: dict[str, dict[str, Any]] = {
    "topic": {"topic": ""},
    "template": {"template": "{prompt}"},
    "modifiers": {"modifiers": ""},
    "negative": {"negative": ""},
    "palette": {"palette": ""},
    "preset": {"preset": ""},
    "engine": {"engine": "", "model": ""},
    "size": {"width": None, "height": None},
    "steps": {"steps": None},
    "bounds": {"max_side": None, "max_steps": None, "max_count": None},
    "subject": {"subject": "", "holds": "off"},
    "picture": {"picture_sha256": None},
}


async def _offer_usable(interaction: Interaction, current: str) -> choosing.Choices:
    """Offer the themes that may be used anywhere, and those that could be added."""
    there = await choosing.offer_themes(interaction, current)
    further = choosing.matching(current, await theme_files.offered(interaction))
    return [*there, *further][: choosing.MAX_CHOICES]


@app_commands.guild_only()
@app_commands.allowed_installs(guilds=True, users=False)
@app_commands.default_permissions(manage_channels=True)
class ThemeCog(commands.GroupCog, group_name="theme", group_description="What a channel is about"):
    """Hanging themes on channels."""

    @app_commands.command(name="show", description="Which theme this channel carries, or another")
    @app_commands.describe(theme="Its short name; without it, this channel's")
    @app_commands.autocomplete(theme=choosing.offer_themes)
    async def show(self, interaction: Interaction, theme: str | None = None) -> None:
        """Tell all about a theme."""
        async with acknowledged(interaction):
            own = await theme_of(interaction)
            found = own if theme is None else await usable(interaction, theme, own)
            await tell(interaction, all_of(interaction, found))

    @app_commands.command(name="list", description="Which themes there are")
    async def list(self, interaction: Interaction) -> None:
        """List the themes that may be used anywhere, and this channel's."""
        async with acknowledged(interaction):
            own = await theme_of(interaction)
            themes = [
                theme
                for theme in await front_of(interaction).themes.list()
                if theme.id == own.id
                or (
                    theme.visibility is not Visibility.PRIVATE
                    and not theme.retired
                    and not await is_for_party(interaction, theme)
                )
            ]
            lines = [
                f"{'→ ' if theme.id == own.id else ''}{words.plain(theme.title, 60)} "
                f"(`{theme.slug}`)"
                for theme in themes[:_MAX_LISTED]
            ]
            if len(themes) > _MAX_LISTED:
                more = say("… and {count} more.", count=len(themes) - _MAX_LISTED)
                lines.append(told(interaction, more))
            await tell(interaction, "\n".join(lines))

    @app_commands.command(name="here", description="Hang a theme on this channel")
    @app_commands.describe(theme="Its short name")
    @app_commands.autocomplete(theme=_offer_usable)
    async def here(self, interaction: Interaction, theme: str) -> None:
        """Hang a theme on the channel that there is, or that comes with the program."""
        async with acknowledged(interaction):
            check_manages(interaction)
            front, (guild_id, channel_id) = front_of(interaction), channel_of(interaction)
            found = await to_hang(interaction, theme, await theme_of(interaction))
            await front.channels.bind(channel_id, guild_id, found.slug)
            guide = await put_up_guide(interaction)
            await _tell_carried(interaction, named(found), guide)

    @app_commands.command(name="thread", description="Make a thread that carries a theme")
    @app_commands.describe(
        theme="Its short name; without it, this channel's",
        channel="A channel or a forum; without it, this one",
    )
    @app_commands.autocomplete(theme=_offer_usable)
    async def thread(
        self,
        interaction: Interaction,
        theme: str | None = None,
        channel: app_commands.Transform[Parent, choosing.ThreadParent] | None = None,
    ) -> None:
        """Have a thread, or a forum's post, made for a theme."""
        async with acknowledged(interaction):
            await theme_thread_acts.make(interaction, theme, channel)

    @app_commands.command(name="create", description="Make a theme and hang it on this channel")
    @app_commands.describe(name="Its short name, such as misty-castles", **_WORDS)
    @app_commands.choices(**_CHOICES)
    @app_commands.autocomplete(**_OFFERED)
    async def create(
        self,
        interaction: Interaction,
        name: str,
        title: str,
        topic: str | None = None,
        template: str | None = None,
        modifiers: str | None = None,
        negative: str | None = None,
        palette: str | None = None,
        preset: str | None = None,
        engine: str | None = None,
        model: str | None = None,
        size: str | None = None,
        steps: app_commands.Range[int, 1] | None = None,
        max_side: app_commands.Range[int, 1] | None = None,
        max_steps: app_commands.Range[int, 1] | None = None,
        max_count: app_commands.Range[int, 1] | None = None,
        asked_by: str | None = None,
        subject: str | None = None,
        holds: str | None = None,
        strictness: app_commands.Range[float, 0, 1] | None = None,
        colour: str | None = None,
        visibility: str | None = None,
        share: app_commands.Range[float, 0.1, MAX_WEIGHT] | None = None,
        autopilot: app_commands.Range[int, 0, MOST_DREAMS] | None = None,
        picture: str | None = None,
        upload: discord.Attachment | None = None,
    ) -> None:
        """Make a theme, with a stream of its own."""
        async with acknowledged(interaction):
            check_manages(interaction)
            front, (guild_id, channel_id) = front_of(interaction), channel_of(interaction)
            details = _given(
                topic=topic, template=template, modifiers=modifiers, negative=negative,
                palette=palette, preset=preset, engine=engine, model=model, size=size, steps=steps,
                max_side=max_side, max_steps=max_steps, max_count=max_count, asked_by=asked_by,
                subject=subject, holds=holds, strictness=strictness, colour=colour,
                visibility=visibility, weight=share, autopilot=autopilot,
            )  # fmt: skip
            check_owns_bot(interaction, details)
            _check_engine(interaction, engine, model)
            person = person_of(interaction)
            async with picture_for(interaction, None, picture, upload) as pictured:
                theme = await front.themes.create(
                    name, title, person=person, guild_id=guild_id, **details, **pictured
                )
            await front.channels.bind(channel_id, guild_id, theme.slug)
            guide = await put_up_guide(interaction)
            await _tell_carried(interaction, named(theme), guide)

    @app_commands.command(name="edit", description="Change the theme that this channel carries")
    @app_commands.describe(**_WORDS, clear="What is to be as if nothing had been said")
    @app_commands.choices(
        **_CHOICES,
        clear=[
            app_commands.Choice(name=name.replace("_", " ").capitalize(), value=name)
            for name in _CLEARED
        ],
    )
    @app_commands.autocomplete(**_OFFERED)
    async def edit(
        self,
        interaction: Interaction,
        title: str | None = None,
        topic: str | None = None,
        template: str | None = None,
        modifiers: str | None = None,
        negative: str | None = None,
        palette: str | None = None,
        preset: str | None = None,
        engine: str | None = None,
        model: str | None = None,
        size: str | None = None,
        steps: app_commands.Range[int, 1] | None = None,
        max_side: app_commands.Range[int, 1] | None = None,
        max_steps: app_commands.Range[int, 1] | None = None,
        max_count: app_commands.Range[int, 1] | None = None,
        asked_by: str | None = None,
        subject: str | None = None,
        holds: str | None = None,
        strictness: app_commands.Range[float, 0, 1] | None = None,
        colour: str | None = None,
        visibility: str | None = None,
        share: app_commands.Range[float, 0.1, MAX_WEIGHT] | None = None,
        autopilot: app_commands.Range[int, 0, MOST_DREAMS] | None = None,
        picture: str | None = None,
        upload: discord.Attachment | None = None,
        clear: str | None = None,
    ) -> None:
        """Change the channel's theme, for all channels of this server that carry it."""
        async with acknowledged(interaction):
            check_manages(interaction)
            front, (guild_id, channel_id) = front_of(interaction), channel_of(interaction)
            details = _given(
                title=title, topic=topic, template=template, modifiers=modifiers, negative=negative,
                palette=palette, preset=preset, engine=engine, model=model, size=size, steps=steps,
                max_side=max_side, max_steps=max_steps, max_count=max_count, asked_by=asked_by,
                subject=subject, holds=holds, strictness=strictness, colour=colour,
                visibility=visibility, weight=share, autopilot=autopilot,
            )  # fmt: skip
            check_owns_bot(interaction, details)
            details |= _CLEARED.get(clear or "", {})
            if not details and not picture and upload is None:
                raise InvalidRequestError("theme", "Say what is to change: give an option.")
            person = person_of(interaction)
            slug = await front.channels.own_theme(channel_id, guild_id, person)
            theme = await front.themes.get(slug)
            _check_engine(interaction, engine, model)
            async with picture_for(interaction, theme, picture, upload) as pictured:
                details |= pictured
                theme = await front.themes.change(theme.slug, person=person, **details)
            if "picture_sha256" in details:
                await front.dreams.remove_files()
            changed = say("Changed. {theme}", theme=all_of(interaction, theme))
            await tell(interaction, changed)

    @app_commands.command(name="pause", description="Let this channel's theme rest, or go on")
    @app_commands.describe(paused="Whether it is to rest; what was asked for before is still drawn")
    async def pause(self, interaction: Interaction, paused: bool = True) -> None:
        """Take no further asks in the channel's theme, or take them again."""
        async with acknowledged(interaction):
            check_manages(interaction)
            front, (guild_id, channel_id) = front_of(interaction), channel_of(interaction)
            person = person_of(interaction)
            slug = await front.channels.own_theme(channel_id, guild_id, person)
            theme = await front.themes.change(slug, person=person, paused=paused)
            title = words.plain(theme.title, 80)
            rests = say("**{theme}** rests. What was asked for before is still drawn.", theme=title)
            await tell(interaction, rests if paused else say("**{theme}** goes on.", theme=title))

    @app_commands.command(name="remove", description="End the theme of this channel for good")
    async def remove(self, interaction: Interaction) -> None:
        """Ask whether it is to end; a button then ends it."""
        async with acknowledged(interaction):
            check_manages(interaction)
            await ask_whether_to_remove(interaction)

    @app_commands.command(name="guide", description="Pin a guide to this channel's theme")
    async def guide(self, interaction: Interaction) -> None:
        """Post the guide to the channel's theme, or renew it, and pin it."""
        async with acknowledged(interaction):
            check_manages(interaction)
            what = await put_up_guide(interaction)
            await tell(interaction, what or say("The guide is pinned in this channel."))

    @app_commands.command(name="export", description="Get a theme as a file")
    @app_commands.describe(theme="Its short name; without it, this channel's")
    @app_commands.autocomplete(theme=choosing.offer_themes)
    async def export(self, interaction: Interaction, theme: str | None = None) -> None:
        """Send a theme as a file to the asker alone."""
        async with acknowledged(interaction):
            own = await theme_of(interaction)
            found = own if theme is None else await usable(interaction, theme, own)
            file = theme_files.as_file(found)
            await tell(interaction, named(found), attachments=[file])

    @app_commands.command(name="import", description="Make a theme of a file, and hang it here")
    @app_commands.describe(
        file="A file from /theme export, or one written so",
        name="Its short name; without it, the file's",
    )
    async def take_in(
        self, interaction: Interaction, file: discord.Attachment, name: str | None = None
    ) -> None:
        """Make a theme of an uploaded file, or change the one that the channel carries."""
        async with acknowledged(interaction):
            check_manages(interaction)
            theme = await theme_files.take_in(interaction, file, name or "")
            guide = await put_up_guide(interaction)
            await _tell_carried(interaction, all_of(interaction, theme), guide)

    @app_commands.command(name="away", description="Take the theme off this channel")
    async def away(self, interaction: Interaction) -> None:
        """Leave the channel with the default theme."""
        async with acknowledged(interaction):
            check_manages(interaction)
            had = await front_of(interaction).channels.unbind(channel_of(interaction)[1])
            look_at_guides(interaction)
            now = named(await theme_of(interaction))
            has = say("This channel has {theme}", theme=now)
            none = say("It carried none of its own. This channel has {theme}", theme=now)
            await tell(interaction, has if had else none)


async def _tell_carried(interaction: Interaction, theme: str, guide: str) -> None:
    """Tell what a channel carries now, and below it what there is to say of its guide."""
    carries = told(interaction, say("This channel now carries {theme}", theme=theme))
    await tell(interaction, "\n".join(part for part in (carries, guide) if part))


async def setup(bot: Client) -> None:
    """Add the commands to a client that loads them by this module's name."""
    await bot.add_cog(ThemeCog())


def _given(*, size: str | None, **details: Any) -> dict[str, Any]:
    """Return the fields of a theme that were given."""
    width, height = parse_size(size)
    return {
        name: value
        for name, value in (details | {"width": width, "height": height}).items()
        if value is not None
    }


def _check_engine(interaction: Interaction, engine: str | None, model: str | None) -> None:
    """Refuse what cannot draw here. One in a file is kept: it may come from another machine.

    Raises:
        InvalidRequestError: there is no such engine or model, or its weights are not here.
    """
    if engine or model:
        engines = front_of(interaction).drawer.engines
        choose_model(engines, engine, model, Theme(id=0, slug="", title=""))
