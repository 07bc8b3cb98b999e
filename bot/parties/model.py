"""What a party is made of: its stages, members, words, dreams and votes.

Plain frozen records, as in `bot.model`. Times are milliseconds since 1970 UTC (`_ms`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from bot.model import Dream, Person, Theme


class Stage(StrEnum):
    """What a party is at. They come in this order; a host may also go back."""

    GATHER = "gather"
    SKETCH = "sketch"
    ELABORATE = "elaborate"
    CHOOSE = "choose"
    FINALE = "finale"
    PUBLISHED = "published"


class Role(StrEnum):
    """What somebody is at a party. There is one host, who may do everything."""

    HOST = "host"
    PROMPT_MASTER = "prompt_master"
    ART_EXPERT = "art_expert"
    FACILITATOR = "facilitator"
    GUEST = "guest"


class AssociationKind(StrEnum):
    """What an association names."""

    IDEA = "idea"
    STYLE = "style"
    ARTIST = "artist"


class VoteKind(StrEnum):
    """How somebody voted: for one picture, between two, or with points of a budget."""

    FAVOURITE = "favourite"
    PAIR = "pair"
    POINTS = "points"


class PartySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a host chose for one party.

    `weight` is its stream's share of the machine while it is open. With `everyone_steers` its
    members may steer each other's dreams. One of an `age_restricted` channel publishes nothing.
    `parent_id` is the channel that its thread belongs to. The big screen shows the way in only
    with `code_shown`.
    """

    max_guests: int = 50
    everyone_steers: bool = True
    weight: float = 2.0
    age_restricted: bool = False
    parent_id: int | None = None
    code_shown: bool = True


class Party(msgspec.Struct, frozen=True, kw_only=True):
    """An evening around one topic, in a theme of its own.

    `code` is what guests join by; it does not follow from the theme's address. `due_ms` is when
    the host is to be told that the stage has lasted, None where there is nothing (more) to tell.
    """

    id: str
    code: str
    theme_id: int
    topic: str
    stage: Stage
    host: Person
    guild_id: int | None
    channel_id: int | None
    created_ms: int
    stage_started_ms: int
    stage_minutes: int
    due_ms: int | None
    active_ms: int
    ended_ms: int | None
    settings: PartySettings

    @property
    def open(self) -> bool:
        """Whether it is still going on."""
        return self.ended_ms is None


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody of a party. `joined_ms` is when they came last.

    Who is not `credited` is not named in what is published. Who was `removed` cannot come back.
    """

    party_id: str
    person: Person
    role: Role
    joined_ms: int
    left_ms: int | None = None
    credited: bool = True
    removed: bool = False

    @property
    def present(self) -> bool:
        """Whether they are there."""
        return self.left_ms is None


class Association(msgspec.Struct, frozen=True, kw_only=True):
    """Words that somebody said first, and how many said so (`count`). Hidden ones are empty."""

    id: int
    party_id: str
    person: Person
    words: str
    kind: AssociationKind
    at_ms: int
    count: int = 1
    hidden: bool = False


class Vote(msgspec.Struct, frozen=True, kw_only=True):
    """How somebody voted. Of a pair, `dream_id` was preferred to `other_id`; neither at value 0."""

    person: Person
    kind: VoteKind
    dream_id: str
    other_id: str | None
    value: int
    at_ms: int


class PartyDream(msgspec.Struct, frozen=True, kw_only=True):
    """That a dream belongs to a party: its stage, whose it is, and what words it came of.

    `other_id` is the dream that its parent was combined with.
    """

    dream_id: str
    stage: Stage
    person: Person
    association_ids: tuple[int, ...] = ()
    other_id: str | None = None


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A dream in a party's tree. `parent_id` is its nearest ancestor that is still there."""

    entry: PartyDream
    dream: Dream
    parent_id: str | None = None
    children: tuple[Node, ...] = ()


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a dream stands. Of equal scores the place (1 is first) is shared.

    `wins` and `losses` are in pairs; `chance` in 0..1 is that of being preferred to an average
    picture, None where nobody compared any. `bot.parties.counting` says how `score` comes of them.
    """

    dream_id: str
    place: int
    score: float
    favourites: int = 0
    points: int = 0
    wins: int = 0
    losses: int = 0
    chance: float | None = None


class FinalePicture(msgspec.Struct, frozen=True, kw_only=True):
    """What a chosen dream (`dream_id`) became. `done` says that nothing more will come."""

    dream_id: str
    redrawn_id: str | None = None
    upscaled_id: str | None = None
    done: bool = False

    @property
    def best_id(self) -> str:
        """The largest that was asked for so far."""
        return self.upscaled_id or self.redrawn_id or self.dream_id


class StageBegan(msgspec.Struct, frozen=True):
    """When a stage began."""

    stage: Stage
    at_ms: int


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """All of a party, in order. `nodes` are its dreams, the oldest first, each without children.

    Who is not named stands as `bot.parties.reading.SOMEBODY`.
    """

    party: Party
    theme: Theme
    stages: tuple[StageBegan, ...]
    members: tuple[Member, ...]
    associations: tuple[Association, ...]
    nodes: tuple[Node, ...]
    votes: tuple[Vote, ...]
    standings: tuple[Standing, ...]
    finale: tuple[FinalePicture, ...]


@dataclass(frozen=True)
class PartyLimits:
    """What the machine allows every party. `weight` and guests are also what a host begins with."""

    max_guests: int = 50
    weight: float = 2.0
    idle_hours: float = 12.0
    words_per_minute: int = 20
    open_per_person: int = 3
