"""Choosing: favourites, pairs and points, each of which may be changed until the stage ends."""

from __future__ import annotations

from collections.abc import Container, Mapping

from bot.errors import InvalidRequestError, NotFoundError
from bot.parties.acting import Act
from bot.parties.counting import in_another_thread, next_pair
from bot.parties.drawing import Drawing
from bot.parties.model import Party, Stage
from bot.rights import Actor
from bot.sentences import say
from bot.store import party_dreams, party_votes

BUDGET = 5


class Voting(Drawing):
    """Votes of the people who are there."""

    async def favour(self, party: Party, actor: Actor, dream_id: str) -> bool:
        """Have somebody favour a dream, or no more; say whether they do now.

        Raises:
            ForbiddenError: they are not there.
            InvalidRequestError: it is not the time for it.
            NotFoundError: it is none of the party's finished dreams.
        """
        async with self._acting(party, actor, Stage.CHOOSE) as act:
            await _check_drawn(act, dream_id)
            liked = await party_votes.toggle_favourite(
                act.connection, party.id, actor.person.id, dream_id, act.at_ms
            )
            await act.note("voted")
        return liked

    async def pair(
        self, party: Party, actor: Actor, *, among: Container[str] | None = None
    ) -> tuple[str, str] | None:
        """Return two dreams for somebody to compare, None where they have compared all.

        They are of the last ones: those that nothing finished has grown of. No pair comes again.
        With `among`, both are of these: of those that may be shown where they are asked.
        """
        last = await self.last_ones(party)
        if among is not None:
            last = [one for one in last if one in among]
        votes = await party_votes.of_party(self._store, party.id)
        return await in_another_thread(next_pair, last, votes, actor.person.id)

    async def last_ones(self, party: Party) -> list[str]:
        """Return the ids of the finished dreams of which nothing finished has grown."""
        drawn = dict.fromkeys(await party_dreams.drawn(self._store, party.id))
        nodes = [node for node in await self.nodes(party) if node.dream.id in drawn]
        before = {node.parent_id for node in nodes} | {node.entry.other_id for node in nodes}
        return [dream_id for dream_id in drawn if dream_id not in before]

    async def prefer(
        self, party: Party, actor: Actor, winner_id: str, loser_id: str, *, equal: bool = False
    ) -> None:
        """Note which of two dreams somebody prefers; with `equal`, that they prefer neither.

        Raises:
            As `favour` does.
        """
        if winner_id == loser_id:
            raise InvalidRequestError("dream", "Choose two different dreams.")
        async with self._acting(party, actor, Stage.CHOOSE) as act:
            await _check_drawn(act, winner_id, loser_id)
            await party_votes.put_pair(
                act.connection,
                party.id,
                actor.person.id,
                winner_id,
                loser_id,
                act.at_ms,
                equal=equal,
            )
            await act.note("voted")

    async def give_points(self, party: Party, actor: Actor, points: Mapping[str, int]) -> None:
        """Note somebody's points, at most `BUDGET` together, in place of all they gave before.

        Raises:
            As `favour` does; InvalidRequestError: these are too many, or less than none.
        """
        for value in points.values():
            if value < 0:
                raise InvalidRequestError("points", "A picture gets 0 points or more.")
        if sum(points.values()) > BUDGET:
            raise InvalidRequestError(
                "points",
                say("You have {most} points to give in all. Take some back first.", most=BUDGET),
            )
        async with self._acting(party, actor, Stage.CHOOSE) as act:
            await _check_drawn(act, *points)
            await party_votes.put_points(
                act.connection, party.id, actor.person.id, points, act.at_ms
            )
            await act.note("voted")


async def _check_drawn(act: Act, *dream_ids: str) -> None:
    drawn = set(await party_dreams.drawn(act.connection, act.party.id))
    if not drawn.issuperset(dream_ids):
        raise NotFoundError("This dream is not one of the party's, or it is not finished.")
