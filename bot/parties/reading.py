"""Looking at parties: nothing here changes anything.

Who is at a party may see all of it. What leaves it (`record`) holds only what is published: not
the dreams nor the words of people who do not publish, nor the names of those who are not credited.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

import msgspec

from bot.errors import ForbiddenError, NotFoundError
from bot.ids import ALPHABET
from bot.model import Dream, DreamState, Person, Theme
from bot.parties.acting import Acting
from bot.parties.counting import count_votes, in_another_thread
from bot.parties.model import (
    Association,
    FinalePicture,
    Member,
    Node,
    Party,
    PartyDream,
    Record,
    Stage,
    Standing,
    Vote,
)
from bot.store import parties, party_dreams, party_votes, party_words, people

N = TypeVar("N", Association, Member, Vote, PartyDream, Dream)

CODE_LENGTH = 8
WRONG_CODE = "No party takes this code. Ask the host for the right one."
SOMEBODY = Person("", "")
"""Stands for everybody who is not to be named."""
_READ_AS = str.maketrans({"o": "0", "i": "1", "l": "1", " ": None, "-": None})


class Reading(Acting):
    """The parties there are, and what is in them."""

    async def get(self, party_id: str) -> Party:
        """Return a party, also one that is over.

        Raises:
            NotFoundError: there is none with this id.
        """
        party = await parties.by_id(self._store, party_id)
        if party is None:
            raise NotFoundError("There is no such party.")
        return party

    async def by_code(self, code: str) -> Party:
        """Return the party that a code is for, however it was typed; also one that is over.

        Raises:
            ForbiddenError: it is for none.
        """
        wanted = plain_code(code)
        party = await parties.by_code(self._store, wanted) if wanted else None
        if party is None:
            raise ForbiddenError(WRONG_CODE)
        return party

    async def of_theme(self, theme_id: int) -> Party | None:
        """Return the party that a theme was made for; None where it is any other theme."""
        return await parties.by_theme(self._store, theme_id)

    async def open_in(self, channel_id: int) -> Party | None:
        """Return the party that is going on in a channel, if there is one."""
        return await parties.open_in(self._store, channel_id)

    async def open(self) -> list[Party]:
        """Return the parties that are going on, oldest first."""
        return await parties.open_ones(self._store)

    async def published(self) -> list[Party]:
        """Return the parties that came to their last stage, oldest first."""
        return await parties.at_stage(self._store, Stage.PUBLISHED)

    async def newest(self, limit: int = 50) -> list[Party]:
        """Return parties, newest first, also those that are over."""
        return await parties.newest(self._store, limit)

    async def theme_of(self, party: Party) -> Theme:
        """Return the theme that was made for a party."""
        return await self._themes.by_id(party.theme_id)

    async def member(self, party: Party, person_id: str) -> Member | None:
        """Return somebody as a member of a party, also when they have left."""
        return await parties.member(self._store, party.id, person_id)

    async def members(self, party: Party) -> list[Member]:
        """Return who is, or was, at a party, in the order in which they came last."""
        return await parties.members(self._store, party.id)

    async def associations(self, party: Party) -> list[Association]:
        """Return what was said and is not hidden, in order."""
        return await party_words.of_party(self._store, party.id)

    async def nodes(self, party: Party) -> list[Node]:
        """Return a party's dreams that are still there, oldest first, each without children."""
        entries = await party_dreams.of_party(self._store, party.id)
        there = [entry.dream_id for entry, _, present in entries if present]
        dreams = {dream.id: dream for dream in await self._dreams.several(there)}
        parents = {entry.dream_id: parent_id for entry, parent_id, _ in entries}
        return [
            Node(
                entry=_without_gone(entry, dreams),
                dream=dreams[entry.dream_id],
                parent_id=_nearest(entry.dream_id, parents, dreams),
            )
            for entry, _, _ in entries
            if entry.dream_id in dreams
        ]

    async def tree(self, party: Party) -> tuple[Node, ...]:
        """Return a party's dreams as trees, the oldest root first, with what grew of each."""
        return _planted(await self.nodes(party))

    async def votes(self, party: Party) -> list[Vote]:
        """Return how everybody voted, in order."""
        return await party_votes.of_party(self._store, party.id)

    async def standings(self, party: Party) -> tuple[Standing, ...]:
        """Return how the finished dreams stand, the best first."""
        drawn = await party_dreams.drawn(self._store, party.id)
        return await in_another_thread(count_votes, drawn, await self.votes(party))

    async def counted_among(
        self, party: Party, shown: Collection[str]
    ) -> tuple[tuple[Vote, ...], tuple[Standing, ...]]:
        """Return the votes that are about `shown` dreams alone, and how these stand by them."""
        votes = await self.votes(party)
        about = tuple(vote for vote in votes if {vote.dream_id, vote.other_id} <= {*shown, None})
        drawn = [one for one in await party_dreams.drawn(self._store, party.id) if one in shown]
        return about, await in_another_thread(count_votes, drawn, about)

    async def finale_of(self, party: Party) -> list[FinalePicture]:
        """Return the chosen dreams and what they became."""
        return await party_dreams.finale(self._store, party.id)

    async def record(self, party: Party, *, inside: bool = False) -> Record:
        """Return all of a party: as it may leave it, or as those inside see it.

        What leaves holds finished dreams that are published, words of people who publish, and
        the names of those who do and are credited. Places are among the dreams that are shown.
        """
        party = await self.get(party.id)
        members = await self.members(party)
        nodes = await self.nodes(party)
        said = await self.associations(party)
        finale = await self.finale_of(party)
        named: set[str] | None = None  # those that may be; None is everybody
        if not inside:
            silent = await self._silent({*_ids(members), *(one.person.id for one in said)})
            named = {one.person.id for one in members if one.credited} - silent
            nodes = [
                msgspec.structs.replace(
                    node,
                    entry=_named(node.entry, named),
                    dream=_named(node.dream, named),
                )
                for node in nodes
                if node.dream.published and node.dream.state is DreamState.DONE
            ]
            said = [_named(one, named) for one in said if one.person.id not in silent]
            members = [_named(one, named) for one in members]
            party = msgspec.structs.replace(
                party, host=party.host if party.host.id in named else SOMEBODY, code=""
            )
        shown = {node.dream.id for node in nodes}
        nodes = _without_strangers(nodes, shown, {one.id for one in said})
        votes, standings = await self.counted_among(party, shown)
        if named is not None:  # only now: what is counted of pairs is counted for each person
            votes = tuple(_named(one, named) for one in votes)
        return Record(
            party=party,
            theme=await self.theme_of(party),
            stages=tuple(await parties.stages(self._store, party.id)),
            members=tuple(members),
            associations=tuple(said),
            nodes=tuple(nodes),
            votes=votes,
            standings=standings,
            finale=tuple(_shown(one, shown) for one in finale if one.dream_id in shown),
        )

    async def _silent(self, person_ids: Collection[str]) -> set[str]:
        """Return who of these people does not publish."""
        return {one for one in person_ids if not await people.publishes(self._store, one)}


def plain_code(typed: str) -> str:
    """Return a code as it is kept, empty where what was typed cannot be one."""
    code = typed[:64].casefold().translate(_READ_AS)
    whole = len(code) == CODE_LENGTH and all(sign in ALPHABET for sign in code)
    return code if whole else ""


def is_code_of(party: Party, typed: str) -> bool:
    """Say whether somebody typed a party's code."""
    return hmac.compare_digest(plain_code(typed), party.code)


def _named(one: N, named: Collection[str]) -> N:
    person = one.person if one.person.id in named else SOMEBODY
    return msgspec.structs.replace(one, person=person)


def _ids(members: Sequence[Member]) -> set[str]:
    return {member.person.id for member in members}


def _without_gone(entry: PartyDream, there: Mapping[str, Dream]) -> PartyDream:
    if entry.other_id is None or entry.other_id in there:
        return entry
    return msgspec.structs.replace(entry, other_id=None)


def _nearest(
    dream_id: str, parents: Mapping[str, str | None], there: Collection[str]
) -> str | None:
    """Return the nearest ancestor that is still there."""
    found = parents[dream_id]
    while found is not None and found not in there:
        found = parents.get(found)
    return found


def _without_strangers(
    nodes: Sequence[Node], shown: Collection[str], said: Collection[int]
) -> list[Node]:
    """Let dreams name only ancestors and words that are shown, too."""
    parents = {node.dream.id: node.parent_id for node in nodes}
    return [
        msgspec.structs.replace(
            node,
            parent_id=_nearest(node.dream.id, parents, shown),
            entry=msgspec.structs.replace(
                node.entry,
                other_id=node.entry.other_id if node.entry.other_id in shown else None,
                association_ids=tuple(one for one in node.entry.association_ids if one in said),
            ),
        )
        for node in nodes
    ]


def _planted(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Return the roots, each with all that came of it. Children are younger than parents."""
    children: dict[str | None, list[Node]] = {}
    for node in reversed(nodes):
        grown = tuple(reversed(children.pop(node.dream.id, [])))
        whole = msgspec.structs.replace(node, children=grown)
        children.setdefault(node.parent_id, []).append(whole)
    return tuple(reversed(children.get(None, [])))


def _shown(one: FinalePicture, shown: Collection[str]) -> FinalePicture:
    return msgspec.structs.replace(
        one,
        redrawn_id=one.redrawn_id if one.redrawn_id in shown else None,
        upscaled_id=one.upscaled_id if one.upscaled_id in shown else None,
    )
