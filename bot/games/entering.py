"""Entering something in a game, liking it, and taking it back.

What is entered is scored at once, by the model that the game's first score came from. A try is
counted before it is scored, in the transaction that finds the game open: so many at once cannot
pass the limit, and what came in time counts however long the scoring takes. One of which nothing
comes, since nothing could look at it, is given back.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Set
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec

from bot.checking.service import Brought, PictureChecks
from bot.errors import DreamstreamError, ForbiddenError, InvalidRequestError, LimitError
from bot.games import rules
from bot.games.model import MACHINE, Entry, Game, GameKind, GameState, Tried
from bot.games.reading import Reading, moderates
from bot.ids import IdMaker
from bot.library import described
from bot.model import Act, Image, Person
from bot.removal import Removal
from bot.rights import Actor
from bot.sentences import say
from bot.side_tasks import SideTasks
from bot.store import dreams as dream_rows
from bot.store import game_entries, games, images, moderation, people
from bot.values import check_person

log = logging.getLogger(__name__)

OVER = "This game is over."
_TOO_MANY = say("You have tried {count} times, which is as often as one may.", count=5)
_ONCE = "You have chosen already, and cannot change it."
_FULL = "This game is full."


class Entering(Reading):
    """What players do."""

    def __init__(self, *services: Any, **options: Any) -> None:
        super().__init__(*services, **options)
        self._ids = IdMaker()
        self._removal = Removal(self._store, self._library)
        self._tasks = SideTasks()
        self._watchers: list[Callable[[str], None]] = []
        self._pending: Counter[str] = Counter()
        self._settled = asyncio.Event()
        self._ending: set[str] = set()
        self._checks: PictureChecks | None = None

    def check_pictures(self, checks: PictureChecks) -> None:
        """Have what is entered from now on checked before anybody sees it."""
        self._checks = checks

    def on_change(self, watcher: Callable[[str], None]) -> None:
        """Call `watcher` with a game's id after anything about it has changed."""
        self._watchers.append(watcher)

    def no_more(self, watcher: Callable[[str], None]) -> None:
        """Call a watcher no more; one that is not known changes nothing."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    async def enter_picture(self, game_id: str, actor: Actor, data: bytes) -> Tried:
        """Enter an uploaded or painted picture in a game of drawing; the best of several counts.

        Raises:
            NotFoundError: there is no such game that may be seen there.
            ForbiddenError: they may not ask there.
            InvalidRequestError: the game is over or another kind, the picture cannot be read, was
                drawn here, or is somebody else's.
            LimitError: they have tried too often, the game is full, or too many wait.
            SchedulerError: nothing can look at present. The try is not counted.
            DiskError, StoreError: nothing can be kept at present.
        """
        game = await self.get(game_id)
        asker = await self._check_here(game, actor)
        self._library.uploads.check_bytes(len(data), "picture")
        async with self._trying(game, actor.person, GameKind.DRAW) as (person, perceptor):
            sha256, png = await self._library.keep_upload(data)
            try:
                image = described(sha256, png)
                await self._check_own(game, person, sha256)
                if self._checks is not None:
                    setting = self._gate.picture_check(asker) or self._checks.default
                    brought = Brought(person, game.guild_id, game.channel_id)
                    await self._checks.check_upload(png, setting, brought, "picture")
                judged = await self._judge.drawing(perceptor, png, game.prompt)
                return await self._tasks.finish(
                    self._enter(
                        game, person, perceptor, judged.score, writing=judged.writing, image=image
                    )
                )
            finally:
                named = True  # rather a file too many than one too few
                with suppress(DreamstreamError):
                    named = await images.named(self._store, sha256)
                await self._library.let_go(sha256, named=named)
                await self._removal.remove_files()

    async def enter_text(self, game_id: str, actor: Actor, text: str) -> Tried:
        """Say what a game's picture shows; the best of several counts.

        The picture's own words, which anybody may look up in its stream, are refused.

        Raises:
            As `enter_picture` does; InvalidRequestError: the text is empty, too long, has a
                blocked word, or repeats the picture's own.
        """
        game = await self.get(game_id)
        asker = await self._check_here(game, actor)
        text = rules.check_text(text)
        self._gate.check_words(asker, [text])
        if game.kind is GameKind.SAY and rules.repeats(text, game.prompt):
            raise InvalidRequestError(
                "text",
                "These are nearly the words that the picture was drawn from. Say it in words of "
                "your own.",
            )
        async with self._trying(game, actor.person, GameKind.SAY) as (person, perceptor):
            picture = await self._picture(game)
            score = await self._judge.saying(perceptor, picture, text)
            return await self._tasks.finish(self._enter(game, person, perceptor, score, text=text))

    async def choose(
        self, game_id: str, actor: Actor, index: int, *, known_as: Iterable[Person] = ()
    ) -> Tried:
        """Say which prompt a game's picture was drawn from; it cannot be changed.

        The actor knows what any of the persons knows that they are `known_as`, such as the guest
        that they were before they signed in.

        Raises:
            As `enter_picture` does; ForbiddenError: they know it; InvalidRequestError: there is
                no such choice.
        """
        game = await self.get(game_id)
        await self._check_here(game, actor)
        if game.kind is GameKind.GUESS:
            if not 0 <= index < len(game.choices) or not game.choices[index]:
                raise InvalidRequestError("choice", "There is no such choice. Take another.")
            await self._check_do_not_know(game, {actor.person.id, *(one.id for one in known_as)})
        async with self._trying(game, actor.person, GameKind.GUESS) as (person, perceptor):
            score = 100.0 if game.choices[index] == game.prompt else 0.0
            return await self._tasks.finish(
                self._enter(game, person, perceptor, score, choice=index)
            )

    async def withdraw(self, entry_id: str, actor: Actor) -> None:
        """Take an entry away for good, with its picture: by whose it is, or by a moderator.

        Raises:
            NotFoundError: it is not there.
            ForbiddenError: it is neither theirs nor theirs to moderate.
            DiskError, StoreError: nothing can be written at present; it is still there.
        """
        entry = await self.entry(entry_id)
        game = await self.get(entry.game_id)
        own = entry.person.id == actor.person.id
        if not own and not moderates(game, actor):
            raise ForbiddenError("Only whose it is, or a moderator, can take it away.")
        person, at_ms = check_person(actor.person), self._clock()
        async with self._store.write() as connection:
            await people.upsert(connection, person, at_ms)
            gone = await game_entries.withdraw(connection, entry.id, person.id, at_ms)
            if gone and not own and game.guild_id is not None:
                await moderation.append(
                    connection,
                    Act.DELETED,
                    game.guild_id,
                    person,
                    at_ms,
                    person=entry.person,
                    channel_id=game.channel_id,
                )
        await self._tasks.finish(self._delete_left())
        await self._tasks.finish(self._removal.remove_files())
        self._changed(game.id)

    async def heart(
        self, entry_id: str, actor: Actor, *, known_as: Iterable[Person] = ()
    ) -> tuple[bool, int]:
        """Like an entry of a game that is over, or no more; return whether, and how many do.

        The actor likes what any of the persons likes that they are `known_as`.

        Raises:
            NotFoundError: it is not there, or may not be seen there.
            ForbiddenError: they may not ask there.
            InvalidRequestError: the game goes on.
            DiskError, StoreError: nothing can be kept at present.
        """
        entry = await self.entry(entry_id)
        game = await self.get(entry.game_id)
        await self._check_here(game, actor)
        if game.state is not GameState.OVER:
            raise InvalidRequestError("game", "Entries can be liked once the game is over.")
        person, at_ms = check_person(actor.person), self._clock()
        async with self._store.write() as connection:
            await people.upsert(connection, person, at_ms)
            known_ids = [one.id for one in known_as]
            liked = await game_entries.toggle_heart(
                connection, entry.id, person.id, at_ms, known_as=known_ids
            )
        self._changed(game.id)
        return liked, (await self.entry(entry_id)).hearts

    # --- one try -----------------------------------------------------------------------------

    @asynccontextmanager
    async def _trying(
        self, game: Game, who: Person, kind: GameKind
    ) -> AsyncIterator[tuple[Person, str]]:
        """Count a try, and give who tries and the model that scores; give it back on an error.

        Raises:
            InvalidRequestError: the game is over, or another kind.
            LimitError: they have tried too often, or the game is full.
        """
        if game.kind is not kind:
            raise InvalidRequestError("game", "That is not what this game is about.")
        perceptor = game.perceptor
        if not perceptor and kind is not GameKind.GUESS:  # a guess is right or wrong
            perceptor = self._judge.perceptor()
        person, at_ms = check_person(who), self._clock()
        async with self._store.write() as connection:
            now = await games.by_id(connection, game.id)
            if now is None or not now.open or at_ms >= now.ends_ms or game.id in self._ending:
                raise InvalidRequestError("game", OVER)
            await people.upsert(connection, person, at_ms)
            tried = await game_entries.tries(connection, game.id, person.id)
            if tried >= rules.TRIES[kind]:
                raise LimitError(_TOO_MANY if kind is not GameKind.GUESS else _ONCE)
            own = await game_entries.of_person(connection, game.id, person.id)
            full = await game_entries.count(connection, game.id) >= rules.MAX_ENTRIES
            if own is None and full:
                raise LimitError(_FULL)
            await game_entries.count_try(connection, game.id, person.id)
            await games.set_perceptor(connection, game.id, perceptor)
            chosen = await games.by_id(connection, game.id)
            assert chosen is not None
        self._pending[game.id] += 1
        try:
            yield person, chosen.perceptor
        except BaseException:
            with suppress(DreamstreamError):
                async with self._store.write() as connection:
                    await game_entries.count_try(connection, game.id, person.id, -1)
            raise
        finally:
            self._pending[game.id] -= 1
            self._pending += Counter()  # leaves out what is 0
            self._settled.set()

    async def _enter(
        self,
        game: Game,
        person: Person,
        perceptor: str,
        score: float,
        *,
        text: str = "",
        choice: int | None = None,
        image: Image | None = None,
        writing: bool = False,
    ) -> Tried:
        """Keep a try where it is the person's best."""
        at_ms = self._clock()
        async with self._store.write() as connection:
            now = await games.by_id(connection, game.id)
            if now is None or not now.open:  # it was ended or called off meanwhile
                raise InvalidRequestError("game", OVER)
            before = await game_entries.of_person(connection, game.id, person.id)
            best = before is None or before.score is None or score > before.score
            if best:
                if image is not None:
                    await images.insert(connection, image, at_ms)
                public = await people.publishes_now(connection, person.id)
                entry = Entry(
                    id=self._ids.next(),
                    game_id=game.id,
                    person=person,
                    text=text,
                    choice=choice,
                    image=image,
                    score=score,
                    writing=writing,
                    published=now.published and public,
                    at_ms=at_ms,
                )
                await game_entries.put(connection, entry)
            kept = await game_entries.of_person(connection, game.id, person.id)
            tried = await game_entries.tries(connection, game.id, person.id)
        assert kept is not None
        if game.kind is GameKind.GUESS:
            kept = msgspec.structs.replace(kept, score=None)
        self._changed(game.id)
        return Tried(
            entry=kept,
            score=None if game.kind is GameKind.GUESS else score,
            writing=writing,
            best=best,
            left=max(0, rules.TRIES[game.kind] - tried),
        )

    async def _delete_left(self) -> None:
        """Delete the machine's dreams, and so their words, whose entries were taken away.

        What cannot be deleted now is at the next start.
        """
        for dream_id in await game_entries.left(self._store):
            try:
                await self._dreams.delete(dream_id, Actor(MACHINE))
            except DreamstreamError as error:
                log.warning("The machine's dream %s is still there: %s", dream_id, error)

    async def _check_own(self, game: Game, person: Person, sha256: str) -> None:
        if await dream_rows.of_image(self._store, sha256, 1):
            raise InvalidRequestError(
                "picture", "This picture was drawn here by a machine. Draw one of your own."
            )
        if await game_entries.is_anothers(self._store, game.id, person.id, sha256):
            raise InvalidRequestError(
                "picture", "Somebody has entered this very picture. Draw one of your own."
            )

    async def _check_do_not_know(self, game: Game, person_ids: Set[str]) -> None:
        """Refuse who asked for the picture, or chose it for the game, as any of these persons."""
        if MACHINE.id in person_ids or game.dream_id is None:
            return
        dream = await self._dreams.get(game.dream_id)
        if dream.person.id in person_ids or (game.host_knows and game.host.id in person_ids):
            raise ForbiddenError("You know what this picture was drawn from. Let others guess.")

    async def _picture(self, game: Game) -> bytes:
        """Return the picture that a game is about.

        Raises:
            InvalidRequestError: it was deleted.
        """
        if game.image is None:
            raise InvalidRequestError("game", "The picture of this game was deleted.")
        return await self._library.read(game.image.sha256)

    def _changed(self, game_id: str) -> None:
        for watcher in self._watchers:
            watcher(game_id)
