"""Accept what has been checked: dreams, their people and the stream's events, all or nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import aiosqlite
import msgspec

from bot.errors import ForbiddenError
from bot.ids import IdMaker, now_ms
from bot.limits import Limits
from bot.model import (
    AskedBy,
    Dream,
    DreamState,
    EventKind,
    Image,
    Person,
    Relation,
    Theme,
)
from bot.sentences import say
from bot.store import Store, dream_states, events, images, people
from bot.store import dreams as rows
from generation.protocol import Recipe

PAUSED = say(
    "This theme is paused: nothing more is drawn in it for now. Try again later, or in another "
    "channel."
)
RETIRED = say(
    "This theme is no longer in use: nothing more is drawn in it. Its stream stays. Ask in another "
    "one."
)
FOR_MEMBERS = say(
    "In this theme only people on Discord ask for pictures. Ask there, or in another stream."
)
FOR_HOSTS = say(
    "In this theme only those who made it, or moderate the server it was made in, ask for "
    "pictures. Ask in another one."
)
_DISCORD = "discord:"
_LOCAL = "local:"  # who sits at the machine itself, and what dreams there by itself
Also = Callable[[aiosqlite.Connection, Sequence[Dream]], Awaitable[None]]
Guard = Callable[[aiosqlite.Connection, Theme, Sequence[Dream]], Awaitable[None]]
"""Judges every ask in the transaction that accepts it; it may write, or raise what refuses it."""


@dataclass(frozen=True)
class Order:
    """Recipes to be drawn together, and whose and whence they are. `note` is for the person.

    `images` are the kept pictures that they name. With `parents` each recipe has its own parent
    and that one's prompt, and is shown nowhere where that one is not; without, `published` says
    whether the one parent there may be is. `moderates` says that the person does, where they ask.

    `also` writes what a front must not lose either, in the same transaction. It may raise what
    refuses them, and keep them from being published. In a `study` each has its own of `prompts`,
    and the words of the study that are in it.
    """

    prompt: str
    theme: Theme
    person: Person
    recipes: Sequence[Recipe]
    images: Sequence[Image] = ()
    background: bool = False
    guild_id: int | None = None
    channel_id: int | None = None
    parent_id: str | None = None
    published: bool = True
    parents: Sequence[Dream] = ()
    relation: Relation | None = None
    note: str = ""
    moderates: bool = False
    prompts: Sequence[str] = ()
    study: Sequence[str] = ()
    also: Also | None = None


class Acceptance:
    """The one place that makes dreams."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store = store
        self._limits = limits
        self._ids = IdMaker()
        self._guards: list[Guard] = []

    def guard(self, guard: Guard) -> None:
        """Have every ask from now on pass a guard, too."""
        self._guards.append(guard)

    async def start(self) -> None:
        """Go on where the ids of earlier dreams end."""
        self._ids = IdMaker(await rows.last_id(self._store))

    async def check(self, person: Person, count: int, *, background: bool = False) -> None:
        """Refuse early what `write` would most likely refuse.

        Raises:
            LimitError: the person, or everybody together, has too many waiting.
        """
        everybody, own = await rows.unfinished_now(self._store, person.id, background=background)
        self._limits.check(count, own=own, everybody=everybody, background=background)

    async def write(self, order: Order) -> list[Dream]:
        """Make an order's dreams. Once this returns they survive a power cut.

        Raises:
            ForbiddenError: the theme is paused or retired, or not for this person to ask in.
            LimitError: the person, or everybody together, has too many waiting.
            DiskError, StoreError: nothing can be kept at present.
        """
        if order.theme.retired:
            raise ForbiddenError(RETIRED)
        if order.theme.paused:
            raise ForbiddenError(PAUSED)
        at_ms = now_ms()
        dreams = self._dreams(order, at_ms)
        payload = {"ask_id": dreams[0].ask_id} | ({"note": order.note} if order.note else {})
        async with self._store.write() as connection:
            # Counted in the same transaction: many asks at once cannot pass the limit together.
            background = order.background
            everybody, own = await rows.count_unfinished(
                connection, order.person.id, background=background
            )
            self._limits.check(len(dreams), own=own, everybody=everybody, background=background)
            await check_may_ask(
                connection,
                order.theme,
                order.person.id,
                guild_id=order.guild_id,
                moderates=order.moderates,
            )
            await people.upsert(connection, order.person, at_ms)
            for image in order.images:
                await images.insert(connection, image, at_ms)
            if not await people.publishes_now(connection, order.person.id):
                dreams = [msgspec.structs.replace(dream, published=False) for dream in dreams]
            await dream_states.insert(connection, dreams)
            if order.also is not None:
                await order.also(connection, dreams)
            for guard in self._guards:
                await guard(connection, order.theme, dreams)
            if order.also is not None or self._guards:
                dreams = await rows.as_kept_now(connection, dreams)
            for dream in dreams:
                await events.append(
                    connection,
                    EventKind.ASKED,
                    dream.theme_id,
                    at_ms,
                    dream_id=dream.id,
                    person_id=dream.person.id,
                    payload=payload if dream.published else payload | {"published": False},
                )
        return dreams

    def _dreams(self, order: Order, at_ms: int) -> list[Dream]:
        ids = [self._ids.next() for _ in order.recipes]
        origins: list[tuple[str, str | None, bool]]
        origins = [(parent.prompt, parent.id, parent.published) for parent in order.parents]
        prompts = order.prompts or [order.prompt] * len(ids)
        origins = origins or [(prompt, order.parent_id, order.published) for prompt in prompts]
        studied: Sequence[str | None] = order.study or [None] * len(ids)
        return [
            Dream(
                id=dream_id,
                ask_id=ids[0],
                theme_id=order.theme.id,
                person=order.person,
                prompt=prompt,
                recipe=recipe,
                state=DreamState.WAITING,
                parent_id=parent_id,
                relation=order.relation,
                background=order.background,
                studied=words,
                guild_id=order.guild_id,
                channel_id=order.channel_id,
                published=published,
                created_ms=at_ms,
            )
            for dream_id, recipe, (prompt, parent_id, published), words in zip(
                ids, order.recipes, origins, studied, strict=True
            )
        ]


async def check_may_ask(
    connection: aiosqlite.Connection,
    theme: Theme,
    person_id: str,
    *,
    guild_id: int | None,
    moderates: bool,
) -> None:
    """Refuse who may not ask in a theme, whichever way they ask.

    Who moderates a server is a host of the themes that were made in it. Who moderates in no server
    sits at the machine itself, and is a host of all.

    Raises:
        ForbiddenError: they may not.
    """
    if theme.asked_by is AskedBy.EVERYBODY or person_id.startswith(_LOCAL):
        return
    if theme.asked_by is AskedBy.MEMBERS:
        if not person_id.startswith(_DISCORD):
            raise ForbiddenError(FOR_MEMBERS)
    elif moderates and (
        guild_id is None or await events.is_made_in_now(connection, theme.id, guild_id)
    ):
        return
    elif not await events.is_made_by_now(connection, theme.id, person_id):
        raise ForbiddenError(FOR_HOSTS)
