"""A party as a slow show: what was said and drawn, in the order of the evening."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from bot.model import Dream
from bot.parties.model import Association, Node, Stage, Standing
from bot.wall.party.evening import Evening
from bot.wall.party.tree import Lane, Row

WORDS_AT_ONCE = 12
LANES = 4
STANDINGS = 4


class SlideKind(StrEnum):
    """What a slide shows."""

    TITLE = "title"
    STAGE = "stage"
    WORDS = "words"
    PICTURE = "picture"
    TREE = "tree"
    STANDING = "standing"
    WINNER = "winner"
    THANKS = "thanks"


# How long one is looked at, in seconds; a word takes as long again as `_WORD_S`.
_LASTS_S = {
    SlideKind.TITLE: 6.0,
    SlideKind.STAGE: 4.0,
    SlideKind.WORDS: 3.0,
    SlideKind.PICTURE: 9.0,
    SlideKind.TREE: 14.0,
    SlideKind.STANDING: 12.0,
    SlideKind.WINNER: 14.0,
    SlideKind.THANKS: 12.0,
}
_WORD_S = 0.7


@dataclass(frozen=True)
class Slide:
    """One thing to look at. Which of the fields are set follows from `kind`.

    `who` is empty for whoever does not want to be named. `place` counts from 1, the best.
    """

    kind: SlideKind
    stage: Stage | None = None
    words: tuple[Association, ...] = ()
    dream: Dream | None = None
    row: Row | None = None
    origin: Dream | None = None
    who: str = ""
    place: int = 0
    lanes: tuple[Lane, ...] = ()
    standings: tuple[tuple[Standing, Dream], ...] = ()
    names: tuple[str, ...] = ()

    @property
    def lasts_s(self) -> float:
        """How long it is looked at, in seconds."""
        return _LASTS_S[self.kind] + _WORD_S * len(self.words)


def slides_of(evening: Evening) -> tuple[Slide, ...]:
    """Return an evening's slides; the first and the last are always there.

    Pictures come in the order in which they were asked for, what was said meanwhile between them.
    A card says where another stage begins, also where the host went back to one. The winners come
    at the end, the best last.
    """
    return tuple(_slides(evening))


def _slides(evening: Evening) -> Iterator[Slide]:
    names = {
        one.person.id: one.person.name
        for one in evening.members
        if one.credited and not one.removed
    }
    yield Slide(SlideKind.TITLE)
    yield from _drawn(evening, names)
    lanes = tuple(lane for lane in evening.lanes if not lane.lone)[:LANES]
    if lanes:
        yield Slide(SlideKind.TREE, lanes=lanes)
    if evening.results:
        yield Slide(SlideKind.STAGE, stage=Stage.CHOOSE)
        yield Slide(SlideKind.STANDING, standings=evening.results[:STANDINGS])
    if evening.chosen:
        yield Slide(SlideKind.STAGE, stage=Stage.FINALE)
    for index, (_, dream) in reversed([*enumerate(evening.chosen)]):
        who = names.get(dream.person.id, "")
        yield Slide(SlideKind.WINNER, dream=dream, who=who, place=index + 1)
    yield Slide(SlideKind.THANKS, names=tuple(names.values()))


def _drawn(evening: Evening, names: dict[str, str]) -> Iterator[Slide]:
    """Yield what was said and drawn before the finale."""
    said = deque(one for one in evening.associations if not one.hidden)
    rows = {row.node.dream.id: row for row in evening.rows}
    stage = None
    if said:
        stage = Stage.GATHER
        yield Slide(SlideKind.STAGE, stage=stage)
    for node in reversed(evening.contest):
        yield from _words(said, node.dream.created_ms)
        if node.entry.stage is not stage:
            stage = node.entry.stage
            yield Slide(SlideKind.STAGE, stage=stage)
        yield _picture(evening, node, rows.get(node.dream.id), names)
    yield from _words(said, None)


def _words(said: deque[Association], until_ms: int | None) -> Iterator[Slide]:
    """Take what was said before a time, and yield it in handfuls."""
    words: list[Association] = []
    while said and (until_ms is None or said[0].at_ms <= until_ms):
        words.append(said.popleft())
    for first in range(0, len(words), WORDS_AT_ONCE):
        yield Slide(SlideKind.WORDS, words=tuple(words[first : first + WORDS_AT_ONCE]))


def _picture(evening: Evening, node: Node, row: Row | None, names: dict[str, str]) -> Slide:
    origin = evening.dreams.get(node.parent_id or "")
    return Slide(
        SlideKind.PICTURE,
        dream=node.dream,
        row=row,
        origin=origin if origin is not None and origin.image is not None else None,
        who=names.get(node.dream.person.id, ""),
    )
