"""What a party's pages are drawn from: read once for all who look, and again after any change."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property

from bot.errors import NotFoundError
from bot.model import Dream, DreamState, Theme, Visibility
from bot.parties.authors import by_author
from bot.parties.model import (
    Association,
    FinalePicture,
    Member,
    Node,
    Party,
    Role,
    Stage,
    Standing,
    Vote,
    VoteKind,
)
from bot.parties.reading import WRONG_CODE
from bot.parties.service import Parties
from bot.parties.voting import BUDGET
from bot.wall.party.tree import Lane, Row, lanes_of, rows_of
from bot.wall.services import Feed

_REMEMBERED = 32
_OVER = (DreamState.FAILED, DreamState.CANCELLED)


@dataclass(frozen=True)
class Evening:
    """A party as it was after the stream's entry `version`. Holds only what the wall may show.

    Dreams are their authors' (`bot.parties.authors`).
    """

    version: int
    party: Party
    theme: Theme
    members: tuple[Member, ...]
    associations: tuple[Association, ...]
    nodes: tuple[Node, ...]
    votes: tuple[Vote, ...]
    standings: tuple[Standing, ...]
    finale: tuple[FinalePicture, ...]
    dreams: dict[str, Dream] = field(default_factory=dict)

    @property
    def stage(self) -> Stage:
        """What its pages show: one that is over is shown as it ended, published."""
        return self.party.stage if self.party.open else Stage.PUBLISHED

    @cached_property
    def present(self) -> tuple[Member, ...]:
        """Who is there, the host first, then by who has been there longest."""
        there = (one for one in self.members if one.present)
        return tuple(sorted(there, key=lambda one: one.role is not Role.HOST))

    def member(self, person_id: str) -> Member | None:
        """Return somebody who is or was there."""
        return next((one for one in self.members if one.person.id == person_id), None)

    @cached_property
    def forming(self) -> tuple[Node, ...]:
        """What is on its way, oldest first."""
        return tuple(one for one in self.nodes if not one.dream.state.final)

    @cached_property
    def drawn(self) -> tuple[Node, ...]:
        """What is finished, newest first."""
        return tuple(one for one in reversed(self.nodes) if one.dream.image is not None)

    @cached_property
    def contest(self) -> tuple[Node, ...]:
        """The pictures that are voted on, newest first: not what the finale made of them."""
        return tuple(one for one in self.drawn if one.entry.stage is not Stage.FINALE)

    @cached_property
    def by_standing(self) -> tuple[Node, ...]:
        """The same, those that stand best first."""
        return tuple(sorted(self.contest, key=lambda one: self._place(one.dream.id)))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {one.dream_id: index for index, one in enumerate(self.standings)}

    def _place(self, dream_id: str) -> int:
        return self._places.get(dream_id, len(self._places))

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """What may grow, as trees: those on which there was work last come first."""
        return rows_of(
            one
            for one in self.nodes
            if one.dream.state not in _OVER and one.entry.stage is not Stage.FINALE
        )

    @cached_property
    def lanes(self) -> tuple[Lane, ...]:
        """The same as lines from left to right."""
        return lanes_of(self.rows)

    def failed(self, person_id: str) -> tuple[Node, ...]:
        """Return what of somebody's could not be drawn, newest first."""
        return tuple(
            one
            for one in reversed(self.nodes)
            if one.dream.state is DreamState.FAILED and one.dream.person.id == person_id
        )

    def favours(self, person_id: str) -> frozenset[str]:
        """Return the ids of the dreams that somebody favours."""
        return frozenset(
            one.dream_id
            for one in self.votes
            if one.kind is VoteKind.FAVOURITE and one.person.id == person_id
        )

    def points(self, person_id: str) -> dict[str, int]:
        """Return the points that somebody gave, by dream."""
        return {
            one.dream_id: one.value
            for one in self.votes
            if one.kind is VoteKind.POINTS and one.person.id == person_id
        }

    def points_left(self, person_id: str) -> int:
        """Return how many points somebody has yet to give."""
        return BUDGET - sum(self.points(person_id).values())

    @cached_property
    def results(self) -> tuple[tuple[Standing, Dream], ...]:
        """How pictures stand that anybody voted for, the best first."""
        return tuple(
            (one, self.dreams[one.dream_id])
            for one in self.standings
            if one.score > 0 and one.dream_id in self.dreams
        )

    @cached_property
    def chosen(self) -> tuple[tuple[FinalePicture, Dream], ...]:
        """The finale's pictures, the best first: of each the largest that is finished."""
        found = []
        for one in sorted(self.finale, key=lambda one: self._place(one.dream_id)):
            for dream_id in (one.upscaled_id, one.redrawn_id, one.dream_id):
                dream = self.dreams.get(dream_id or "")
                if dream is not None and dream.image is not None:
                    found.append((one, dream))
                    break
        return tuple(found)


class Evenings:
    """Reads parties for all pages together."""

    def __init__(self, parties: Parties, feed: Feed) -> None:
        self._parties = parties
        self._feed = feed
        # Each with what it is as of: a stream's newest entry, and how often all was forgotten.
        self._known: OrderedDict[str, tuple[tuple[int, int], Evening]] = OrderedDict()
        self._forgotten = 0
        self._reading: dict[str, asyncio.Lock] = {}

    def forget(self) -> None:
        """Read every party anew: a dream shows another picture, of which no stream tells."""
        self._forgotten += 1

    async def now(self, party_id: str) -> Evening:
        """Return a party as it is now.

        Raises:
            NotFoundError: there is none, or it is not to be seen at the wall; which is not told.
        """
        lock = self._reading.setdefault(party_id, asyncio.Lock())
        async with lock:
            before, known = self._known.get(party_id, (None, None))
            theme_id = known.theme.id if known else (await self._parties.get(party_id)).theme_id
            # Read before the party: what changes meanwhile has a later id, and is read again.
            # Whatever changes a party is in its own stream; others' make nobody read it again.
            as_of = await self._feed.last_id(theme_id), self._forgotten
            if known is None or as_of != before:
                known = await self._read(party_id, as_of[0])
                self._known[party_id] = as_of, known
            self._known.move_to_end(party_id)
            while len(self._known) > _REMEMBERED:
                forgotten, _ = self._known.popitem(last=False)
                self._reading.pop(forgotten, None)
        return known

    async def _read(self, party_id: str, version: int) -> Evening:
        parties = self._parties
        party = await parties.get(party_id)
        theme = await parties.theme_of(party)
        if theme.visibility is Visibility.PRIVATE:
            raise NotFoundError(WRONG_CODE)
        finale = await parties.finale_of(party)
        shown = [one for one in await parties.nodes(party) if one.dream.published]
        nodes = tuple(by_author(shown, finale))
        dreams = {one.dream.id: one.dream for one in nodes}
        # What was given to a picture that is shown no more is to be had back.
        votes, standings = await parties.counted_among(party, dreams)
        return Evening(
            version=version,
            party=party,
            theme=theme,
            members=tuple(await parties.members(party)),
            associations=tuple(await parties.associations(party)),
            nodes=nodes,
            votes=votes,
            standings=standings,
            finale=tuple(finale),
            dreams=dreams,
        )
