"""What people may do about dreams and each other: delete, like, block, keep to themselves.

What moderators do to others stands in a log of its server, for good, without anybody's words.
Who may ask is judged by `bot.gate`; how a dream is taken away is known to `bot.dreams`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from bot.dreams import Dreams
from bot.errors import ForbiddenError, GoneError, InvalidRequestError
from bot.ids import now_ms
from bot.model import Act, Block, ModerationEntry, Person
from bot.rights import NOT_A_MODERATOR, Actor
from bot.store import Store, blocks, favourites, forgetting, people
from bot.store import moderation as log
from bot.text import clean

MAX_REASON = 300
MAX_ENTRIES = 100
MAX_LIKED = 1000
LONGEST_BLOCK_MS = 10 * 366 * 24 * 3600 * 1000


class Moderation:
    """The service. `start` reads who is blocked."""

    def __init__(self, store: Store, dreams: Dreams) -> None:
        self._store = store
        self._dreams = dreams
        self._blocks: dict[tuple[int, str], Block] = {}
        self._watchers: list[Callable[[str], None]] = []

    def on_favourite(self, watcher: Callable[[str], None]) -> None:
        """Call `watcher` with a dream's id after somebody liked it, or likes it no more."""
        self._watchers.append(watcher)

    def no_more(self, watcher: Callable[[str], None]) -> None:
        """Call a watcher no more; one that is not known changes nothing."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    async def start(self) -> None:
        """Read who is blocked."""
        found = await blocks.listing(self._store)
        self._blocks = {(block.guild_id, block.person.id): block for block in found}

    def forgotten(self, person_id: str) -> None:
        """Keep no name of somebody who wants to be forgotten. Their blocks stay."""
        nobody = Person(person_id, forgetting.NOBODY)
        for key, block in self._blocks.items():
            person = nobody if block.person.id == person_id else block.person
            by = nobody if block.by.id == person_id else block.by
            self._blocks[key] = msgspec.structs.replace(block, person=person, by=by)

    # --- dreams ------------------------------------------------------------------------------

    async def delete(self, dream_id: str, actor: Actor) -> None:
        """Take a dream away for good: its words, recipe, picture and files. A tombstone stays.

        One that is not over ends. Fronts take it off their pages as the feed says so.

        Raises:
            NotFoundError: there is no such dream; a GoneError where it was deleted before.
            ForbiddenError: it is neither theirs nor theirs to moderate.
            DiskError, StoreError: nothing can be written at present; it is still there.
        """
        await self._dreams.delete(dream_id, actor)

    async def favourite(
        self, dream_id: str, person: Person, *, known_as: Iterable[Person] = ()
    ) -> tuple[bool, int]:
        """Like a dream, or no more; return whether it is liked now, and by how many people.

        What they like as any of the persons that they are `known_as`, such as the guest that they
        were before they signed in, they like: it is taken back with this, and none is added to it.

        Raises:
            NotFoundError: there is no such dream; a GoneError where it was deleted.
            DiskError, StoreError: nothing can be kept at present.
        """
        await self._dreams.existing(dream_id)
        async with self._store.write() as connection:
            at_ms = now_ms()
            await people.upsert(connection, person, at_ms)
            known_ids = [one.id for one in known_as]
            liked = await favourites.toggle(
                connection, dream_id, person.id, at_ms, known_as=known_ids
            )
            if liked is None:
                raise GoneError
            count = await favourites.count(connection, dream_id)
        for watcher in self._watchers:
            watcher(dream_id)
        return liked, count

    async def like(self, dream_ids: Sequence[str], person: Person) -> None:
        """Like several dreams; those that are liked already still are, those deleted are not.

        Raises:
            DiskError, StoreError: nothing can be kept at present.
        """
        async with self._store.write() as connection:
            at_ms = now_ms()
            await people.upsert(connection, person, at_ms)
            await favourites.put(connection, dream_ids, person.id, at_ms)

    async def set_favourites(self, wishes: Iterable[tuple[str, Person, bool]]) -> None:
        """Have people like dreams, or like them no more, whatever they did before.

        Who likes no more what they never liked need have no name, and is not kept.

        Raises:
            DiskError, StoreError: nothing can be kept at present.
        """
        changed: dict[str, None] = {}
        async with self._store.write() as connection:
            at_ms = now_ms()
            for dream_id, person, liked in wishes:
                if liked:
                    await people.upsert(connection, person, at_ms)
                if await favourites.put_or_take(
                    connection, dream_id, person.id, at_ms, liked=liked
                ):
                    changed[dream_id] = None
        for dream_id in changed:
            for watcher in self._watchers:
                watcher(dream_id)

    async def favourites(self, dream_ids: Sequence[str]) -> dict[str, int]:
        """Return by how many people each of these dreams is liked."""
        return await favourites.counts(self._store, dream_ids)

    async def likes(self, dream_id: str, *known_as: Person) -> bool:
        """Say whether a person likes a dream, as any of those that they are known as."""
        for person in known_as:
            if await favourites.is_liked(self._store, dream_id, person.id):
                return True
        return False

    async def liked(self, person: Person, limit: int = 100) -> list[str]:
        """Return the ids of the dreams that a person likes, the newest liked first."""
        return await favourites.of_person(self._store, person.id, max(1, min(limit, MAX_LIKED)))

    # --- people ------------------------------------------------------------------------------

    def block_of(self, guild_id: int, person_id: str) -> Block | None:
        """Return why a person may not ask in a server at present, None where they may."""
        block = self._blocks.get((guild_id, person_id))
        if block is None or (block.until_ms is not None and block.until_ms <= now_ms()):
            return None
        return block

    def blocked(self, guild_id: int) -> list[Block]:
        """Return who may not ask in a server at present, oldest first."""
        return [
            block
            for guild, person_id in self._blocks
            if guild == guild_id and (block := self.block_of(guild, person_id)) is not None
        ]

    async def block(
        self,
        guild_id: int,
        person: Person,
        actor: Actor,
        *,
        reason: str = "",
        until_ms: int | None = None,
    ) -> Block:
        """Let a person ask for no more dreams in a server, for good or until a time.

        Their dreams that are not over go on; who deletes them as well says so.

        Raises:
            ForbiddenError: the actor does not moderate there.
            InvalidRequestError: it is themselves, or the reason or the time is wrong.
            DiskError, StoreError: nothing can be kept at present.
        """
        _check_moderates(guild_id, actor)
        at_ms = now_ms()
        reason = clean(reason)
        if person.id == actor.person.id:
            raise InvalidRequestError("person", "You cannot block yourself. Choose somebody else.")
        if len(reason) > MAX_REASON:
            raise InvalidRequestError("reason", f"The reason can have {MAX_REASON} letters.")
        if until_ms is not None and not at_ms < until_ms <= at_ms + LONGEST_BLOCK_MS:
            raise InvalidRequestError(
                "until", "A block ends in the future, within ten years; or leave the time out."
            )
        async with self._store.write() as connection:
            await people.upsert(connection, actor.person, at_ms)
            block = Block(
                guild_id=guild_id,
                person=await forgetting.met(connection, person, at_ms),
                by=actor.person,
                reason=reason,
                at_ms=at_ms,
                until_ms=until_ms,
            )
            await blocks.put(connection, block)
            detail = {} if until_ms is None else {"until_ms": until_ms}
            await log.append(
                connection,
                Act.BLOCKED,
                guild_id,
                actor.person,
                at_ms,
                person=person,
                detail=detail,
            )
        self._blocks[guild_id, person.id] = block
        return block

    async def unblock(self, guild_id: int, person: Person, actor: Actor) -> bool:
        """Let a person ask again; say whether they were blocked.

        Raises:
            ForbiddenError: the actor does not moderate there.
            DiskError, StoreError: nothing can be kept at present.
        """
        _check_moderates(guild_id, actor)
        was = self.block_of(guild_id, person.id) is not None
        async with self._store.write() as connection:
            if not await blocks.delete(connection, guild_id, person.id):
                return False
            at_ms = now_ms()
            await people.upsert(connection, actor.person, at_ms)
            await log.append(
                connection, Act.UNBLOCKED, guild_id, actor.person, at_ms, person=person
            )
        self._blocks.pop((guild_id, person.id), None)
        return was

    async def publishes(self, person: Person) -> bool:
        """Say whether what a person asks for in Discord is shown on the wall."""
        return await people.publishes(self._store, person.id)

    async def set_publishes(self, person: Person, publishes: bool) -> None:
        """Show what a person asks for from now on, or keep it to where they ask.

        Raises:
            DiskError, StoreError: nothing can be kept at present.
        """
        async with self._store.write() as connection:
            await people.upsert(connection, person, now_ms())
            await people.set_publishes(connection, person.id, publishes=publishes)

    async def log(
        self,
        guild_id: int,
        *,
        before: int | None = None,
        limit: int = 20,
        act: Act | None = None,
        person_id: str | None = None,
    ) -> list[ModerationEntry]:
        """Return what was decided in a server, newest first; `before` is an id to go on from.

        Only of one kind, and only what somebody did or what was done about them, where that is
        said.
        """
        return await log.latest(
            self._store,
            guild_id,
            before,
            max(1, min(limit, MAX_ENTRIES)),
            act=act,
            person_id=person_id,
        )


def _check_moderates(guild_id: int, actor: Actor) -> None:
    if not (actor.at_machine or (actor.moderates and actor.guild_id == guild_id)):
        raise ForbiddenError(NOT_A_MODERATOR)
