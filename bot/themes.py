"""Themes: what a stream is about, and how prompts become recipes there."""

from __future__ import annotations

import builtins
import math
import re
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import aiosqlite
import msgspec

from bot.errors import InvalidRequestError, NotFoundError
from bot.ids import now_ms
from bot.model import AskedBy, EventKind, Holds, Person, Theme, Visibility
from bot.palettes import listed
from bot.presets import check_themes_preset
from bot.prompts import PLACE, count_prompts
from bot.sentences import option, say
from bot.store import Store, channels, events, people
from bot.store import themes as rows
from bot.text import clean, shorten, visible

DEFAULT_SLUG = "open"
DEFAULT_TITLE = "Open canvas"
DEFAULT_TOPIC = "Anything you can put into words."

MAX_TITLE = 80
MAX_TOPIC = 300
MAX_TEMPLATE = 500
MAX_PARTS = 32  # as of a prompt: `bot.limits.Limits.prompt_parts`
MAX_WEIGHT = 100.0
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_COLOUR = re.compile(r"#[0-9a-f]{6}")
AlsoWithTheme = Callable[[aiosqlite.Connection, Theme], Awaitable[None]]

MOST_BY_ITSELF = {"autopilot": 2000, "autopilot_seconds": 86_400, "autopilot_quiet": 1440}
AUTOPILOT = frozenset((*MOST_BY_ITSELF, "autopilot_alone"))
OF_THE_MACHINE = AUTOPILOT | {"weight"}
"""What whoever has the machine says, and no server does."""
BOUNDS = ("max_side", "max_steps", "max_count")
NOT_IN_FILES = frozenset({"picture_sha256", "retired"})
"""What a theme is here, and no file can say: a picture of the library, and its end."""
_CHANGEABLE = frozenset(Theme.__struct_fields__) - {"id", "slug", "created_ms"}
_PICTURE = re.compile(r"[0-9a-f]{64}")


_PLAIN = Theme(id=0, slug="plain", title="Plain")


class Themes:
    """The themes there are, and the making of new ones."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watchers: list[Callable[[], None]] = []
        self._known: dict[int, Theme] = {}

    def on_change(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Call `watcher` after a theme was made or changed, until what is returned is called."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    @property
    def known(self) -> tuple[Theme, ...]:
        """The themes there are, oldest first, from memory."""
        return tuple(self._known[theme_id] for theme_id in sorted(self._known))

    async def list(self) -> builtins.list[Theme]:
        """Return all themes, oldest first."""
        return await rows.listing(self._store)

    async def get(self, slug: str) -> Theme:
        """Return the theme with this slug.

        Raises:
            NotFoundError: there is none.
        """
        return _found(await rows.by_slug(self._store, slug), slug)

    async def by_id(self, theme_id: int) -> Theme:
        """Return the theme with this id.

        Raises:
            NotFoundError: there is none.
        """
        theme = await rows.by_id(self._store, theme_id)
        if theme is None:
            raise NotFoundError("There is no such stream.")
        return theme

    async def is_by(self, theme: Theme, person: Person) -> bool:
        """Say whether somebody has made a theme, or changed it."""
        return await events.is_made_by(self._store, theme.id, person.id)

    async def is_made_in(self, theme: Theme, guild_id: int) -> bool:
        """Say whether a theme was made in a server, or brought back there."""
        return await events.is_made_in(self._store, theme.id, guild_id)

    async def ensure_default(self) -> Theme:
        """Return the theme that is always there; make it on the first start."""
        theme = await rows.by_slug(self._store, DEFAULT_SLUG)
        if theme is None:
            theme = await self.create(DEFAULT_SLUG, DEFAULT_TITLE, topic=DEFAULT_TOPIC)
        self._known |= {known.id: known for known in await self.list()}
        return theme

    async def create(
        self,
        slug: str,
        title: str,
        *,
        person: Person | None = None,
        guild_id: int | None = None,
        also: AlsoWithTheme | None = None,
        **details: Any,
    ) -> Theme:
        """Make a theme, in a server or elsewhere. `details` are fields of `Theme`.

        `also` is called within the transaction, to write what belongs to it. It may raise.

        Raises:
            InvalidRequestError: a field is wrong, or the slug is taken.
            sqlite3.IntegrityError: its picture is not in the library.
        """
        theme = checked(
            Theme(id=0, slug=slug.strip().lower(), title=title, created_ms=now_ms()), details
        )
        try:
            async with self._store.write() as connection:
                theme = await rows.insert(connection, theme)
                await self._record(connection, theme, person, "created", guild_id)
                if also is not None:
                    await also(connection, theme)
        except sqlite3.IntegrityError as error:
            there = await rows.by_slug(self._store, theme.slug)
            if there is None:  # then it is its picture that is not in the library
                raise
            raise InvalidRequestError(
                "slug",
                say(
                    "There is a theme called “{slug}” already, which is no longer in use. Choose "
                    "another name.",
                    slug=theme.slug,
                )
                if there.retired
                else say(
                    "There is a theme called “{slug}” already. Choose another name.",
                    slug=theme.slug,
                ),
            ) from error
        self._changed(theme)
        return theme

    async def change(
        self,
        slug: str,
        *,
        person: Person | None = None,
        made_in: int | None = None,
        also: AlsoWithTheme | None = None,
        **details: Any,
    ) -> Theme:
        """Change fields of a theme. What is being drawn already stays as it was asked.

        `made_in` is a server that it counts as made in from then on. `also` is called within the
        transaction, to write what belongs to it. It may raise.

        Raises:
            NotFoundError: there is no such theme.
            InvalidRequestError: a field is wrong.
        """
        async with self._store.write() as connection:
            # Read within the transaction: of two changes at once neither undoes the other.
            theme = checked(_found(await rows.newest(connection, slug), slug), details)
            await rows.update(connection, theme)
            await self._record(connection, theme, person, "changed", made_in)
            if also is not None:
                await also(connection, theme)
        self._changed(theme)
        return theme

    async def take_up(
        self,
        slug: str,
        title: str,
        *,
        person: Person | None = None,
        guild_id: int | None = None,
        **details: Any,
    ) -> Theme:
        """Make a theme as `create` does; one of this name that was retired comes back, as said now.

        Raises:
            InvalidRequestError: a field is wrong, or there is one of this name that is in use.
        """
        there = await rows.by_slug(self._store, slug.strip().lower())
        if there is None or not there.retired:
            return await self.create(slug, title, person=person, guild_id=guild_id, **details)
        plain = {name: getattr(_PLAIN, name) for name in _CHANGEABLE - {"picture_sha256"}}
        changes = plain | {"title": title} | details
        return await self.change(there.slug, person=person, made_in=guild_id, **changes)

    async def retire(self, slug: str, *, person: Person | None = None) -> Theme:
        """End a theme for good: it takes no asks, hangs nowhere and is offered nowhere.

        Its stream stays for who has the link, so that nobody's picture vanishes.

        Raises:
            NotFoundError: there is no such theme.
            InvalidRequestError: it is the one that is always there.
        """
        if slug == DEFAULT_SLUG:
            raise InvalidRequestError(
                "theme", "This is the theme of channels without one. It stays; it can be paused."
            )
        theme = await self.get(slug)
        seen = Visibility.LINK if theme.visibility is Visibility.PUBLIC else theme.visibility

        async def take_down(connection: aiosqlite.Connection, theme: Theme) -> None:
            await channels.unbind_theme(connection, theme.id)

        return await self.change(slug, person=person, also=take_down, retired=True, visibility=seen)

    async def reread(self) -> None:
        """Look at the database again, after something else has changed a theme's row."""
        self._known = {theme.id: theme for theme in await self.list()}
        self._tell()

    async def _record(
        self,
        connection: Any,
        theme: Theme,
        person: Person | None,
        what: str,
        guild_id: int | None = None,
    ) -> None:
        at_ms = now_ms()
        if person is not None:
            await people.upsert(connection, person, at_ms)
        await events.append(
            connection,
            EventKind.THEME,
            theme.id,
            at_ms,
            person_id=None if person is None else person.id,
            payload={"what": what} | ({} if guild_id is None else {"guild_id": guild_id}),
        )

    def _changed(self, theme: Theme) -> None:
        self._known[theme.id] = theme
        self._tell()

    def _tell(self) -> None:
        for watcher in self._watchers:
            watcher()


def _found(theme: Theme | None, slug: str) -> Theme:
    if theme is None:
        raise NotFoundError(
            say("There is no theme called “{slug}”.", slug=shorten(clean(slug), 40))
        )
    return theme


def checked(theme: Theme, details: dict[str, Any], named: Callable[[str], str] = option) -> Theme:
    """Return the theme with `details` changed, cleaned and checked.

    `named` says what a mistake's sentence calls a field: by itself, what commands call it in the
    reader's language; in a file it has one name, whoever reads it.

    Raises:
        InvalidRequestError: a field is wrong.
    """
    unknown = set(details) - _CHANGEABLE
    if unknown:
        raise InvalidRequestError(min(unknown), say("A theme has no “{name}”.", name=min(unknown)))
    theme = msgspec.structs.replace(theme, **details)
    for name, kind in (("visibility", Visibility), ("asked_by", AskedBy), ("holds", Holds)):
        if getattr(theme, name) not in tuple(kind):
            raise InvalidRequestError(
                name, say("{name} is one of {these}.", name=named(name), these=", ".join(kind))
            )
    theme = msgspec.structs.replace(
        theme,
        **{
            name: clean(getattr(theme, name))
            for name in (
                *("title", "topic", "template", "modifiers", "negative", "engine", "model"),
                "subject",
            )
        },
        palette=", ".join(listed(theme.palette)),
        preset=check_themes_preset(theme.preset),
        colour=theme.colour.lower(),
        visibility=Visibility(theme.visibility),
        asked_by=AskedBy(theme.asked_by),
        holds=Holds(theme.holds),
    )
    if not _SLUG.fullmatch(theme.slug):
        raise InvalidRequestError(
            "slug",
            "A theme's short name has 1 to 40 small letters, digits and hyphens, such as "
            "“misty-castles”.",
        )
    if not visible(theme.title):
        raise InvalidRequestError("title", "Give the theme a title.")
    for name, limit in (
        ("title", MAX_TITLE),
        ("topic", MAX_TOPIC),
        ("template", MAX_TEMPLATE),
        ("modifiers", MAX_TEMPLATE),
        ("negative", MAX_TEMPLATE),
        ("subject", MAX_TOPIC),
    ):
        length = len(getattr(theme, name))
        if length > limit:
            raise InvalidRequestError(
                name,
                say(
                    "“{name}” has {length} characters; at most {limit} are taken.",
                    name=named(name),
                    length=length,
                    limit=limit,
                ),
            )
    for name in ("template", "modifiers", "negative"):
        count = count_prompts(getattr(theme, name))
        if count > MAX_PARTS:
            raise InvalidRequestError(
                name,
                say(
                    "“{name}” has {count} parts between bars; at most {limit} are taken.",
                    name=named(name),
                    count=count,
                    limit=MAX_PARTS,
                ),
            )
    if theme.template.count(PLACE) != 1:
        raise InvalidRequestError(
            "template",
            say("The template must hold {place} once: that is where the words go.", place=PLACE),
        )
    if not (math.isfinite(theme.weight) and 0 < theme.weight <= MAX_WEIGHT):
        raise InvalidRequestError(
            "weight",
            say(
                "The weight is a number above 0, at most {most}; 1 is usual.",
                most=f"{MAX_WEIGHT:g}",
            ),
        )
    if not _COLOUR.fullmatch(theme.colour):
        raise InvalidRequestError("colour", "The colour is written like #7c6cff.")
    for name, most in MOST_BY_ITSELF.items():
        if not 0 <= getattr(theme, name) <= most:
            raise InvalidRequestError(
                name,
                say(
                    "“{name}” is a whole number from 0 to {most:,}; an autopilot of 0 is none.",
                    name=named(name),
                    most=most,
                ),
            )
    for name in ("width", "height", "steps", *BOUNDS):
        value = getattr(theme, name)
        if value is not None and not 0 < value <= 100_000:
            raise InvalidRequestError(
                name, say("“{name}” is a whole number above 0, or left out.", name=named(name))
            )
    for name, bound in (("width", "max_side"), ("height", "max_side"), ("steps", "max_steps")):
        value, most = getattr(theme, name), getattr(theme, bound)
        if value is not None and most is not None and value > most:
            raise InvalidRequestError(
                bound,
                say(
                    "The theme's own “{name}”, {value:,}, is more than its “{bound}”, {most:,}.",
                    name=named(name),
                    value=value,
                    bound=named(bound),
                    most=most,
                ),
            )
    if not (math.isfinite(theme.strictness) and 0 <= theme.strictness <= 1):
        raise InvalidRequestError("strictness", "The strictness is a number from 0 to 1.")
    if theme.holds is not Holds.OFF and not theme.subject:
        raise InvalidRequestError(
            "subject", "Say in a few words what the theme's subject is, which it is to hold."
        )
    if theme.picture_sha256 is not None and not _PICTURE.fullmatch(theme.picture_sha256):
        raise InvalidRequestError("picture", "That is not the name of a kept picture.")
    return theme
