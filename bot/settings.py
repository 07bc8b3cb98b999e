"""What a server and its channels have set for dreaming: who may, how much, in which words.

A channel's settings go before its server's, and a thread's before its channel's. All of them are
in memory, so that every ask can be judged at once; a change is in the database, and in the log of
what moderators did, before it holds. This module does not judge anybody: that is `bot.gate`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

import aiosqlite
import msgspec

from bot import zones
from bot.errors import InvalidRequestError
from bot.ids import now_ms
from bot.model import Act, Person, PictureCheck
from bot.sentences import say
from bot.store import Store, moderation, people
from bot.store import settings as rows
from bot.text import clean
from bot.wordlist import MAX_TERM, has_letters

log = logging.getLogger(__name__)

MAX_TERMS = 500
MAX_ROLES = 50
MAX_LIMIT = 100_000
MAX_COUNT = 100


class Nsfw(StrEnum):
    """Where words for adults may be used: in age-restricted channels, or nowhere."""

    CHANNEL = "channel"
    NEVER = "never"


class GuildSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a server has set.

    `allowed_role_ids` may ask for dreams, everybody where there are none; `host_role_ids` may
    always, and lead what is done together. `per_person` and `per_channel` bound the dreams that
    are not over, `per_hour` those that a person asks for within an hour, `max_count` those of one
    ask, `per_person_background` those that are not over and drawn when nobody waits, which the
    others do not count; 0 leaves it to the machine's own limits. Prompts must not hold
    `blocked_words`, except within `allowed_words`. Dreams of a place that is not `published` are
    not on the wall. `time_zone` is that of its channels' hours, by its IANA name. What becomes of
    a picture that the check takes for one for adults is `picture_check`, None for what the machine
    has (`bot.checking`).
    """

    dreaming: bool = True
    allowed_role_ids: tuple[int, ...] = ()
    host_role_ids: tuple[int, ...] = ()
    per_person: int = 0
    per_channel: int = 0
    per_hour: int = 0
    max_count: int = 0
    blocked_words: tuple[str, ...] = ()
    allowed_words: tuple[str, ...] = ()
    nsfw: Nsfw = Nsfw.CHANNEL
    per_person_background: int = 100
    explore: bool = True
    batch: bool = True
    published: bool = True
    time_zone: str = zones.UTC
    picture_check: PictureCheck | None = None


class ChannelSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a channel has set otherwise; None is as in its server. Words are further ones.

    `digest_hour` is the channel's alone, and not its threads': at which hour of the server's time
    zone, 0 to 23, the best of its day is posted; None for never.
    """

    dreaming: bool | None = None
    allowed_role_ids: tuple[int, ...] | None = None
    host_role_ids: tuple[int, ...] | None = None
    per_person: int | None = None
    per_channel: int | None = None
    per_hour: int | None = None
    max_count: int | None = None
    blocked_words: tuple[str, ...] = ()
    allowed_words: tuple[str, ...] = ()
    nsfw: Nsfw | None = None
    per_person_background: int | None = None
    explore: bool | None = None
    batch: bool | None = None
    published: bool | None = None
    picture_check: PictureCheck | None = None
    digest_hour: int | None = None


class DigestPlace(msgspec.Struct, frozen=True):
    """A channel, or a thread, in which the best of the day is posted at an hour of a time zone."""

    guild_id: int
    channel_id: int
    hour: int
    zone: str


class Effective(GuildSettings, frozen=True, kw_only=True):
    """What holds in a channel, all in all."""


_ADDED = ("blocked_words", "allowed_words")
_OWN = ("digest_hour",)  # a channel's alone
_INHERITED: dict[type, frozenset[str]] = {
    GuildSettings: frozenset(),
    ChannelSettings: frozenset(ChannelSettings.__struct_fields__) - frozenset(_ADDED),
}
S = TypeVar("S", GuildSettings, ChannelSettings)


class Settings:
    """The settings of every server. `start` reads them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._guilds: dict[int, GuildSettings] = {}
        self._channels: dict[tuple[int, int], ChannelSettings] = {}
        self._effective: dict[tuple[int, int | None, int | None], Effective] = {}
        self._changing = asyncio.Lock()

    async def start(self) -> None:
        """Read what has been set."""
        await asyncio.to_thread(zones.names)
        guilds = await rows.guilds(self._store)
        channels = await rows.channels(self._store)
        self._guilds = {key: _decode(text, GuildSettings) for key, text in guilds.items()}
        self._channels = {key: _decode(text, ChannelSettings) for key, text in channels.items()}
        self._effective.clear()

    def guild(self, guild_id: int) -> GuildSettings:
        """Return what a server has set."""
        return self._guilds.get(guild_id, GuildSettings())

    def channel(self, guild_id: int, channel_id: int) -> ChannelSettings:
        """Return what a channel, or a thread, has set otherwise."""
        return self._channels.get((guild_id, channel_id), ChannelSettings())

    def effective(
        self, guild_id: int | None, channel_id: int | None, parent_id: int | None = None
    ) -> Effective:
        """Return what holds in a channel; `parent_id` is the channel that a thread belongs to."""
        if guild_id is None:
            return Effective()
        key = (guild_id, channel_id, parent_id)
        found = self._effective.get(key)
        if found is None:
            values = msgspec.structs.asdict(self.guild(guild_id))
            for place in (parent_id, channel_id):
                if place is not None:
                    _lay_over(values, self.channel(guild_id, place))
            found = Effective(**values)
            # Only places with settings of their own differ; the rest need not be remembered.
            if any((guild_id, place) in self._channels for place in (parent_id, channel_id)):
                self._effective[key] = found
        return found

    def digests(self) -> list[DigestPlace]:
        """Return every channel in which the best of the day is to be posted."""
        return [
            DigestPlace(guild_id, channel_id, settings.digest_hour, self.guild(guild_id).time_zone)
            for (guild_id, channel_id), settings in self._channels.items()
            if settings.digest_hour is not None
        ]

    async def change_guild(self, guild_id: int, by: Person, **changes: Any) -> GuildSettings:
        """Change some of a server's settings, and return them all.

        Raises:
            InvalidRequestError: a value is wrong, or there is no such setting.
            DiskError, StoreError: nothing can be kept at present.
        """
        async with self._changing:
            changed = _changed(self.guild(guild_id), changes)
            async with self._store.write() as connection:
                at_ms = now_ms()
                await rows.put_guild(connection, guild_id, _encode(changed), at_ms)
                await _note(connection, guild_id, None, by, changes, at_ms)
            self._guilds[guild_id] = changed
            self._effective.clear()
        return changed

    async def change_channel(
        self, guild_id: int, channel_id: int, by: Person, **changes: Any
    ) -> ChannelSettings:
        """Change some of a channel's settings, None to have the server's; return them all.

        Raises:
            As `change_guild` does.
        """
        async with self._changing:
            changed = _changed(self.channel(guild_id, channel_id), changes)
            async with self._store.write() as connection:
                at_ms = now_ms()
                await rows.put_channel(connection, guild_id, channel_id, _encode(changed), at_ms)
                await _note(connection, guild_id, channel_id, by, changes, at_ms)
            self._channels[guild_id, channel_id] = changed
            self._effective.clear()
        return changed


async def _note(
    connection: aiosqlite.Connection,
    guild_id: int,
    channel_id: int | None,
    by: Person,
    changes: Mapping[str, Any],
    at_ms: int,
) -> None:
    await people.upsert(connection, by, at_ms)
    # The names alone: a list of blocked words may hold somebody's name.
    detail = {"changed": sorted(changes)}
    await moderation.append(
        connection, Act.SETTINGS, guild_id, by, at_ms, channel_id=channel_id, detail=detail
    )


def _lay_over(values: dict[str, Any], channel: ChannelSettings) -> None:
    for name, value in msgspec.structs.asdict(channel).items():
        if name in _ADDED:
            values[name] = (*values[name], *value)
        elif value is not None and name not in _OWN:
            values[name] = value


def _encode(settings: GuildSettings | ChannelSettings) -> str:
    return msgspec.json.encode(settings).decode()


def _decode(text: str, kind: type[S]) -> S:
    """Read settings; what an older or a newer version wrote otherwise is as it is by itself."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError:
        values: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
    settings = kind()
    for name in kind.__struct_fields__:
        if name in values:
            try:
                part = msgspec.convert({name: values[name]}, kind)
            except msgspec.ValidationError as error:
                log.warning("A setting that cannot be read is left out: %s: %s", name, error)
            else:
                settings = msgspec.structs.replace(settings, **{name: getattr(part, name)})
    return settings


def _changed(before: S, changes: Mapping[str, Any]) -> S:
    values: dict[str, Any] = {}
    fields = before.__struct_fields__
    inherited = _INHERITED[type(before)]
    for name, value in changes.items():
        if name not in fields:
            raise InvalidRequestError(
                name, say("There is no setting called “{name}”.", name=clean(name)[:40])
            )
        if value is None and name in inherited:
            values[name] = None
        else:
            values[name] = _CHECKS[name](name, value)
    return msgspec.structs.replace(before, **values)


def _limit(name: str, value: Any) -> int:
    most = MAX_COUNT if name == "max_count" else MAX_LIMIT
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise InvalidRequestError(
            name, say("A limit is a whole number from 0 (none) to {most}.", most=most)
        )
    return value


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequestError(name, "This is either on or off.")
    return value


def _roles(name: str, value: Any) -> tuple[int, ...]:
    try:
        found = tuple(dict.fromkeys(msgspec.convert(value, tuple[int, ...], strict=True)))
    except msgspec.ValidationError:
        raise InvalidRequestError(name, "Choose roles of this server.") from None
    if len(found) > MAX_ROLES:
        raise InvalidRequestError(name, say("At most {most} roles can be chosen.", most=MAX_ROLES))
    return found


def _nsfw(name: str, value: Any) -> Nsfw:
    try:
        return Nsfw(value)
    except ValueError:
        raise InvalidRequestError(
            name, "Choose “channel” (in age-restricted channels) or “never”."
        ) from None


def _picture_check(name: str, value: Any) -> PictureCheck | None:
    try:
        return None if value is None else PictureCheck(value)
    except ValueError:
        raise InvalidRequestError(name, "Choose “off”, “spoiler”, “blur” or “refuse”.") from None


def _terms(name: str, value: Any) -> tuple[str, ...]:
    try:
        given = msgspec.convert(value, tuple[str, ...], strict=True)
    except msgspec.ValidationError:
        raise InvalidRequestError(name, "Give words, separated by commas.") from None
    found = tuple(dict.fromkeys(term for text in given if (term := clean(text).casefold())))
    if len(found) > MAX_TERMS:
        raise InvalidRequestError(name, say("The list can hold {most} words.", most=MAX_TERMS))
    for term in found:
        if len(term) > MAX_TERM:
            raise InvalidRequestError(name, say("A word can have {most} letters.", most=MAX_TERM))
        if not has_letters(term):
            raise InvalidRequestError(name, "Each word needs a letter or a digit.")
    return found


def _hour(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 23:
        raise InvalidRequestError(name, "An hour is a whole number from 0 to 23.")
    return value


def _zone(name: str, value: Any) -> str:
    known = zones.names().get(value.strip().casefold()) if isinstance(value, str) else None
    if known is None:
        raise InvalidRequestError(
            name, "There is no such time zone. Choose one from the list, as in Europe/Berlin."
        )
    return known


_CHECKS = {
    "dreaming": _switch,
    "allowed_role_ids": _roles,
    "host_role_ids": _roles,
    "per_person": _limit,
    "per_channel": _limit,
    "per_hour": _limit,
    "max_count": _limit,
    "per_person_background": _limit,
    "blocked_words": _terms,
    "allowed_words": _terms,
    "nsfw": _nsfw,
    "explore": _switch,
    "batch": _switch,
    "published": _switch,
    "time_zone": _zone,
    "picture_check": _picture_check,
    "digest_hour": _hour,
}
