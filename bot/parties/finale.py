"""The finale: the chosen dreams drawn anew as large as can be, and then made larger still.

What is to come stands in the database, and is taken up again at every start. An upscale is
accepted in the transaction that ends its wait, so that it is asked for once, whatever dies.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import aiosqlite

from bot import logs
from bot.acceptance import Also
from bot.errors import (
    DiskError,
    ForbiddenError,
    GoneError,
    InvalidRequestError,
    LimitError,
    NotFoundError,
    RequestError,
    SchedulerError,
    StoreError,
)
from bot.model import Dream, DreamState, Person, Relation, Theme
from bot.parents import able, picture_of
from bot.parties.acting import LEADERS, note
from bot.parties.drawing import _at
from bot.parties.model import FinalePicture, Party, Stage
from bot.parties.recipes import enlarged
from bot.parties.voting import Voting
from bot.rights import Actor
from bot.sentences import say
from bot.side_tasks import SideTasks
from bot.store import parties, party_dreams
from generation.protocol import EngineInfo, Recipe

log = logging.getLogger(__name__)

MOST = 12
RETRY_S = 10.0


class Finale(Voting):
    """Chosen dreams on their way."""

    _retry_s = RETRY_S

    def _begin(self) -> None:
        self._chains = SideTasks()

    async def finale(
        self,
        party: Party,
        actor: Actor,
        dream_ids: Sequence[str],
        *,
        also: Also | None = None,
    ) -> list[FinalePicture]:
        """Draw the chosen dreams anew, large; what is finished is then upscaled by itself.

        `also` is called with those that are drawn anew, if there are any.

        Raises:
            As `Dreams.derive` does; ForbiddenError: the actor does not lead the party;
                InvalidRequestError: not at this stage, too many, or one has no picture.
        """
        return await self._finale(party, actor, dream_ids, also=also)

    async def _finale(
        self,
        party: Party,
        actor: Actor,
        dream_ids: Sequence[str],
        *,
        moves: bool = False,
        also: Also | None = None,
    ) -> list[FinalePicture]:
        """As `finale`; what `moves` brings the party to its finale with them, or not at all."""
        chosen = list(dict.fromkeys(dream_ids))
        if not 1 <= len(chosen) <= MOST:
            raise InvalidRequestError(
                "dream", say("Choose 1 to {most} pictures for the finale.", most=MOST)
            )
        dreams = [await self._own(party, dream_id) for dream_id in chosen]
        for dream in dreams:
            picture_of(dream)
        theme = await self.theme_of(party)
        engines = able(self._dreams.engines)
        recipes = {dream.id: enlarged(dream, engines, theme) for dream in dreams}
        anew = [dream_id for dream_id in chosen if recipes[dream_id] is not None]

        async def choose(connection: aiosqlite.Connection, children: Sequence[Dream]) -> None:
            stages = () if moves else (Stage.FINALE,)
            act = await self._admit(connection, party, actor, *stages, roles=LEADERS)
            if act.party.stage is not Stage.FINALE:
                await self._enter(act, Stage.FINALE)
            redrawn = {child.parent_id: child.id for child in children}
            await party_dreams.insert(connection, party.id, redrawn.values(), Stage.FINALE)
            for dream_id in chosen:
                await party_dreams.choose(
                    connection,
                    party.id,
                    dream_id,
                    actor.person.id,
                    redrawn.get(dream_id),
                    act.at_ms,
                )
            await act.note("finale", dream_ids=chosen)
            if children and also is not None:
                await also(connection, children)

        def made(parent: Dream, _: Theme, __: Sequence[EngineInfo]) -> list[Recipe]:
            recipe = recipes[parent.id]
            assert recipe is not None
            return [recipe]

        if anew:
            with logs.about(party=party.id):
                await self._dreams.derive(
                    anew,
                    made,
                    _at(party, actor),
                    Relation.ENLARGE,
                    channel_id=party.channel_id,
                    also=choose,
                )
        else:
            async with self._store.write() as connection:
                await choose(connection, ())
        pictures = [one for one in await self.finale_of(party) if one.dream_id in chosen]
        for picture in pictures:
            self._keep_going(party.id, actor.person, picture)
        return pictures

    async def _resume(self) -> None:
        for party_id, person, picture in await party_dreams.under_way(self._store):
            self._keep_going(party_id, person, picture)

    def _keep_going(self, party_id: str, person: Person, picture: FinalePicture) -> None:
        self._chains.keep(
            lambda: self._go_on(party_id, person, picture),
            "A picture of a finale waits",
            name="finale",
        )

    async def _go_on(self, party_id: str, person: Person, picture: FinalePicture) -> None:
        """Wait for a picture and upscale it; try again for as long as that cannot be done."""
        while True:
            try:
                party = await self.get(party_id)
                await self._upscale(party, person, picture, await self._best(picture))
                return
            except (ForbiddenError, LimitError, SchedulerError, DiskError, StoreError) as error:
                # Forbidden is what a paused stream answers: it goes on some time.
                log.debug("The finale waits: %s", error)
                await asyncio.sleep(self._retry_s)
            except RequestError as error:  # there is nothing to go on with
                log.info("Dream %s stays as it is: %s", picture.dream_id, error)
                return

    async def _best(self, picture: FinalePicture) -> Dream | None:
        """Return what is to be upscaled: what was drawn anew, or if that failed the chosen one."""
        for dream_id in (picture.redrawn_id, picture.dream_id):
            if dream_id is not None:
                try:
                    dream = await self._dreams.wait(dream_id)
                except NotFoundError:
                    continue
                if dream.state is DreamState.DONE and dream.deleted_ms is None:
                    return dream
        return None

    async def _upscale(
        self, party: Party, person: Person, picture: FinalePicture, best: Dream | None
    ) -> None:
        async def end(connection: aiosqlite.Connection, larger: Sequence[Dream]) -> None:
            upscaled_id = larger[0].id if larger else None
            if not await party_dreams.end_chain(
                connection, party.id, picture.dream_id, picture.redrawn_id, upscaled_id
            ):
                raise _AnotherCameFirstError
            await party_dreams.insert(
                connection, party.id, [one.id for one in larger], Stage.FINALE
            )
            at_ms = self._clock()
            member = await parties.member(connection, party.id, person.id)
            await note(
                connection, party, member, "enlarged", at_ms,
                dream_ids=[picture.dream_id, *(one.id for one in larger)],
            )  # fmt: skip

        try:
            if best is not None:
                try:
                    actor = _at(party, Actor(person))
                    with logs.about(party=party.id, dream=best.id):
                        await self._offspring.upscale(
                            best.id, actor, channel_id=party.channel_id, also=end
                        )
                    return
                except (InvalidRequestError, GoneError, NotFoundError) as error:
                    log.info("Dream %s stays as large as it is: %s", best.id, error)
            async with self._store.write() as connection:
                await end(connection, ())
        except _AnotherCameFirstError:
            return


class _AnotherCameFirstError(RequestError):
    """The finale was asked for once more meanwhile: that one's chain goes on."""
