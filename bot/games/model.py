"""What a game is made of: its kind, its round, what people enter, and how they stand.

Plain frozen records, as in `bot.model`. Times are milliseconds since 1970 UTC (`_ms`).
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bot.model import Image, Person

MACHINE = Person("local:machine", "the machine")
"""Who plays where the machine does."""
SOMEBODY = Person("", "somebody")
"""Stands for who does not publish, outside the place where they play."""


class GameKind(StrEnum):
    """What is played: draw a prompt, put a picture into words, or guess its prompt."""

    DRAW = "draw"
    SAY = "say"
    GUESS = "guess"


class GameState(StrEnum):
    """Where a game is. It ends once: with a result, or called off without one."""

    OPEN = "open"
    OVER = "over"
    CALLED_OFF = "called_off"


class Game(msgspec.Struct, frozen=True, kw_only=True):
    """One round.

    `prompt` is what is to be drawn; else the picture's own words, which nobody is shown while the
    game is open (`told`). `dream_id` and `image` are the picture's, None for `draw`, and after it
    was deleted. `choices` are the prompts of a `guess`, in the order in which they are shown; one
    whose dream was deleted is empty. The `machine` plays too. `perceptor` is the model that
    scores, empty until something was scored. What is not `published` is shown only in the channel
    where it is played: `guild_id`, `channel_id`, and `parent_id` where that is a thread. One that
    is `carded` is the game of its channel, with a card there; another was begun elsewhere, and is
    judged by the channel's rules and counts there. `host_knows` says that who opened it chose the
    picture, and so its words.
    """

    id: str
    theme_id: int
    kind: GameKind
    host: Person
    state: GameState
    prompt: str
    dream_id: str | None
    image: Image | None
    choices: tuple[str, ...]
    seed: int
    machine: bool
    guild_id: int | None
    channel_id: int | None
    parent_id: int | None
    carded: bool
    age_restricted: bool
    published: bool
    host_knows: bool
    perceptor: str
    ends_ms: int
    created_ms: int
    ended_ms: int | None

    @property
    def open(self) -> bool:
        """Whether it is still going on."""
        return self.state is GameState.OPEN

    @property
    def told(self) -> str:
        """The prompt as far as it may be shown now; empty where that would give it away."""
        return self.prompt if self.kind is GameKind.DRAW or not self.open else ""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What one person has in a game: of several tries, the best.

    Of a drawing there is its `image`; of the machine's also `dream_id`, and no image while it is
    being drawn. `choice` is an index into the game's choices. `score` is 0 to 100, None while it
    is not known or not to be told. With `writing`, words were found in the picture. One that is
    not `published` is shown only where the game is played. `hearts` says how many people like it.
    """

    id: str
    game_id: str
    person: Person
    text: str = ""
    choice: int | None = None
    image: Image | None = None
    dream_id: str | None = None
    score: float | None = None
    writing: bool = False
    published: bool = True
    hearts: int = 0
    at_ms: int = 0

    @property
    def by_machine(self) -> bool:
        """Whether it is the machine's."""
        return self.person.id == MACHINE.id


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How an entry stands. Of equal scores the place (1 is first) is shared."""

    place: int
    entry: Entry

    @property
    def won(self) -> bool:
        """Whether it is first, and has earned anything: who guessed wrong has not won."""
        return self.place == 1 and bool(self.entry.score)


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a try: its own score, whether it is the person's best, and how many are left.

    `entry` is the person's best, with its score. A choice in `guess` has no score while the game
    is open.
    """

    entry: Entry
    score: float | None
    writing: bool
    best: bool
    left: int
