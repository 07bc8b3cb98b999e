"""What is offered while somebody types an option: from memory, at most 25, in an instant."""

from __future__ import annotations

from collections.abc import Iterable

import discord
from discord import app_commands

from bot.delivery.interactions import Interaction, front_of, person_of
from bot.delivery.theme_thread_acts import Parent
from bot.model import Visibility
from bot.parties.drawing import like_a_party
from bot.presets import presets_of
from bot.store import galleries
from bot.styles import complete_last
from bot.text import shorten
from generation.protocol import EngineInfo, OptionInfo

MAX_CHOICES = 25
MAX_LENGTH = 100
_NEWEST = 100
Choices = list[app_commands.Choice[str]]


def matching(current: str, offered: Iterable[tuple[str, str]]) -> Choices:
    """Return those (title, value) that hold what was typed so far, as many as may be shown."""
    typed = current.strip().casefold()
    found = {
        value: title
        for title, value in offered
        if typed in title.casefold() or typed in value.casefold()
    }
    return _shown((title, value) for value, title in found.items())


async def offer_presets(interaction: Interaction, current: str) -> Choices:
    """Offer the ways of drawing that can be had here."""
    offered = presets_of(_engines(interaction))
    return matching(current, ((f"{one.title} · {one.help}", one.name) for one in offered))


async def offer_engines(interaction: Interaction, current: str) -> Choices:
    """Offer the engines that can draw here."""
    return matching(current, ((one.title, one.name) for one in _engines(interaction)))


async def offer_models(interaction: Interaction, current: str) -> Choices:
    """Offer the models that are here, of the engine that was chosen."""
    return matching(
        current,
        (
            (model.title, model.name)
            for engine in _chosen(interaction)
            for model in engine.models
            if model.available
        ),
    )


async def offer_styles(interaction: Interaction, current: str) -> Choices:
    """Offer styles, each with its kind; after a comma a further one."""
    return _shown(complete_last(current, 2 * MAX_CHOICES))


async def offer_options(interaction: Interaction, current: str) -> Choices:
    """Offer the chosen engine's own settings, and the values of the one that is being typed."""
    before, comma, last = current.rpartition(",")
    kept = f"{before.strip()}, " if comma else ""
    name, equals, typed = (part.strip() for part in last.partition("="))
    options = {option.name: option for engine in _chosen(interaction) for option in engine.options}
    if equals and name in options:
        return _shown(
            (f"{kept}{name}={value}", f"{kept}{name}={value}")
            for value in _values(options[name])
            if value.startswith(typed.casefold())
        ) or _shown([(current, current)])
    return _shown(
        (f"{kept}{option.name}={_text(option.default)} · {option.help}", f"{kept}{option.name}=")
        for option in options.values()
        if name.casefold() in option.name and f"{option.name}=" not in before.replace(" ", "")
    )


async def offer_own(interaction: Interaction, current: str) -> Choices:
    """Offer the asker's own dreams that are not over, the newest first."""
    person = person_of(interaction)
    unfinished = await front_of(interaction).dreams.unfinished(None)
    own = ((one.prompt, one.id) for one in reversed(unfinished) if one.person.id == person.id)
    return matching(current, own)


async def offer_pictures(interaction: Interaction, current: str) -> Choices:
    """Offer the asker's newest pictures, by their words."""
    person = person_of(interaction)
    store = front_of(interaction).store
    newest = await galleries.of_person(store, person.id, skip=0, limit=_NEWEST)
    return matching(current, ((one.prompt or one.id, one.id) for one in newest))


async def offer_themes(interaction: Interaction, current: str) -> Choices:
    """Offer the themes that may be used anywhere: those of parties are for these alone."""
    return matching(
        current,
        (
            (f"{theme.title} ({theme.slug})", theme.slug)
            for theme in front_of(interaction).themes.known
            if theme.visibility is not Visibility.PRIVATE
            and not theme.retired
            and not like_a_party(theme.slug)
        ),
    )


def _engines(interaction: Interaction) -> list[EngineInfo]:
    """Return the engines that draw from words: the others are for pictures that there are."""
    engines = front_of(interaction).drawer.engines
    return [engine for engine in engines if engine.scale is None]


def _chosen(interaction: Interaction) -> list[EngineInfo]:
    chosen = (getattr(interaction.namespace, "engine", None) or "").casefold()
    engines = _engines(interaction)
    named = [one for one in engines if chosen in (one.name.casefold(), one.title.casefold())]
    return named if chosen else engines


def _values(option: OptionInfo) -> list[str]:
    if isinstance(option.default, bool):
        return ["true", "false"]
    if option.choices:
        return list(option.choices)
    bounds = (option.minimum, option.maximum)
    known = [option.default, *(bound for bound in bounds if bound is not None)]
    return list(dict.fromkeys(_text(value) for value in known))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _shown(offered: Iterable[tuple[str, str]]) -> Choices:
    """Return choices as Discord takes them; a value that is too long cannot be one."""
    return [
        app_commands.Choice(name=shorten(title, MAX_LENGTH), value=value)
        for title, value in offered
        if 0 < len(value) <= MAX_LENGTH
    ][:MAX_CHOICES]


class ThreadParent(app_commands.Transformer):
    """An option for a channel that can have threads: a text channel or a forum."""

    @property
    def type(self) -> discord.AppCommandOptionType:
        """Which kind of option it is."""
        return discord.AppCommandOptionType.channel

    @property
    def channel_types(self) -> list[discord.ChannelType]:
        """What is offered: in a media channel every post begins with a file, so it is not."""
        return [discord.ChannelType.text, discord.ChannelType.news, discord.ChannelType.forum]

    async def transform(
        self, interaction: Interaction, value: app_commands.AppCommandChannel, /
    ) -> Parent:
        """Return the channel with all that is known of it.

        Raises:
            TransformerError: it is not known.
        """
        channel = value.resolve()
        if not isinstance(channel, Parent):
            raise app_commands.TransformerError(value, self.type, self)
        return channel
